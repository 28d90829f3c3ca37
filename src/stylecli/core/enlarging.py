"""Strokes of any size: a photo is painted at a smaller scale, and its own detail brings it back.

The network's strokes are as many pixels wide as in its training, however large the photo is. Here
it paints the photo scaled down by a factor, and the stylization is enlarged so that strokes have
sharp edges: each pixel takes the mean of that neighborhood, of eight around it, which varies least
(Kuwahara 1976; as here, with soft choice: Papari, Petkov, Campisi 2007).

Where the stylization follows the photo, its edges come from there: each channel, enlarged smoothly,
gets the detail that the photo lost by the scaling, times the slope of a local regression of the
channel on the photo's luma, as in a guided filter (He, Sun, Tang 2010). So an edge of the photo is
as sharp as in the photo, and as strong, and of the same sign, as it was painted. The regression's
share of explained variance tells how much of a pixel is made in this way.
"""

import numpy as np
import numpy.typing as npt
from PIL import Image

from stylecli.files.colors import Rgb

Floats = npt.NDArray[np.float32]

_STRIP = 2**19  # pixels of a strip that is put together at once, at about 150 bytes each
_LEAST_ROWS = 64
_AROUND = 8  # neighborhoods around a pixel
_REACH = 0.8  # px of the small photo: how far away their middles are
_BESIDE = 0.15  # what each neighbor along an axis weighs in a neighborhood
_STEADY = 25.0  # of 255, squared: what varies less than that is as good as even
_RADIUS = 2  # px of the small photo: the regression is that of a square of 5 x 5
_NOISE = 25.0  # of 255, squared: what varies less than that in the photo is no detail
_SLOPE_STEPS, _SLOPE_LEAST = 100, -1.0  # slopes are kept in 8 bits: -1 to 1.55, zero exactly
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def enlarge(photo: Rgb, small: Rgb, painted: Rgb) -> Rgb:
    """A small stylization at the size of the photo, with the detail that the small photo lacks."""
    height, width = photo.shape[:2]
    large = np.empty_like(photo)
    step = max(_LEAST_ROWS, _STRIP // width)
    for top in range(0, height, step):
        bottom = min(height, top + step)
        strip = _strokes(painted, height, width, top, bottom)
        rows, weights = _taps(small.shape[0], height, top, bottom)
        first, last = int(rows.min()), int(rows.max())
        slope, share = _regression(small, painted, first, last + 1)
        guided = _rows(slope, rows - first, weights, width) * np.float32(1 / _SLOPE_STEPS)
        guided += np.float32(_SLOPE_LEAST)  # (rows, W, 3)
        detail = photo[top:bottom] @ _LUMA - _rows(small, rows, weights, width) @ _LUMA
        guided *= detail[..., None]
        guided += _rows(painted, rows, weights, width)
        shares = _rows(share, rows - first, weights, width) * np.float32(1 / 255)
        strip += shares * (guided - strip)
        large[top:bottom] = strip.round().clip(0, 255)
    return large


def _strokes(painted: Rgb, height: int, width: int, top: int, bottom: int) -> Floats:
    """Rows top to bottom of a small stylization that is enlarged with sharp strokes: (n, W, 3)."""
    factor = height / painted.shape[0]
    added = max(0.0, 1 - factor**-2)  # the share of pixels that the small one lacks: 0 if none
    reach = _REACH * factor * added**0.5
    angles = np.arange(_AROUND) * (2 * np.pi / _AROUND)
    steps = np.stack((np.sin(angles), np.cos(angles)), -1) * reach
    beyond = round(reach)
    rows, weights = _taps(painted.shape[0], height, top - beyond, bottom + beyond)
    first, last = int(rows.min()), int(rows.max())
    mean, spread = _neighborhoods(painted, first, last + 1, _BESIDE * added)
    mean, spread = (_rows(image, rows - first, weights, width) for image in (mean, spread))
    even = (spread.astype(np.float32) ** 2 + np.float32(_STEADY)) ** -4
    shares = np.concatenate((mean * even[..., None], even[..., None]), -1)  # (n + 2 beyond, W, 4)
    shares = np.pad(shares, ((0, 0), (beyond, beyond), (0, 0)), mode="edge")
    total = np.zeros((bottom - top, width, 4), np.float32)
    for down, across in steps.round().astype(int) + beyond:
        total += shares[down : down + bottom - top, across : across + width]
    strokes: Floats = total[..., :3] / total[..., 3:]
    return strokes


def _neighborhoods(painted: Rgb, top: int, bottom: int, beside: float) -> tuple[Rgb, Rgb]:
    """Of each pixel's neighborhood of 3 x 3: the mean color, and its standard deviation.

    Args:
        painted: (h, w, 3).
        top: the first row that is wanted.
        bottom: the row after the last one.
        beside: what each neighbor along an axis weighs, at most a third.

    Returns:
        (bottom - top, w, 3) and (bottom - top, w), both in 0..255.
    """
    rows = np.arange(top - 1, bottom + 1).clip(0, painted.shape[0] - 1)
    image = painted[rows].astype(np.float32)
    squares = (image**2).mean(-1, keepdims=True)
    values = np.concatenate((image, squares), -1)
    values = np.pad(values, ((0, 0), (1, 1), (0, 0)), mode="edge")
    side, middle = np.float32(beside), np.float32(1 - 2 * beside)
    across = middle * values[:, 1:-1] + side * (values[:, :-2] + values[:, 2:])
    mean = middle * across[1:-1] + side * (across[:-2] + across[2:])
    spread = (mean[..., 3] - (mean[..., :3] ** 2).mean(-1)).clip(0) ** 0.5
    return mean[..., :3].round().clip(0, 255).astype(np.uint8), spread.round().astype(np.uint8)


def _taps(count: int, height: int, top: int, bottom: int) -> tuple[npt.NDArray[np.int64], Floats]:
    """What rows top to bottom are made of, if ``count`` rows are enlarged to a height, bicubically.

    Returns:
        (4, bottom - top): the rows; and (4, bottom - top): their weights (Keys 1981).
    """
    at = (np.arange(top, bottom) + 0.5) * (count / height) - 0.5
    rows = np.floor(at).astype(np.int64) + np.arange(-1, 3)[:, None]
    far = np.abs(at - rows)
    near = (1.5 * far - 2.5) * far**2 + 1
    weights = np.where(far < 1, near, ((2.5 - 0.5 * far) * far - 4) * far + 2)
    return rows.clip(0, count - 1), weights.astype(np.float32)


def _rows(image: Rgb, rows: npt.NDArray[np.int64], weights: Floats, width: int) -> Rgb:
    """Some rows of an image that is enlarged, the same whatever the others are: (n, width, ...).

    Pillow would round otherwise in each strip, so it enlarges the rows and not the columns.
    """
    down = np.einsum("kn,kn...->n...", weights, image[rows])  # (n, w, ...)
    few = Image.fromarray(down.round().clip(0, 255).astype(np.uint8))
    return np.asarray(few.resize((width, few.height), Image.Resampling.BICUBIC))


def _regression(photo: Rgb, painted: Rgb, top: int, bottom: int) -> tuple[Rgb, Rgb]:
    """The regression of each channel of the stylization on the photo's luma, around each pixel.

    Returns:
        (bottom - top, w, 3) each, for these rows: 100 x (slope + 1), and 255 x the share of the
        channel's variance that is explained.
    """
    rows = np.arange(top - _RADIUS, bottom + _RADIUS).clip(0, photo.shape[0] - 1)
    luma = (photo[rows] @ _LUMA - np.float32(128))[..., None]  # centered: the sums stay small
    style = painted[rows] - np.float32(128)
    mean, style_mean = _mean(luma), _mean(style)
    variance = (_mean(luma**2) - mean**2).clip(0) + np.float32(_NOISE)
    style_variance = (_mean(style**2) - style_mean**2).clip(0) + np.float32(_NOISE)
    covariance = _mean(luma * style) - mean * style_mean
    slope = ((covariance / variance - _SLOPE_LEAST) * _SLOPE_STEPS).round().clip(0, 255)
    share = (covariance**2 / (variance * style_variance) * 255).round().clip(0, 255)
    return slope.astype(np.uint8), share.astype(np.uint8)


def _mean(values: Floats) -> Floats:
    """The mean of each square of 5 x 5: (rows, w, C) to (rows - 4, w, C)."""
    side = 2 * _RADIUS + 1
    beyond = np.pad(values, ((0, 0), (_RADIUS, _RADIUS), (0, 0)), mode="edge")
    height, width = values.shape[0] - side + 1, values.shape[1]
    across = np.add.reduce([beyond[:, i : i + width] for i in range(side)])
    down: Floats = np.add.reduce([across[i : i + height] for i in range(side)])
    return down * np.float32(1 / side**2)
