"""HDR colors as a screen without HDR shows them."""

import numpy as np
import pytest

from stylecli.files.colors import HLG, PQ, tone_map


def levels_of(light: np.ndarray, transfer: int) -> np.ndarray:
    """Light in cd/m2 as HDR levels, by the standards' formulas from light to level."""
    if transfer == PQ:
        power = (np.asarray(light) / 10_000) ** (2610 / 16384)
        level = ((3424 / 4096 + 2413 / 128 * power) / (1 + 2392 / 128 * power)) ** (2523 / 32)
    else:
        scene = (np.asarray(light) / 1000) ** (1 / 1.2)
        bright = 0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-9)) + 0.55991073
        level = np.where(scene <= 1 / 12, np.sqrt(3 * scene), bright)
    return (level * 65535).round().astype(np.uint16)


def grays(*light: float, transfer: int) -> list[int]:
    levels = levels_of(np.array(light), transfer)
    shown = tone_map(np.repeat(levels[None, :, None], 3, axis=2), transfer)
    assert (shown == shown[..., :1]).all()  # gray stays gray
    return shown[0, :, 0].tolist()


@pytest.mark.parametrize("transfer", [PQ, HLG])
def test_light_up_to_the_knee_is_as_bright_as_without_hdr(transfer):
    light = np.array([0.01, 0.05, 0.2, 0.29])  # of white, which is 203 cd/m2
    expected = (255 * light ** (1 / 2.4)).tolist()  # a display of BT.1886
    assert grays(*(203 * light), transfer=transfer) == pytest.approx(expected, abs=1.5)


@pytest.mark.parametrize("transfer", [PQ, HLG])
def test_highlights_are_compressed_and_stay_in_order(transfer):
    shown = grays(0, 60, 100, 203, 400, 1000, transfer=transfer)
    assert shown == sorted(set(shown))
    assert shown[0] == 0
    assert 205 < shown[3] < 225  # white leaves room for what is brighter
    assert grays(203 * 10, transfer=PQ) == [255]


def test_primaries_become_those_of_bt709():
    """Its pure red has these parts of red, green and blue in BT.2020 (ITU-R BT.2087)."""
    red = levels_of(203 * 0.2 * np.array([0.6274, 0.0691, 0.0164]), PQ)
    (shown,) = tone_map(red[None, None], PQ)[0]
    assert shown[0] == pytest.approx(255 * 0.2 ** (1 / 2.4), abs=2)
    assert shown[1:].max() < 12
