"""Generators run by OpenVINO: several times as fast on a CPU, and up in half a second.

A generator is converted once, with torch, and kept in the user's cache folder.
"""

import hashlib
import tempfile
import warnings
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path

import numpy as np
import openvino as ov
import platformdirs

from stylecli.core.backends import Backend, Batch, free_cpu_memory, memory_errors
from stylecli.core.checkpoints import read_info
from stylecli.core.geometry import inner_size, pads_by_reflection
from stylecli.errors import StyleCliError, choose_from
from stylecli.files.images import Rgb

_CONVERSION = 1  # to be raised when what is converted changes
_KEPT_SIZES = 4  # each size of photo is compiled for itself: a tenth of a second
_KEPT_COMPILED = 32  # files of a few megabytes
_HINTS = {"float32": "f32", "bfloat16": "bf16"}


class OpenVinoBackend:
    """Runs a model file with OpenVINO; a :class:`stylecli.core.backends.Backend`.

    Args:
        path: the model file.
        mix: shares of its styles.
        precision: ``auto`` (bfloat16 where the processor has it), ``float32`` or ``bfloat16``.
        seed: of the noise inside the network.

    Raises:
        StyleCliError: an unknown precision, or a damaged file.
    """

    device_type = "cpu"

    def __init__(self, path: Path, mix: list[float], precision: str, seed: int = 0) -> None:
        if precision not in ("auto", *_HINTS):
            hint = choose_from(precision, ["auto", *_HINTS])
            raise StyleCliError(f"unknown precision {precision!r}", hint=hint)
        self._path, self._mix, self._precision, self._seed = path, mix, precision, seed
        self._arch = read_info(path).arch
        self._core = ov.Core()
        self._options = {"PERFORMANCE_HINT": "LATENCY"}
        if precision != "auto":
            self._options["INFERENCE_PRECISION_HINT"] = _HINTS[precision]
        self._network = cached(path, mix)
        compiled = self._network.parent / "compiled"
        self._options["CACHE_DIR"] = str(compiled)
        _keep_newest(compiled)
        self._torch: Backend | None = None  # for strips
        self._compiled: OrderedDict[tuple[int, ...], ov.CompiledModel] = OrderedDict()
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
        down, across = inner_size(self._arch, height, width)
        mode = "reflect" if pads_by_reflection(self._arch, height, width) else "edge"
        margins = ((0, 0), (0, down - height), (0, across - width), (0, 0))
        padded = np.pad(photos, margins, mode=mode)  # type: ignore[call-overload]
        painted: Batch = self._for(padded.shape)(np.ascontiguousarray(padded))[0]
        return painted[:, :height, :width]

    def _for(self, shape: tuple[int, ...]) -> ov.CompiledModel:
        if shape not in self._compiled:
            network = self._core.read_model(self._network)
            network.reshape(list(shape))
            self._compiled[shape] = self._core.compile_model(network, "CPU", self._options)
        self._compiled.move_to_end(shape)
        while len(self._compiled) > _KEPT_SIZES:
            self._compiled.popitem(last=False)
        return self._compiled[shape]

    def in_strips(self, rgb: Rgb, scratch: Path | None = None) -> Rgb:
        """Stylize one image (H, W, 3) of any size, exactly, with torch."""
        if self._torch is None:
            import torch

            from stylecli.core.torch_backend import load_torch_backend

            cpu = torch.device("cpu")
            self._torch = load_torch_backend(
                self._path, self._mix, cpu, self._precision, self._seed
            )
        return self._torch.in_strips(rgb, scratch)

    def free_memory(self) -> int:
        """Bytes that a pass may still take."""
        return free_cpu_memory()


def _keep_newest(folder: Path) -> None:
    """Leave only the networks compiled last: each size of photo adds one."""
    blobs = sorted(folder.glob("*.blob"), key=lambda blob: blob.stat().st_mtime, reverse=True)
    for blob in blobs[_KEPT_COMPILED:]:
        with suppress(OSError):  # another process has it open, or was first
            blob.unlink()


def cached(path: Path, mix: list[float]) -> Path:
    """The converted network of a model file, from the user's cache; converted if it is not there.

    Raises:
        StyleCliError: the model file is damaged, or the cache folder cannot be written.
    """
    told = f"{_CONVERSION} {ov.__version__} {mix}".encode()
    name = hashlib.sha256(path.read_bytes() + told).hexdigest()[:32]
    folder = platformdirs.user_cache_path("stylecli") / "openvino" / name
    if not (folder / "network.xml").is_file():
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder.parent) as partial:
                convert(path, mix, Path(partial) / name / "network.xml")
                _move(Path(partial) / name, folder)
        except OSError as error:
            raise StyleCliError(
                f"cannot write to the cache folder {folder.parent}: {error.strerror or error}",
                hint="pass --backend torch, or set XDG_CACHE_HOME to a folder that can be written",
            ) from error
    return folder / "network.xml"


def _move(source: Path, target: Path) -> None:
    try:
        source.rename(target)
    except OSError:
        if not (target / "network.xml").is_file():  # or another process was first
            raise


def convert(path: Path, mix: list[float], target: Path) -> None:
    """Convert a model file to OpenVINO's format: (N, H, W, 3) in 0..255 to the same.

    Height and width are free, but multiples of what the generator pads to.
    """
    import torch

    from stylecli.core.checkpoints import load_generator
    from stylecli.core.generators import Generator
    from stylecli.core.tensors import to_uint8_tensor

    class WithBytes(torch.nn.Module):
        """A generator from bytes to bytes."""

        def __init__(self, generator: Generator) -> None:
            super().__init__()
            self.generator = generator

        def forward(self, photos: torch.Tensor) -> torch.Tensor:
            x = self.generator.to_input(photos.permute(0, 3, 1, 2).float() / 255)
            return to_uint8_tensor(self.generator.to_rgb_range(self.generator.layers(x)))

    generator = load_generator(path)
    if len(mix) > 1:
        generator.remix(torch.tensor([mix]))
    example = torch.zeros(1, 64, 64, 3, dtype=torch.uint8)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of torch's tracer
        network = ov.convert_model(WithBytes(generator).eval(), example_input=example)
    target.parent.mkdir(parents=True, exist_ok=True)
    ov.save_model(network, target, compress_to_fp16=False)
