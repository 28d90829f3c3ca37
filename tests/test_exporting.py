"""An exported model paints the same in another runtime, photos of any size."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import stylecli
from stylecli.core.generators import Generator
from stylecli.core.model_files import ModelInfo, load_model, save_model
from stylecli.core.spec import GeneratorSpec
from stylecli.errors import StyleCliError
from stylecli.exchange import export_onnx
from stylecli.files.content import bundled_photos
from stylecli.files.images import read_rgb

os.environ["ORT_DISABLE_TELEMETRY"] = "1"
onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

KINDS = [
    GeneratorSpec(arch, norm, width=4, **more)
    for arch in ("residual", "pyramid")
    for norm in ("in", "bn", "none")
    for more in (
        {},
        {"noise": "gaussian", "upsampling": "bilinear"},
    )
]


def opened(path):
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def photos(count, height, width):
    """Parts of a photo, (N, 3, H, W) in [0, 1]."""
    rgb = read_rgb(bundled_photos()[3], 200)
    parts = [rgb[9 * i : 9 * i + height, 5 * i : 5 * i + width] for i in range(count)]
    return (np.stack(parts) / 255).astype(np.float32).transpose(0, 3, 1, 2)


@pytest.mark.parametrize("spec", KINDS, ids=lambda s: f"{s.arch}-{s.norm}-{s.noise}")
def test_every_kind_of_generator_paints_the_same_as_onnx_at_any_size(tmp_path, spec):
    torch.manual_seed(0)
    generator = Generator(spec)
    for name, buffer in generator.named_buffers():  # of a new batch norm, they change nothing
        if name.endswith(("running_mean", "running_var")):
            buffer.uniform_(0.5, 2)
    info = ModelInfo(name="x", spec=generator.spec)
    save_model(tmp_path / "x.safetensors", generator.eval(), info)
    export_onnx(str(tmp_path / "x.safetensors"), tmp_path / "x.onnx")
    session = opened(tmp_path / "x.onnx")
    for given in (photos(1, 1, 1), photos(2, 97, 131), photos(1, 1, 70), photos(3, 33, 8)):
        with torch.no_grad():
            expected = generator(torch.from_numpy(given)).clamp(0, 1).numpy()
        (painted,) = session.run(None, {"photo": given})
        assert painted.shape == given.shape
        assert 0 <= painted.min() <= painted.max() <= 1
        # Of one pixel all maps are flat, and instance norms enlarge rounding errors: torch's own
        # results in float32 and float64 differ by 0.05, and with the number of threads.
        if spec.norm != "in" or given[0, 0].size > 1:
            assert np.abs(painted - expected).max() < 1e-4, given.shape


def test_an_exported_file_names_its_sides_and_says_what_it_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    export_onnx("gallery", Path("blend.onnx"), "udnie:0.7,great-wave:0.3")
    export_onnx("udnie", Path("udnie.onnx"), opset=21)
    session = opened("blend.onnx")
    (photo,), (painted,) = session.get_inputs(), session.get_outputs()
    assert (photo.name, painted.name) == ("photo", "painted")
    assert photo.shape == painted.shape == ["batch", 3, "height", "width"]
    _, info = load_model("udnie")
    metadata = session.get_modelmeta().custom_metadata_map
    assert metadata == {
        "model": "gallery",
        "style": "udnie:0.7,great-wave:0.3",
        "license": info.license,
        "stylecli": stylecli.__version__,
        "opset": "18",
    }
    other = onnx.load("udnie.onnx")
    assert {one.key: one.value for one in other.metadata_props}["style"] == "udnie"
    assert other.opset_import[0].version == 21


def test_an_exported_file_says_nothing_of_the_machine(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    export_onnx("udnie", Path("udnie.onnx"))
    content = Path("udnie.onnx").read_bytes()
    for place in (Path(stylecli.__file__).parent, tmp_path, Path(sys.prefix), Path.home()):
        assert str(place).encode() not in content
    assert b"stylecli." not in content
    assert b"File " not in content


@pytest.mark.parametrize("opset", [17, 1000])
def test_an_opset_that_cannot_be_is_refused(tmp_path, opset):
    with pytest.raises(StyleCliError, match=f"--opset {opset} is out of range"):
        export_onnx("udnie", tmp_path / "udnie.onnx", opset=opset)
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_there_stays_unless_told_otherwise(tmp_path):
    (tmp_path / "x.onnx").write_text("mine")
    with pytest.raises(StyleCliError, match="exists"):
        export_onnx("udnie", tmp_path / "x.onnx")
    assert (tmp_path / "x.onnx").read_text() == "mine"
