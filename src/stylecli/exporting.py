"""Export of generators to ONNX, for other runtimes; the file is checked before it is kept."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stylecli import __version__
from stylecli.core.generators import Generator
from stylecli.core.model_files import ModelInfo, load_model
from stylecli.core.model_names import match_name
from stylecli.core.tensors import to_tensor
from stylecli.errors import StyleCliError
from stylecli.files.atomic import atomic_path, require_writable
from stylecli.files.content import bundled_photos
from stylecli.files.images import read_rgb

OPSET = 18  # the least that has all operators of a generator: the most runtimes read it
_TOLERANCE = 1e-3  # of the range of colors
# Height and width, px. A photo of one pixel is flat: instance norms enlarge the rounding errors of
# its maps, and even torch's own results in float32 and in float64 differ by 0.06.
_CHECKED_AT = ((3, 5), (97, 131), (160, 256))


def export_onnx(
    model: str,
    target: Path,
    style: str | None = None,
    *,
    opset: int = OPSET,
    overwrite: bool = False,
) -> float:
    """Write a model as ONNX: ``photo`` (N, 3, H, W), RGB in [0, 1], to ``painted``, the same.

    N, H and W are free: the network inside pads a photo as ours does, and crops its picture. The
    file is compared with torch by ONNX Runtime, on photos of several sizes. Its metadata says
    which style it paints, of which model, under which license, and what wrote it.

    Args:
        model: name or file.
        target: the ``.onnx`` file.
        style: which of the model's styles, or a blend.
        opset: the version of ONNX's operators, at least 18.
        overwrite: replace a file that is there.

    Returns:
        The largest difference between the two, as a share of the range of colors.

    Raises:
        StyleCliError: no such model, the file exists, ONNX is not installed or has no such opset,
            or the check fails.
    """
    if target.suffix != ".onnx":
        raise StyleCliError(f"{target} does not end in .onnx", hint="such as: painted.onnx")
    if target.exists() and not overwrite:
        raise StyleCliError(f"{target} exists", hint="pass --overwrite, or another name")
    generator, info = load_model(model, style)
    _require_onnx(opset)
    require_writable(target.parent)
    with atomic_path(target) as temporary:
        temporary.write_bytes(_as_onnx(generator, opset, _facts(model, style, info)))
        worst = _largest_difference(generator, temporary)
        if not worst < _TOLERANCE:
            raise StyleCliError(
                f"ONNX Runtime paints {model} differently: by up to {worst:.3g} of the range",
                hint="nothing was written; other versions of torch or onnxruntime may agree",
                exit_code=1,
            )
    return worst


def _require_onnx(opset: int) -> None:
    """Raise StyleCliError if ONNX is not installed, or does not know an opset."""
    try:
        import onnx

        _import_runtime()
    except ImportError as error:
        raise StyleCliError(
            "export needs ONNX, and it is not installed", hint="pip install 'stylecli[onnx]'"
        ) from error
    newest = onnx.defs.onnx_opset_version()
    if not OPSET <= opset <= newest:
        raise StyleCliError(
            f"--opset {opset} is out of range",
            hint=f"it is from {OPSET} to {newest} with onnx {onnx.__version__}",
        )


def _import_runtime() -> Any:
    """ONNX Runtime, which would otherwise report each use of it to its maker."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # its function for that comes too late
    import onnxruntime

    return onnxruntime


def _facts(model: str, style: str | None, info: ModelInfo) -> dict[str, str]:
    """What a file says of itself: what it paints, and what wrote it."""
    chosen = style or match_name(model, info.styles) or info.styles[0]
    named = {"model": info.name, "style": chosen, "license": info.license}
    return {**named, "stylecli": __version__}


def _as_onnx(generator: Generator, opset: int, facts: dict[str, str]) -> bytes:
    """The bytes of an ONNX file with a generator and facts on it."""
    import onnx

    from stylecli.core.onnx_graph import build_onnx

    weights = {name: tensor.numpy() for name, tensor in generator.state_dict().items()}
    made = build_onnx(weights, generator.spec, opset)
    made.producer_name, made.producer_version = "stylecli", __version__
    onnx.helper.set_model_props(made, {**facts, "opset": str(opset)})
    onnx.checker.check_model(made, full_check=True)
    return bytes(made.SerializeToString())


def _largest_difference(generator: Generator, path: Path) -> float:
    """The largest difference between torch and ONNX Runtime on parts of a photo.

    Raises:
        StyleCliError: ONNX Runtime cannot open the file.
    """
    try:
        session = _import_runtime().InferenceSession(path, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime raises many kinds
        raise StyleCliError(
            f"ONNX Runtime cannot open the file: {str(error).partition(chr(10))[0]}",
            hint="leave --opset out, or update onnxruntime",
        ) from error
    rgb = read_rgb(bundled_photos()[0], 256)
    worst = 0.0
    for height, width in _CHECKED_AT:
        photo = to_tensor(rgb[None, :height, :width], torch.device("cpu"))
        with torch.inference_mode():
            expected = generator(photo).clamp(0, 1).numpy()
        (painted,) = session.run(None, {"photo": photo.numpy()})
        worst = max(worst, float(np.abs(painted - expected).max()))
    return worst
