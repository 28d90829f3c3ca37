"""What a backend is: something that runs a trained generator behind one call."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import psutil

from stylecli.files.colors import Rgb

Batch = npt.NDArray[np.uint8]  # (N, H, W, 3)

# Torch raises a class of its own for CUDA only; elsewhere, and from OpenVINO, the text has to tell.
_MEMORY_WORDS = (
    *("out of memory", "not enough memory", "can't allocate memory"),
    *("failed to allocate", "bad_alloc"),
    "resource temporarily unavailable",  # no room for the stack of a thread
)


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

    def in_strips(self, rgb: Rgb, scratch: Path | None = None, memory: int | None = None) -> Rgb:
        """Stylize one image (H, W, 3) of any size, exactly, in little memory.

        Args:
            rgb: the image.
            scratch: folder for temporary files; None is the system's.
            memory: bytes that strips may take; None is a gigabyte.

        Raises:
            OutOfMemoryError: not even a strip fits.
            OSError: the temporary files have no room.
        """

    def expect_enlarging(self) -> None:
        """Begin to make the enlargement ready; without this call, the first one takes longer."""

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
    """Bytes that a program may still take."""
    return int(psutil.virtual_memory().available)
