"""Generators run by OpenVINO: several times as fast as torch on a CPU, and up in half a second.

The network is built from the weights in the model file: nothing is converted, nothing is kept on
the disk, and torch is not needed.
"""

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from threading import Lock, Thread

import numpy as np
import numpy.typing as npt

from stylecli.core.architectures import ARCHITECTURES, plan_padding
from stylecli.core.architectures.layers import noise_plane
from stylecli.core.backend import Backend, Batch, free_cpu_memory, memory_errors
from stylecli.core.model_files import load_arrays, read_info
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

from stylecli.core.openvino_graph import (  # noqa: E402
    UNBOUND,
    OpenVinoEnlarger,
    RequestPool,
    Weights,
    build_graph,
    infer,
)

# The first array that OpenVINO is given makes it look up numpy. Two threads that do so at once can
# wait for one another for ever, the one for Python's lock and the other for OpenVINO's (seen once
# in a run over two photos), so it happens here, in one thread.
ov.Tensor(np.zeros(1, np.uint8), shared_memory=True)

_CORE = ov.Core()
_, _CORES = _CORE.get_property("CPU", "RANGE_FOR_STREAMS")
_ENLARGER = OpenVinoEnlarger(_CORE, _CORES)  # which is the same for every network

# One network takes photos of any size. Those that are compiled for one size are a seventh faster,
# but their last bits differ, so that a photo would come out otherwise among others of its size.
_MOST_FREE = 2048  # px: free sides need bounds; a photo with a longer one has a network of its own
# Networks that run at once have at least so many cores each: a photo alone has all of a small
# machine, and more at once would fill the memory of a large one. The number is the same for every
# photo, since on another number of cores the last bits of a picture differ.
_CORES_FOR_EACH = 4
# OpenVINO makes a kernel for each layer of a network and each size, and would keep thousands:
# a megabyte for each photo of another size. So many are enough for the sizes of two photos.
_KERNELS = 64
_HINTS = {"float32": "f32", "bfloat16": "bf16"}
# The environment may hold oneDNN, which computes for OpenVINO, to one of these instruction sets.
# OpenVINO does not notice and chooses bfloat16, for which oneDNN then has no kernels.
_WITHOUT_BFLOAT16 = frozenset({"SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX2_VNNI_2"})


Network = Callable[[Batch], Batch]  # of one photo


class OpenVinoBackend:
    """Runs a model file with OpenVINO; a :class:`stylecli.core.backend.Backend`.

    Args:
        path: the model file.
        mix: shares of its styles.
        precision: ``float32``; or ``auto`` or ``bfloat16``, which both are bfloat16 where the
            processor has it, and float32 elsewhere: OpenVINO has no slow form of bfloat16.
        seed: of the noise, if the model has any.

    Attributes:
        at_once: calls that may run at once, more than networks do: others scale and enlarge.

    Raises:
        StyleCliError: the file is damaged.
    """

    device_type = "cpu"

    def __init__(self, path: Path, mix: list[float], precision: str, seed: int = 0) -> None:
        has_bfloat16 = "BF16" in _CORE.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        if os.environ.get("ONEDNN_MAX_CPU_ISA", "").upper() in _WITHOUT_BFLOAT16:
            has_bfloat16 = False
        if precision != "float32":
            precision = "bfloat16" if has_bfloat16 else "float32"
        self._path, self._mix, self._precision, self._seed = path, mix, precision, seed
        self._spec = read_info(path).spec
        self._weights = mix_weights(path, mix)
        self._streams = max(1, _CORES // _CORES_FOR_EACH)
        self.at_once = 2 * self._streams + 1
        self._options = {
            "CPU_RUNTIME_CACHE_CAPACITY": str(_KERNELS),
            "INFERENCE_PRECISION_HINT": _HINTS[precision],
            **UNBOUND,
        }
        self._torch: Backend | None = None  # for strips
        self._choosing, self._in_strips = Lock(), Lock()
        self._networks: dict[tuple[int, int] | None, Network] = {}
        self._expected: set[bool] = set()  # False for the network, True for what enlarges
        self._planes = _Planes(seed)
        self.itemsize = 2 if precision == "bfloat16" else 4
        self.description = f"cpu, openvino, {precision}"

    @memory_errors()
    def __call__(self, photos: Batch) -> Batch:
        """Stylize photos of one size: (N, H, W, 3) to (N, H, W, 3), 0..255.

        Raises:
            OutOfMemoryError: they do not fit.
        """
        height, width = photos.shape[1:3]
        down, across, mirrors = plan_padding(self._spec.arch, height, width)
        margins = ((0, 0), (0, down - height), (0, across - width), (0, 0))
        padded = np.pad(photos, margins, mode="reflect" if mirrors else "edge")
        network = self._network_for(down, across)
        # One by one: a CPU is no faster with several, and a batch would be a further size.
        try:
            painted = [network(photo[None]) for photo in padded]
        except Exception:  # after a lack of memory, the network paints nonsense or crashes
            with self._choosing:
                self._networks.clear()
            raise
        return np.concatenate(painted)[:, :height, :width]

    def _network_for(self, height: int, width: int) -> Network:
        """The network for any size; or, for a large photo, one of its own, while such ones come."""
        sides = (height, width) if max(height, width) > _MOST_FREE else None
        with self._choosing:
            if sides not in self._networks:
                for large in self._networks.keys() - {None}:
                    del self._networks[large]
                self._networks[sides] = self._compile(sides)
            return self._networks[sides]

    def _compile(self, sides: tuple[int, int] | None) -> Network:
        free = ov.Dimension(ARCHITECTURES[self._spec.arch].least, _MOST_FREE)
        graph, noises = build_graph(self._weights, self._spec, (1, *(sides or (free, free)), 3))
        streams = 1 if sides else self._streams  # a large photo is painted alone, by all cores
        options = {"NUM_STREAMS": str(streams), **self._options}
        compiled = _CORE.compile_model(graph, "CPU", options)
        pool = RequestPool(lambda: partial(infer, compiled.create_infer_request()))

        def paint(photo: Batch) -> Batch:
            height, width = photo.shape[1:3]
            planes = (self._planes(layer, height // by, width // by) for layer, by in noises)
            painted: Batch
            (painted,) = pool(photo, *planes)
            return painted

        return paint

    @memory_errors()
    def in_strips(self, rgb: Rgb, scratch: Path | None, memory: int) -> Rgb:
        """Stylize one image (H, W, 3) of any size, exactly, with torch, one at a time."""
        with self._in_strips:
            if self._torch is None:
                import torch

                from stylecli.core.torch_backend import load_torch_backend

                given = self._path, self._mix, torch.device("cpu"), self._precision, self._seed
                self._torch = load_torch_backend(*given)
            return self._torch.in_strips(rgb, scratch, memory)

    def expect(self, *, enlarging: bool = False) -> None:
        """Compile the network for any size, or what enlarges, in a thread, unless that is done."""
        if enlarging not in self._expected:
            self._expected.add(enlarging)
            Thread(target=self._compile_ahead, args=[enlarging]).start()

    def _compile_ahead(self, enlarging: bool) -> None:
        with suppress(Exception):  # it is raised again by what needs it
            if enlarging:
                _ENLARGER.compile()
            else:
                self._network_for(1, 1)

    @memory_errors()
    def enlarge(self, photo: Rgb, small: Rgb, painted: Rgb) -> Rgb:
        """Enlarge a painting, (h, w, 3), to the size of its photo, (H, W, 3); in float32."""
        return _ENLARGER(photo, small, painted)

    def free_memory(self) -> int:
        """Bytes that a pass may still take."""
        return free_cpu_memory()


class _Planes:
    """Planes of noise, each cut from the largest so far."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._largest: dict[int, npt.NDArray[np.float32]] = {}  # by layer

    def __call__(self, layer: int, height: int, width: int) -> npt.NDArray[np.float32]:
        """(1, 1, H, W)."""
        known = self._largest.get(layer, np.empty((0, 0), np.float32))
        if known.shape[0] < height or known.shape[1] < width:
            sides = max(height, known.shape[0]), max(width, known.shape[1])
            if sides[0] * sides[1] > 2 * height * width:  # a tall one, then a broad one
                sides = height, width
            rows, columns = np.arange(sides[0])[:, None], np.arange(sides[1])
            known = noise_plane(rows, columns, layer, self._seed).astype(np.float32)
            self._largest[layer] = known
        return np.ascontiguousarray(known[None, None, :height, :width])


def mix_weights(path: Path, mix: list[float]) -> Weights:
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
