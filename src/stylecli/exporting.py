"""Export of generators to ONNX, for other runtimes; the file is checked before it is kept."""

from pathlib import Path

import numpy as np
import torch

from stylecli.core.generators import Generator
from stylecli.core.geometry import inner_size
from stylecli.core.model_files import load_model
from stylecli.core.tensors import to_tensor
from stylecli.errors import StyleCliError
from stylecli.files.atomic import atomic_path, require_writable
from stylecli.files.content import bundled_photos
from stylecli.files.images import read_rgb

_TOLERANCE = 1e-3  # of the range of colors
_CHECKED_AT = ((160, 256), (224, 128))  # height and width, px


def export_onnx(
    model: str, target: Path, style: str | None = None, *, overwrite: bool = False
) -> float:
    """Write a model as ONNX: ``photos`` (N, 3, H, W), RGB in [0, 1], to ``painted``, the same.

    N, H and W are free, but H and W are to be sizes that the architecture needs no padding for:
    multiples of 4 for residual; multiples of 32 and at least 64 for pyramid. The file is compared
    with torch by ONNX Runtime, on photos of sizes other than the one it was made with.

    Args:
        model: name or file.
        target: the ``.onnx`` file.
        style: which of the model's styles, or a blend.
        overwrite: replace a file that is there.

    Returns:
        The largest difference between the two, as a share of the range of colors.

    Raises:
        StyleCliError: no such model, the file exists, ONNX is not installed, or the check fails.
    """
    if target.suffix != ".onnx":
        raise StyleCliError(f"{target} does not end in .onnx", hint="such as: painted.onnx")
    if target.exists() and not overwrite:
        raise StyleCliError(f"{target} exists", hint="pass --overwrite, or another name")
    generator, _ = load_model(model, style)
    require_writable(target.parent)
    with atomic_path(target) as temporary:
        _export(generator, temporary)
        worst = max(_difference(generator, temporary, size) for size in _CHECKED_AT)
        if not worst < _TOLERANCE:
            raise StyleCliError(
                f"ONNX Runtime paints {model} differently: by up to {worst:.3g} of the range",
                hint="nothing was written; other versions of torch or onnxruntime may agree",
                exit_code=1,
            )
    return worst


class _Clipped(torch.nn.Module):
    """A generator on photos that need no padding, its colors clipped."""

    def __init__(self, generator: Generator) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, photos: torch.Tensor) -> torch.Tensor:
        z = self.generator.layers(self.generator.to_input(photos))
        return self.generator.to_rgb_range(z).clamp(0, 1)


def _export(generator: Generator, path: Path) -> None:
    try:
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise StyleCliError(
            "export needs ONNX, and it is not installed", hint="pip install 'stylecli[onnx]'"
        ) from error
    least, _ = inner_size(generator.spec.arch, 1, 1)
    photos = torch.rand(2, 3, 2 * least, 3 * least)
    # fmt: off
    free = {0: torch.export.Dim.DYNAMIC, 2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}
    # fmt: on
    torch.onnx.export(
        _Clipped(generator).eval(),
        (photos,),
        str(path),
        input_names=["photos"],
        output_names=["painted"],
        dynamic_shapes=(free,),
        dynamo=True,
        external_data=False,
        verbose=False,
    )


def _difference(generator: Generator, path: Path, size: tuple[int, int]) -> float:
    """The largest difference between torch and ONNX Runtime on a photo."""
    import onnxruntime

    rgb = read_rgb(bundled_photos()[0], max(size))[: size[0], : size[1]]
    photos = to_tensor(rgb[None], torch.device("cpu"))
    with torch.inference_mode():
        expected = _Clipped(generator)(photos).numpy()
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (painted,) = session.run(None, {"photos": photos.numpy()})
    return float(np.abs(painted - expected).max())
