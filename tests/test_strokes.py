"""Strokes of any size: with formulas, without a network; and with one, through the engine."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from stylecli.config import DEFAULT_MODEL, StylizeConfig
from stylecli.engine import Stylizer, strokes
from stylecli.engine.strokes import stroke_factor, with_strokes
from stylecli.errors import StyleCliError
from stylecli.files.content import bundled_photos
from stylecli.files.images import read_picture, read_rgb

FULL = {"device": "cpu", "precision": "float32"}


def painted(photo, factor, paint):
    (result,) = with_strokes([photo], factor, lambda some: [paint(one) for one in some])
    return result


@pytest.fixture(scope="module")
def photo():
    return read_rgb(bundled_photos()[22], 301)[:, :443]  # odd sides


def test_auto_is_one_up_to_full_hd_and_then_the_root_of_the_megapixels():
    assert stroke_factor(None, 1080, 1920) == stroke_factor(None, 2500, 1000) == 1
    assert stroke_factor(None, 3000, 4000) == pytest.approx(12**0.5)
    assert stroke_factor(None, 10_000, 10_000) == pytest.approx(10)
    assert stroke_factor(1.5, 10_000, 10_000) == 1.5


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
    monkeypatch.setattr(strokes, "_STRIP", 1)
    np.testing.assert_array_equal(painted(photo, factor, paint), whole)


@pytest.fixture(scope="module")
def stylizer():
    return Stylizer(DEFAULT_MODEL, **FULL)


def test_one_is_what_the_network_paints_and_so_is_auto_on_a_small_photo(stylizer, photo):
    plain = stylizer._paint([photo])[0]
    np.testing.assert_array_equal(stylizer(photo, 1), plain)
    np.testing.assert_array_equal(stylizer(photo), plain)


def test_larger_strokes_look_as_on_a_smaller_photo(stylizer, photo):
    large = np.asarray(Image.fromarray(photo).resize((1329, 903), Image.Resampling.LANCZOS))
    small = _scaled_down(large, photo)
    expected = stylizer(small).astype(float)
    error = {
        factor: np.abs(_scaled_down(stylizer(large, factor), photo) - expected).mean()
        for factor in (1, 3)
    }
    assert error[3] < error[1] / 3  # not the same: the finest pattern is no stroke


def test_little_memory_gives_the_same_picture(stylizer, photo, monkeypatch):
    limited, smalls = Stylizer(DEFAULT_MODEL, max_memory=2**20, **FULL), []
    monkeypatch.setattr(strokes, "_STRIP", 1)
    in_strips = limited(photo, 1.5)
    monkeypatch.undo()

    def paint(images):
        smalls.extend(images)
        return [limited(image, 1) for image in images]

    # The network's strips alone make a difference; it grows where two neighborhoods vary alike.
    np.testing.assert_array_equal(in_strips, strokes.with_strokes([photo], 1.5, paint)[0])
    assert np.abs(limited(smalls[0], 1).astype(int) - stylizer(smalls[0], 1)).max() <= 1
    difference = np.abs(in_strips.astype(int) - stylizer(photo, 1.5))
    assert (difference > 1).mean() < 1e-3
    assert difference.max() <= 8


def test_files_with_strength_colors_transparency_and_a_size(stylizer, photo, tmp_path):
    rgba = np.dstack([photo, np.full(photo.shape[:2], 255, np.uint8)])
    rgba[:50, :, 3] = 0
    Image.fromarray(rgba).save(tmp_path / "a.png")
    config = StylizeConfig(stroke_size=2.0, strength=0.5, preserve_color=True, max_size=201)
    (result,) = stylizer.run(tmp_path / "a.png", tmp_path / "out.png", config)
    assert not result.error
    out = read_picture(result.job.target)
    assert (max(out.rgb.shape), out.alpha.min(), out.alpha.max()) == (201, 0, 255)
    plain = StylizeConfig(strength=0.5, preserve_color=True, max_size=201, stroke_size=1.0)
    (other,) = stylizer.run(tmp_path / "a.png", tmp_path / "plain.png", plain)
    assert (read_picture(other.job.target).rgb != out.rgb).any()


def test_frames_of_an_animation_are_painted_alike(stylizer, photo, tmp_path):
    frames = [Image.fromarray(photo[:90, i : i + 120]) for i in (0, 0, 9)]
    frames[1].putpixel((0, 0), (1, 2, 3))  # Pillow merges frames that are equal
    more = {"save_all": True, "append_images": frames[1:], "duration": 100, "lossless": True}
    frames[0].save(tmp_path / "a.webp", **more)
    config = StylizeConfig(stroke_size=3.0)
    (result,) = stylizer.run(tmp_path / "a.webp", tmp_path / "out.png", config)
    with Image.open(result.job.target) as out:
        for i, frame in enumerate(frames):
            out.seek(i)
            alone = stylizer(np.asarray(frame.convert("RGB")), 3.0)
            np.testing.assert_array_equal(np.asarray(out.convert("RGB")), alone)


@pytest.mark.parametrize("wrong", [0.5, 65, float("nan"), True, "auto"])
def test_a_wrong_size_of_strokes_is_refused(stylizer, photo, wrong):
    with pytest.raises(StyleCliError, match="--stroke-size"):
        stylizer(photo, wrong)
