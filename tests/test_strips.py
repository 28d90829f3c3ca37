"""Strips give what one pass over the whole image gives, for every generator and norm."""

import gc
import tempfile
import weakref

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stylecli.core.architectures import ARCHITECTURES
from stylecli.core.devices import to_tensor
from stylecli.core.generators import Generator
from stylecli.core.spec import GeneratorSpec
from stylecli.core.strips import channel_statistics, rows_in, run_in_strips
from stylecli.files.content import bundled_photos
from stylecli.files.images import read_rgb

CPU = torch.device("cpu")


def generator_with_contrast(arch, norm, **more):
    """Untrained, but with scales that make a picture of much contrast, and shifts that matter."""
    torch.manual_seed(5)
    generator = Generator(GeneratorSpec(arch, norm, 4, **more)).eval()
    for name, parameter in generator.named_parameters():
        if parameter.ndim == 1:
            parameter.data += 0.3 * torch.randn(parameter.shape)
        elif name.startswith(("body.12", "body.16", "to_rgb")):
            parameter.data *= 3
    for name, buffer in generator.named_buffers():
        if "running" in name:
            buffer.data += torch.rand(buffer.shape)
    return generator


def whole(generator, rgb):
    with torch.inference_mode():
        return generator(to_tensor(rgb[None], CPU))[0].permute(1, 2, 0).mul(255).numpy()


@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize("norm", ["in", "bn", "none"])
def test_strips_equal_one_pass_over_the_whole_image(arch, norm):
    rgb = read_rgb(bundled_photos()[7], 150)[:, :203]
    generator = generator_with_contrast(arch, norm)
    expected = whole(generator, rgb)
    assert expected.std() > 3
    strips = run_in_strips(generator, rgb, CPU, torch.float32, rows=32).astype(float)
    apart = np.abs(strips - expected.round().clip(0, 255))
    assert apart.max() <= 1
    assert (apart > 0).mean() < 0.01  # a value halfway between two may be rounded either way


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_files_of_maps_are_closed_when_nothing_needs_them(arch, monkeypatch):
    """Without the collector of cycles, which may come much later."""
    files, most = [], 0
    make = tempfile.TemporaryFile

    def note(**given):
        nonlocal most
        file = make(**given)
        files.append(weakref.ref(file))
        most = max(most, sum(one() is not None for one in files))
        return file

    monkeypatch.setattr(tempfile, "TemporaryFile", note)
    rgb = read_rgb(bundled_photos()[7], 150)
    gc.disable()
    try:
        run_in_strips(generator_with_contrast(arch, "in"), rgb, CPU, torch.float32, rows=32)
        assert not any(one() for one in files)
    finally:
        gc.enable()
    assert 0 < most < len(files)


@settings(max_examples=16, deadline=None)
@given(
    noise=st.sampled_from(["none", "gaussian"]),
    upsampling=st.sampled_from(["nearest", "bilinear"]),
    height=st.integers(1, 130),
    width=st.integers(1, 90),
    rows=st.integers(1, 70),
    arch=st.sampled_from(sorted(ARCHITECTURES)),
)
def test_any_size_and_strip_height_will_do(height, width, rows, arch, noise, upsampling):
    rgb = np.random.default_rng(height * width).integers(0, 256, (height, width, 3), np.uint8)
    kind = {"noise": noise, "upsampling": upsampling}
    generator = generator_with_contrast(arch, "in", **kind).use_seed(3)
    strips = run_in_strips(generator, rgb, CPU, torch.float32, rows=rows)
    expected = whole(generator, rgb).round().clip(0, 255)
    assert strips.shape == rgb.shape
    if height * width > 1:  # of one color, a norm makes its own rounding large: no use to compare
        assert np.abs(strips.astype(float) - expected).max() <= 1


def test_statistics_of_strips_are_those_of_the_whole():
    rows = torch.randn(1, 3, 50, 7).double() * 3 + 100
    mean, var = channel_statistics(iter(rows.split(8, dim=2)))
    torch.testing.assert_close(mean, rows.mean((0, 2, 3)).float())
    torch.testing.assert_close(var, rows.var((0, 2, 3), correction=0).float())


def test_bfloat16_stays_close():
    rgb = read_rgb(bundled_photos()[14], 128)
    generator = generator_with_contrast("residual", "in")
    strips = run_in_strips(generator, rgb, CPU, torch.bfloat16, rows=40).astype(float)
    expected = whole(generator, rgb).clip(0, 255)
    assert np.abs(strips - expected).mean() < 2


def test_strips_are_as_high_as_their_memory_allows():
    generator = generator_with_contrast("residual", "none")
    assert rows_in(1, generator, 400) == 16
    few, twice = rows_in(10_000_000, generator, 400), rows_in(20_000_000, generator, 400)
    assert 16 < few < twice <= 2 * few + 1
