"""Generators by their contract, over architectures, sizes and norms."""

import pytest
import torch

from stylecli.core.generators import Generator
from stylecli.core.spec import GeneratorSpec
from stylecli.errors import StyleCliError
from stylecli.files.content import bundled_photos
from stylecli.files.images import read_rgb

ARCHS = ["residual", "pyramid"]
NORMS = ["in", "bn", "none"]


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("noise", ["none", "gaussian"])
@pytest.mark.parametrize(("height", "width"), [(64, 96), (65, 67), (31, 130), (5, 9), (1, 1)])
def test_output_has_exactly_the_size_of_the_input(arch, norm, noise, height, width):
    generator = Generator(GeneratorSpec(arch, norm, 4, noise=noise)).eval()
    with torch.no_grad():
        assert generator(torch.rand(2, 3, height, width)).shape == (2, 3, height, width)


@pytest.mark.parametrize(
    ("arch", "width", "millions"),
    [("residual", 32, 1.68), ("residual", 16, 0.43), ("pyramid", 8, 0.117)],
)
def test_parameter_counts_are_the_papers(arch, width, millions):
    generator = Generator(GeneratorSpec(arch, "in", width))
    count = sum(p.numel() for p in generator.parameters())
    assert count / 1e6 == pytest.approx(millions, rel=0.03)


def with_two_styles(arch):
    """Two generators that differ in their norms' scales and shifts alone, and both in one."""
    torch.manual_seed(3)
    one = Generator(GeneratorSpec(arch, "in", 4)).eval()
    both = Generator(GeneratorSpec(arch, "in", 4)).remix(torch.ones(2, 1)).eval()
    weights = one.state_dict()
    for name, table in both.tables():
        table.data[0] = weights[name]
        table.data[1] = torch.randn(table.shape[1])
        weights[name] = table.data
    both.load_state_dict(weights)
    other = both.of_style(torch.tensor([0.0, 1.0]))
    return one, other, both


@pytest.mark.parametrize("arch", ARCHS)
def test_a_generator_of_two_styles_paints_each_photo_of_a_batch_in_its_own(arch):
    one, other, both = with_two_styles(arch)
    photos = torch.rand(3, 3, 64, 70)
    with torch.no_grad():
        painted = both(photos, torch.tensor([0, 1, 0]))
        expected = torch.cat([one(photos[:1]), other(photos[1:2]), one(photos[2:])])
    assert (both.styles, one.styles, other.styles) == (2, 1, 1)
    torch.testing.assert_close(painted, expected, atol=1e-5, rtol=1e-5)


def test_a_blend_of_one_and_nothing_is_the_style_itself_and_one_of_halves_lies_between():
    one, _, both = with_two_styles("residual")
    whole, half = both.of_style(torch.tensor([1.0, 0.0])), both.of_style(torch.tensor([0.5, 0.5]))
    for name, table in whole.tables():
        assert torch.equal(table, dict(one.tables())[name])
    for name, table in half.tables():
        torch.testing.assert_close(table, dict(both.tables())[name].mean(0))
    photo = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(whole(photo), one(photo))


def test_a_network_that_several_processes_train_can_be_copied(tmp_path):
    from torch import distributed

    store = distributed.FileStore(str(tmp_path / "store"), 1)
    distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        generator = Generator(GeneratorSpec("residual", "bn", 4))
        torch.nn.SyncBatchNorm.convert_sync_batchnorm(generator, distributed.new_group())
        copy = generator.of_style(torch.ones(1))
        norms = [m for m in copy.modules() if isinstance(m, torch.nn.SyncBatchNorm)]
        assert norms
        with torch.no_grad():
            norms[0].weight += 1
        assert any(
            not torch.equal(one, other)
            for one, other in zip(generator.parameters(), copy.parameters(), strict=True)
        )
    finally:
        distributed.destroy_process_group()


@pytest.mark.parametrize("norm", ["bn", "none"])
def test_without_instance_norm_a_generator_holds_one_style(norm):
    generator = Generator(GeneratorSpec("residual", norm, 4))
    assert generator.remix(torch.ones(1, 1)).styles == 1
    with pytest.raises(StyleCliError, match="holds one style"):
        generator.remix(torch.ones(2, 1))


@pytest.mark.parametrize("arch", ARCHS)
def test_instance_norm_makes_a_result_independent_of_the_batch(arch):
    torch.manual_seed(1)
    photos = torch.rand(3, 3, 64, 64)
    for norm, training, same in [("in", True, True), ("bn", True, False), ("bn", False, True)]:
        generator = Generator(GeneratorSpec(arch, norm, 4)).train(training)
        alone, together = generator(photos[:1]), generator(photos)[:1]
        assert torch.allclose(alone, together, atol=1e-4) == same


def test_a_pale_photo_gives_the_same_picture_with_instance_norm_only():
    # Without training this is algebra: the first norm removes an affine change of the photo.
    torch.manual_seed(2)
    rgb = read_rgb(bundled_photos()[0], 128)[:128, :128]
    photo = torch.tensor(rgb).permute(2, 0, 1)[None] / 255
    moved = {}
    for norm in ("in", "bn", "none"):
        generator = Generator(GeneratorSpec("residual", norm, 8)).eval()
        with torch.no_grad():
            vivid, pale = generator(photo), generator(0.4 * photo + 0.5)
        moved[norm] = float((vivid - pale).abs().mean() / vivid.std())
    assert moved["in"] < 0.01
    assert min(moved["bn"], moved["none"]) > 10 * moved["in"]


@pytest.mark.parametrize(
    ("spec", "suggestion"),
    [
        (GeneratorSpec(arch="residuals"), "did you mean residual?"),
        (GeneratorSpec(norm="bm"), "did you mean bn?"),
        (GeneratorSpec(noise="gausian"), "did you mean gaussian?"),
        (GeneratorSpec(upsampling="nearst"), "did you mean nearest?"),
        (GeneratorSpec(width=0), "at least 1"),
        (GeneratorSpec(width="8"), "see --help"),
    ],
)
def test_an_unknown_part_is_an_error_with_the_nearest_name(spec, suggestion):
    with pytest.raises(StyleCliError) as caught:
        Generator(spec)
    assert suggestion in caught.value.hint


@pytest.mark.parametrize("photos", [1, 3])
def test_a_generator_of_several_styles_does_not_choose_one_by_itself(photos):
    generator = Generator(GeneratorSpec("residual", "in", 4)).remix(torch.ones(3, 1))
    batch = torch.rand(photos, 3, 32, 32)
    with pytest.raises(ValueError, match="holds 3 styles"):
        generator(batch)
    with pytest.raises(ValueError, match="holds 3 styles"):
        generator(batch, seeds=torch.arange(photos))
    assert generator(batch, torch.zeros(photos, dtype=torch.int64)).shape == batch.shape
