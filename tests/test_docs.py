"""Every command in README.md, docs/ and the help is run as it is printed, on small inputs.

One rule makes it quick: a command that trains, optimizes or compares has the budget ``_budget``
in place of its own, and that of ``budget.py``. A block that needs more than that stands below a
comment ``<!-- not run: REASON -->``; those are listed in ``NOT_RUN``. Python blocks are run too.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from PIL import Image
from typer.main import get_command

from clips import make_clip
from serving import start
from stylecli.cli import app
from stylecli.core.model_files import bundled_models
from stylecli.files.content import bundled_photos
from test_importing import example_state

ROOT = Path(__file__).parents[1]
PAGES = ["README.md", "CONTRIBUTING.md", "SECURITY.md"]
PAGES += sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))

# What each page says of its blocks that are not run, in their order.
NOT_RUN = {
    "README.md": ["network"],
    "docs/start.md": ["network"],
    "docs/serve.md": ["network"],
    "docs/stylize.md": ["network"],
    "docs/scale.md": ["cluster", "cluster", "cluster", "network"],
    "docs/training.md": ["cluster"],
    "docs/benchmarks.md": ["hours", "hours", "hours", "hours", "hours", "network", "GPU"],
}
COMMANDS_RUN = 75
REASONS = {"network", "GPU", "cluster", "hours"}
# Options that every command has, and that of all commands together.
COMMON = {"--help", "--install-completion"}
COMMANDS = get_command(app).list_commands(None)
OF_MODELS = ("add", "remove", "show", "export-card")
# Options that are a budget, and what each command has in their place.
BUDGET = ("--minutes", "--steps", "--size", "--style-size", "--gatys-steps")
QUICK = ["--steps", "2", "--size", "64", "--style-size", "64"]


@dataclass(frozen=True)
class Block:
    """What stands between two fences.

    Attributes:
        language: such as ``sh``.
        text: all of it.
        reason: why it is not run; empty if it is.
    """

    language: str
    text: str
    reason: str

    @property
    def commands(self) -> list[str]:
        """Its lines without comments; one that goes on below is one."""
        lines = self.text.replace("\\\n", " ").splitlines()
        return [line for line in lines if line.strip() and not line.startswith("#")]


def blocks_of(page: str) -> list[Block]:
    text = (ROOT / page).read_text("utf-8")
    found = re.finditer(r"(?:<!-- not run: (.+) -->\n)?^```(\S+).*\n([\s\S]*?)^```$", text, re.M)
    return [Block(match[2], match[3], match[1] or "") for match in found]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory, painting) -> Path:
    """What the pages speak of, small."""
    folder = tmp_path_factory.mktemp("inputs")
    photos = [Image.open(path).resize((96, 64)) for path in bundled_photos()[:8]]
    photos[0].save(folder / "photo.jpg")
    names = ["photos/one.jpg", "photos/two.png", "photos/below/three.webp"]
    names += [f"my-photos/{number}.jpg" for number in range(2)]
    names += [f"src/stylecli/photos/kodim0{number}.jpg" for number in (4,)]
    names += [f"FOLDER-OF-16-PHOTOS/{number}.jpg" for number in range(4)]
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        photos[number % 8].save(folder / name)
    (folder / "models/paintings").mkdir(parents=True)
    paintings = ["painting.jpg", *(f"{name}.jpg" for name in "abcd")]
    for name in [*paintings, "models/paintings/starry-night.jpg"]:
        Image.open(painting).save(folder / name)
    torch.save(example_state(), folder / "mosaic.pth")
    make_clip(folder / "clip.mp4", frames=4)
    shutil.copy(
        bundled_models() / "starry-night-pyramid-in.safetensors", folder / "sky.safetensors"
    )
    return folder


@pytest.fixture
def run(budget, inputs, tmp_path, monkeypatch, capfd) -> Callable[[Block], None]:
    """Runs a block in a copy of the inputs; a command that fails is an AssertionError."""
    folder = tmp_path / "work"
    shutil.copytree(inputs, folder)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setattr("stylecli.comparison.experiment._DEFAULT_PHOTOS", (14,))
    script = tmp_path / "bin" / "stylecli"
    script.parent.mkdir()
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m stylecli "$@"\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(script.parent), prepend=os.pathsep)

    def run_block(block: Block) -> None:
        if block.language == "python":
            _run_python(block.text)
        elif all(
            line.startswith("stylecli ") and not _needs_shell(line) for line in block.commands
        ):
            for line in block.commands:
                code = _run_here(shlex.split(line, comments=True)[1:])
                assert code == 0, f"{line}: {capfd.readouterr().err}"
        else:
            assert not re.search(r"stylecli (train|compare|gatys)", block.text), "has no budget"
            done = subprocess.run(["bash", "-ec", block.text], capture_output=True, text=True)
            assert done.returncode == 0, f"{block.text}: {done.stderr}"

    return run_block


def _needs_shell(line: str) -> bool:
    return bool(re.search(r"[|<>&$;*`]", line.partition(" #")[0]))


def _run_here(words: list[str]) -> int:
    """The exit code of a command in this process: importing torch takes seconds."""
    if words[0] == "serve" and "--help" not in words:
        return _serve(words[1:])
    with pytest.raises(SystemExit) as ended:
        app(_budget(words))
    return int(ended.value.code or 0)


def _serve(options: list[str]) -> int:
    """0 if a server says its address and ends at Ctrl-C; on a free port, and without a browser."""
    pytest.importorskip("uvicorn")
    return 0 if start(Path.cwd(), *options).stop() == 130 else 1


def _budget(words: list[str]) -> list[str]:
    """A command's words with another budget: the one rule."""
    command, options = words[0], dict(zip(words, [*words[1:], ""], strict=True))
    if command not in ("train", "gatys", "compare", "sheet"):
        return words
    taken = {place for name in BUDGET if name in words for place in _places(words, name)}
    kept = [word for place, word in enumerate(words) if place not in taken]
    if command == "sheet" or (command == "compare" and "--style" not in options):
        kept += ["--size", "64"]
    else:
        kept += QUICK
    return [*kept, "--gatys-steps", "2"] if "--gatys" in words else kept


def _places(words: list[str], option: str) -> tuple[int, int]:
    """Where an option and its value stand."""
    return words.index(option), words.index(option) + 1


def _run_python(text: str) -> None:
    """Run a block of Python; ``image`` is a photo, and steps are as few as in commands."""
    quick = re.sub(r"steps=\d+", "steps=2, size=64, style_size=64", text)
    exec(compile(quick, "block", "exec"), {"image": Image.open("photo.jpg")})


def _runs_something(page: str) -> bool:
    return any(b.language in ("sh", "python") and not b.reason for b in blocks_of(page))


@pytest.mark.parametrize("page", [page for page in PAGES if _runs_something(page)])
def test_every_command_of_a_page_runs_as_it_is_printed(page, run):
    for block in blocks_of(page):
        if block.language in ("sh", "python") and not block.reason:
            run(block)


@pytest.mark.parametrize("command", ["", *COMMANDS, *(f"models {one}" for one in OF_MODELS)])
def test_both_examples_of_a_help_run_as_they_are_printed(command, run, monkeypatch, capfd):
    monkeypatch.setenv("COLUMNS", "80")
    for name in ["models add", command] if command == "models remove" else [command]:
        assert _run_here([*name.split(), "--help"]) == 0
        examples = capfd.readouterr().out.split(" Examples: ")[1]
        lines = re.findall(r"^ (stylecli .*?) *$", examples, re.M)
        assert len(lines) == 2
        run(Block("sh", "\n".join(lines), ""))


def test_what_is_not_run_is_marked_with_one_of_few_reasons_and_known():
    marked = {page: [b.reason for b in blocks_of(page) if b.reason] for page in PAGES}
    assert {page: reasons for page, reasons in marked.items() if reasons} == NOT_RUN
    assert {reason for reasons in NOT_RUN.values() for reason in reasons} <= REASONS


@pytest.mark.parametrize("page", PAGES)
def test_a_block_is_of_a_kind_that_is_run_or_holds_no_command(page):
    kinds = {block.language for block in blocks_of(page)}
    assert {kind for kind in kinds if not kind.startswith("{")} <= {"sh", "python"}
    fences = re.findall(r"^```", (ROOT / page).read_text("utf-8"), re.M)
    assert len(fences) == 2 * len(blocks_of(page))  # none is missed


def test_the_number_of_commands_that_are_run_is_known():
    blocks = [block for page in PAGES for block in blocks_of(page)]
    run = [one.commands for one in blocks if one.language == "sh" and not one.reason]
    assert sum(map(len, run)) == COMMANDS_RUN


@pytest.mark.parametrize(
    "text",
    [
        "stylecli stylize photo.jpg painted.jpg --modle udnie\n",
        "stylecli stylize photo.jpg painted.jpg\nstylecli models udine\n",
        "cat missing.jpg | stylecli stylize - - > piped.png\n",
    ],
)
def test_a_broken_command_is_found(text, run):
    with pytest.raises(AssertionError):
        run(Block("sh", text, ""))


@pytest.mark.parametrize("page", PAGES)
def test_every_option_that_the_text_names_is_one_of_a_command(page):
    known = {name for command in _commands() for option in command.params for name in option.opts}
    named = re.findall(r"`(?:[\w-]+ )*(--[a-z][a-z0-9-]*)", (ROOT / page).read_text("utf-8"))
    assert {*named} <= known | COMMON


def _commands() -> list:
    commands = [get_command(app).get_command(None, name) for name in COMMANDS]
    below = [getattr(one, "commands", {}).values() for one in commands]
    return [*commands, *(one for some in below for one in some)]
