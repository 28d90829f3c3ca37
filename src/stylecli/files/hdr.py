"""HDR video as 8-bit sRGB-like colors, as a screen without HDR shows them."""

import numpy as np
import numpy.typing as npt

from stylecli.files.colors import Rgb

PQ, HLG = 16, 18  # the numbers that ITU-T H.273 gives these transfer functions

_WHITE = 203.0  # cd/m2, of HDR's white (ITU-R BT.2408); highlights are brighter
_PEAK = 10.0  # times white: the light that becomes the brightest color
_KNEE = 0.3  # of white: up to here, light stays as it is
_DISPLAY_GAMMA = 2.4  # ITU-R BT.1886

_TO_BT709 = np.array(  # from the primaries of BT.2020; ITU-R BT.2087
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]],
    np.float32,
)


def sdr(rgb: npt.NDArray[np.uint16], transfer: int) -> Rgb:
    """HDR colors without HDR: white stays white, and highlights are compressed.

    Args:
        rgb: (H, W, 3) in 0..65535, with the primaries of BT.2020.
        transfer: :data:`PQ` or :data:`HLG`.

    Returns:
        (H, W, 3) in 0..255, with the primaries and for the displays of BT.709.
    """
    light = _TABLES[transfer][np.moveaxis(rgb, -1, 0)]  # (3, H, W); 1 is white
    light = np.tensordot(_TO_BT709, light, 1)
    brightest = light.max(axis=0)
    light *= _compressed(brightest) / np.maximum(brightest, 1e-6)
    return np.ascontiguousarray(np.moveaxis(_encoded(light), 0, -1))  # (H, W, 3)


def _encoded(light: npt.NDArray[np.float32]) -> Rgb:
    """Light as levels for a display: by a table, as a power of each pixel takes long.

    The table goes by the square root, which is fine enough for the darkest levels.
    """
    root = np.sqrt(light.clip(0, 1)) * (len(_LEVELS) - 1) + 0.5
    levels: Rgb = _LEVELS[root.astype(np.uint16)]
    return levels


def _compressed(light: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Light from 0 to the peak, as 0 to 1: a Moebius transform above the knee, smooth there.

    It is the curve "mobius" of ffmpeg's filter tonemap.
    """
    a = -(_KNEE**2) * (_PEAK - 1) / (_KNEE**2 - 2 * _KNEE + _PEAK)
    b = (_KNEE**2 - 2 * _KNEE * _PEAK + _PEAK) / (_PEAK - 1)
    scale = (b * b + 2 * b * _KNEE + _KNEE**2) / (b - a)
    above = np.maximum(light, _KNEE)
    return np.where(light <= _KNEE, light, scale * (above + a) / (above + b))


def _pq_light() -> npt.NDArray[np.float32]:
    """The light of each of 65536 levels; SMPTE ST 2084."""
    m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
    root = np.linspace(0, 1, 65536) ** (1 / m2)
    light = (np.maximum(root - c1, 0) / (c2 - c3 * root)) ** (1 / m1)
    return (light * (10_000 / _WHITE)).astype(np.float32)


def _hlg_light() -> npt.NDArray[np.float32]:
    """The light of each of 65536 levels on the reference display; ARIB STD-B67, ITU-R BT.2100.

    That display has 1000 cd/m2 and a system gamma of 1.2. The gamma is applied to each color, as
    the library zimg does; BT.2100 applies it to the luminance, which makes pure colors paler.
    """
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    level = np.linspace(0, 1, 65536)
    scene = np.where(level <= 0.5, level**2 / 3, (np.exp((level - c) / a) + b) / 12)
    return (scene**1.2 * (1000 / _WHITE)).astype(np.float32)


_TABLES = {PQ: _pq_light(), HLG: _hlg_light()}
_LEVELS = (255 * np.linspace(0, 1, 1 << 14) ** (2 / _DISPLAY_GAMMA)).round().astype(np.uint8)
