"""A small painting at the size of its photo: by formulas, on both backends, without a network."""

import subprocess
import sys
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import numpy as np
import openvino as ov
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from stylecli.core import enlarging
from stylecli.core.enlarging import Enlarger
from stylecli.core.model_files import find_style
from stylecli.core.openvino_graph import OpenVinoEnlarger
from stylecli.core.torch_backend import TorchEnlarger, finish_images
from stylecli.engine.stylizer import open_backends
from stylecli.files.content import bundled_photos
from stylecli.files.images import read_rgb

BACKENDS = {
    "openvino": OpenVinoEnlarger(ov.Core(), 1),
    "torch": TorchEnlarger(torch.device("cpu")),
}
FACTORS = [1.1, 2.5, 7.7]


@pytest.fixture(scope="module")
def photo():
    return read_rgb(bundled_photos()[22], 301)[:, :401]  # odd sides


@pytest.fixture(params=BACKENDS)
def enlarge(request):
    return BACKENDS[request.param]


def scale(photo, factor):
    sides = [max(1, round(side / factor)) for side in photo.shape[1::-1]]
    return np.asarray(Image.fromarray(photo).resize(sides, Image.Resampling.LANCZOS))


def scale_to(image, like):
    size = like.shape[1::-1]
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))


def circle(height, width):
    y, x = np.mgrid[:height, :width]
    inside = (y - height / 2) ** 2 + (x - width / 2) ** 2 < 100
    return np.where(inside[..., None], (200, 60, 90), (60, 140, 90)).astype(np.uint8)


@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize("color", [(90, 30, 200), (0, 255, 128)])
def test_what_is_painted_flat_stays_flat(enlarge, photo, factor, color):
    """Whatever detail the photo has."""
    small = scale(photo, factor)
    assert (enlarge(photo, small, np.full_like(small, color)) == color).all()


@pytest.fixture
def no_bristles(monkeypatch):
    monkeypatch.setattr(enlarging, "_BRISTLE", 0.0)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("axis", [0, 1])
def test_an_edge_is_as_sharp_as_in_the_photo_whichever_way_it_was_painted(
    enlarge, sign, axis, no_bristles
):
    """An enlargement alone spreads an edge over the factor's pixels; and there is no halo."""
    photo = np.full((192, 192, 3), 70, np.uint8)
    photo[:, 95:] = 180

    def paint(image):
        return (128 + sign * (image.astype(int) - 128) * 3 // 4).astype(np.uint8)

    turned = np.swapaxes(photo, axis, 1)
    small = scale(turned, 6)
    result = np.swapaxes(enlarge(turned, small, paint(small)), axis, 1).astype(float)
    expected = paint(photo)[96]
    apart = np.abs(result[96] - expected)
    bicubic = np.swapaxes(scale_to(paint(small), turned), axis, 1)[96]
    assert apart.max() < 0.3 * np.abs(bicubic - expected.astype(float)).max()
    between = np.abs(result[96, :, 0] - expected[0, 0]) > 0.2 * np.ptp(expected)
    assert between[:95].sum() + (~between[95:]).sum() <= 1  # px where it is on the other side
    assert result.min() > expected.min() - 12
    assert result.max() < expected.max() + 12


@pytest.mark.parametrize("factor", [3.0, 5.3])
def test_strokes_have_no_halo_where_the_photo_has_no_edge(enlarge, factor, no_bristles):
    """Each channel stays between the two colors."""
    height, width = round(60 * factor), round(70 * factor)
    flat = np.full((height, width, 3), (90, 30, 200), np.uint8)
    small = circle(60, 70)
    result = enlarge(flat, scale_to(flat, small), small)
    bicubic = scale_to(small, flat)
    assert result.min((0, 1)).tolist() == pytest.approx([60, 60, 90], abs=2)
    assert result.max((0, 1)).tolist() == pytest.approx([200, 140, 90], abs=2)
    far = result[: height // 4, : width // 4]
    assert np.abs(far.astype(int) - (60, 140, 90)).max() <= 1
    assert (result[..., 0] > 130).mean() == pytest.approx((bicubic[..., 0] > 130).mean(), rel=0.05)


@pytest.mark.parametrize("factor", [2.0, 4.0])
def test_what_is_painted_as_the_photo_comes_back_as_the_photo(enlarge, photo, factor):
    """But for the faintest detail, which may be a sensor's noise."""
    small = scale(photo, factor)
    lost = np.abs(scale_to(small, photo).astype(float) - photo)
    back = np.abs(enlarge(photo, small, small).astype(float) - photo)
    assert back[lost > 15].mean() < 0.6 * lost[lost > 15].mean()
    assert back.mean() < lost.mean()


def test_pictures_are_finished_as_their_enlargement_shows_them(photo):
    """By 2, up to which there are no bristles; averaged down again."""
    small = scale(photo[:300, :400], 2)
    painted = np.random.default_rng(0).integers(0, 256, small.shape, np.uint8)
    painted[:, ::3] = small[:, ::3]
    shown = BACKENDS["torch"](scale_to(small, photo[:300, :400]), small, painted)
    shown = np.asarray(Image.fromarray(shown).reduce(2)).astype(float)
    pair = [torch.tensor(x)[None].permute(0, 3, 1, 2) / 255 for x in (painted, small)]
    finished, kept = (255 * finish_images(*pair, strength) for strength in (0.75, 0.0))
    away = [np.abs(x[0].permute(1, 2, 0).numpy() - shown).mean(2) for x in (finished, kept)]
    assert away[0].mean() < 6 < 30 < away[1].mean()  # the strokes are noise, of 255 levels
    edges = np.concatenate([away[0][:4].ravel(), away[0][:, -4:].ravel()])
    assert edges.mean() < 1.3 * away[0].mean()  # or else a network would learn to paint a frame
    assert kept[0].permute(1, 2, 0).numpy() == pytest.approx(painted, abs=1e-3)


def test_strokes_that_have_nothing_to_do_with_the_photo_get_none_of_its_detail(enlarge):
    rng = np.random.default_rng(1)
    flat = np.full((240, 240, 3), 128, np.uint8)
    noisy = flat + rng.integers(0, 4, (240, 240, 1), np.uint8)  # a sensor's noise
    stripes = np.tile(np.uint8([[0] * 4, [255] * 4]).reshape(1, 8), (80, 10))[..., None]
    stripes = stripes.repeat(3, 2)
    results = [enlarge(image, scale(image, 3), stripes).astype(int) for image in (noisy, flat)]
    assert np.abs(results[0] - results[1]).max() <= 2
    assert np.ptp(results[1]) > 230


def test_bristles_lie_along_strokes_and_only_where_there_are_some(enlarge):
    """Along a stroke, neighbors are more alike than across it."""
    y, x = np.mgrid[:96, :96]
    for along, wave in ((1, y), (0, x)):  # strokes from left to right; from top to bottom
        values = 128 + 60 * np.sin(wave * (2 * np.pi / 12))
        painted = values[..., None].repeat(3, 2).round().astype(np.uint8)
        gray = np.full((768, 768, 3), 128, np.uint8)
        result = enlarge(gray, scale(gray, 8), painted)[..., 1].astype(float)[64:-64, 64:-64]
        bristles = result - result.mean(along, keepdims=True)
        assert 2 < bristles.std() < 12
        change = [np.abs(np.diff(bristles, axis=axis)).mean() for axis in (along, 1 - along)]
        assert change[0] < 0.6 * change[1]


@pytest.mark.parametrize("factor", FACTORS)
def test_strips_change_nothing(enlarge, photo, factor, monkeypatch):
    """In one window, and in windows of one tile each."""
    small = scale(photo, factor)
    whole = enlarge(photo, small, 255 - small)
    monkeypatch.setattr(enlarging, "_WINDOW", 1)
    in_strips = enlarge(photo, small, 255 - small)
    np.testing.assert_array_equal(in_strips, whole)


@pytest.mark.parametrize("factor", [1.0, *FACTORS, 25.0])
def test_backends_agree(photo, factor):
    """In float32: by one of 255 at most, and seldom."""
    small = scale(photo, factor)
    painted = np.roll(255 - small, 2, 2)
    first, second = (BACKENDS[name](photo, small, painted) for name in ("openvino", "torch"))
    apart = np.abs(first.astype(int) - second)
    assert apart.max() <= 1
    assert (apart > 0).mean() < 1e-2


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 90), st.integers(1, 300), st.floats(1, 30))
def test_any_size_of_at_least_a_pixel(height, width, factor):
    rng = np.random.default_rng(height)
    rgb = rng.integers(0, 256, (height, width, 3), np.uint8)
    small = scale(rgb, factor)
    painted = rng.integers(0, 256, small.shape, np.uint8)
    first, second = (enlarge(rgb, small, painted) for enlarge in BACKENDS.values())
    assert first.shape == second.shape == rgb.shape
    assert first.dtype == np.uint8
    assert np.abs(first.astype(int) - second).max() <= 1


@pytest.mark.parametrize("height", [1, 700, 3001])
def test_windows_and_tiles_cover_every_pixel_once(height):
    axis = enlarging._Axis(max(1, height // 2), height, 128, 0.7)
    seen = np.zeros(height, int)
    for window in axis.windows():
        for tile in window.tiles():
            seen[tile.pixels] += 1
            assert tile.weights.shape[:2] == (len(tile.painted), enlarging.BLOCK) == (2, 64)
            assert tile.weights.sum(2) == pytest.approx(1, abs=1e-5)
    assert (seen == 1).all()


@pytest.mark.parametrize("backend", ["openvino", "torch"])
def test_the_backend_of_a_model_enlarges(backend, photo):
    path, _, mix = find_style("starry-night")
    options = {"backend": backend, "device": "cpu", "precision": "bfloat16"}
    (opened,) = open_backends(path, mix, **options)
    small = scale(photo, 2)
    expected = BACKENDS[backend](photo, small, 255 - small)
    np.testing.assert_array_equal(opened.enlarge(photo, small, 255 - small), expected)


def test_many_sizes_need_no_more_memory_than_a_few(tmp_path):
    """OpenVINO keeps what it compiled for each size; without torch, in a process of its own."""
    code = """
import sys
import numpy as np, openvino as ov, psutil
from stylecli.core.openvino_graph import OpenVinoEnlarger
enlarge, process = OpenVinoEnlarger(ov.Core(), 1), psutil.Process()
def paint(i):
    small = np.full((20 + i, 31 + i, 3), 90, np.uint8)
    photo = np.full((150 + 3 * i, 170 + 5 * i, 3), 90, np.uint8)
    enlarge(photo, small, small)
for i in range(12): paint(i)
before = process.memory_info().rss
for i in range(12, 42): paint(i)
assert "torch" not in sys.modules
print((process.memory_info().rss - before) / 2**20)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 20  # MiB


def test_threads_share_one_enlarger(photo):
    enlarge = OpenVinoEnlarger(ov.Core(), 2)
    small = scale(photo, 2)
    expected = BACKENDS["openvino"](photo, small, 255 - small)
    with ThreadPoolExecutor(4) as pool:
        for result in pool.map(lambda _: enlarge(photo, small, 255 - small), range(6)):
            np.testing.assert_array_equal(result, expected)


def test_an_error_of_one_thread_is_raised(photo):
    """As where memory runs out: there is no picture with a part left black."""
    prepare, compose = OpenVinoEnlarger(ov.Core(), 2).compile()
    tiles = count()

    def fail_at_the_last_tile(*inputs):
        if next(tiles) == 2:
            raise MemoryError
        return compose(*inputs)[0]

    small = scale(photo, 2)
    with ThreadPoolExecutor(2) as pool, pytest.raises(MemoryError):
        Enlarger(prepare, fail_at_the_last_tile, pool.map)(photo, small, small)


def test_a_large_photo_needs_little_memory():
    """Of arrays, beyond the picture; the photo's factor is small, so that much is prepared."""
    photo = np.zeros((2000, 3000, 3), np.uint8)
    small = np.zeros((2000, 3000, 3), np.uint8)[::2, ::2].copy()

    def prepare(pair, strength):
        side = enlarging.PART
        sizes = [(3, side)] * 3 + [(1, side // 2), (10, side // 2)]
        return [np.zeros((1, n, s, s), np.float32) for n, s in sizes]

    enlarge = Enlarger(prepare, lambda *_: np.zeros((3, *enlarging.TILE), np.uint8))
    tracemalloc.start()
    try:
        enlarge(photo, small, small)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak - photo.nbytes < 64 * 2**20
