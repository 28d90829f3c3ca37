"""How regular the texture of a picture is: a ruled hatch, or strokes of many lengths.

A pattern that repeats is a peak in the spectrum. Over windows of 128 px with a Hann window: the
largest ratio of a 3 x 3 peak to the mean of its 15 x 15 surroundings without their 5 x 5 center,
between 10 and 56 cycles a window, as a logarithm to base 10; the mean over all windows. Untouched
photos and paintings stand at 0.65 to 0.85, a ruled hatch at 1.6.
"""

import numpy as np
import numpy.typing as npt
from scipy.ndimage import uniform_filter

from stylecli.files.colors import Rgb

WINDOW = 128
_STRIDE = 64
_CYCLES = (10, 56)
_LUMINANCE = (0.299, 0.587, 0.114)


def regularity(picture: Rgb) -> float:
    """The mean over all windows of a picture, (H, W, 3) in 0..255, of at least 128 px a side."""
    gray = picture @ np.array(_LUMINANCE)  # (H, W)
    height, width = gray.shape
    return float(
        np.mean(
            [
                _of_window(gray[top : top + WINDOW, left : left + WINDOW])
                for top in range(0, height - WINDOW + 1, _STRIDE)
                for left in range(0, width - WINDOW + 1, _STRIDE)
            ]
        )
    )


def _of_window(gray: npt.NDArray[np.float64]) -> float:
    hann = np.hanning(WINDOW + 1)[:WINDOW]
    spectrum = np.abs(np.fft.fft2((gray - gray.mean()) * np.outer(hann, hann))) ** 2

    def mean_of(side: int) -> npt.NDArray[np.float64]:
        means: npt.NDArray[np.float64] = uniform_filter(spectrum, side, mode="wrap")
        return means

    around = (mean_of(15) * 15**2 - mean_of(5) * 5**2) / (15**2 - 5**2)
    frequencies = np.fft.fftfreq(WINDOW, 1 / WINDOW)
    cycles = np.hypot(frequencies[:, None], frequencies)
    counted = (cycles >= _CYCLES[0]) & (cycles <= _CYCLES[1])
    ratios = mean_of(3)[counted] / np.maximum(around[counted], 1e-9)
    return float(np.log10(max(ratios.max(), 1e-9)))
