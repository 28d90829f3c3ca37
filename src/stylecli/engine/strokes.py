"""Strokes of any size: a photo is painted at a smaller scale, and its own detail brings it back.

The network's strokes are as many pixels wide as in its training, however large the photo is. Here
it paints the photo scaled down by a factor. The stylization is enlarged, and each of its channels
gets the detail that the photo lost by the scaling, times a gain: the slope of a local regression of
the stylization on the photo's luma, as in a guided filter (He, Sun, Tang 2010). So an edge of the
photo is as sharp as in the photo, and as strong, and of the same sign, as it was painted; where
strokes have nothing to do with the photo, the gain is near zero.
"""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

from stylecli.files.colors import Rgb

Floats = npt.NDArray[np.float32]

_AS_OF = 1_000_000  # pixels: with auto, strokes look as on a photo of that size
_LARGE = 2_500_000  # pixels: beyond a frame of Full HD; up to that, auto changes nothing
_STRIP = 2**19  # pixels of a strip that is put together at once, at about 70 bytes each
_LEAST_ROWS = 16
_RADIUS = 2  # px of the small photo: a gain is that of a square of 5 x 5
_NOISE = 25.0  # of 255, squared: what varies less than that in the photo is no detail
_GAIN_STEPS, _GAIN_LEAST = 100, -1.0  # gains are kept in 8 bits: -1 to 1.55, zero exactly
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def stroke_factor(stroke_size: float | None, height: int, width: int) -> float:
    """How many times as wide strokes are as those that the network paints.

    Args:
        stroke_size: a factor, at least 1; or None for auto: a photo of more than 2.5 megapixels
            gets the strokes of its version of one megapixel, and any other those of the network.
        height: of the photo, px.
        width: of the photo, px.
    """
    if stroke_size is not None:
        return stroke_size
    return (height * width / _AS_OF) ** 0.5 if height * width > _LARGE else 1.0


def with_strokes(
    photos: Sequence[Rgb], stroke_size: float | None, paint: Callable[[list[Rgb]], list[Rgb]]
) -> list[Rgb]:
    """Stylize photos of one size with strokes of a size.

    Args:
        photos: (H, W, 3) each, in 0..255.
        stroke_size: as for :func:`stroke_factor`; 1 is what ``paint`` gives.
        paint: stylizes images of one size.

    Returns:
        (H, W, 3) each.
    """
    height, width = photos[0].shape[:2]
    factor = stroke_factor(stroke_size, height, width)
    if factor == 1:
        return paint(list(photos))
    sides = max(1, round(height / factor)), max(1, round(width / factor))
    small = [_scaled_down(photo, sides) for photo in photos]
    triples = zip(photos, small, paint(small), strict=True)
    return [_enlarged(photo, low, painted) for photo, low, painted in triples]


def _scaled_down(photo: Rgb, sides: tuple[int, int]) -> Rgb:
    """A photo scaled down to (height, width)."""
    return np.asarray(Image.fromarray(photo).resize(sides[::-1], Image.Resampling.LANCZOS))


def _enlarged(photo: Rgb, small: Rgb, painted: Rgb) -> Rgb:
    """A small stylization at the size of the photo, with the detail that the small photo lacks."""
    height, width = photo.shape[:2]
    large = np.empty_like(photo)
    step = max(_LEAST_ROWS, _STRIP // width)
    for top in range(0, height, step):
        bottom = min(height, top + step)
        rows, weights = _taps(small.shape[0], height, top, bottom)
        first, last = int(rows.min()), int(rows.max())
        gain = _gain(small, painted, first, last + 1)
        detail = photo[top:bottom] @ _LUMA - _rows(small, rows, weights, width) @ _LUMA
        strip = _rows(gain, rows - first, weights, width) * np.float32(1 / _GAIN_STEPS)
        strip = (strip + np.float32(_GAIN_LEAST)) * detail[..., None]  # (rows, W, 3)
        strip += _rows(painted, rows, weights, width)
        large[top:bottom] = strip.round().clip(0, 255)
    return large


def _taps(count: int, height: int, top: int, bottom: int) -> tuple[npt.NDArray[np.int64], Floats]:
    """What rows top to bottom are made of, if ``count`` rows are enlarged to a height, bicubically.

    Returns:
        (4, bottom - top): the rows; and (4, bottom - top, 1, 1): their weights (Keys 1981).
    """
    at = (np.arange(top, bottom) + 0.5) * (count / height) - 0.5
    rows = np.floor(at).astype(np.int64) + np.arange(-1, 3)[:, None]
    far = np.abs(at - rows)
    near = (1.5 * far - 2.5) * far**2 + 1
    weights = np.where(far < 1, near, ((2.5 - 0.5 * far) * far - 4) * far + 2)
    return rows.clip(0, count - 1), weights.astype(np.float32)[..., None, None]


def _rows(image: Rgb, rows: npt.NDArray[np.int64], weights: Floats, width: int) -> Rgb:
    """Some rows of an image that is enlarged, the same whatever the others are: (n, width, 3).

    Pillow would round otherwise in each strip, so it enlarges the rows and not the columns.
    """
    down = np.einsum("knij,knij->nij", weights, image[rows])  # (n, w, 3)
    few = Image.fromarray(down.round().clip(0, 255).astype(np.uint8))
    return np.asarray(few.resize((width, few.height), Image.Resampling.BICUBIC))


def _gain(photo: Rgb, painted: Rgb, top: int, bottom: int) -> Rgb:
    """How much of a detail of the photo's luma belongs into each channel of its stylization.

    Returns:
        (bottom - top, w, 3): for these rows, 100 x (gain + 1).
    """
    rows = np.arange(top - _RADIUS, bottom + _RADIUS).clip(0, photo.shape[0] - 1)
    luma = photo[rows] @ _LUMA - np.float32(128)  # (rows, w); centered: the sums stay small
    style = painted[rows] - np.float32(128)
    mean = _mean(luma[..., None])
    variance = _mean(luma[..., None] ** 2) - mean**2
    covariance = _mean(luma[..., None] * style) - mean * _mean(style)
    gain = covariance / (variance.clip(0) + np.float32(_NOISE))
    return ((gain - _GAIN_LEAST) * _GAIN_STEPS).round().clip(0, 255).astype(np.uint8)


def _mean(values: Floats) -> Floats:
    """The mean of each square of 5 x 5: (rows, w, C) to (rows - 4, w, C)."""
    side = 2 * _RADIUS + 1
    beyond = np.pad(values, ((0, 0), (_RADIUS, _RADIUS), (0, 0)), mode="edge")
    height, width = values.shape[0] - side + 1, values.shape[1]
    across = np.add.reduce([beyond[:, i : i + width] for i in range(side)])
    down: Floats = np.add.reduce([across[i : i + height] for i in range(side)])
    return down * np.float32(1 / side**2)
