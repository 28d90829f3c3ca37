"""The commands as a user runs them: real processes, real files, exit codes, stderr."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from stylecli.cli import app
from stylecli.core.generators import Generator
from stylecli.core.model_files import ModelInfo, bundled_models, read_info, save_model
from stylecli.core.spec import GeneratorSpec
from stylecli.files.content import bundled_photos
from stylecli.sheet import all_styles

BUDGET = str(Path(__file__).with_name("budget.py"))
QUICK = ["--size", 64, "--style-size", 64, "--width", 4, "--batch-size", 2, "--device", "cpu"]


@dataclass
class Ran:
    """How a command ended."""

    code: int
    stdout: str
    stderr: str


@pytest.fixture
def stylecli(budget, tmp_path, monkeypatch, capsys):
    """The command, run in tmp_path and in this process: importing torch takes seconds."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object, code: int = 0) -> Ran:
        with pytest.raises(SystemExit) as ended:
            app([str(argument) for argument in arguments])
        ran = Ran(int(ended.value.code or 0), *capsys.readouterr())
        assert ran.code == code, ran.stderr
        return ran

    return run


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model in ./models, as a training leaves it."""
    spec = GeneratorSpec("residual", "in", 4)
    info = ModelInfo(name="tiny", spec=GeneratorSpec("residual", "in", 4))
    save_model(tmp_path / "models" / "tiny.safetensors", Generator(spec), info)
    return tmp_path / "models" / "tiny.safetensors"


def test_help_imports_no_torch():
    commands = ["", "train", "stylize", "compare", "sheet", "gatys", "models"]
    code = (
        "import sys; from stylecli.cli import app\n"
        "for command in sys.argv[1:]:\n"
        "    app([*command.split(), '--help'], standalone_mode=False)\n"
        "    assert 'torch' not in sys.modules, command\n"
    )
    command = [sys.executable, "-c", code, *commands]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    shown = done.stdout.split("Usage")[1:]
    names = [name for name, text in zip(commands, shown, strict=True) if "models/NAME" in text]
    assert names == ["train"]


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (["trian"], "No such command 'trian'. Did you mean 'train'?", "stylecli --help"),
        (["stylize", "--sytle", "a"], "No such option", "stylecli stylize --help"),
        (["train", "a.jpg", "--steps", "few"], "Invalid value for '--steps'", "train --help"),
    ],
)
def test_a_slip_on_the_command_line_is_one_line_and_a_hint(arguments, message, hint):
    command = [sys.executable, "-m", "stylecli", *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    error, tip = done.stderr.splitlines()
    assert error.startswith(f"error: {message}")
    assert tip.startswith("hint: ")
    assert tip.endswith(hint)


def test_train_then_stylize_by_name_then_see_it_listed(stylecli, tmp_path, painting, photos):
    brief = stylecli("train", painting, "--steps", 1, *QUICK, "-o", "brief.safetensors")
    assert "1 step " in brief.stderr
    assert "1 steps" not in brief.stderr
    trained = stylecli("train", painting, "--steps", 3, *QUICK)
    assert "models/waves-lines.safetensors" in trained.stderr
    assert "stylecli stylize PHOTOS OUT --model waves-lines" in trained.stderr
    assert trained.stdout == ""
    stylecli("stylize", "photos", "out", "--model", "waves-lines")
    for name in ("one.jpg", "two.png", "below/three.JPG"):
        with (
            Image.open(tmp_path / "photos" / name) as source,
            Image.open(tmp_path / "out" / name) as out,
        ):
            assert out.size == source.size
    listed = stylecli("models").stdout
    assert "waves-lines" in listed
    shown = stylecli("models", "waves-lines").stdout
    assert "residual" in shown
    assert "3 steps in 0." in shown
    assert "instance norm, 4 channels" in shown
    for jargon in ("steps_done", "scales", "{", "curve", "_sha", "rollbacks"):
        assert jargon not in shown


def test_three_paintings_become_one_model_with_three_styles_and_a_blend(
    stylecli, tmp_path, painting, photos
):
    brief = ["--steps", 2, *QUICK]
    for name in ("a", "b", "c"):
        (tmp_path / f"{name}.png").write_bytes(painting.read_bytes())
    trained = stylecli("train", "a.png", "b.png", "c.png", "-o", "trio.safetensors", *brief)
    assert "--model trio.safetensors --style c" in trained.stderr
    stylecli("train", "--add-style", painting, "--init", "trio.safetensors", *brief)
    four = ["--model", "trio-waves-lines"]
    stylecli("stylize", "photos", "out", *four, "--style", "waves-lines:0.5,a:0.5")
    missing = stylecli("stylize", "photos", "more", *four, code=2)
    assert "pass --style with one of: a, b, c, waves-lines" in missing.stderr
    wrong = stylecli("stylize", "photos", "more", *four, "--style", "wave-lines", code=2)
    assert "did you mean waves-lines?" in wrong.stderr
    assert not (tmp_path / "more").exists()
    listed = [" ".join(line.split()) for line in stylecli("models").stdout.splitlines()]
    assert {"a unknown", "waves-lines unknown"} <= set(listed)  # no license is known
    assert "a, b, c, waves-lines" in stylecli("models", "trio-waves-lines").stdout


def test_a_sheet_shows_a_photo_in_every_style(stylecli, tmp_path, photos, model):
    done = stylecli("sheet", "photos/one.jpg", "--size", 64)
    assert "one-sheet.png: one.jpg in" in done.stderr
    with Image.open(tmp_path / "one-sheet.png") as page:
        assert min(page.size) > 64
    paintings = [path.stem for path in (bundled_models() / "paintings").glob("*.jpg")]
    assert len(paintings) == 8
    assert [choice.label for choice in all_styles()] == sorted([*paintings, "tiny"])
    info = ModelInfo(name="", spec=GeneratorSpec("residual", "in", 4))
    for name in ("soft", "strong"):
        sky = replace(info, name=name, styles=["sky"])
        save_model(model.with_stem(name), Generator(GeneratorSpec(width=4)), sky)
    mine = replace(info, name="udnie", styles=["udnie"])
    save_model(model.with_stem("udnie"), Generator(GeneratorSpec(width=4)), mine)
    found = {choice.label: choice.path for choice in all_styles()}
    twice = {"sky (soft)", "sky (strong)", "udnie (gallery)", "udnie (udnie)"}
    assert set(found) == {*paintings, *twice, "tiny"} - {"udnie"}
    assert found["udnie (udnie)"].resolve() == model.with_stem("udnie")
    again = stylecli("sheet", "photos/one.jpg", code=2)
    assert "one-sheet.png exists" in again.stderr
    stylecli("sheet", "photos/one.jpg", "page.txt", code=2)
    stylecli("sheet", "missing.jpg", "page.png", code=2)


def test_gatys_paints_one_photo_and_keeps_the_best_when_stopped(stylecli, tmp_path, painting):
    photo = tmp_path / "photo.jpg"
    Image.open(bundled_photos()[14]).resize((90, 64)).save(photo)
    brief = ["--steps", 3, "--size", 66, "--style-size", 64]
    done = stylecli("gatys", photo, painting, "slow.png", *brief, "--json")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    steps = [event["step"] for event in events if event["event"] == "step"]
    assert steps == [0, 1, 2, 3]
    assert events[-1] == {"event": "finished", "path": "slow.png", "steps": 3}
    with Image.open(tmp_path / "slow.png") as slow:
        assert slow.size == (90, 64)
    again = stylecli("gatys", photo, painting, "slow.png", *brief, code=2)
    assert "slow.png exists" in again.stderr
    wrong = stylecli("gatys", photo, painting, "x.png", *brief, "--optimizer", "lbgfs", code=2)
    assert "did you mean lbfgs?" in wrong.stderr
    assert not (tmp_path / "x.png").exists()
    process = start("gatys", photo, painting, "stopped.png", "--size", 66, "--json", cwd=tmp_path)
    wait_for_line(process, 2)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=240)
    assert process.returncode == 130
    with Image.open(tmp_path / "stopped.png") as stopped:
        assert stopped.size == (90, 64)


def test_a_second_run_skips_and_says_so(stylecli, tmp_path, photos, model):
    stylecli("stylize", "photos", "out", "-m", "tiny")
    before = (tmp_path / "out/one.jpg").stat().st_mtime_ns
    again = stylecli("stylize", "photos", "out", "-m", "tiny")
    assert "0 stylized, 3 skipped (--overwrite to redo)" in again.stderr
    assert "another model" not in again.stderr
    stylecli("stylize", "photos", "out", "-m", "tony", code=2)
    assert (tmp_path / "out/one.jpg").stat().st_mtime_ns == before


def test_the_summary_says_where_and_what_was_made_with_another_model(
    stylecli, tmp_path, photos, model
):
    save_model(
        model.with_name("other.safetensors"),
        Generator(GeneratorSpec("residual", "in", 4)),
        ModelInfo("other", GeneratorSpec("residual", "in", 4)),
    )
    Image.open(photos / "one.jpg").save(photos / "plain.bmp")
    first = stylecli("stylize", "photos/one.jpg", "out/one.jpg", "-m", "tiny")
    assert "loading the model tiny" in first.stderr.splitlines()[0]
    assert re.search(r"1 stylized in \d\.\d s; written to out/one\.jpg", first.stderr)
    second = stylecli("stylize", "photos", "out", "-m", "other")
    assert "1 skipped (--overwrite to redo), 1 of them made with tiny" in second.stderr
    assert second.stderr.rstrip().endswith("; written to out")
    third = stylecli("stylize", "photos", "out", "-m", "tiny")
    assert "4 skipped (--overwrite to redo), 2 of them made with other" in third.stderr
    stripped = stylecli(
        "stylize", "photos/one.jpg", "out/bare.jpg", "-m", "tiny", "--strip-metadata"
    )
    assert "1 stylized" in stripped.stderr
    with Image.open(tmp_path / "out" / "bare.jpg") as bare:
        assert not bare.getexif()


def test_a_dry_run_writes_nothing_and_options_shape_what_is_written(
    stylecli, tmp_path, photos, model
):
    shaped = ["--suffix", "-x", "--format", "webp", "--max-size", 40, "--strength", 0.5]
    planned = stylecli("stylize", "photos", "out", "-m", "tiny", *shaped, "--dry-run")
    assert "photos/one.jpg → out/one-x.webp" in planned.stderr
    assert not (tmp_path / "out").exists()
    stylecli("stylize", "photos", "out", "-m", "tiny", *shaped)
    with Image.open(tmp_path / "out" / "one-x.webp") as image:
        assert max(image.size) == 40
    wrong = stylecli("stylize", "photos", "out", "-m", "tiny", "--strength", 2, code=2)
    assert "--strength 2.0 is out of range" in wrong.stderr


def test_the_size_of_strokes_is_a_number_or_a_word(stylecli, tmp_path, photos, model):
    written = {}
    for size in ("network", "1", "2.5"):
        given = ["-m", "tiny", "--stroke-size", size]
        stylecli("stylize", "photos/two.png", f"{size}.png", *given)
        written[size] = (tmp_path / f"{size}.png").read_bytes()
    stylecli("stylize", "photos/two.png", "default.png", "-m", "tiny")
    assert (tmp_path / "default.png").read_bytes() == written["1"]
    assert len(set(written.values())) == 3
    for wrong, said in (
        *((odd, "out of range") for odd in ("0", "nan", "-1", "99")),
        ("big", "'big' is neither a number nor network"),
    ):
        given = ["-m", "tiny", "--stroke-size", wrong]
        assert said in stylecli("stylize", "photos", "out", *given, code=2).stderr
        assert said in stylecli("sheet", "photos/two.png", *given[2:], code=2).stderr


def test_other_settings_are_refused_for_one_file_and_counted_in_a_folder(
    stylecli, tmp_path, photos, model
):
    one = ["stylize", "photos/two.png", "painted.png", "-m", "tiny"]
    stylecli(*one)
    before = (tmp_path / "painted.png").read_bytes()
    said = stylecli(*one).stderr.splitlines()[-1]
    assert said == f"0 stylized, 1 skipped (--overwrite to redo); {one[2]} is there"
    for more in (["--layers", 3], ["--strength", 0.5], ["--preserve-color"], ["--seed", 1]):
        refused = stylecli(*one, *more, code=2).stderr
        assert "painted.png exists, made with tiny" in refused
        assert "--overwrite" in refused
    assert (tmp_path / "painted.png").read_bytes() == before
    stylecli(*one, "--layers", 3, "--overwrite")
    assert "made with tiny --layers 3" in stylecli(*one, code=2).stderr
    folder = ["stylize", "photos", "out", "-m", "tiny"]
    stylecli(*folder, "--stroke-size", 2)
    again = stylecli(*folder).stderr
    assert re.search(r"\d skipped .* \d of them made with tiny --stroke-size 2(?!\.)", again)
    stylecli("stylize", "photos/two.png", "plain.png", "-m", "tiny", "--strip-metadata")
    assert "1 skipped" in stylecli("stylize", "photos/two.png", "plain.png", "-m", "tiny").stderr


def test_quiet_says_nothing(stylecli, tmp_path, photos, model):
    done = stylecli("stylize", "photos", "out", "-m", "tiny", "-q")
    assert (done.stdout, done.stderr) == ("", "")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["train", "text.jpg"], "text.jpg is not an image that can be read"),
        (["train", "missing.jpg"], "cannot open missing.jpg: No such file"),
        (["train", "PAINTING", "--content", "empty"], "no photos in empty"),
        (["train", "PAINTING", "--output", "/proc/models/x.safetensors"], "cannot write"),
        (["train", "PAINTING", "--output", "model.pth"], "does not end in .safetensors"),
        (["train", "PAINTING", "--resume"], "nothing to resume"),
        (["train", "--resume"], "name the model"),
        (["train"], "no painting was given"),
        (["gatys", "photos/one.jpg", "PAINTING", "PAINTING", "--overwrite"], "be overwritten"),
        (["sheet", "photos/two.png", "photos/two.png", "--overwrite"], "be overwritten"),
        (["train", "PAINTING", "--norm", "inn"], "did you mean in?"),
        (["stylize", "photos", "out", "--model", "tony"], "did you mean tiny?"),
        (["stylize", "photos", "out", "--model", "cut.safetensors"], "cannot be read as a model"),
        (["stylize", "photos", "out", "--model", "text.safetensors"], "cannot be read as a model"),
        (["stylize", "photos", "text.jpg"], "is a file"),
        (["stylize", "photos", "text.jpg/out", "-m", "tiny"], "is not a folder, or lies in a file"),
        (["stylize", "photos", "/proc/out", "-m", "tiny"], "cannot write to the folder"),
        (["stylize", "photos"], "only photos was given"),
        (["stylize", "photos", "out", "--format", "image/jpeg"], "did you mean jpeg?"),
        (
            ["stylize", "photos", "out", "-m", "tiny", "--max-memory", "inf"],
            "--max-memory inf is out of range",
        ),
        (["stylize", "photos", "photos", "--format", "png"], "another output folder"),
        (["models", "export-card", "tiny", "--output", "empty", "--overwrite"], "is a folder"),
        (["export", "tiny", "empty", "--overwrite"], "is a folder"),
        (["stylize", "empty", "out"], "no images or videos in empty"),
        (["models", "tony"], "did you mean tiny?"),
    ],
)
def test_bad_input_is_a_clear_line_and_exit_code_2(
    stylecli, tmp_path, painting, photos, model, arguments, says
):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.jpg").write_text("no image at all")
    (tmp_path / "text.safetensors").write_text("no model at all")
    (tmp_path / "cut.safetensors").write_bytes(model.read_bytes()[:-50])
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    arguments = [painting if a == "PAINTING" else a for a in arguments]
    done = stylecli(*arguments, code=2)
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
@pytest.mark.parametrize(
    "command", [["train", "PAINTING"], ["stylize", "photos", "out", "-m", "tiny"]]
)
def test_cuda_asked_for_by_name_is_never_replaced_silently(
    stylecli, tmp_path, painting, photos, model, command
):
    arguments = [painting if a == "PAINTING" else a for a in command]
    done = stylecli(*arguments, "--device", "cuda", code=2)
    assert "device cuda was asked for" in done.stderr
    assert "--device cpu" in done.stderr


def start(*arguments: object, cwd: Path) -> subprocess.Popen[str]:
    """A process of its own, with the budget of those here if the command has one."""
    program = [BUDGET] if arguments[0] in ("train", "compare", "gatys") else ["-m", "stylecli"]
    command = [sys.executable, *program, *map(str, arguments)]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(
        command, cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def wait_for_line(process: subprocess.Popen[str], count: int, kind: str = "") -> None:
    assert process.stdout is not None
    while count > 0:
        line = process.stdout.readline()
        assert line, process.stderr and process.stderr.read()
        count -= kind in line


def test_ctrl_c_saves_and_resume_ends_like_an_uninterrupted_training(stylecli, tmp_path, painting):
    run = ["train", painting, "--steps", 30, *QUICK]
    stylecli(*run, "--output", "straight.safetensors")
    interrupted = [*run, "--output", "halves.safetensors", "--json"]
    process = start(*interrupted, cwd=tmp_path)
    wait_for_line(process, 5, kind='"step"')
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=240)
    assert process.returncode == 130, said
    assert "nothing is lost" in said
    use = "the model so far: stylecli stylize PHOTOS OUT --model halves.so-far.safetensors"
    assert use in said.splitlines()
    assert read_info(tmp_path / "halves.so-far.safetensors").styles == ["waves-lines"]
    assert not (tmp_path / "halves.safetensors").exists()
    (again,) = (line for line in said.splitlines() if line.startswith("go on with: stylecli "))
    stylecli(*shlex.split(again)[4:])
    assert not (tmp_path / "halves.so-far.safetensors").exists()
    halves, straight = (load_file(tmp_path / f"{n}.safetensors") for n in ("halves", "straight"))
    assert halves.keys() == straight.keys()
    assert all(torch.equal(halves[key], straight[key]) for key in straight)


def test_ctrl_c_in_a_comparison_keeps_the_first_arm_and_the_same_command_goes_on(
    stylecli, tmp_path, painting
):
    photo = tmp_path / "photo.png"
    Image.open(bundled_photos()[3]).resize((96, 64)).save(photo)
    command = ["compare", "photo.png", "--style", painting, "--norm", "none,in", "--steps", 8]
    command += ["--style-size", 96, "--size", 96, "--device", "cpu", "--json"]
    process = start(*command, cwd=tmp_path)
    wait_for_line(process, 9, kind='"step"')  # eight of the first arm, one of the second
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=240)
    assert process.returncode == 130, said
    assert "go on with: stylecli compare photo.png" in said
    models = tmp_path / "comparison" / "models"
    first = (models / "residual-none.safetensors").stat().st_mtime_ns
    assert not (models / "residual-in.safetensors").exists()
    done = stylecli(*command)
    assert "residual-none.safetensors is there already" in done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    steps = [event["step"] for event in events if event["event"] == "step"]
    assert 0 < len(steps) < 8
    assert steps == [*range(9 - len(steps), 9)]
    assert (models / "residual-none.safetensors").stat().st_mtime_ns == first
    for name in ("grid.png", "report.html", "results.json"):
        assert (tmp_path / "comparison" / name).is_file()
    stylecli(*command[:-1], "--seed", 1, code=2)


def test_ctrl_c_while_stylizing_leaves_whole_files_and_a_second_run_does_the_rest(
    stylecli, tmp_path, model
):
    folder = tmp_path / "many"
    folder.mkdir()
    for i in range(60):
        Image.effect_noise((300, 200), 60).save(folder / f"{i:03}.jpg")
    command = ["stylize", "many", "out", "-m", "tiny", "--json"]
    process = start(*command, cwd=tmp_path)
    wait_for_line(process, 3)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=240)
    assert process.returncode == 130, said
    assert "left: run the same command to go on" in said
    done = list((tmp_path / "out").iterdir())
    assert 3 <= len(done) < 60
    for path in done:
        Image.open(path).load()
    stylecli(*command)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == sorted(
        p.name for p in folder.iterdir()
    )


def test_ctrl_c_pressed_twice_ends_at_once_in_the_middle_of_a_photo(tmp_path, model):
    Image.new("RGB", (6000, 4000)).save(tmp_path / "large.png")
    slow = ["--max-memory", 0.01, "--stroke-size", "network"]
    command = ["stylize", "large.png", "out", "-m", "tiny", *slow]
    process = start(*command, cwd=tmp_path)
    assert process.stderr is not None
    assert "loading the model tiny" in process.stderr.readline()
    assert "model tiny on" in process.stderr.readline()
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    assert "once more to stop at once" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=240)
    assert process.returncode == 130
    assert "Traceback" not in said
    assert not list((tmp_path / "out").glob("[!.]*"))


EVIL = (
    "a\x1b]0;x\x07\x1b[31m\x7f\x9b2J\u202e\u2066\n\udcff"  # a title, a color, an order of letters
)
TERMINAL_CONTROLS = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]"
)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["models"], 0),
        (["models", "models/evil.safetensors"], 2),
        (["models", EVIL], 2),
        (["stylize", "in", "out", "-m", "tiny", "--dry-run"], 0),
        (["stylize", "in", "out", "-m", "tiny", "--dry-run", "--json"], 0),
        (["stylize", "in", "out", "-m", "tiny"], 1),
        (["stylize", "in", EVIL, "-m", "evil"], 2),
        (["stylize", "in", "out", "-m", "evil", "--style", EVIL], 2),
        (["stylize", EVIL, "out"], 2),
        (["sheet", f"in/{EVIL}.png"], 2),
        (["train", f"in/{EVIL}.png"], 2),
        (["gatys", EVIL, EVIL, f"{EVIL}.png"], 2),
        (["export", EVIL, "x.onnx"], 2),
        (["import", EVIL, "x"], 2),
    ],
)
def test_no_name_or_metadata_speaks_to_the_terminal(stylecli, tmp_path, model, arguments, code):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / f"{EVIL}.png").write_text("no image")
    spec = GeneratorSpec("residual", "in", 4)
    styles, training = [EVIL.replace("\udcff", ""), "b"], {EVIL[:-1]: [EVIL[:-1]]}
    told = {"training": training, "styles": styles, "license": EVIL[:-1]}
    info = ModelInfo("x", GeneratorSpec("residual", "in", 4), **told)
    save_model(model.with_name("evil.safetensors"), Generator(spec).remix(torch.ones(2, 1)), info)
    done = stylecli(*arguments, code=code)
    for told in (done.stdout, done.stderr):
        assert not TERMINAL_CONTROLS.search(told)
    if "evil" in " ".join(arguments) or arguments == ["models"]:  # it is refused, or passed over
        return
    assert r"\x1b]0;x\x07" in done.stdout + done.stderr or r"\u001b]0;x\u0007" in done.stdout


def run_with(redirections: str, *arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """The command with its standard streams closed or full, as a shell redirects them."""
    command = shlex.join([sys.executable, "-m", "stylecli", *map(str, arguments)])
    return subprocess.run(
        ["bash", "-c", f"{command} {redirections}"],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=240,
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.parametrize(
    ("arguments", "stdout"),
    [
        *((words, ">/dev/full") for words in ("models", "models tiny", "--help", "--version")),
        *((words, ">&-") for words in ("models", "stylize --help")),
    ],
)
def test_standard_output_that_takes_nothing_is_one_line(tmp_path, model, arguments, stdout):
    done = run_with(stdout, *arguments.split(), cwd=tmp_path)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: cannot write to standard output: ")


@pytest.mark.parametrize("arguments", [["models"], ["--help"], ["--version"], ["-V"]])
def test_a_reader_that_has_ended_gets_the_usual_code(tmp_path, model, arguments):
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "stylecli", *arguments]
    done = subprocess.run(command, cwd=tmp_path, stdout=writer, stderr=subprocess.PIPE, timeout=240)
    os.close(writer)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, b"")


def test_names_that_the_encoding_of_standard_output_lacks_are_escaped(tmp_path, model):
    model.rename(model.with_name("größe.safetensors"))
    command = [sys.executable, "-m", "stylecli", "models"]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    assert r"gr\xf6\xdfe" in done.stdout


def test_ctrl_c_before_the_program_is_there_is_no_traceback():
    code = (
        "import builtins\n"
        "sound = builtins.__import__\n"
        "def interrupted(name, *rest, **named):\n"
        "    if name == 'stylecli.cli': raise KeyboardInterrupt\n"
        "    return sound(name, *rest, **named)\n"
        "builtins.__import__ = interrupted\n"
        "from stylecli.__main__ import main\n"
        "main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (130, "")


def test_version(stylecli):
    assert stylecli("--version").stdout == stylecli("-V").stdout
    assert stylecli("-V").stdout.startswith("stylecli ")


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="Windows has no such signal")
def test_a_closed_terminal_is_a_wish_to_stop_in_good_order():
    code = (
        "import os, signal; from stylecli.console import watch_for_stop\n"
        "with watch_for_stop() as asked:\n"
        "    os.kill(os.getpid(), signal.SIGHUP)\n"
        "    while not asked(): pass\n"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=240).returncode == 0


@pytest.mark.skipif(sys.platform == "win32", reason="needs signals")
def test_what_a_shell_ignores_stays_ignored():
    """As under nohup, which is what keeps a training alive when its terminal is closed."""
    code = (
        "import os, signal\n"
        "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "from stylecli.console import watch_for_stop\n"
        "with watch_for_stop() as asked:\n"
        "    os.kill(os.getpid(), signal.SIGHUP)\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    while not asked(): pass\n"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=True)
    assert done.stderr.count("stopping") == 1


WRONG_VALUES = {
    "train a.jpg --norm inn": "unknown --norm 'inn'",
    "train a.jpg --steps 0": "--steps 0 is out of range",
    "compare --norm bn,inn": "unknown --norm 'inn'",
    "gatys a.jpg b.jpg c.png --start foto": "no model named 'foto'",
    "gatys a.jpg udni c.png": "udni is neither a file nor a bundled painting",
    "stylize a.jpg b.jpg --quality 0": "--quality 0 is out of range",
    "stylize a.jpg b.jpg --dry-run --seed -1": "--seed -1 is out of range",
    "stylize a.jpg b.jpg --dry-run --precision foo": "unknown --precision",
    "stylize a.jpg b.jpg --batch-size -1": "--batch-size -1 is out of range",
    "stylize a.jpg b.jpg --max-memory nan": "--max-memory nan is out of range",
    "sheet a.jpg --size 6": "--size 6 is out of range",
}


def test_a_wrong_value_is_refused_before_torch_is_imported(tmp_path):
    code = (
        "import sys; from stylecli.cli import app\n"
        "for command in sys.argv[1:]:\n"
        "    try: app(command.split())\n"
        "    except SystemExit as ended: assert ended.code == 2, command\n"
        "    assert 'torch' not in sys.modules, command\n"
    )
    command = [sys.executable, "-c", code, *WRONG_VALUES]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=240)
    assert done.returncode == 0, done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    for error, message in zip(errors, WRONG_VALUES.values(), strict=True):
        assert message in error


def test_four_processes_share_a_folder_and_what_a_killed_one_left_is_done_by_three(
    stylecli, tmp_path, model
):
    """Bit for bit what one process makes, whoever did it."""
    folder = tmp_path / "in"
    folder.mkdir()
    for i in range(24):
        Image.open(bundled_photos()[i % 24]).resize((320, 240)).save(folder / f"{i:02}.png")
    stylecli("stylize", folder, tmp_path / "alone", "--model", model)

    def shard(number: int, count: int) -> subprocess.Popen[str]:
        words = "stylize", folder, tmp_path / "out", "--model", model, "--json"
        return start(*words, "--shard", f"{number}/{count}", cwd=tmp_path)

    four = [shard(number, 4) for number in range(4)]
    wait_for_line(four[1], 1)  # its first photo is there
    four[1].kill()
    for process in four:
        process.communicate(timeout=240)
    assert [process.returncode for process in four] == [0, -signal.SIGKILL, 0, 0]
    assert 18 < len(list((tmp_path / "out").glob("*.png"))) < 24
    for number in range(3):
        process = shard(number, 3)
        _, said = process.communicate(timeout=240)
        assert process.returncode == 0, said
        assert f"shard {number} of 3: 8 files" in said
    for photo in folder.iterdir():
        made = [(tmp_path / where / photo.name).read_bytes() for where in ("alone", "out")]
        assert made[0] == made[1]
