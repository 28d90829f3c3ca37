"""No command tells anybody anything, and none leaves files that it does not promise.

Each runs in a process of its own, whose system calls strace shows; libraries report their use, too.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.request
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest
import torch

from stylecli.core.model_files import bundled_models
from stylecli.files.content import bundled_photos
from test_importing import example_state

strace = shutil.which("strace")
pytestmark = pytest.mark.skipif(strace is None, reason="no strace here: apt-get install strace")

BUDGET = str(Path(__file__).with_name("budget.py"))
SMALL = ["--size", "64", "--style-size", "64"]
TRAIN = ["train", "udnie.jpg", "--steps", "1", "--width", "4", "--batch-size", "1", *SMALL]
COMMANDS = {
    "stylize": ["stylize", "photo.jpg", "painted.jpg"],
    "stylize-openvino": ["stylize", "photo.jpg", "painted.jpg", "--backend", "openvino"],
    "stylize-torch": ["stylize", "photo.jpg", "painted.jpg", "--backend", "torch"],
    "train": [*TRAIN, "--output", "sky.safetensors"],
    "compare": ["compare", "photo.jpg", "--size", "64", "--norm", "in"],
    "sheet": ["sheet", "photo.jpg", "--size", "64"],
    "gatys": ["gatys", "photo.jpg", "udnie.jpg", "out.jpg", "--steps", "1", *SMALL],
    "models": ["models"],
    "models-show": ["models", "gallery"],
    "models-add": ["models", "add", "own.safetensors"],
    "models-remove": ["models", "remove", "mine"],
    "models-export-card": ["models", "export-card", "gallery"],
    "export": ["export", "udnie", "udnie.onnx"],
    "import": ["import", "x.pth", "mosaic"],
    "serve": ["serve", "--port", "0", "--no-browser"],
    "doctor": ["doctor"],
}
NEEDED = {"serve": "uvicorn", "stylize-openvino": "openvino", "export": "onnxruntime"}
PROMISED = {"models-add": {".local/share/stylecli/models/own.safetensors"}}


def talks(trace: str) -> list[str]:
    """The calls in a trace that reach another machine, or ask for the address of one."""
    calls = [line for line in trace.splitlines() if "AF_INET" in line or "resolve" in line]
    own = re.compile(r'inet_addr\("127\.|"::1"|inet_addr\("0\.0\.0\.0"')
    return [line for line in calls if not own.search(line) or "htons(53)" in line]


def traced(command, home: Path, **environment: str) -> str:
    """Run a process in a home of its own; its calls that connect or send."""
    trace = home.parent / "trace"
    variables = {k: v for k, v in os.environ.items() if not k.startswith(("XDG_", "ORT_"))}
    calls = "trace=connect,sendto,sendmsg,sendmmsg"
    process = subprocess.Popen(
        [strace, "-f", "-qq", "--seccomp-bpf", "-e", calls, "-o", trace, sys.executable, *command],
        env={**variables, "HOME": str(home), **environment},
        cwd=home.parent,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    said, code = (
        (_end_server(process), 130) if "serve" in command else (process.communicate()[1], 0)
    )
    assert process.wait() == code, said
    return trace.read_text()


def _end_server(process: "subprocess.Popen[str]") -> str:
    """Let a server open its networks, ask it once, and end it; what it said."""
    address = re.search(r"http://\S+", process.stderr.readline())[0]
    with urllib.request.urlopen(f"{address}api/state") as answer:
        assert answer.status == 200
    (traced,) = psutil.Process(process.pid).children()  # strace passes no signals on
    traced.send_signal(signal.SIGINT)
    return process.communicate()[1]


@pytest.fixture
def home(tmp_path):
    """A home, and beside it what the commands work on."""
    own = tmp_path / "home" / ".local" / "share" / "stylecli" / "models"
    own.mkdir(parents=True)
    shutil.copy(bundled_models() / "starry-night-residual-in.safetensors", own / "mine.safetensors")
    shutil.copy(own / "mine.safetensors", tmp_path / "own.safetensors")
    shutil.copy(bundled_models() / "paintings" / "udnie.jpg", tmp_path)
    shutil.copy(bundled_photos()[0], tmp_path / "photo.jpg")
    torch.save(example_state(), tmp_path / "x.pth")
    return tmp_path / "home"


def files_in(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_the_trace_shows_a_question_for_an_address(home):
    ask = "import socket\ntry: socket.getaddrinfo('example.org', 443)\nexcept OSError: pass"
    if not talks(traced(["-c", ask], home)):
        pytest.skip("this machine asks no name server")


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_reaches_no_other_machine_and_leaves_nothing_in_the_home(home, name):
    if find_spec(NEEDED.get(name, "stylecli")) is None:
        pytest.skip(f"{NEEDED[name]} is not installed")
    before = files_in(home)
    program = [BUDGET] if name in ("train", "compare", "gatys") else ["-m", "stylecli"]
    trace = traced([*program, *COMMANDS[name]], home)
    assert talks(trace) == []
    assert files_in(home) - before == PROMISED.get(name, set())


def test_every_command_is_among_them():
    from stylecli.cli import _COMMANDS

    assert {words[0] for words in COMMANDS.values()} == set(_COMMANDS)
