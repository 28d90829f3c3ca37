"""Training photos: which ones, in which order, cropped and flipped."""

import os
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from hashlib import sha256
from itertools import count
from pathlib import Path

import numpy as np
import numpy.typing as npt

from stylecli.errors import StyleCliError
from stylecli.files.images import ImageError, Rgb, read_rgb, read_short_side
from stylecli.files.jobs import scan_images

_AHEAD = 8  # batches decoded before they are asked for


def bundled_photos() -> list[Path]:
    """The 24 Kodak photographs that ship with the program."""
    return sorted((Path(__file__).parents[1] / "photos").glob("*.jpg"))


class ContentPhotos:
    """The photos of a folder, nested or flat, as an endless, repeatable series of batches.

    What is in batch ``n`` follows from the seed and ``n`` alone, so a training that is resumed
    at ``n`` sees what it would have seen.

    Args:
        folder: where the photos lie; None is the bundled ones.
        seed: of order, crops and flips.

    Attributes:
        bad: files that could not be read; each is replaced by the next good one.

    Raises:
        StyleCliError: there is no such folder, or no image file in it.
    """

    def __init__(self, folder: Path | None, seed: int) -> None:
        self.paths = bundled_photos() if folder is None else _scan(folder)
        self.seed = seed
        self.bad: set[Path] = set()
        self._order = lru_cache(maxsize=2)(self._shuffled)

    def fingerprint(self) -> str:
        """Changes when photos are added, removed or renamed."""
        return sha256("\n".join(path.name for path in self.paths).encode()).hexdigest()

    def batch(self, number: int, batch_size: int, size: int) -> npt.NDArray[np.uint8]:
        """Batch ``number`` of the series: (N, size, size, 3) in 0..255.

        Raises:
            StyleCliError: none of the files can be read.
        """
        first = number * batch_size
        crops = [self._crop(sample, size) for sample in range(first, first + batch_size)]
        return np.stack(crops)

    def batches(
        self, start: int, batch_size: int, size_of: Callable[[int], int]
    ) -> Generator[npt.NDArray[np.uint8]]:
        """Batches ``start``, ``start + 1`` … without end, decoded ahead in threads.

        Args:
            start: number of the first batch.
            batch_size: photos in a batch.
            size_of: side of the crops in px, given the batch's number.
        """
        pool = ThreadPoolExecutor(
            max_workers=min(8, os.cpu_count() or 1), thread_name_prefix="photos"
        )
        ahead: deque[Future[npt.NDArray[np.uint8]]] = deque()
        try:
            for number in count(start):
                ahead.append(pool.submit(self.batch, number, batch_size, size_of(number)))
                if len(ahead) > _AHEAD:
                    yield ahead.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)

    def _crop(self, sample: int, size: int) -> Rgb:
        """A random square of a photo, scaled between filling the crop and twice that."""
        random = np.random.default_rng([self.seed, sample])
        zoom, top, left, flip = random.random(4)
        rgb = self._read(sample, size, 1 + zoom)
        y, x = (
            int(at * (side - size + 1)) for at, side in zip((top, left), rgb.shape, strict=False)
        )
        crop = rgb[y : y + size, x : x + size]
        return crop[:, ::-1] if flip < 0.5 else crop

    def _shuffled(self, epoch: int) -> npt.NDArray[np.int64]:
        return np.random.default_rng([self.seed, epoch, 1]).permutation(len(self.paths))

    def _read(self, sample: int, size: int, zoom: float) -> Rgb:
        epoch, place = divmod(sample, len(self.paths))
        order = self._order(epoch)
        for skipped in range(len(order)):
            path = self.paths[order[(place + skipped) % len(order)]]
            try:
                # Enlarging a small photo would only teach the network blur.
                short_side = max(size, min(round(size * zoom), read_short_side(path)))
                return read_rgb(path, short_side)
            except ImageError:
                self.bad.add(path)
        raise StyleCliError(
            f"none of the {len(self.paths)} content photos can be read",
            hint="--content takes a folder of photos; without it, the bundled ones are used",
        )


def _scan(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise StyleCliError(
            f"no content folder {folder}", hint="--content takes a folder of photos"
        )
    paths = list(scan_images(folder))
    if not paths:
        raise StyleCliError(
            f"no photos in {folder}: expected files such as .jpg or .png, in it or below",
            hint="leave --content out to train on the bundled photos",
        )
    return paths
