"""What a backend is: something that runs a trained generator behind one call."""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import psutil

from stylecli.files.colors import Rgb

Batch = npt.NDArray[np.uint8]  # (N, H, W, 3)

# Torch raises a class of its own for CUDA only; elsewhere, and from OpenVINO, the text has to tell.
_MEMORY_WORDS = (
    *("out of memory", "not enough memory", "can't alloc"),
    *("failed to allocate", "bad_alloc"),
    "resource temporarily unavailable",  # no room for the stack of a thread
)

_M_ARENA_MAX = -8  # of mallopt(3)
# By the controllers in a line of /proc/self/cgroup, of version 2 and version 1: where the groups
# are, and the names of limit, usage, and what the kernel takes back from the usage if it has to.
_CGROUPS = {
    "": ("sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"),
    "memory": (
        *("sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
        "total_inactive_file",
    ),
}


class OutOfMemoryError(MemoryError):
    """A pass needed more memory than the device has."""


@contextmanager
def memory_errors() -> Iterator[None]:
    """Turn every way in which torch, OpenVINO and numpy lack memory into OutOfMemoryError."""
    try:
        yield
    except OutOfMemoryError:
        raise
    except (MemoryError, RuntimeError) as error:
        if lacks_memory(error):
            raise OutOfMemoryError(str(error)) from error
        raise


def lacks_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out."""
    if isinstance(error, RuntimeError):
        return any(words in str(error).lower() for words in _MEMORY_WORDS)
    return isinstance(error, MemoryError)


class Backend(Protocol):
    """A generator of one style, ready to run.

    Attributes:
        description: where and how it computes, for a person.
        device_type: ``cpu``, ``cuda`` or ``mps``.
        itemsize: bytes of the numbers that it computes with.
        at_once: calls that may run at once, in threads of their own.
    """

    description: str
    device_type: str
    itemsize: int
    at_once: int

    def __call__(self, photos: Batch) -> Batch:
        """Stylize photos of one size: (N, H, W, 3) to (N, H, W, 3), 0..255.

        Raises:
            OutOfMemoryError: they do not fit.
        """

    def in_strips(self, rgb: Rgb, scratch: Path | None, memory: int) -> Rgb:
        """Stylize one image (H, W, 3) of any size, exactly, in little memory.

        Args:
            rgb: the image.
            scratch: folder for temporary files; None is the system's.
            memory: bytes that strips may take.

        Raises:
            OutOfMemoryError: not even a strip fits.
            OSError: the temporary files have no room.
        """

    def expect(self, *, enlarging: bool = False) -> None:
        """Begin to make the network, or the enlargement, ready: the first call is then faster."""

    def enlarge(self, photo: Rgb, small: Rgb, painted: Rgb) -> Rgb:
        """Bring the stylization of a photo that was scaled down to the photo's size.

        Args:
            photo: (H, W, 3) in 0..255.
            small: (h, w, 3): the photo scaled down.
            painted: (h, w, 3): its stylization.

        Returns:
            (H, W, 3).
        """

    def free_memory(self) -> int:
        """Bytes that a pass may still take."""


def free_cpu_memory() -> int:
    """Bytes that this process may still take: of the machine, and of its container or job."""
    return min(int(psutil.virtual_memory().available), *free_in_cgroups())


def free_in_cgroups(system: Path = Path("/")) -> list[int]:
    """Bytes left below each limit that Linux sets to this process and others, in control groups.

    Containers and the jobs of a cluster are such groups. The kernel ends a process that needs more.

    Args:
        system: the root of the file system.
    """
    free = []
    with suppress(OSError):
        for line in (system / "proc/self/cgroup").read_text().splitlines():
            _, controllers, group = line.split(":", 2)
            if controllers in _CGROUPS:
                root, *names = _CGROUPS[controllers]
                folder = system / root / group.lstrip("/")
                above = [one for one in folder.parents if one.is_relative_to(system / root)]
                free += [_free_in_cgroup(one, *names) for one in (folder, *above)]
    return [one for one in free if one is not None]


def _free_in_cgroup(folder: Path, limit: str, usage: str, cache: str) -> int | None:
    """Bytes left in a group; None if it has no limit, or cannot be seen from its container."""
    with suppress(OSError, ValueError):  # "max" is no limit
        most, used = (int((folder / name).read_text()) for name in (limit, usage))
        parts = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        return max(0, most - used + int(parts.get(cache, 0)))
    return None


def use_one_heap() -> None:
    """Let all threads of this process take memory from one heap, where glibc gives each its own.

    What one thread has freed, another one can then use: in a container of 400 MB, twenty photos of
    12 megapixels took 317 MB in place of 623. It acts on threads that begin later.
    """
    with suppress(AttributeError, OSError, TypeError):  # not glibc
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)
