"""Painting in layers: sizes and inputs by formulas, and pictures through the engine."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from stylecli.config import DEFAULT_MODEL, StylizeConfig
from stylecli.core.backend import OutOfMemoryError
from stylecli.engine import Stylizer
from stylecli.engine.painter import Painter, layer_sizes
from stylecli.errors import StyleCliError
from stylecli.files.content import bundled_photos
from stylecli.files.images import read_picture, read_rgb

FULL = {"device": "cpu", "precision": "float32"}


class Recorder:
    """A backend whose network is a function, and which keeps what it was given."""

    description, device_type, itemsize, at_once = "recorder", "cpu", 4, 1

    def __init__(self, network=lambda rgb: rgb):
        self.network, self.seen, self.enlarged, self.expected = network, [], [], set()

    def __call__(self, photos):
        self.seen += list(photos)
        return np.stack([self.network(rgb) for rgb in photos])

    def in_strips(self, rgb, scratch, memory):
        raise AssertionError("there is memory")

    def expect(self, *, enlarging=False):
        self.expected.add("enlargement" if enlarging else "network")

    def enlarge(self, photo, small, painted):
        self.enlarged.append((photo, small, painted))
        return photo

    def free_memory(self):
        return 2**32


@pytest.fixture(scope="module")
def photo():
    return read_rgb(bundled_photos()[22], 301)[:, :443]  # odd sides


@pytest.fixture(scope="module")
def large(photo):
    return np.asarray(Image.fromarray(photo).resize((1329, 903), Image.Resampling.LANCZOS))


@pytest.fixture(scope="module")
def stylizer():
    return Stylizer(DEFAULT_MODEL, **FULL)


@pytest.mark.parametrize(
    ("photo_size", "options", "sizes"),
    [
        ((3000, 4000), {}, [(192, 256), (384, 512)]),
        ((4000, 3000), {}, [(256, 192), (512, 384)]),
        ((9000, 12000), {}, [(192, 256), (384, 512)]),  # whatever the photo's size
        ((3000, 4000), {"layers": 1}, [(384, 512)]),
        ((3000, 4000), {"layers": 3}, [(96, 128), (192, 256), (384, 512)]),
        ((3000, 4000), {"stroke_size": 2}, [(96, 128), (192, 256)]),
        ((3000, 4000), {"stroke_size": 0.5}, [(384, 512), (768, 1024)]),
        ((3000, 4000), {"stroke_size": 16, "layers": 5}, [(24, 32)]),
        ((300, 401), {}, [(152, 200), (300, 401)]),  # a smaller photo ends at its own size
        ((300, 401), {"stroke_size": 2}, [(76, 100), (152, 200)]),
        ((300, 401), {"stroke_size": 0.5}, [(152, 200), (300, 401)]),
        ((20, 30), {"stroke_size": 3}, [(20, 30)]),
        ((1000, 1501), {"stroke_size": "network"}, [(1000, 1501)]),
        ((1000, 1501), {"stroke_size": "network", "layers": 2}, [(500, 752), (1000, 1501)]),
    ],
)
def test_each_layer_has_half_the_size_of_the_next(photo_size, options, sizes):
    assert layer_sizes(*photo_size, **options) == sizes


@settings(max_examples=200, deadline=None)
@given(
    st.integers(1, 20_000),
    st.integers(1, 20_000),
    st.integers(1, 5),
    st.one_of(st.floats(0.05, 16), st.just("network")),
)
def test_sizes_grow_keep_proportions_and_never_exceed_the_photo(height, width, layers, stroke_size):
    sizes = layer_sizes(height, width, layers, stroke_size)
    assert 1 <= len(sizes) <= layers
    for one, other in pairwise(sizes):
        assert one[0] <= other[0] and one[1] <= other[1] and one != other
    for size in sizes:
        for side, of_photo in zip(size, (height, width), strict=True):
            wanted = of_photo * min(size) / min(height, width)
            # Both sides are rounded to multiples of 4.
            assert abs(side - wanted) <= 2 + 2 * of_photo / min(height, width) + 1e-9
    assert sizes[-1][0] <= height + 4 and sizes[-1][1] <= width + 4


def test_each_layer_is_painted_over_six_tenths_of_the_one_before(large):
    backend = Recorder(lambda rgb: 255 - rgb)
    painter = Painter([backend], "residual", 16)
    painter([large], StylizeConfig(layers=3))

    def scaled(rgb, size, how):
        return np.asarray(Image.fromarray(rgb).resize(size[::-1], how)).astype(float)

    sizes = layer_sizes(*large.shape[:2], 3)
    assert [rgb.shape[:2] for rgb in backend.seen] == sizes
    painting = None
    for size, given_ in zip(sizes, backend.seen, strict=True):
        expected = scaled(large, size, Image.Resampling.LANCZOS)
        if painting is not None:
            below = scaled(painting, size, Image.Resampling.BICUBIC)
            expected = 0.6 * below + 0.4 * expected
        assert np.abs(expected - given_).mean() < 1.5  # of 255; the photo is scaled in two steps
        painting = 255 - given_
    ((whole, small, painted),) = backend.enlarged
    assert backend.expected == {"network", "enlargement"}
    assert whole is large
    assert small.shape[:2] == sizes[-1]
    np.testing.assert_array_equal(painted, painting)


def test_a_photo_no_larger_than_the_last_layer_is_not_enlarged(photo):
    backend = Recorder(lambda rgb: 255 - rgb)
    (painting,) = Painter([backend], "residual", 16)([photo], StylizeConfig())
    assert backend.enlarged == []
    assert backend.expected == {"network"}
    np.testing.assert_array_equal(painting, 255 - backend.seen[-1])


def test_strength_and_colors_are_of_the_whole_photo(photo):
    painter = Painter([Recorder(lambda rgb: 255 - rgb)], "residual", 16)
    config = StylizeConfig(strength=0.5, stroke_size="network")
    (half,) = painter([photo], config)
    assert np.abs(half.astype(int) - 127).max() <= 1
    (gray,) = painter([photo], StylizeConfig(preserve_color=True, stroke_size="network"))
    luma = np.asarray(Image.fromarray(255 - photo).convert("L")).astype(int)
    painted = np.asarray(Image.fromarray(gray).convert("YCbCr"))
    of_photo = np.asarray(Image.fromarray(photo).convert("YCbCr")).astype(int)
    # Where the new luma and the old chroma are within RGB.
    inside = ((gray > 0) & (gray < 255)).all(-1)
    assert inside.mean() > 0.2
    assert np.abs(painted[..., 0] - luma)[inside].max() <= 2
    assert np.abs(painted[..., 1:] - of_photo[..., 1:])[inside].max() <= 3


def test_the_word_network_is_the_papers_plain_pass(stylizer, photo):
    from stylecli.core.model_files import find_style
    from stylecli.engine.stylizer import open_backends

    path, _, mix = find_style(DEFAULT_MODEL, None)
    (backend,) = open_backends(path, mix, backend="auto", device="cpu", precision="float32")
    plain = backend(photo[None])[0]
    np.testing.assert_array_equal(stylizer(photo, stroke_size="network"), plain)
    assert (stylizer(photo) != plain).any()


def test_a_photo_looks_alike_at_every_size(stylizer, large):
    """At screen size; the paper's plain pass does not."""

    def at_screen_size(rgb):
        return np.asarray(Image.fromarray(rgb).resize((440, 300), Image.Resampling.LANCZOS))

    half = np.asarray(Image.fromarray(large).resize((886, 602), Image.Resampling.LANCZOS))
    for options, least, most in (({}, 0, 6), ({"stroke_size": "network"}, 10, 255)):
        pictures = [at_screen_size(stylizer(rgb, **options)) for rgb in (large, half)]
        assert least <= np.abs(pictures[0].astype(float) - pictures[1]).mean() <= most


def test_little_memory_gives_the_same_picture(stylizer, large):
    limited = Stylizer(DEFAULT_MODEL, max_memory=2**20, **FULL)
    difference = np.abs(limited(large).astype(int) - stylizer(large))
    # A level of the first layer's strips may become several in the second.
    assert (difference > 1).mean() < 1e-3
    assert difference.max() <= 12


def test_openvino_and_torch_paint_the_same_layers(large):
    given_ = {"backend": "torch", **FULL}
    difference = np.abs(
        Stylizer(DEFAULT_MODEL, **given_)(large).astype(int)
        - Stylizer(DEFAULT_MODEL, **{**given_, "backend": "openvino"})(large)
    )
    assert (difference > 1).mean() < 1e-3  # in float32
    assert difference.max() <= 12


def test_a_list_of_images_is_painted_one_by_one_in_its_order(stylizer, photo):
    images = [photo, Image.fromarray(photo[:90, :120]), photo[::-1].copy()]
    together = stylizer(images, layers=3)
    for image, painted in zip(images, together, strict=True):
        assert type(painted) is (np.ndarray if image is not images[1] else Image.Image)
        np.testing.assert_array_equal(np.asarray(painted), np.asarray(stylizer(image, layers=3)))
    assert stylizer([]) == []


def test_a_call_takes_the_settings_of_the_look_and_refuses_others(stylizer, photo):
    assert max(stylizer(photo, max_size=100).shape) == 100
    half = stylizer(photo, strength=0.5).astype(float)
    assert np.abs(half - (stylizer(photo) / 2.0 + photo / 2.0)).max() <= 1
    with pytest.raises(StyleCliError, match="unknown setting 'layer'") as refused:
        stylizer(photo, layer=3)
    assert "layers" in refused.value.hint
    for wrong in (0.01, 17, 0, float("nan"), float("inf"), True, "auto", None):
        with pytest.raises(StyleCliError, match="--stroke-size"):
            stylizer(photo, stroke_size=wrong)
    for wrong in (0, 6, 1.5, "two"):
        with pytest.raises(StyleCliError, match="--layers"):
            stylizer(photo, layers=wrong)


def test_files_with_strength_colors_transparency_and_a_size(stylizer, photo, tmp_path):
    rgba = np.dstack([photo, np.full(photo.shape[:2], 255, np.uint8)])
    rgba[:50, :, 3] = 0
    Image.fromarray(rgba).save(tmp_path / "a.png")
    config = StylizeConfig(stroke_size=2.0, strength=0.5, preserve_color=True, max_size=201)
    (result,) = stylizer.run(tmp_path / "a.png", tmp_path / "out.png", config)
    assert not result.error
    out = read_picture(result.job.target)
    assert (max(out.rgb.shape), out.alpha.min(), out.alpha.max()) == (201, 0, 255)
    plain = StylizeConfig(strength=0.5, preserve_color=True, max_size=201)
    (other,) = stylizer.run(tmp_path / "a.png", tmp_path / "plain.png", plain)
    assert (read_picture(other.job.target).rgb != out.rgb).any()


def test_frames_of_an_animation_are_painted_alike(stylizer, photo, tmp_path):
    frames = [Image.fromarray(photo[:90, i : i + 120]) for i in (0, 0, 9)]
    frames[1].putpixel((0, 0), (1, 2, 3))  # Pillow merges frames that are equal
    more = {"save_all": True, "append_images": frames[1:], "duration": 100, "lossless": True}
    frames[0].save(tmp_path / "a.webp", **more)
    config = StylizeConfig(stroke_size=8.0)
    (result,) = stylizer.run(tmp_path / "a.webp", tmp_path / "out.png", config)
    with Image.open(result.job.target) as out:
        for i, frame in enumerate(frames):
            out.seek(i)
            alone = stylizer(np.asarray(frame.convert("RGB")), stroke_size=8.0)
            np.testing.assert_array_equal(np.asarray(out.convert("RGB")), alone)


def test_out_of_memory_halves_the_batch_then_takes_strips(photo):
    """And every layer begins with the whole batch again."""
    sizes, strips = [], []

    class Small(Recorder):
        def __call__(self, photos):
            sizes.append(len(photos))
            if len(photos) > 1 or photos[0].shape[0] > 200:
                raise OutOfMemoryError("simulated")
            return photos

        def in_strips(self, rgb, scratch, memory):
            strips.append(rgb.shape[:2])
            return rgb

    painter = Painter([Small()], "residual", 16, batch_size=3)
    paintings = painter([photo] * 3, StylizeConfig())
    assert sizes == [3, 1, 2, 1, 1] * 2
    assert strips == [(301, 443)] * 3
    assert len(paintings) == 3
