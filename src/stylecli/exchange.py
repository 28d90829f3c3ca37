"""Models of other programs: checkpoints imported, ONNX exported."""

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stylecli import __version__
from stylecli.core.devices import to_tensor
from stylecli.core.generators import Generator
from stylecli.core.model_files import (
    ModelInfo,
    load_model,
    match_name,
    refuse_bundled_name,
    require_name,
    save_model,
)
from stylecli.core.spec import GeneratorSpec
from stylecli.core.tensor_files import SUFFIX, load_weights
from stylecli.errors import StyleCliError
from stylecli.files.atomic import atomic_path, refuse_to_replace, require_writable
from stylecli.files.content import bundled_photos
from stylecli.files.images import read_rgb

# The names of their convolutions and norms, and the place of both in the generator.
_BLOCKS = {("conv1", "in1"): "body.0", ("conv2", "in2"): "body.2", ("conv3", "in3"): "body.4"}
_BLOCKS |= {
    (f"res{i}.conv{j}", f"res{i}.in{j}"): f"body.{5 + i}.branch.{2 * j - 2}"
    for i in range(1, 6)
    for j in (1, 2)
}
_BLOCKS |= {("deconv1", "in4"): "body.12", ("deconv2", "in5"): "body.15"}
# The name of their layer, by that of ours.
_THEIRS = {f"{place}.0": f"{conv}.conv2d" for (conv, _), place in _BLOCKS.items()}
_THEIRS |= {f"{place}.1": norm for (_, norm), place in _BLOCKS.items()}
_THEIRS |= {"body.17": "deconv3.conv2d"}
# Statistics of instance norms, which old versions of torch stored.
_PASSED_OVER = re.compile(r"\.(running_mean|running_var|num_batches_tracked)$")


def import_checkpoint(
    source: Path, name: str, license_: str = "", *, overwrite: bool = False
) -> Path:
    """Turn a checkpoint into an ordinary model file, ``models/NAME.safetensors``.

    Its network is Johnson's with instance norm, as PyTorch's example ``fast_neural_style`` trains
    it, with colors in 0..255 at both ends. That scale becomes part of the first and the last
    convolution. Biases before an instance norm have no effect and are left out.

    Args:
        source: a ``.pth`` or ``.safetensors`` file with a dictionary of tensors, as it is or below
            ``state_dict`` or ``model_state_dict``; the names may begin with ``module.``.
        name: the name of the new model.
        license_: a line that is stored in it.
        overwrite: replace a model of that name.

    Raises:
        StyleCliError: the file is not such a checkpoint; the model is there, or its name is that of
            a bundled one.
    """
    target = Path("models") / f"{require_name(name)}{SUFFIX}"
    refuse_bundled_name(name)
    if not overwrite:
        refuse_to_replace(target)
    generator = build_generator(load_weights(source))
    require_writable(target.parent)
    info = ModelInfo(
        name=name,
        spec=generator.spec,
        training={"imported_from": source.name, "stylecli": __version__},
        styles=[name],
        license=license_,
    )
    save_model(target, generator, info)
    return target


def build_generator(state: dict[str, Tensor]) -> Generator:
    """A generator that paints what the network of a state dict paints.

    Raises:
        StyleCliError: tensors are missing, unknown, or of another shape.
    """
    try:
        generator = Generator(_spec_of(state))
        ours = {}
        for name in generator.state_dict():
            layer, _, kind = name.rpartition(".")
            ours[name] = _weights(state, f"{_THEIRS[layer]}.{kind}")
        _rescale(generator, ours["body.0.0.weight"], ours["body.17.weight"], ours["body.17.bias"])
        generator.load_state_dict(ours)
    except KeyError as error:
        raise _no_such_checkpoint(f"{error} is missing") from error
    except (RuntimeError, IndexError) as error:
        reason = str(error).strip().splitlines()[-1].strip()
        raise _no_such_checkpoint(reason) from error
    known = {f"{layer}.{kind}" for layer in _THEIRS.values() for kind in ("weight", "bias")}
    if unknown := [key for key in state if key not in known and not _PASSED_OVER.search(key)]:
        raise _no_such_checkpoint(f"{unknown[0]} does not belong to it")
    return generator.eval()


def _spec_of(state: dict[str, Tensor]) -> GeneratorSpec:
    """The generator that a state dict is for; its first layer has its width."""
    width = _weights(state, "conv1.conv2d.weight").shape[0]
    largest = tuple(_weights(state, "res1.conv1.conv2d.weight").shape)
    if largest != (4 * width, 4 * width, 3, 3):  # nothing is allocated for what is only claimed
        raise _no_such_checkpoint(f"its first layer has {width} channels, its residual {largest}")
    return GeneratorSpec(width=width)


def _weights(state: dict[str, Tensor], key: str) -> Tensor:
    """A copy of one tensor in float32."""
    tensor = state[key]
    if tensor.layout == torch.strided and tensor.nbytes > tensor.untyped_storage().nbytes():
        raise _no_such_checkpoint(f"{key} claims to hold more numbers than it does")
    if not tensor.is_floating_point() or tensor.layout != torch.strided:
        what = f"{tensor.dtype} ({str(tensor.layout).removeprefix('torch.')})"
        raise _no_such_checkpoint(f"{key} holds {what}, not plain floating-point numbers")
    copy = tensor.to(torch.float32, copy=True)
    if not bool(copy.isfinite().all()):
        raise _no_such_checkpoint(f"{key} is not finite")
    return copy


def _rescale(generator: Generator, first: Tensor, last: Tensor, bias: Tensor) -> None:
    """Change layers for colors in 0..255 into ours, in place; see :meth:`Generator.to_input`."""
    low, high = (float(generator.to_input(torch.tensor(x))) for x in (0.0, 1.0))
    first *= 255 / (high - low)
    black, gain = (float(generator.to_rgb_range(torch.tensor(z))) for z in (0.0, 1.0))
    gain -= black  # rgb = black + gain * z
    last /= 255 * gain
    bias.copy_((bias / 255 - black) / gain)


def _no_such_checkpoint(reason: str) -> StyleCliError:
    return StyleCliError(
        f"this is not a checkpoint of PyTorch's fast_neural_style example: {reason}",
        hint="expected: conv1.conv2d.weight, in1.weight, res1.conv1.conv2d.weight and so on",
    )


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

    N, H and W are free: the network in the file pads each photo, and crops its picture.

    Args:
        model: name or file.
        target: the ``.onnx`` file.
        style: which of the model's styles, or a blend.
        opset: the version of ONNX's operators, at least 18.
        overwrite: replace a file that is there.

    Returns:
        The largest difference between pictures of ONNX Runtime and of torch at several sizes, as a
        share of the range of colors.

    Raises:
        StyleCliError: there is no such model, the file is there, ONNX is not installed or does not
            have the opset, or the pictures differ.
    """
    if target.suffix != ".onnx":
        raise StyleCliError(f"{target} does not end in .onnx", hint="such as: painted.onnx")
    if not overwrite:
        refuse_to_replace(target)
    generator, info = load_model(model, style)
    _require_onnx(opset)
    require_writable(target.parent)
    chosen = style or match_name(model, info.styles) or info.styles[0]
    facts = {"model": info.name, "style": chosen, "license": info.license, "stylecli": __version__}
    with atomic_path(target) as temporary:
        temporary.write_bytes(_serialize(generator, opset, facts))
        return _compare_with_runtime(generator, temporary, model)


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
    """ONNX Runtime, without its reports to its maker."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # before the import: its own function is too late
    import onnxruntime

    return onnxruntime


def _serialize(generator: Generator, opset: int, facts: dict[str, str]) -> bytes:
    """The bytes of an ONNX file with a generator and its metadata."""
    import onnx

    from stylecli.core.onnx_graph import build_onnx

    weights = {name: tensor.numpy() for name, tensor in generator.state_dict().items()}
    made = build_onnx(weights, generator.spec, opset)
    made.producer_name, made.producer_version = "stylecli", __version__
    onnx.helper.set_model_props(made, {**facts, "opset": str(opset)})
    onnx.checker.check_model(made, full_check=True)
    return bytes(made.SerializeToString())


def _compare_with_runtime(generator: Generator, path: Path, model: str) -> float:
    """The largest difference between torch and ONNX Runtime; StyleCliError if it can be seen."""
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
    if not worst < _TOLERANCE:
        raise StyleCliError(
            f"ONNX Runtime paints {model} differently: by up to {worst:.3g} of the range",
            hint="nothing was written; other versions of torch or onnxruntime may agree",
            exit_code=1,
        )
    return worst
