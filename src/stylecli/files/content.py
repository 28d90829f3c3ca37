"""Training photos: which ones, in which order, cropped and flipped."""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from hashlib import sha256
from itertools import count
from pathlib import Path

import numpy as np
import numpy.typing as npt

from stylecli.errors import StyleCliError
from stylecli.files.colors import Rgb
from stylecli.files.formats import ImageError
from stylecli.files.images import read_rgb, read_short_side
from stylecli.files.jobs import scan_images
from stylecli.files.pictures import crop_to_size

PREVIEW = ".preview.png"  # the ending of a training's preview, which is not a photo to train on
_HINT = "--content takes a folder of photos; without it, the bundled ones are used"
_AHEAD = 8  # batches decoded before they are asked for
_CACHE_BYTES = 400 * 2**20


def bundled_photos() -> list[Path]:
    """The 24 Kodak photographs that ship with the program."""
    return sorted((Path(__file__).parents[1] / "photos").glob("*.jpg"))


class NoPhotosError(StyleCliError):
    """There are no photos to train on, or no more of them."""


class ContentPhotos:
    """The photos of a folder, nested or flat, as an endless, repeatable series of batches.

    What is in batch ``n`` follows from the seed and ``n`` alone, so a training that is resumed
    at ``n`` sees what it would have seen.

    Args:
        folder: where the photos lie; None is the bundled ones.
        seed: of order, crops and flips.

    Attributes:
        bad: files that could not be read so far; the next good one takes the place of each.

    Raises:
        NoPhotosError: there is no such folder, or no image file in it.
    """

    def __init__(self, folder: Path | None, seed: int) -> None:
        self.paths = bundled_photos() if folder is None else _scan(folder)
        self.seed = seed
        self.bad: set[Path] = set()
        self._order = lru_cache(maxsize=2)(self._shuffle)
        self._reader = lru_cache(maxsize=1)(self._caching_reader)

    def hash_names(self) -> str:
        """The sha256 of the names: another one when photos are added, removed or renamed."""
        return sha256(b"\n".join(os.fsencode(path.name) for path in self.paths)).hexdigest()

    def batch(self, number: int, batch_size: int, size: int) -> npt.NDArray[np.uint8]:
        """Batch ``number`` of the series: (N, size, size, 3) in 0..255.

        Raises:
            NoPhotosError: none of the files can be read, or all are of one plain color.
        """
        first = number * batch_size
        crops = [self._crop(sample, size) for sample in range(first, first + batch_size)]
        return np.stack(crops)

    def batches(
        self,
        start: int,
        batch_size: int,
        size_of: Callable[[int], int],
        part: int = 0,
        parts: int = 1,
    ) -> Generator[npt.NDArray[np.uint8]]:
        """Batches ``start``, ``start + 1`` … without end, decoded ahead in threads.

        Each can be shared in equal parts: of 6 photos, part 1 of 3 is the third and the fourth.

        Args:
            start: number of the first batch.
            batch_size: photos in a batch.
            size_of: side of the crops in px, given the batch's number.
            part: the number of the part, from 0.
            parts: how many there are; the batch size is a multiple of it.
        """
        pool = ThreadPoolExecutor(
            max_workers=min(8, os.cpu_count() or 1), thread_name_prefix="photos"
        )
        ahead: deque[Future[npt.NDArray[np.uint8]]] = deque()
        try:
            for number in count(start):
                place, size = number * parts + part, batch_size // parts
                ahead.append(pool.submit(self.batch, place, size, size_of(number)))
                if len(ahead) > _AHEAD:
                    yield ahead.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)

    def _crop(self, sample: int, size: int) -> Rgb:
        """A random square of a photo, never of one plain color.

        In a crop of one color, instance norm divides by next to nothing in layer after layer, and
        the gradient overflows float32; one other pixel is enough to prevent that. A photo that has
        no other crop is replaced by the next.
        """
        for rgb in self._photos_from(sample, size):
            crop = _random_crop(rgb, size, np.random.default_rng([self.seed, sample]))
            if not _is_plain(crop):
                return crop
        is_blank = len(self.bad) < len(self.paths)
        what = "holds more than one plain color" if is_blank else "can be read"
        raise NoPhotosError(f"none of the {len(self.paths)} content photos {what}", hint=_HINT)

    def _shuffle(self, epoch: int) -> npt.NDArray[np.int64]:
        return np.random.default_rng([self.seed, epoch, 1]).permutation(len(self.paths))

    def _photos_from(self, sample: int, size: int) -> Iterator[Rgb]:
        """The photo of a sample, then those that follow it, without files that cannot be read."""
        epoch, place = divmod(sample, len(self.paths))
        order = self._order(epoch)
        for skipped in range(len(order)):
            path = self.paths[order[(place + skipped) % len(order)]]
            try:
                yield self._reader(size)(path)
            except ImageError:
                self.bad.add(path)

    def _caching_reader(self, size: int) -> Callable[[Path], Rgb]:
        """A reader of photos for crops of ``size`` px, which keeps as many as its memory holds.

        Photos are read with a short side of at most twice ``size``.
        """

        def read(path: Path) -> Rgb:
            return read_rgb(path, min(2 * size, read_short_side(path)))

        usual_bytes = (2 * size) * (3 * size) * 3
        return lru_cache(maxsize=_CACHE_BYTES // usual_bytes)(read)


def _random_crop(rgb: Rgb, size: int, random: np.random.Generator) -> Rgb:
    """A random square of a photo, scaled to a side in px and perhaps flipped.

    The short side of the photo becomes one to two times that side. If the square is of one plain
    color, another is taken around a pixel of another color, if the photo has any.
    """
    zoom, top, left, flip = random.random(4)
    height, width = rgb.shape[:2]
    short_side = min(height, width)
    # Enlarging a small photo would only teach the network blur.
    side = short_side / max(1.0, min(1 + zoom, short_side / size))
    crop = crop_to_size(rgb, top * (height - side), left * (width - side), side, size)
    if _is_plain(crop) and len(edges := _edges(rgb)):
        y, x = edges[random.integers(len(edges))] + 1 - side * (0.1 + 0.8 * np.array([top, left]))
        crop = crop_to_size(
            rgb, float(np.clip(y, 0, height - side)), float(np.clip(x, 0, width - side)), side, size
        )
    return crop[:, ::-1] if flip < 0.5 else crop


def _is_plain(rgb: Rgb) -> bool:
    """Whether all pixels have one color; the first row is compared first, as it often decides."""
    return bool((rgb[0] == rgb[0, 0]).all() and (rgb == rgb[0, 0]).all())


def _edges(rgb: Rgb) -> npt.NDArray[np.int64]:
    """Row and column of each pixel whose neighbor below or to the right has another color."""
    below = (rgb[:-1, :-1] != rgb[1:, :-1]).any(-1)
    beside = (rgb[:-1, :-1] != rgb[:-1, 1:]).any(-1)
    return np.argwhere(below | beside)  # (N, 2)


def _scan(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise NoPhotosError(f"no content folder {folder}", hint=_HINT)
    paths = [path for path in scan_images(folder) if not path.name.endswith(PREVIEW)]
    if not paths:
        raise NoPhotosError(
            f"no photos in {folder}: expected files such as .jpg or .png, in it or below",
            hint=_HINT,
        )
    return paths
