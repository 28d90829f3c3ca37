"""Completion as a user has it: installed by the command, asked for in real shells."""

import os
import re
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from stylecli.cli import app
from stylecli.core.generators import Generator
from stylecli.core.model_files import ModelInfo, save_model
from stylecli.core.spec import GeneratorSpec

pty = pytest.importorskip("pty", reason="there are no such shells without terminals")

END = "the-end"
# No escapes around a prompt; and a key that inserts all completions, which bash has already.
SETTINGS = {
    "bash": ["bind 'set enable-bracketed-paste off'"],
    "zsh": [
        "unset zle_bracketed_paste",
        "zstyle ':completion:all-matches::::' completer _all_matches _complete",
        "zstyle ':completion:all-matches:*' insert true",
        "zle -C all-matches complete-word _generic",
        r"bindkey '\e*' all-matches",
    ],
}
# What a shell would run or take apart, were it to get such a name as it is.
HOSTILE = [
    "$(touch evil)",
    "`touch evil`",
    r"\$(touch evil)",
    '"; touch evil; "',
    "'; touch evil; '",
    "*",
    "two words",
    "-q",
]
OWN = ["sea", "sea-foam", "海"]
GALLERY = "cezanne composition-vii great-wave portrait-metzinger starry-night the-scream udnie"
GALLERY += " woman-with-a-hat"


def save(path: Path, styles: list[str]) -> None:
    generator = Generator(GeneratorSpec("residual", "in", 4)).remix(torch.ones(len(styles), 1))
    save_model(path, generator, ModelInfo(path.stem, generator.spec, styles=styles))


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """A home folder in which one works: photos, models, a broken model, the command."""
    home = tmp_path_factory.mktemp("home")
    for name in ("photo.jpg", "photos/one.jpg", "models/broken.safetensors", "bin/stylecli"):
        (home / name).parent.mkdir(exist_ok=True)
        (home / name).write_text("nothing of use")
    save(home / "models" / "own.safetensors", [*OWN, *HOSTILE])
    # As an installer writes it.
    lines = f"#!{sys.executable}", "from stylecli.__main__ import main", "main()"
    (home / "bin" / "stylecli").write_text("\n".join(lines))
    (home / "bin" / "stylecli").chmod(0o755)
    return home


@pytest.fixture(scope="module")
def environment(home) -> dict[str, str]:
    path = f"{home / 'bin'}{os.pathsep}{os.environ['PATH']}"
    kept = {name: text for name, text in os.environ.items() if not name.startswith("XDG_")}
    return {**kept, "HOME": str(home), "PATH": path, "TERM": "dumb", "LC_ALL": "C.UTF-8"}


def install(shell: str, home: Path, environment: dict[str, str]) -> None:
    """Install completion as the documentation says, from that shell."""
    command = [shell, "-c", "stylecli --install-completion; true"]  # true: no exec, it looks around
    subprocess.run(command, cwd=home, env=environment, check=True, capture_output=True)


class Fish:
    """Fish, which says by itself what it would complete."""

    def __init__(self, home: Path, environment: dict[str, str]) -> None:
        self.where = {"cwd": home, "env": environment}

    def close(self) -> None:
        pass

    def offered(self, line: str) -> set[str]:
        command = ["fish", "-c", "complete -C $argv[1]", line]
        done = subprocess.run(command, capture_output=True, text=True, **self.where, check=True)
        assert not done.stderr
        return {line.partition("\t")[0].rstrip("/") for line in done.stdout.splitlines()}


class Terminal:
    """Bash or zsh in a terminal.

    A line is typed, then the key that inserts all completions; in front of it, a command that
    prints each word of it. The shell itself says so what the words would be.
    """

    def __init__(self, shell: str, home: Path, environment: dict[str, str]) -> None:
        self.process, self.terminal = pty.fork()
        if self.process == 0:
            os.chdir(home)
            os.execvpe(shell, [shell, "-i"], environment)
        self.run("\r".join(["PS1='ready '", *SETTINGS[shell], f"printf '<%s>\\n' {END}"]))

    def close(self) -> None:
        os.close(self.terminal)
        os.waitpid(self.process, 0)

    def run(self, keys: str) -> str:
        """Press keys and Enter; return what is then shown, up to the prompt."""
        os.write(self.terminal, f"{keys}\r".encode())
        shown, until = b"", time.monotonic() + 240
        while not re.search(rf"^<{END}>\r\n[^<]*ready $", shown.decode(errors="replace"), re.M):
            ready, _, _ = select.select([self.terminal], [], [], until - time.monotonic())
            assert ready, f"nothing more came after {shown!r}"
            shown += os.read(self.terminal, 65536)
        return shown.decode()

    def offered(self, line: str) -> set[str]:
        all_completions, to_end, to_start = "\x1b*", "\x05", "\x01"
        keys = f"{line}{all_completions}{to_end} {END}{to_start}printf '<%s>\\n' "
        shown = self.run(keys)
        assert "error" not in shown
        assert "Traceback" not in shown
        words = re.findall(r"^<(.*)>\r$", shown, re.M)[:-1]
        typed = line.split()
        complete = len(typed) if line.endswith(" ") else len(typed) - 1
        assert words[:complete] == typed[:complete]
        return {*words[complete:]} - {typed[-1]}


@pytest.fixture(scope="module", params=["bash", "zsh", "fish"])
def shell(request, home, environment):
    """A new shell in which completion has been installed."""
    name = request.param
    if not shutil.which(name):
        pytest.skip(f"{name} is not installed")
    install(name, home, environment)
    arguments = home, environment
    shell = Fish(*arguments) if name == "fish" else Terminal(name, *arguments)
    yield shell
    shell.close()


@pytest.mark.xdist_group("shells")
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("st", "stylize"),  # zsh: the first one of a session too
        ("compare --norm bn,", "bn,in bn,none"),
        ("stylize photos out -m own --style ", " ".join(OWN)),
        ("stylize photos out -m own --style sea,", "sea,sea-foam sea,海 sea,-q"),
        ("stylize photos out -m models/broken.safetensors --style zz", ""),
        ("stylize photos out --model models/o", "models/own.safetensors"),
        ("gatys photo.jpg ph", "photo.jpg photos"),
        ("--version sty", "stylize"),  # and the version is not printed
        ("models --no-such-option zz", ""),
    ],
)  # fmt: skip
def test_a_shell_completes(shell, home, line, expected):
    assert shell.offered(f"stylecli {line}") == {*expected.split()}
    assert not (home / "evil").exists()


@pytest.mark.xdist_group("shells")
@pytest.mark.parametrize("shell", ["zsh", "fish"], indirect=True)
def test_a_share_of_a_blend_is_kept(shell):
    """Bash takes a word apart at each colon."""
    assert shell.offered("stylecli stylize a b -m own --style sea:0.7,sea-") == {"sea:0.7,sea-foam"}


def ask(*words: str, code: str = "", **where: object) -> subprocess.CompletedProcess[str]:
    """What bash would get for the last of these words, after some code has been run."""
    asked = {"_STYLECLI_COMPLETE": "complete_bash", "COMP_CWORD": str(len(words))}
    asked["COMP_WORDS"] = "\n".join(["stylecli", *words])
    run = "from stylecli.cli import main; import sys; sys.argv[0] = 'stylecli'; main()"
    return subprocess.run(
        [sys.executable, "-c", f"{code}\n{run}"],
        capture_output=True,
        text=True,
        env={**os.environ, **asked},
        timeout=240,
        **where,
    )


@pytest.mark.parametrize(
    ("line", "choices"),
    [
        ("train --optimizer ", "muon adam"),
        ("train --precision f", "float32"),
        ("compare --arch p", "pyramid"),
        ("compare --arch residual,py", "residual,pyramid"),
        ("sheet photo.jpg --device c", "cpu cuda"),
        ("gatys --start p", "photo portrait-metzinger"),
        ("stylize --backend open", "openvino"),
        ("stylize --format j", "jpeg jpg"),
        ("train --loss-net ", "vgg16 vgg19"),
        ("s", "stylize sheet serve"),
        ("compare --norm bn,bn,", "bn,bn,in bn,bn,none"),
        ("train --resume --no-such ", ""),
        ("train photo.jpg --init s", "scratch sea sea-foam starry-night starry-night-pyramid-bn "
         "starry-night-pyramid-in starry-night-residual-bn starry-night-residual-in"),
        ("stylize photos out --model se", "sea sea-foam"),
        ("models ow", "own"),
        ("stylize photos out --style ", "starry-night"),  # that of the default
        ("stylize photos out --model gallery --style ", GALLERY),
        ("stylize photos out -m udnie --style ", "udnie"),  # which is a style, and no other fits
        ("stylize photos out -m models/own.safetensors --style sea-", "sea-foam"),
        ("export own own.onnx --style sea-", "sea-foam"),
    ],
)  # fmt: skip
def test_names_that_are_known_are_offered_and_nothing_else_is_printed(
    home, monkeypatch, capsys, line, choices
):
    monkeypatch.chdir(home)
    words = ["stylecli", *line.split(" ")]
    monkeypatch.setenv("_STYLECLI_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "\n".join(words))
    monkeypatch.setenv("COMP_CWORD", str(len(words) - 1))
    with pytest.raises(SystemExit):
        app(prog_name="stylecli")
    shown = capsys.readouterr()
    assert (set(shown.out.split()), shown.err) == ({*choices.split()}, "")


def test_what_is_slow_is_not_imported_for_the_name_of_a_style():
    """Neither torch nor Pillow; and no address is opened."""
    slow = "import sys; sys.modules.update(dict.fromkeys(['torch', 'PIL', 'fsspec', 'openvino']))"
    assert ask("stylize", "a", "b", "-m", "gallery", "--style", "u", code=slow).stdout == "udnie\n"
    url = ask("stylize", "a", "b", "-m", "s3://b/m.safetensors", "--style", "", code=slow)
    assert (url.stdout, url.stderr) == ("\n", "")


def test_without_a_home_folder_or_a_current_one_nothing_is_said(tmp_path):
    nobody = "import os, pwd; os.environ.pop('HOME', 0); os.getuid = lambda: 2**31 - 9"
    gone = tmp_path / "gone"
    gone.mkdir()
    for code in (nobody, f"import os; os.chdir({str(gone)!r}); os.rmdir({str(gone)!r})"):
        done = ask("stylize", "--model", "", code=code)
        assert (done.returncode, done.stderr) == (0, "")
