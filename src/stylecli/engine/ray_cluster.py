"""A connection to a Ray cluster, and what there is in it; Ray is imported only when it is used."""

import logging
import os
import signal
import socket
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from stylecli.errors import StyleCliError


def import_ray() -> None:
    """Import Ray for the first time, such that it shows nothing and calls nobody.

    Raises:
        StyleCliError: it is not installed.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["RAY_BACKEND_LOG_LEVEL"] = "fatal"
    os.environ["RAY_ENABLE_AUTO_CONNECT"] = "0"  # or a thread of Ray's would begin again at the end
    try:
        import ray._private.worker
        import ray.data
        from ray.util.annotations import RayDeprecationWarning
    except ImportError:
        raise StyleCliError(
            "--ray was given, and Ray is not installed", hint="pip install 'stylecli[ray]'"
        ) from None
    warnings.simplefilter("ignore", RayDeprecationWarning)
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    ray._private.worker._worker_logs_enabled = False  # lines of its own on standard output
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = context.print_on_execution_start = False
    context.max_errored_blocks = -1  # what a lost worker had in hand is given out again, by us
    context.max_consecutive_actor_init_deaths = 10  # as machines may be lost at any time
    context.target_max_block_size = 1  # byte: each row is sent at once


@contextmanager
def connected(address: str) -> Iterator[None]:
    """A connection to a cluster; one that was started for it ends with it.

    Args:
        address: such as ``10.0.0.1:6379``; empty is the cluster that ``RAY_ADDRESS`` names, or that
            runs on this machine, or a new one.

    Raises:
        StyleCliError: there is no cluster at the address.
    """
    import ray

    before = signal.getsignal(signal.SIGTERM)
    try:
        _require_answer(address or os.environ.get("RAY_ADDRESS", ""))
        with _no_stderr():
            ray.init(
                address=address or None,
                include_dashboard=False,
                log_to_driver=False,
                configure_logging=False,
            )
    except Exception as error:  # of many kinds
        reason = str(error).strip().partition("\n")[0]
        where = f" at {address}" if address else ""
        hint = "`ray status` shows the cluster of this machine; `ray start` makes one, or joins one"
        raise StyleCliError(f"no connection to Ray{where}: {reason}", hint=hint) from error
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, before)  # Ray has set one of its own
    try:
        yield
    finally:
        ray.shutdown()


def _require_answer(address: str) -> None:
    """Raise OSError if nothing listens at an address: Ray itself would try for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()


@contextmanager
def _no_stderr() -> Iterator[None]:
    """Nothing reaches standard error: Ray's C++ writes there that it writes nothing there."""
    kept, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nothing)


def share_of_worker(device: str) -> dict[str, float]:
    """What a worker takes of a machine: a GPU; or, if there are none, all cores of the smallest.

    One process uses all cores, and a picture's last bits depend on their number.
    """
    machines = _machines()
    if device == "cuda" or (device == "auto" and any(gpus for _, gpus in machines)):
        return {"num_cpus": 1, "num_gpus": 1}
    return {"num_cpus": min((cpus for cpus, _ in machines if cpus), default=1), "num_gpus": 0}


def free_room(share: dict[str, float]) -> int:
    """How many workers the cluster has room for now; 1, if there is none."""
    cpus, gpus = share["num_cpus"], share["num_gpus"]
    return max(1, sum(int(min(c // cpus, g // gpus if gpus else c)) for c, g in _machines()))


def _machines() -> list[tuple[float, float]]:
    """The CPUs and GPUs of each node that lives."""
    import ray

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return [(have.get("CPU", 0.0), have.get("GPU", 0.0)) for have in nodes]
