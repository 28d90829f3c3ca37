"""Several processes that train together: as one process would, alike, and never without an end."""

import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from safetensors.torch import load_file

from stylecli.core.devices import Rank
from stylecli.errors import StyleCliError
from stylecli.events import Notice
from stylecli.files.content import ContentPhotos
from stylecli.training import loop
from stylecli.training.loop import train
from stylecli.training.outputs import TrainFiles
from trainings import break_losses, stop_after

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="forks, and sends signals")


@pytest.fixture
def together(tmp_path, monkeypatch):
    """Run a function of the rank in several processes; returns what each of them said at the end.

    They are forks of this one, as importing torch takes seconds. Each leaves the weights that it
    ends with, for :func:`weights_of`.
    """
    sound = loop.summarize

    def summarize(training, *, finished):
        path = tmp_path / f"weights-{os.environ.get('RANK', 0)}.pt"
        torch.save(training.generator.state_dict(), path)
        return sound(training, finished=finished)

    monkeypatch.setattr(loop, "summarize", summarize)

    def run(function, count=2):
        port = find_port()
        files = [tmp_path / f"said-{port}-{rank}" for rank in range(count)]
        for file in files:
            file.write_text("it died")
        places = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        children = [_forked(function, rank, places, file) for rank, file in enumerate(files)]
        for child in children:
            os.waitpid(child, 0)
        return [file.read_text() for file in files]

    return run


def find_port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


def _forked(function, rank: int, places: dict[str, str], said: Path) -> int:
    if child := os.fork():
        return child
    os.environ |= {"RANK": str(rank), "GLOO_SOCKET_IFNAME": "lo", **places}
    try:
        said.write_text(f"{function(rank).steps} steps")
    except StyleCliError as error:
        said.write_text(f"code {error.exit_code}: {error.message}")
    finally:
        os._exit(0)


def weights_of(tmp_path: Path, rank: int) -> dict[str, torch.Tensor]:
    return torch.load(tmp_path / f"weights-{rank}.pt")


def equal(weights, others) -> bool:
    return weights.keys() == others.keys() and all(
        torch.equal(weights[name], others[name]) for name in weights
    )


def test_ranks_end_with_the_weights_of_one_process_but_for_rounding(trio, tmp_path, together):
    config = replace(trio, optimizer="adam", lr=5e-4, batch_size=4)
    config = replace(config, steps=2, precision="float32")  # bfloat16 rounds by more than the bound
    assert together(lambda rank: train(config)) == ["2 steps", "2 steps"]
    weights = weights_of(tmp_path, 0)
    assert equal(weights, weights_of(tmp_path, 1))
    assert equal(weights, load_file(config.output))
    train(replace(config, output=tmp_path / "one.safetensors"))
    one = load_file(tmp_path / "one.safetensors")
    for name in one:
        # The instance norm that follows takes a shift of these channels away again, so the true
        # gradient is zero, and the sign of the rounded one is by chance.
        if not name.endswith("branch.2.1.bias"):
            torch.testing.assert_close(weights[name], one[name], rtol=0, atol=2e-5, msg=name)


def test_a_step_is_bit_for_bit_that_of_the_mean_of_the_shares(config, tmp_path, together):
    # In layers, each weight has two gradients, of two passes, and the order of sums is another.
    config = replace(config, batch_size=4, steps=3, recipe="paper")
    together(lambda rank: train(config))
    sound = loop.compute_losses

    def compute_shares(training, photos):
        shares = []
        for training.ranks.number, share in enumerate(photos.split(2)):
            shares.append(sound(training, share))
        training.ranks.number = 0
        return {name: (shares[0][name] + shares[1][name]) / 2 for name in shares[0]}

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(loop, "compute_losses", compute_shares)
        train(replace(config, output=tmp_path / "one.safetensors"))
    assert equal(weights_of(tmp_path, 1), load_file(tmp_path / "one.safetensors"))


def test_an_interrupted_training_resumes_bit_for_bit_on_as_many_ranks_only(
    config, tmp_path, together
):
    config = replace(config, steps=6)
    together(lambda rank: train(config))
    straight = weights_of(tmp_path, 1)
    halves = replace(config, output=tmp_path / "halves.safetensors")

    def stop_one(rank):
        taken = [-1]
        with pytest.MonkeyPatch.context() as patched:
            break_losses(patched, lambda step: taken.append(step) if rank else None)
            return train(halves, should_stop=lambda: taken[-1] == 2)

    assert together(stop_one) == ["3 steps", "3 steps"]  # one is asked, and all stop
    assert TrainFiles(halves.output).checkpoint.exists()
    with pytest.raises(StyleCliError, match="began on 2 devices, and here it is on 1") as caught:
        train(halves, resume=True)
    assert "torchrun" in caught.value.hint
    assert "--nproc-per-node 2" in caught.value.hint
    said = together(lambda rank: train(halves, resume=True), count=3)
    error = "this training began on 2 devices, and here it is on 3"
    assert said == [f"code 2: {error}", *(f"code 2: process {n}: {error}" for n in (1, 2))]
    assert together(lambda rank: train(halves, resume=True)) == ["6 steps", "6 steps"]
    assert equal(weights_of(tmp_path, 0), straight)
    assert equal(weights_of(tmp_path, 1), straight)
    train(config, should_stop=stop_after(1), overwrite=True)
    said = together(lambda rank: train(config, resume=True))
    assert "began on 1 device, and here it is on 2" in said[0]


def test_a_loss_that_breaks_on_one_rank_is_undone_on_all(config, tmp_path, together):
    events = []

    def run(rank):
        with pytest.MonkeyPatch.context() as patched:
            break_losses(patched, lambda step: rank == 1 and step == 3)
            return train(replace(config, steps=6), events.append)

    assert together(run) == ["6 steps", "6 steps"]
    weights = weights_of(tmp_path, 0)
    assert equal(weights, weights_of(tmp_path, 1))
    assert all(tensor.isfinite().all() for tensor in weights.values())


def test_all_go_by_the_clock_of_the_first(config, tmp_path, together):
    clock = time.monotonic

    def run(rank):
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(time, "monotonic", lambda: (1 + rank) * clock())
            return train(replace(config, steps=None, minutes=0.03, size=96))

    one, other = together(run)
    assert one == other
    assert equal(weights_of(tmp_path, 0), weights_of(tmp_path, 1))


def test_what_is_about_to_happen_is_said_once_and_before(config, together, tmp_path):
    def run(rank):
        def report(event):
            if isinstance(event, Notice):
                with (tmp_path / "said.txt").open("a") as file:
                    file.write(f"{rank}: {event.text}\n")

        return train(replace(config, steps=1, batch_size=None), report)

    together(run)
    (line,) = (tmp_path / "said.txt").read_text().splitlines()
    assert line.startswith("0: training m from scratch")
    assert "1 step on cpu" in line
    assert "2 devices: batches of 2, 1 for each; learning rate 0.003 at its peak" in line


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"batch_size": 3}, "--batch-size 3 cannot be shared by 2 devices"),
        ({"norm": "bn"}, "batch norm over several processes needs CUDA"),
    ],
)
def test_what_cannot_be_trained_together_is_an_error_of_all(config, together, change, says):
    first, second = together(lambda rank: train(replace(config, **change)))
    assert first.startswith(f"code 2: {says}")
    assert second.startswith(f"code 2: process 1: {says}")
    assert not config.output.exists()


LOST = "another process of this training has ended, or is lost"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"seed": 1}, "this process differs from the first in its seed"),
        ({"styles": (Path("missing.png"),)}, "cannot open missing.png: No such file or directory"),
    ],
)
def test_an_error_of_one_rank_is_told_by_it_and_ends_the_other(config, together, change, says):
    said = together(lambda rank: train(replace(config, **(change if rank else {}))))
    assert said == [f"code 1: {LOST}", f"code 2: process 1: {says}"]
    assert not config.output.exists()


def test_an_error_of_the_first_rank_alone_ends_the_other(config, together):
    config.output.write_text("a model")
    said = together(lambda rank: train(config))
    assert said == [f"code 2: {config.output} exists", f"code 1: process 1: {LOST}"]


@pytest.mark.parametrize("victim", [0, 1])
def test_a_rank_that_is_killed_ends_the_other_with_a_clear_line(config, together, victim):
    def run(rank):
        with pytest.MonkeyPatch.context() as patched:
            if rank == victim:
                break_losses(
                    patched, lambda step: step == 2 and os.kill(os.getpid(), signal.SIGKILL)
                )
            return train(config)

    said = together(run)
    assert said.pop(victim) == "it died"
    assert said == [f"code 1: {LOST}" if victim else f"code 1: process 1: {LOST}"]
    assert TrainFiles(config.output).checkpoint.exists()


def test_one_rank_that_fails_ends_all_and_its_reason_is_told(config, together):
    sound = loop.compute_losses

    def run(rank):
        def losses(training, photos):
            if rank == 1 and training.step == 3:
                raise RuntimeError("not enough memory: you tried to allocate 99 GB")
            return sound(training, photos)

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(loop, "compute_losses", losses)
            return train(config)

    first, second = together(run)
    assert first == f"code 1: {LOST}"
    assert second.startswith("code 1: process 1: the training broke off: not enough memory")
    assert TrainFiles(config.output).checkpoint.exists()


def test_shares_of_a_batch_are_that_batch(photos):
    series = ContentPhotos(photos, 3)
    whole = list(islice(series.batches(5, 6, lambda n: 32), 3))
    parts = [list(islice(series.batches(5, 6, lambda n: 32, part, 3), 3)) for part in range(3)]
    for batch, shares in zip(whole, zip(*parts, strict=True), strict=True):
        np.testing.assert_array_equal(np.concatenate(shares), batch)


def test_the_rank_is_that_of_torchrun_and_of_nothing_else():
    torchrun = {"RANK": "3", "WORLD_SIZE": "8", "LOCAL_RANK": "1"}
    torchrun |= {"MASTER_ADDR": "node", "MASTER_PORT": "29500"}
    assert Rank.of_training(torchrun) == Rank(3, 8, 1)
    assert Rank.of_training({"RANK": "3", "WORLD_SIZE": "8"}) == Rank()
    for wrong in ({"RANK": "8"}, {"RANK": "one"}, {"WORLD_SIZE": "0"}, {"LOCAL_RANK": "-1"}):
        with pytest.raises(StyleCliError, match="make no sense: RANK"):
            Rank.of_training({**torchrun, **wrong})


@pytest.mark.parametrize("port", ["abc", "", "70000", None])
def test_ranks_that_cannot_meet_say_so(config, monkeypatch, port):
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}.items():
        monkeypatch.setenv(name, value)
    if port is not None:
        monkeypatch.setenv("MASTER_PORT", port)
    with pytest.raises(
        StyleCliError, match=r"process 1: the 2 processes .* do not meet: "
    ) as caught:
        train(config)
    assert "torchrun" in caught.value.hint
    assert "\n" not in caught.value.message


def start(folder: Path, *arguments: object) -> subprocess.Popen[str]:
    """Start two ranks by torchrun."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    command += ["-m", "stylecli", "train", *map(str, arguments)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=folder, **pipes)


def wait_for_steps(process: subprocess.Popen[str], count: int) -> list[psutil.Process]:
    """Wait for some steps; returns the processes of the ranks, the first one first."""
    assert process.stdout is not None
    while count > 0:  # what is done before the first step is told first
        line = process.stdout.readline()
        assert line, process.stderr and process.stderr.read()
        count -= '"event": "step"' in line
    children = psutil.Process(process.pid).children(recursive=True)
    return sorted(children, key=lambda child: child.environ()["RANK"])


@pytest.fixture
def arguments(painting) -> list[object]:
    quick = "--size 64 --style-size 64 --width 4 --batch-size 2 --device cpu"
    return [painting, *quick.split(), "--json"]


def test_ctrl_c_saves_and_the_command_that_is_told_goes_on(tmp_path, arguments):
    process = start(tmp_path, *arguments, "--steps", 500, "-o", "m.safetensors")
    ranks = wait_for_steps(process, 3)
    assert len(ranks) == 2
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=240)
    assert not any(rank.is_running() for rank in ranks)
    assert said.count("stopping …") == said.count("nothing is lost") == 1
    (told,) = (line for line in said.splitlines() if line.startswith("go on with torchrun as"))
    again = shlex.split(told.partition(": stylecli train ")[2])
    assert again == ["--output", "m.safetensors", "--resume"]
    process = start(tmp_path, *again, "--steps", 12)
    _, said = process.communicate(timeout=240)
    assert process.returncode == 0, said
    assert "m.safetensors: 12 steps" in said
    assert load_file(tmp_path / "m.safetensors")


def test_ranks_whose_starter_is_killed_save_and_end(tmp_path, arguments):
    process = start(tmp_path, *arguments, "--steps", 10_000)
    ranks = wait_for_steps(process, 2)
    process.kill()
    gone, alive = psutil.wait_procs(ranks, timeout=240)
    assert (len(gone), alive) == (2, [])
    assert process.stderr is not None
    assert "nothing is lost" in process.stderr.read()


DEEP = """
import sys
import torch.distributed as dist
from stylecli.console import watch_for_stop
with watch_for_stop():
    store = dist.FileStore(sys.argv[1], 1)
    print("ready", flush=True)
    store.get("what nobody sets")
"""


def test_a_second_ctrl_c_ends_a_rank_that_waits_inside_of_torch(tmp_path):
    """As in an exchange with a rank that hangs: the main thread runs no line of Python."""
    command = [sys.executable, "-c", DEEP, str(tmp_path / "store")]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command, **pipes)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    assert process.stderr is not None
    process.send_signal(signal.SIGTERM)
    assert "stopping" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    assert process.wait(240) == 130
