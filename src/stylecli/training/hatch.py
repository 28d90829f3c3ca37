"""A term against texture that repeats where the photo does not: a ruled hatch, rows of dots.

The style loss cannot tell them from strokes of many lengths: a Gram matrix has no places. In a
spectrum, what repeats is a peak.

Source: of spectra as a constraint on texture, Liu, Gousseau and Xia 2016, "Texture Synthesis
Through Convolutional Neural Networks and Spectrum Constraints".
"""

import torch
import torch.nn.functional as F
from torch import Tensor

# The factor of the term, for the energy of photos in Oxford's VGG-16.
HATCH_WEIGHT = 1e5

_WINDOW = 128  # px a side; smaller images are one window
_LEAST = 64  # px a side, below which a spectrum has too few frequencies
_FREQUENCIES = (5 / 128, 56 / 128)  # cycles per px: slower ones are shapes, not texture
_PEAK, _CENTER, _AROUND = 3, 5, 15  # a peak, what it spreads to, and its surroundings: a side each
_STRONGEST = 32  # frequencies; each peak covers 9, and as many on the other side of the zero
_LUMINANCE = (0.299, 0.587, 0.114)


def hatch_loss(stylized: Tensor, photos: Tensor) -> Tensor:
    """How far frequencies stand out beyond what they do in the photos, in powers of ten; a scalar.

    Args:
        stylized: (N, 3, H, W) RGB around [0, 1].
        photos: (N, 3, H, W) RGB in [0, 1]; what repeats in them may repeat.

    Returns:
        The mean of the largest excesses of each window, over windows; 0 for images of less than
        64 px.
    """
    if min(stylized.shape[2:]) < _LEAST:
        return stylized.new_zeros(())
    with torch.no_grad():
        of_photos = _prominence(photos).clamp_min(0)
    excess = _prominence(stylized) - of_photos
    return excess.topk(_STRONGEST, dim=1).values.mean()


def _prominence(images: Tensor) -> Tensor:
    """How far each frequency stands out, in powers of ten: (windows, frequencies)."""
    luminance = images.new_tensor(_LUMINANCE, dtype=torch.float32)[:, None, None]
    gray = 255 * (images.float() * luminance).sum(1)  # (N, H, W)
    side = min(_WINDOW, *gray.shape[1:])
    rows, columns = (_spread(length, side) for length in gray.shape[1:])
    windows = torch.cat([gray[:, y : y + side, x : x + side] for y in rows for x in columns])
    hann = torch.hann_window(side, device=gray.device)
    centered = (windows - windows.mean((1, 2), keepdim=True)) * hann[:, None] * hann
    power = torch.fft.fft2(centered).abs().square()[:, None]
    center, around = (_mean_around(power, width) * width**2 for width in (_CENTER, _AROUND))
    surroundings = (around - center).clamp_min(0) / (_AROUND**2 - _CENTER**2)
    # A window of one color has no power at all.
    ratios = (_mean_around(power, _PEAK) + 1e-3) / (surroundings + 1e-3)
    frequencies = torch.fft.fftfreq(side, device=gray.device)
    radius = torch.hypot(frequencies[:, None], frequencies).flatten()
    counted = (radius >= _FREQUENCIES[0]) & (radius <= _FREQUENCIES[1])
    return ratios.flatten(1)[:, counted].log10()


def _mean_around(power: Tensor, side: int) -> Tensor:
    """The mean of a square around each place of (N, 1, H, W), which goes on beyond its edges."""
    more = F.pad(power, (side // 2,) * 4, mode="circular")
    return F.avg_pool2d(F.avg_pool2d(more, (side, 1), 1), (1, side), 1)


def _spread(length: int, side: int) -> list[int]:
    """Where windows begin, as many as fit side by side, evenly over a length."""
    gap = (length % side) // (length // side + 1)
    return [gap + i * (side + gap) for i in range(length // side)]
