"""An exported model paints the same in another runtime."""

import numpy as np
import pytest
import torch

from stylecli.core.model_files import bundled_models, load_model
from stylecli.errors import StyleCliError
from stylecli.exporting import export_onnx
from stylecli.files.images import read_rgb


@pytest.mark.parametrize("arch", ["residual", "pyramid"])
def test_an_exported_model_paints_the_same_at_sizes_it_was_not_made_with(tmp_path, arch):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    path = tmp_path / "starry.onnx"
    assert export_onnx(f"starry-night-{arch}-in", path) < 1e-3
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    photo = (
        read_rgb(bundled_models() / "paintings" / "starry-night.jpg", 128)[:128, :160]
        .astype(np.float32)
        .transpose(2, 0, 1)[None]
        / 255
    )
    both = np.concatenate([photo, photo[..., ::-1]])
    (painted,) = session.run(None, {"photos": both})
    generator, _ = load_model(f"starry-night-{arch}-in")
    with torch.no_grad():
        expected = generator(torch.from_numpy(both)).clamp(0, 1).numpy()
    assert np.abs(painted - expected).max() < 1e-3
    with pytest.raises(StyleCliError, match="exists"):
        export_onnx("starry-night", path)
