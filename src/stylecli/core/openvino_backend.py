"""Generators run by OpenVINO: several times as fast as torch on a CPU, and up in half a second.

The network is built from the weights in the model file: nothing is converted, nothing is kept on
the disk, and torch is not needed.
"""

import sys
from collections import OrderedDict
from pathlib import Path

import numpy as np
import numpy.typing as npt

from stylecli.core.backend import Backend, Batch, free_cpu_memory, memory_errors
from stylecli.core.geometry import inner_size, pads_by_reflection
from stylecli.core.model_files import load_arrays, read_info
from stylecli.core.noise import noise_plane
from stylecli.errors import StyleCliError, choose_from
from stylecli.files.colors import Rgb

# OpenVINO imports its converter, if it can, and that what reports each use to its makers. Neither
# is needed here, and both take time.
_CONVERTER = "openvino.tools.ovc"
if "openvino" not in sys.modules and _CONVERTER not in sys.modules:
    sys.modules[_CONVERTER] = None  # type: ignore[assignment]  # Python's way to say: not there
    try:
        import openvino as ov
    finally:
        del sys.modules[_CONVERTER]
else:
    import openvino as ov

from stylecli.core.openvino_graph import Weights, build_graph  # noqa: E402

_KEPT_SIZES = 4  # each size of photo is compiled for itself: a tenth of a second
_HINTS = {"float32": "f32", "bfloat16": "bf16"}


class OpenVinoBackend:
    """Runs a model file with OpenVINO; a :class:`stylecli.core.backend.Backend`.

    Args:
        path: the model file.
        mix: shares of its styles.
        precision: ``auto`` (bfloat16 where the processor has it), ``float32`` or ``bfloat16``.
        seed: of the noise, if the model has any.

    Raises:
        StyleCliError: an unknown precision, or a damaged file.
    """

    device_type = "cpu"

    def __init__(self, path: Path, mix: list[float], precision: str, seed: int = 0) -> None:
        if precision not in ("auto", *_HINTS):
            hint = choose_from(precision, ["auto", *_HINTS])
            raise StyleCliError(f"unknown precision {precision!r}", hint=hint)
        self._path, self._mix, self._precision, self._seed = path, mix, precision, seed
        self._spec = read_info(path).spec
        self._weights = mixed_weights(path, mix)
        self._core = ov.Core()
        self._options = {"PERFORMANCE_HINT": "LATENCY"}
        if precision != "auto":
            self._options["INFERENCE_PRECISION_HINT"] = _HINTS[precision]
        self._torch: Backend | None = None  # for strips
        self._compiled: OrderedDict[tuple[int, ...], _Sized] = OrderedDict()
        capabilities = self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        short = precision == "bfloat16" or (precision == "auto" and "BF16" in capabilities)
        self.itemsize = 2 if short else 4
        self.description = f"cpu, openvino, {'bfloat16' if short else 'float32'}"

    @memory_errors()
    def __call__(self, photos: Batch) -> Batch:
        """Stylize photos of one size: (N, H, W, 3) to (N, H, W, 3), 0..255.

        Raises:
            OutOfMemoryError: they do not fit.
        """
        height, width = photos.shape[1:3]
        down, across = inner_size(self._spec.arch, height, width)
        mode = "reflect" if pads_by_reflection(self._spec.arch, height, width) else "edge"
        margins = ((0, 0), (0, down - height), (0, across - width), (0, 0))
        padded = np.pad(photos, margins, mode=mode)  # type: ignore[call-overload]
        return self._for(padded.shape)(np.ascontiguousarray(padded))[:, :height, :width]

    def _for(self, shape: tuple[int, ...]) -> "_Sized":
        if shape not in self._compiled:
            network, noises = build_graph(self._weights, self._spec)
            sized = _Sized(self._core, self._options, network, noises, shape, self._seed)
            self._compiled[shape] = sized
        self._compiled.move_to_end(shape)
        while len(self._compiled) > _KEPT_SIZES:
            self._compiled.popitem(last=False)
        return self._compiled[shape]

    def in_strips(self, rgb: Rgb, scratch: Path | None = None, memory: int | None = None) -> Rgb:
        """Stylize one image (H, W, 3) of any size, exactly, with torch."""
        if self._torch is None:
            import torch

            from stylecli.core.torch_backend import load_torch_backend

            cpu = torch.device("cpu")
            self._torch = load_torch_backend(
                self._path, self._mix, cpu, self._precision, self._seed
            )
        return self._torch.in_strips(rgb, scratch, memory)

    def free_memory(self) -> int:
        """Bytes that a pass may still take."""
        return free_cpu_memory()


class _Sized:
    """A network compiled for one size of photos, and the noise that it takes."""

    def __init__(
        self,
        core: ov.Core,
        options: dict[str, str],
        network: ov.Model,
        noises: list[tuple[int, int]],
        shape: tuple[int, ...],
        seed: int,
    ) -> None:
        sides = [(shape[1] // scale, shape[2] // scale) for _, scale in noises]
        network.reshape({0: list(shape)} | {i: [1, 1, *s] for i, s in enumerate(sides, start=1)})
        self.request = core.compile_model(network, "CPU", options).create_infer_request()
        self.planes = [
            _plane(height, width, layer, seed)
            for (layer, _), (height, width) in zip(noises, sides, strict=True)
        ]

    def __call__(self, photos: Batch) -> Batch:
        painted: Batch = self.request.infer([photos, *self.planes], share_inputs=True)[0]
        return painted.copy()  # the request uses its memory again


def _plane(height: int, width: int, layer: int, seed: int) -> npt.NDArray[np.float32]:
    plane = noise_plane(np.arange(height)[:, None], np.arange(width), layer, seed)  # (H, W)
    return plane.astype(np.float32)[None, None]  # type: ignore[no-any-return]


def mixed_weights(path: Path, mix: list[float]) -> Weights:
    """The weights in a model file; what each of its styles has of its own, mixed by shares.

    Raises:
        StyleCliError: the file is damaged.
    """
    shares = np.array(mix, np.float32)
    own = ("weight", "bias", "strength")
    return {
        name: shares @ array if array.ndim == 2 and name.endswith(own) else array
        for name, array in load_arrays(path).items()
    }
