"""A small stylization at the size of its photo: with formulas, without a network."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from stylecli.core import enlarging
from stylecli.files.content import bundled_photos
from stylecli.files.images import read_rgb


def painted(photo, factor, paint):
    sides = [max(1, round(side / factor)) for side in photo.shape[1::-1]]
    small = np.asarray(Image.fromarray(photo).resize(sides, Image.Resampling.LANCZOS))
    return enlarging.enlarge(photo, small, paint(small))


@pytest.fixture(scope="module")
def photo():
    return read_rgb(bundled_photos()[22], 301)[:, :443]  # odd sides


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 70), st.integers(1, 70), st.floats(1, 64))
def test_the_size_stays_and_the_network_sees_the_photo_scaled_down(height, width, factor):
    rgb = np.random.default_rng(height).integers(0, 256, (height, width, 3), np.uint8)
    seen = []
    result = painted(rgb, factor, lambda small: seen.append(small.shape) or small)
    assert result.shape == rgb.shape
    assert result.dtype == np.uint8
    expected = tuple(max(1, round(side / factor)) for side in (height, width))
    assert seen == [(*expected, 3)]


@pytest.mark.parametrize("factor", [3.0, 7.7])
def test_strokes_have_sharp_edges_and_no_halo_where_the_photo_has_none(factor):
    """Pillow's enlargement spreads an edge over the factor's pixels, and overshoots beside it."""

    def paint(small):
        y, x = np.mgrid[: small.shape[0], : small.shape[1]]
        inside = (y - small.shape[0] / 2) ** 2 + (x - small.shape[1] / 2) ** 2 < 100
        return np.where(inside[..., None], (200, 60, 90), (60, 140, 90)).astype(np.uint8)

    flat = np.full((round(40 * factor), round(50 * factor), 3), (90, 30, 200), np.uint8)
    result = painted(flat, factor, paint)
    low = paint(flat[:40, :50])
    enlarged = Image.fromarray(low).resize(flat.shape[1::-1], Image.Resampling.BICUBIC)

    def between(picture):  # how many pixels are neither one color nor the other
        red = np.asarray(picture)[..., 0]
        return ((red > 75) & (red < 185)).sum()

    assert between(result) < 0.65 * between(enlarged)
    assert result.min((0, 1)).tolist() == pytest.approx([60, 60, 90], abs=2)
    assert result.max((0, 1)).tolist() == pytest.approx([200, 140, 90], abs=2)
    assert (result[..., 0] > 130).mean() == pytest.approx((low[..., 0] > 130).mean(), rel=0.03)


@pytest.mark.parametrize("factor", [1.01, 3.0, 7.7])
def test_what_is_painted_flat_stays_flat(factor, photo):
    """Whatever detail the photo has."""
    result = painted(photo, factor, lambda small: np.full_like(small, (90, 30, 200)))
    assert (result == (90, 30, 200)).all()


@pytest.mark.parametrize("sign", [1, -1])
def test_an_edge_is_as_sharp_as_in_the_photo_whichever_way_it_was_painted(sign):
    """An enlargement alone spreads an edge over the factor's pixels; and there is no halo."""
    photo = np.full((96, 96, 3), 70, np.uint8)
    photo[:, 47:] = 180

    def paint(small):
        return (128 + sign * (small.astype(int) - 128) * 3 // 4).astype(np.uint8)

    row = painted(photo, 6, paint)[48, :, 0].astype(float)
    expected = 128 + sign * (photo[48, :, 0].astype(float) - 128) * 0.75
    enlarged = painted(np.full_like(photo, 70), 6, lambda small: paint(_scaled_down(photo, small)))
    assert np.abs(row - expected).max() < 6
    assert np.abs(enlarged[48, :, 0] - expected).max() > 30


def _scaled_down(photo, like):
    size = like.shape[1::-1]
    return np.asarray(Image.fromarray(photo).resize(size, Image.Resampling.LANCZOS))


def test_what_is_painted_as_the_photo_comes_back_as_the_photo(photo):
    back = painted(photo, 3, lambda small: small).astype(float)
    enlarged = np.asarray(
        Image.fromarray(_scaled_down(photo, photo[::3, ::3])).resize(photo.shape[1::-1])
    )
    assert np.abs(back - photo).mean() < 0.7 * np.abs(enlarged.astype(float) - photo).mean()


def test_strokes_that_have_nothing_to_do_with_the_photo_get_none_of_its_detail():
    rng = np.random.default_rng(1)
    flat = np.full((240, 240, 3), 128, np.uint8)
    noisy = flat + rng.integers(0, 4, (240, 240, 1), np.uint8)  # a sensor's noise
    stripes = np.repeat(np.tile(np.uint8([[0], [255]]), (10, 80)), 4, 0)[..., None].repeat(3, 2)
    with_noise, without = (painted(image, 3, lambda small: stripes) for image in (noisy, flat))
    assert np.abs(with_noise.astype(int) - without).max() <= 2
    assert np.ptp(without) == 255


@pytest.mark.parametrize("factor", [1.01, 2.5, 9.0])
def test_strips_change_nothing(photo, factor, monkeypatch):
    def paint(small):
        return 255 - small

    whole = painted(photo, factor, paint)
    monkeypatch.setattr(enlarging, "_STRIP", 1)
    np.testing.assert_array_equal(painted(photo, factor, paint), whole)
