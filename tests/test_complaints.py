"""Ten things that people complain of in tools of this kind, each on real files and processes.

The numbers are of issues in Real-ESRGAN, ultralytics, rembg and upscayl.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from PIL import Image

from clips import count_and_seconds, frames_of, make_clip, sound_of
from stylecli.cli import app
from stylecli.core.generators import Generator
from stylecli.core.model_files import ModelInfo, save_model
from stylecli.core.spec import GeneratorSpec
from stylecli.engine import Stylizer
from stylecli.files.content import bundled_photos


@dataclass
class Ran:
    """How a process ended."""

    code: int
    stdout: str
    stderr: str


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    torch.manual_seed(1)
    path = tmp_path_factory.mktemp("models") / "tiny.safetensors"
    generator = Generator(GeneratorSpec("residual", "in", 4))
    save_model(path, generator, ModelInfo("tiny", GeneratorSpec("residual", "in", 4)))
    Stylizer(str(path), device="cpu")  # converted once, for all processes here
    return path


@pytest.fixture
def stylize(tmp_path, tiny, monkeypatch, capfd):
    """``stylecli stylize`` in tmp_path and in this process: a start takes most of a second."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object, code: int = 0) -> Ran:
        with pytest.raises(SystemExit) as ended:
            app(["stylize", *map(str, arguments), "-m", str(tiny)])
        ran = Ran(int(ended.value.code or 0), *capfd.readouterr())
        assert ran.code == code, ran.stderr
        return ran

    return run


@pytest.fixture
def piped(tmp_path, tiny):
    """``stylecli stylize`` as a process, in tmp_path."""

    def run(*arguments: object, code: int = 0, stdin: bytes | None = None) -> Ran:
        command = [sys.executable, "-m", "stylecli", "stylize", *map(str, arguments), "-m", tiny]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, input=stdin)
        ran = Ran(done.returncode, done.stdout.decode("latin1"), done.stderr.decode())
        assert ran.code == code, ran.stderr
        assert "Traceback" not in ran.stderr
        return ran

    return run


@cache
def scaled(number: int, size: tuple[int, int]) -> Image.Image:
    return Image.open(bundled_photos()[number]).resize(size)


def photo(path: Path, size=(80, 60), number=0, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    scaled(number, size).save(path, **options)
    return path


def test_1_one_file_that_is_no_image_does_not_end_the_batch(stylize, tmp_path):
    """Real-ESRGAN #562, #715."""
    for name in ("a.jpg", "c.jpg"):
        photo(tmp_path / "in" / name)
    (tmp_path / "in" / "b.jpg").write_text("a text")
    done = stylize("in", "out", code=1)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.jpg", "c.jpg"]
    assert "in/b.jpg is not an image" in done.stderr
    assert "2 stylized, 1 failed" in done.stderr
    stopped = stylize("in", "fast", "--fail-fast", "--batch-size", "1", code=1)
    assert "1 failed" in stopped.stderr


def test_2_subfolders_are_kept_and_names_do_not_collide(stylize, tmp_path):
    """Real-ESRGAN #549, ultralytics #22531."""
    for number, name in enumerate(("x.jpg", "a/x.jpg", "a/b/x.jpg")):
        photo(tmp_path / "in" / name, number=number)
    stylize("in", "out")
    painted = [
        np.asarray(Image.open(tmp_path / "out" / n)) for n in ("x.jpg", "a/x.jpg", "a/b/x.jpg")
    ]
    assert not np.array_equal(painted[0], painted[1])
    assert not np.array_equal(painted[1], painted[2])
    refused = stylize("in/x.jpg", "in/a/x.jpg", "flat", code=2)
    assert "would both become" in refused.stderr
    assert not (tmp_path / "flat").exists()


def test_3_originals_are_never_overwritten(stylize, tmp_path):
    """Rembg #94, #789."""
    before = photo(tmp_path / "in" / "x.jpg").read_bytes()
    for out in ("in", "in/x.jpg", "in/../in"):
        refused = stylize("in/x.jpg", out, "--overwrite", code=2)
        assert "would be overwritten by its own stylization" in refused.stderr
    (tmp_path / "link").symlink_to(tmp_path / "in")
    stylize("in", "link", "--overwrite", code=2)
    assert (tmp_path / "in" / "x.jpg").read_bytes() == before


@pytest.mark.parametrize("precision", ["auto", "float32", "bfloat16"])
@pytest.mark.parametrize("backend", ["torch", "auto"])
def test_4_a_machine_without_a_gpu_paints_in_every_precision(stylize, tmp_path, precision, backend):
    """Real-ESRGAN #340, #710."""
    photo(tmp_path / "x.png")
    given = ["--precision", precision, "--backend", backend, "--device", "cpu"]
    assert "on cpu" in stylize("x.png", "y.png", *given).stderr
    assert Image.open(tmp_path / "y.png").size == (80, 60)


def test_4b_half_precision_that_a_processor_cannot_do_is_said(stylize, tmp_path):
    photo(tmp_path / "x.png")
    refused = stylize("x.png", "y.png", "--precision", "float16", "--device", "cpu", code=2)
    assert "float16" in refused.stderr
    assert not (tmp_path / "y.png").exists()


def test_5_a_large_image_has_no_seams(stylize, tmp_path):
    """Real-ESRGAN #184, #633, #197."""
    photo(tmp_path / "x.png", (700, 500))
    plain = "--stroke-size", "network", "--precision", "float32"
    stylize("x.png", "whole.png", "--backend", "torch", *plain)
    stylize("x.png", "strips.png", "--max-memory", "0.01", *plain)
    whole, strips = (
        np.asarray(Image.open(tmp_path / n)).astype(int) for n in ("whole.png", "strips.png")
    )
    assert np.abs(whole - strips).max() <= 1


def test_6_half_precision_gives_no_black_pictures(stylize, tmp_path):
    """Real-ESRGAN #330."""
    photo(tmp_path / "x.png")
    stylize("x.png", "half.png", "--precision", "bfloat16", "--backend", "torch")
    stylize("x.png", "full.png", "--precision", "float32", "--backend", "torch")
    half, full = (
        np.asarray(Image.open(tmp_path / n)).astype(int) for n in ("half.png", "full.png")
    )
    assert np.abs(half - full).mean() < 2


def test_7_a_video_keeps_its_frames_length_sound_and_size(stylize, tmp_path):
    """Real-ESRGAN #388, #334."""
    (tmp_path / "in").mkdir()
    source = make_clip(tmp_path / "in" / "x.mp4", "63x47", "30000/1001", 45)
    stylize("in", "out")
    painted = tmp_path / "out" / "x.mp4"
    (frames, seconds), (before, length) = count_and_seconds(painted), count_and_seconds(source)
    assert frames == before == 45
    assert seconds == pytest.approx(length, abs=1e-3)
    assert sound_of(painted) == sound_of(source) != ""
    assert frames_of(painted, 63, 47).shape == (45, 47, 63, 3)


def test_8_the_device_is_named(stylize, tmp_path):
    """Rembg #600, #736; tests/test_start.py sees to what a second start loads."""
    pytest.importorskip("openvino")
    photo(tmp_path / "x.png")
    assert "on cpu, openvino" in stylize("x.png", "y.png", "--device", "cpu").stderr


def test_9_memory_does_not_grow_with_the_folder(tmp_path, tiny):
    """Upscayl #832, rembg #752."""
    for i in range(300):
        photo(tmp_path / "in" / f"{i:03}.jpg", number=i % 24)
    (tmp_path / "few").mkdir()
    for path in sorted((tmp_path / "in").iterdir())[:30]:
        shutil.copy(path, tmp_path / "few")

    def peak(folder):
        """MiB, seen from outside: what a process says of itself counts its parent's too."""
        command = ["stylize", folder, f"out-{folder}", "-m", str(tiny), "-q"]
        process = psutil.Popen([sys.executable, "-m", "stylecli", *command], cwd=tmp_path)
        most = 0
        while process.poll() is None:
            with suppress(psutil.Error):
                most = max(most, process.memory_info().rss)
            time.sleep(0.01)
        assert len(list((tmp_path / f"out-{folder}").iterdir())) == (300 if folder == "in" else 30)
        return most / 2**20

    few = peak("few")
    assert 20 < few < 1000
    assert peak("in") < 1.05 * few + 8


@pytest.mark.parametrize("backend", ["torch", "auto"])
def test_10_what_else_is_in_a_batch_changes_nothing(stylize, tmp_path, backend):
    """Ultralytics #15430."""
    for number in range(5):
        photo(tmp_path / "in" / f"{number}.png", number=number)
    given = ["--backend", backend, "--precision", "float32", "--device", "cpu"]
    stylize("in", "alone", "--batch-size", "1", *given)
    stylize("in", "together", "--batch-size", "4", *given)
    stylize("in/3.png", "single.png", *given)
    for number in range(5):
        alone, together = (
            np.asarray(Image.open(tmp_path / folder / f"{number}.png")).astype(int)
            for folder in ("alone", "together")
        )
        assert np.abs(alone - together).max() <= 1
    single = np.asarray(Image.open(tmp_path / "single.png")).astype(int)
    assert np.abs(single - np.asarray(Image.open(tmp_path / "alone/3.png"))).max() <= 1


def test_a_folder_of_good_and_bad_files(stylize, tmp_path):
    """Every good one is done, every bad one is named with its reason, and nothing is left half."""
    folder = tmp_path / "in"
    good = {"a.jpg", "animated.gif", "cmyk.jpg", "sixteen.png", "clear.png"}
    photo(folder / "a.jpg")
    frames = [Image.open(bundled_photos()[i]).resize((40, 30)) for i in range(3)]
    frames[0].save(folder / "animated.gif", save_all=True, append_images=frames[1:], duration=80)
    Image.open(bundled_photos()[0]).resize((50, 40)).convert("CMYK").save(folder / "cmyk.jpg")
    ramp = np.linspace(0, 65535, 60 * 40).reshape(40, 60).astype(np.uint16)
    Image.fromarray(ramp).save(folder / "sixteen.png")
    rgba = Image.open(bundled_photos()[1]).resize((50, 40)).convert("RGBA")
    rgba.putalpha(Image.linear_gradient("L").resize((50, 40)))
    rgba.save(folder / "clear.png")

    (folder / "text.jpg").write_text("a text")
    (folder / "empty.png").touch()
    whole = photo(folder / "cut.jpg", (300, 200)).read_bytes()
    (folder / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    Image.new("1", (16_000, 16_000)).save(folder / "bomb.png")
    photo(folder / "secret.jpg").chmod(0)
    reasons = {
        "text.jpg": "is not an image",
        "empty.png": "is not an image",
        "cut.jpg": "is damaged",
        "bomb.png": "more than 200,000,000 pixels: scale it down",
        "secret.jpg": "no permission",
    }
    if os.access(folder / "secret.jpg", os.R_OK):  # of root, nothing is kept secret
        del reasons["secret.jpg"]
        good.add("secret.jpg")

    done = stylize("in", "out", "--json", code=1)
    assert {path.name for path in (tmp_path / "out").iterdir()} == good
    for name in good:
        with Image.open(tmp_path / "out" / name) as image, Image.open(folder / name) as before:
            image.load()
            assert image.size == before.size
            assert getattr(image, "n_frames", 1) == getattr(before, "n_frames", 1)
    for name, reason in reasons.items():
        line, again = (line for line in done.stderr.splitlines() if f"/{name}" in line)
        assert line.startswith("error: ")
        assert again.startswith("failed: ")
        assert reason in line
    events = [json.loads(line) for line in done.stdout.splitlines()]
    failed = {Path(event["source"]).name for event in events if event["status"] == "failed"}
    assert failed == reasons.keys()
    assert [event["status"] for event in events].count("done") == len(good)
    alpha = np.asarray(Image.open(tmp_path / "out/clear.png"))[..., 3]
    assert np.array_equal(alpha, np.asarray(rgba)[..., 3])


def test_a_run_killed_at_random_moments_ends_complete(tmp_path, tiny):
    for i in range(30):
        photo(tmp_path / "in" / f"{i % 3}" / f"{i:02}.png", (400, 300), number=i % 24)
    command = [sys.executable, "-m", "stylecli", "stylize", "in", "out", "-m", str(tiny), "-q"]

    def count() -> int:
        return len(list((tmp_path / "out").rglob("[!.]*.png")))

    dice = random.Random(0)
    killed = 0
    for _ in range(6):
        wanted = count() + dice.randint(0, 4)
        process = subprocess.Popen(command, cwd=tmp_path)
        while process.poll() is None and count() < wanted:
            time.sleep(0.002)
        time.sleep(dice.uniform(0, 0.02))
        process.send_signal(signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
        for path in (tmp_path / "out").rglob("*.png"):
            if not path.name.startswith("."):
                Image.open(path).load()
    assert killed
    assert subprocess.run(command, cwd=tmp_path).returncode == 0
    assert not list((tmp_path / "out").rglob(".*"))
    names = {path.relative_to(tmp_path / "in") for path in (tmp_path / "in").rglob("*.png")}
    painted = {path.relative_to(tmp_path / "out") for path in (tmp_path / "out").rglob("*.png")}
    assert painted == names
    for path in painted:
        Image.open(tmp_path / "out" / path).load()


def test_an_image_goes_through_standard_input_and_output(piped, stylize, tmp_path):
    source = photo(tmp_path / "x.jpg")
    painted = piped("-", "-", "--device", "cpu", stdin=source.read_bytes()).stdout
    (tmp_path / "piped.png").write_bytes(painted.encode("latin1"))
    stylize("x.jpg", "named.png", "--device", "cpu")
    streamed, named = (np.asarray(Image.open(tmp_path / n)) for n in ("piped.png", "named.png"))
    assert np.array_equal(streamed, named)
    jpeg = piped("x.jpg", "-").stdout.encode("latin1")
    assert jpeg[:2] == b"\xff\xd8"
    piped("-", "from-stdin.webp", stdin=source.read_bytes())
    assert Image.open(tmp_path / "from-stdin.webp").format == "WEBP"
    bad = piped("-", "-", stdin=b"no image", code=1)
    assert bad.stdout == ""
    assert "- is not an image that can be read" in bad.stderr
    (tmp_path / "there.png").write_bytes(b"precious")
    piped("-", "there.png", stdin=source.read_bytes())
    assert (tmp_path / "there.png").read_bytes() == b"precious"
    both = stylize("x.jpg", "-", "--json", code=2)
    assert "both go to standard output" in both.stderr
    stylize("x.jpg", "-", "-", code=2)


@pytest.mark.skipif(sys.platform == "win32", reason="a shell closes the streams")
@pytest.mark.parametrize("streams", ["2>&-", "2>/dev/full", "2>&1 | true", ">&-", ">/dev/full"])
def test_what_a_photo_does_not_need_never_changes_the_result(tmp_path, tiny, streams):
    photo(tmp_path / "x.png")
    command = f"{sys.executable} -m stylecli stylize x.png y.png -m {tiny} --device cpu {streams}"
    done = subprocess.run(
        ["bash", "-c", f"{command}; exit ${{PIPESTATUS[0]}}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert Image.open(tmp_path / "y.png").size == (80, 60)


@pytest.mark.skipif(sys.platform == "win32", reason="a shell closes the streams")
@pytest.mark.parametrize(
    ("arguments", "streams", "code", "says"),
    [
        ("- y.png", "<&-", 2, "error: - was given, and standard input is closed"),
        ("x.png -", ">&-", 1, "error: cannot write -: "),
        ("x.png -", ">/dev/full", 1, "error: cannot write -: No space left on device"),
        ("x.png -", "| true", 128 + signal.SIGPIPE, ""),
        ("x.png y.png --json", ">/dev/full", 1, "error: cannot write to standard output: "),
        ("x.png y.png --json", "| true", 128 + signal.SIGPIPE, ""),
    ],
)
def test_a_stream_that_is_needed_and_not_there_is_one_line(
    tmp_path, tiny, arguments, streams, code, says
):
    photo(tmp_path / "x.png")
    command = f"{sys.executable} -m stylecli stylize {arguments} -q -m {tiny} --device cpu"
    done = subprocess.run(
        ["bash", "-c", f"{command} {streams}; exit ${{PIPESTATUS[0]}}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == code, done.stderr
    lines = [line for line in done.stderr.splitlines() if not line.startswith("hint: ")]
    assert [line[: len(says)] for line in lines] == ([says] if says else [])
