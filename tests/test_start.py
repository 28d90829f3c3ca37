"""What a command starts: modules, processes and connections, seen from inside a process of its own.

The variable ``CI`` is unset there, as some libraries report their use only without it.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from clips import make_clip
from stylecli.core.model_files import bundled_models
from stylecli.files.content import bundled_photos

pytest.importorskip("openvino")

# Each process and connection is a line that begins with "started:", and so are the modules.
WATCH = """
import os, sys

EVENTS = {
    "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.startfile", "os.system",
    "socket.bind", "socket.connect", "socket.getaddrinfo", "socket.gethostbyname",
    "socket.sendto", "subprocess.Popen",
}

def say(*words):
    os.write(2, (" ".join(map(str, words)) + "\\n").encode())

def leave(code, leave=os._exit):
    say("imported:", *sys.modules)
    leave(code)

os._exit = leave  # a command ends by it
sys.addaudithook(lambda event, given: say("started:", event, *given) if event in EVENTS else None)
from stylecli.__main__ import main
main()
"""
TINY = ["--steps", 3, "--size", 64, "--style-size", 64, "--width", 4, "--batch-size", 1]
COMMANDS = {"compare", "exchange", "gatys", "models", "serve", "sheet", "stylize", "train"}


def watched(folder: Path, *arguments: object) -> tuple[list[str], set[str]]:
    """What a command started, a line for each, and the names of the modules that it imported."""
    environment = {key: value for key, value in os.environ.items() if key != "CI"}
    done = subprocess.run(
        [sys.executable, "-c", WATCH, *map(str, arguments)],
        cwd=folder,
        env={**environment, "XDG_CACHE_HOME": str(folder / "cache")},  # as at the first run ever
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stderr.splitlines()
    (imported,) = [line for line in lines if line.startswith("imported:")]
    return [line for line in lines if line.startswith("started:")], {*imported.split()}


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.jpg"
    Image.open(bundled_photos()[0]).resize((96, 64)).save(path)
    return path


def test_stylizing_on_a_cpu_starts_nothing_and_imports_only_what_it_runs(tmp_path, photo):
    started, imported = watched(tmp_path, "stylize", photo, "out.jpg", "--device", "cpu")
    assert started == []
    assert not (tmp_path / "cache").exists()
    heavy = ("torch", "torchvision", "scipy", "matplotlib", "jinja2", "filelock", "pydantic")
    heavy += ("openvino.tools.ovc", "openvino_telemetry", "av", "rich", "hashlib")
    heavy += (
        "stylecli.training",
        "stylecli.comparison",
        "stylecli.gatys",
        "stylecli.files.video.films",
    )
    assert imported.isdisjoint(heavy)
    commands = {name for name in COMMANDS if f"stylecli.commands.{name}" in imported}
    assert commands == {"stylize"}


@pytest.mark.parametrize(
    "words", [["models"], ["models", "gallery"], ["models", "--json"], ["models", "add", "MODEL"]]
)
def test_to_list_models_or_to_add_one_starts_nothing_large(tmp_path, monkeypatch, words):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    model = bundled_models() / "gallery.safetensors"
    words = [str(model) if word == "MODEL" else word for word in words]
    started, imported = watched(tmp_path, *words, *(["--name", "mine"] if "add" in words else []))
    assert started == []
    heavy = {"torch", "openvino", "jinja2", "PIL", "av", "fsspec", "urllib.request"}
    assert imported.isdisjoint({*heavy, "stylecli.engine.stylizer"})


def test_a_video_starts_nothing_and_imports_what_decodes_it(tmp_path):
    make_clip(tmp_path / "clip.mp4", frames=3)
    started, imported = watched(tmp_path, "stylize", "clip.mp4", "out.mp4", "--device", "cpu")
    assert started == []
    assert imported.isdisjoint({"torch", "imageio", "imageio_ffmpeg"})
    assert "av" in imported
    assert (tmp_path / "out.mp4").exists()


def test_training_starts_nothing(tmp_path):
    painting = bundled_models() / "paintings" / "udnie.jpg"
    given = (painting, "--init", "scratch", "--device", "cpu", *TINY)
    started, _ = watched(tmp_path, "train", *given)
    assert started == []
    assert (tmp_path / "models" / "udnie.safetensors").exists()


def test_a_comparison_starts_nothing(tmp_path, photo):
    given = ("--size", 64, "--device", "cpu")
    started, _ = watched(tmp_path, "compare", photo, "--norm", "in", *given)
    assert started == []
    assert (tmp_path / "comparison" / "report.html").exists()
