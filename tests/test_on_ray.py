"""A folder through the workers of a Ray cluster: two nodes on this machine, and what kills them."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psutil
import pytest
from PIL import Image

from clips import make_clip
from stylecli.cli import app
from stylecli.config import StylizeConfig
from stylecli.core.generators import Generator
from stylecli.core.model_files import ModelInfo, save_model
from stylecli.core.spec import GeneratorSpec
from stylecli.engine import Stylizer
from stylecli.engine.on_ray import _Worker
from stylecli.errors import StyleCliError
from stylecli.files.jobs import plan

# Runs in each worker of these clusters, before anything else: photos wait while the file `closed`
# is there, each takes a moment, and one of the name `killer` kills the process that opens it.
IN_WORKERS = """
import os, pathlib, signal, sys, time

if any("default_worker" in word for word in sys.orig_argv):
    gate = pathlib.Path(os.environ["STYLECLI_TEST_GATE"])
    plain = pathlib.Path.open

    def slow_open(path, *arguments, **options):
        if path.suffix != ".png":
            return plain(path, *arguments, **options)
        if path.name.startswith("killer"):
            with (gate / "killed").open("a") as log:
                log.write(f"{os.getpid()}\\n")
            os.kill(os.getpid(), signal.SIGKILL)
        while (gate / "closed").exists():
            (gate / f"waiting-{os.getpid()}").write_text(str(os.getppid()))
            time.sleep(0.05)
        time.sleep(0.02)
        return plain(path, *arguments, **options)

    pathlib.Path.open = slow_open
"""


class Nodes(NamedTuple):
    """A cluster of two nodes of one core each."""

    cluster: Any
    second: Any
    gate: Path

    def raylet(self, node: Any) -> int:
        return int(node.all_processes["raylet"][0].process.pid)


def add_node(cluster: Any, **more: Any) -> Any:
    """A node of one core; on a busy machine it may be too late for Ray, which waits 30 seconds."""
    for _ in range(3):
        with suppress(Exception):
            return cluster.add_node(num_cpus=1, **more)
    return cluster.add_node(num_cpus=1, **more)


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    gate = tmp_path_factory.mktemp("gate")
    (gate / "sitecustomize.py").write_text(IN_WORKERS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(gate), prepend=os.pathsep)
        patch.setenv("STYLECLI_TEST_GATE", str(gate))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_worker_niceness", "0")  # workers would wait for all else that runs
        cluster = Cluster()
        add_node(cluster, include_dashboard=False)
        second = add_node(cluster)
    yield Nodes(cluster, second, gate)
    cluster.shutdown()


@pytest.fixture
def model(tmp_path: Path) -> Path:
    info = ModelInfo(name="tiny", spec=GeneratorSpec("residual", "in", 4))
    generator = Generator(GeneratorSpec("residual", "in", 4))
    save_model(tmp_path / "models" / "tiny.safetensors", generator, info)
    return tmp_path / "models" / "tiny.safetensors"


def make_photos(folder: Path, count: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3), np.uint8)
    for i, rgb in enumerate(pixels):
        path = folder / ("even" if i % 2 == 0 else "odd") / f"{i:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rgb).save(path)


def start(address: str, folder: Path, *more: str, first: str = "") -> subprocess.Popen[str]:
    """The command; ``first`` is done before it, in its process."""
    words = ["stylize", "in", "out", "--model", "tiny", "--json", *more]
    code = f"from stylecli.cli import main\n{first}\nmain()"
    return subprocess.Popen(
        [sys.executable, "-c", code, *words, "--ray", address],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def identity(path: Path) -> tuple[int, int]:
    return path.stat().st_ino, path.stat().st_mtime_ns


def files_below(folder: Path) -> dict[Path, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder): path.read_bytes() for path in found}


def wait_for_workers(gate: Path, count: int) -> dict[int, int]:
    """Workers that wait at the gate, each to the raylet that started it."""
    for _ in range(1800):
        waiting = {path: path.read_text() for path in gate.glob("waiting-*")}
        if len(waiting) == count and all(waiting.values()):
            return {int(path.name.partition("-")[2]): int(who) for path, who in waiting.items()}
        time.sleep(0.1)
    raise AssertionError(f"{count} workers were to come; there were {waiting}")


@pytest.mark.ray
@pytest.mark.xdist_group("ray")
@pytest.mark.timeout(600)
def test_a_worker_and_then_a_node_are_killed_and_every_file_is_done_once(nodes, tmp_path, model):
    """Bit for bit what one process makes."""
    make_photos(tmp_path / "in", 200)
    Stylizer(model).run(tmp_path / "in", tmp_path / "alone")
    (nodes.gate / "closed").touch()
    process = start(nodes.cluster.address, tmp_path)
    assert process.stdout is not None
    workers = wait_for_workers(nodes.gate, 2)
    on_head = next(pid for pid, who in workers.items() if who != nodes.raylet(nodes.second))
    os.kill(on_head, signal.SIGKILL)
    (nodes.gate / "closed").unlink()
    first_seen = {}
    for line in process.stdout:
        event = json.loads(line)
        if event["status"] == "finished":
            break
        assert event["status"] == "done", event
        target = tmp_path / event["target"]
        assert target not in first_seen
        first_seen[target] = identity(target)
        if len(first_seen) == 60:
            assert psutil.pid_exists(nodes.raylet(nodes.second))
            nodes.cluster.remove_node(nodes.second, allow_graceful=False)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    assert re.search(r"200 stylized in .*; written to out", said)
    assert len(first_seen) == 200
    assert {path: identity(path) for path in first_seen} == first_seen  # none was written again
    assert files_below(tmp_path / "out") == files_below(tmp_path / "alone")


@pytest.mark.ray
@pytest.mark.xdist_group("ray")
@pytest.mark.timeout(600)
def test_a_photo_that_kills_each_worker_is_named_and_the_rest_is_done(nodes, tmp_path, model):
    make_photos(tmp_path / "in", 10)
    make_clip(tmp_path / "in" / "film.mp4", frames=5)
    (tmp_path / "in" / "broken.png").write_bytes(b"no picture")
    Stylizer(model).run(tmp_path / "in", tmp_path / "alone")
    Image.new("RGB", (32, 32)).save(tmp_path / "in" / "killer.png")
    (nodes.gate / "killed").unlink(missing_ok=True)
    process = start(nodes.cluster.address, tmp_path)
    printed, said = process.communicate(timeout=300)
    assert process.returncode == 1, said
    events = [json.loads(line) for line in printed.splitlines()]
    assert sum(event["status"] == "done" for event in events) == 11
    errors = {event["source"]: event["error"] for event in events if event["status"] == "failed"}
    assert errors.keys() == {"in/killer.png", "in/broken.png"}
    assert "lost 3 times" in errors["in/killer.png"]
    assert f"failed: {errors['in/killer.png']}" in said
    assert "11 stylized, 2 failed" in said
    assert len((nodes.gate / "killed").read_text().split()) == 3
    assert files_below(tmp_path / "out") == files_below(tmp_path / "alone")


@pytest.mark.ray
@pytest.mark.xdist_group("ray")
@pytest.mark.timeout(600)
def test_ctrl_c_ends_a_run_that_the_same_command_goes_on_with(nodes, tmp_path, model):
    make_photos(tmp_path / "in", 200)
    process = start(nodes.cluster.address, tmp_path)
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    counts = re.search(r"(\d+) stylized in .*; .*; (\d+) left: run the same command to go on", said)
    assert counts, said
    done, left = map(int, counts.groups())
    assert done + left == 200
    assert done == len(files_below(tmp_path / "out")) < 200
    Stylizer(model).run(tmp_path / "in", tmp_path / "out")
    Stylizer(model).run(tmp_path / "in", tmp_path / "alone")
    assert files_below(tmp_path / "out") == files_below(tmp_path / "alone")


@pytest.mark.ray
@pytest.mark.xdist_group("ray")
@pytest.mark.timeout(600)
def test_a_run_without_room_for_a_worker_is_ended(nodes, tmp_path, model):
    """No node has a GPU, so Ray waits for one."""
    make_photos(tmp_path / "in", 4)
    impatient = "from stylecli.engine import on_ray; on_ray._PATIENCE = 5.0"
    process = start(nodes.cluster.address, tmp_path, "--device", "cuda", first=impatient)
    printed, said = process.communicate(timeout=120)
    assert process.returncode == 1, said
    assert not printed
    assert "error: no machine had room for a Ray worker in 5 seconds" in said
    assert "run the same command to go on" in said


@pytest.mark.ray
@pytest.mark.xdist_group("ray")
@pytest.mark.timeout(600)
def test_machines_without_the_program_are_one_clear_error(nodes, tmp_path, model):
    make_photos(tmp_path / "in", 4)
    (nodes.gate / "stylecli.py").write_text("raise ImportError('nothing here')")
    process = start(nodes.cluster.address, tmp_path)
    printed, said = process.communicate(timeout=120)
    (nodes.gate / "stylecli.py").unlink()
    assert process.returncode == 2, said
    assert not printed
    assert "error: a Ray worker cannot begin: ImportError: nothing here" in said


@pytest.mark.ray
@pytest.mark.xdist_group("ray")
@pytest.mark.timeout(600)
def test_what_no_worker_can_do_is_one_clear_error(nodes, tmp_path, model):
    make_photos(tmp_path / "in", 4)
    process = start(nodes.cluster.address, tmp_path, "--device", "mps")
    printed, said = process.communicate(timeout=120)
    assert process.returncode == 2, said
    assert not printed
    assert re.search(r"error: device mps was asked for, but torch .* \(on .+\)", said), said


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of something that listens, and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.ray
def test_what_listens_and_is_no_cluster_is_an_error_in_seconds(tmp_path, model, silent):
    pytest.importorskip("ray")
    make_photos(tmp_path / "in", 1)
    patience = "from stylecli.engine import on_ray; on_ray._ANSWER = 3.0"
    process = start(silent, tmp_path, first=patience)
    _, said = process.communicate(timeout=40)
    assert process.returncode == 2, said
    assert f"no connection to Ray ({silent}): no cluster has answered in 3 seconds" in said


@pytest.mark.ray
def test_ctrl_c_ends_a_run_that_waits_for_a_cluster(tmp_path, model, silent):
    pytest.importorskip("ray")
    make_photos(tmp_path / "in", 1)
    process = start(silent, tmp_path)
    assert process.stderr is not None
    while "model tiny" not in process.stderr.readline():
        pass
    time.sleep(2.0)  # Ray waits
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=5)
    assert process.returncode == 130, said
    assert "1 left" in said


@pytest.mark.ray
def test_nothing_that_listens_is_an_error_in_seconds(tmp_path, model):
    pytest.importorskip("ray")
    make_photos(tmp_path / "in", 1)
    patience = "from stylecli.engine import on_ray; on_ray._ANSWER = 7.0"
    process = start("127.0.0.1:1", tmp_path, first=patience)
    _, said = process.communicate(timeout=40)
    assert process.returncode == 2, said
    assert "no connection to Ray (127.0.0.1:1): no cluster has answered in 7 seconds" in said
    assert "GCS" not in said  # Ray itself says after five seconds that it has no connection


def worker_of(model: Path, folder: Path) -> _Worker:
    return _Worker({"model": model}, StylizeConfig(), folder)


def test_a_worker_tells_of_each_file(tmp_path, model, photos, monkeypatch):
    monkeypatch.chdir(tmp_path)
    jobs = plan([photos], tmp_path / "out").jobs
    results = list(worker_of(model, tmp_path).stylize(jobs))
    assert [result.job for result in results] == list(jobs)
    assert len(files_below(tmp_path / "out")) == len(jobs)


def test_a_worker_tells_of_a_file_before_it_is_done_with_all(tmp_path, model, monkeypatch):
    monkeypatch.chdir(tmp_path)
    go_on = threading.Event()

    def run_jobs(self, jobs, report, should_stop, config):
        report("first")
        assert go_on.wait(60)
        report("second")

    monkeypatch.setattr(Stylizer, "run_jobs", run_jobs)
    events = worker_of(model, tmp_path).stylize([])
    assert next(events) == "first"
    go_on.set()
    assert list(events) == ["second"]


def test_a_worker_that_is_stopped_begins_nothing_more(tmp_path, model, photos, monkeypatch):
    monkeypatch.chdir(tmp_path)
    worker = worker_of(model, tmp_path)
    worker.stop()
    assert not list(worker.stylize(plan([photos], tmp_path / "out").jobs))
    assert not (tmp_path / "out").exists()


def test_a_worker_that_cannot_begin_says_why(tmp_path, model, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StyleCliError, match="elsewhere"):
        list(worker_of(model, tmp_path / "elsewhere").stylize([]))
    with pytest.raises(StyleCliError, match=r"no\.safetensors"):
        list(worker_of(tmp_path / "no.safetensors", tmp_path).stylize([]))


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["in", "out", "--ray", "auto"], "Ray is not installed"),
        (["in", "--ray", "auto", "local"], "Ray is not installed"),
        (["in", "out", "--ray", "local"], "--ray local is not the address of a cluster"),
        (["--ray", "10.0.0.1:6379", "in", "out"], "Ray is not installed"),
        (["--ray", "in", "out"], "--ray in is not the address of a cluster"),
        (["in", "out", "--ray", "ray://head:10001"], "is not the address of a cluster"),
        (["in", "out", "--ray", ""], "is not the address of a cluster"),
        (["in", "out", "--ray", "auto", "--workers", "2:4"], "'2:4' is not a valid int"),
        (["in", "out", "--ray", "auto", "--workers", "0"], "--workers 0 is out of range"),
        (["in", "out", "--workers", "2"], "--workers was given without --ray"),
        (["in", "out", "--ray", "auto", "--device", "cuda:1"], "--device cuda:1 is one GPU"),
    ],
)
def test_the_command_line(words, error, tmp_path, model, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "ray", None)  # as if it were not installed
    make_photos(tmp_path / "in", 1)
    with pytest.raises(SystemExit) as ended:
        app(["stylize", *words, "--model", "tiny"])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert error in said
    assert ("pip install 'stylecli[ray]'" in said) == ("not installed" in error)
