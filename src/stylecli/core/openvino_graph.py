"""Graphs of OpenVINO's own operators: a generator, and the enlargement of paintings (float32).

It computes what torch computes. Two layers that are slow as they are written have equals that are
three times as fast: a convolution after an upsampling, and the last one.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import openvino as ov
from openvino import opset13 as ops

from stylecli.core.architectures import architecture_of
from stylecli.core.enlarging import (
    BLOCK,
    BLOCKS,
    CELL,
    PART,
    TILE,
    Bytes,
    Enlarger,
    Floats,
    compose,
    make_patches,
    prepare,
)
from stylecli.core.spec import (
    EPSILON,
    GRAY,
    INPUT_GAIN,
    LAST_LAYER_GAIN,
    OUTPUT_RANGE,
    GeneratorSpec,
)
from stylecli.files.colors import Rgb

Array = npt.NDArray[np.float32]
Weights = Mapping[str, Array]

# How many columns the last convolution paints at once. Four are not faster, and OpenVINO 2026.4
# computes them wrong in bfloat16 on AMX, at 16 and 24 channels.
_COLUMNS = 2
_UNPADDED = ([0, 0], [0, 0], [1, 1])

_BILINEAR = 0.25, 0.75, 0.75, 0.25
_UNTOUCHED = np.frombuffer(b"stylecli: no pixels", np.uint8)
# Threads that are bound to a core wait for it when another graph, or another program, is there.
UNBOUND = {"ENABLE_CPU_PINNING": "NO"}
_OPTIONS = {"INFERENCE_PRECISION_HINT": "f32", **UNBOUND}


def build_graph(
    weights: Weights, spec: GeneratorSpec, shape: Sequence[int | ov.Dimension]
) -> tuple[ov.Model, list[tuple[int, int]]]:
    """A network from pictures to pictures: (N, H, W, 3) in 0..255 to the same.

    Height and width are multiples of what the architecture pads to.

    Args:
        weights: of one style, by their names in a model file.
        spec: of the generator, with a width.
        shape: (N, H, W, 3); a side may be left free, within bounds.

    Returns:
        The network, and for each of its further inputs, which are planes of noise
        (1, 1, H / scale, W / scale), the noise's layer and the scale.
    """
    photos = ops.parameter(ov.PartialShape(list(shape)), np.uint8, "photos")
    x = ops.transpose(ops.convert(photos, "f32"), [0, 3, 1, 2])
    x = _affine(x, INPUT_GAIN / 255, -INPUT_GAIN * GRAY)
    layers = _GraphLayers(weights, spec)
    z = architecture_of(spec).build(layers, _Map(x, 1), spec).node
    z = _affine(z, LAST_LAYER_GAIN, 0.0)
    painted = ops.round(_affine(z, 255 * OUTPUT_RANGE, 255 * GRAY), "half_to_even")
    painted = ops.transpose(ops.clamp(painted, 0.0, 255.0), [0, 2, 3, 1])
    painted = ops.convert(painted, "u8")  # (N, H, W / columns, columns * 3)
    painted = ops.reshape(painted, [0, 0, -1, 3], special_zero=True)
    return ov.Model([painted], [photos, *layers.planes], "generator"), layers.noises


class _Map(NamedTuple):
    """A node, and how much smaller than the photo its sides are."""

    node: ov.Node
    scale: int


class _GraphLayers:
    """Layers as nodes of a graph."""

    def __init__(self, weights: Weights, spec: GeneratorSpec) -> None:
        self.weights, self.spec = weights, spec
        self.planes: list[ov.Node] = []
        self.noises: list[tuple[int, int]] = []

    def conv(self, x: _Map, name: str, channels: int, kernel: int, stride: int = 1) -> _Map:
        node = _pad(x.node, kernel // 2, "reflect")
        node = ops.convolution(
            node, _constant(self.weights[f"{name}.weight"]), [stride] * 2, *_UNPADDED
        )
        return _Map(self._biased(node, name), x.scale * stride)

    def upsample_conv(self, x: _Map, name: str, channels: int, mode: str) -> _Map:
        """Both as one transposed convolution, which is three times as fast."""
        weight = _doubling(self.weights[f"{name}.weight"], mode)
        crop = [weight.shape[2] // 2 + 1] * 2  # what comes of the margin alone
        node = _pad(x.node, 1, "edge")
        node = ops.convolution_backprop_data(node, _constant(weight), [2, 2], None, crop, crop)
        return _Map(self._biased(node, name), x.scale // 2)

    def _biased(self, node: ov.Node, name: str) -> ov.Node:
        if f"{name}.bias" not in self.weights:
            return node
        bias = self.weights[f"{name}.bias"]
        repeats = node.get_output_partial_shape(0)[1].get_length() // len(bias)
        return ops.add(node, _by_channel(np.tile(bias, repeats)))

    def to_rgb(self, x: _Map, name: str, kernel: int) -> _Map:
        """(N, columns * 3, H, W / columns): three channels alone would take three times as long."""
        weight, columns = self.weights[f"{name}.weight"], _COLUMNS if kernel > 1 else 1
        node = _pad(x.node, kernel // 2, "reflect")
        node = ops.convolution(node, _constant(_repeat(weight, columns)), [1, columns], *_UNPADDED)
        return _Map(self._biased(node, name), x.scale)

    def norm(self, x: _Map, name: str) -> _Map:
        if self.spec.norm == "none":
            return x
        scale, shift = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        node = x.node
        if self.spec.norm == "in":
            node = ops.mvn(node, [2, 3], True, EPSILON, "INSIDE_SQRT")
        else:
            scale = scale / np.sqrt(self.weights[f"{name}.running_var"] + EPSILON)
            shift = shift - self.weights[f"{name}.running_mean"] * scale
        return _Map(ops.add(ops.multiply(node, _by_channel(scale)), _by_channel(shift)), x.scale)

    def activation(self, x: _Map) -> _Map:
        return _Map(ops.relu(x.node), x.scale)

    def noise(self, x: _Map, name: str, layer: int) -> _Map:
        if self.spec.noise == "none":
            return x
        strength = self.weights[f"{name}.strength"]
        sides = list(x.node.get_output_partial_shape(0))[2:]
        plane = ops.parameter(ov.PartialShape([1, 1, *sides]), np.float32, f"noise{layer}")
        self.planes.append(plane)
        self.noises.append((layer, x.scale))
        if x.scale == 1:  # with free sides, only a convolution is fused with so large a sum
            noise = ops.convolution(plane, strength[:, None, None, None], [1, 1], *_UNPADDED)
        else:
            noise = ops.multiply(plane, _by_channel(strength))
        return _Map(ops.add(noise, x.node), x.scale)  # the other way round, x would be copied

    def upsample(self, x: _Map) -> _Map:
        return _Map(double_sides(x.node), x.scale // 2)

    def pool(self, x: _Map, scale: int) -> _Map:
        sides = [scale, scale]
        pooled = ops.avg_pool(x.node, sides, [0, 0], [0, 0], sides, True)
        return _Map(pooled, x.scale * scale)

    def add(self, x: _Map, y: _Map) -> _Map:
        return _Map(ops.add(x.node, y.node), x.scale)

    def concatenate(self, x: _Map, y: _Map) -> _Map:
        return _Map(ops.concat([x.node, y.node], 1), x.scale)


def _doubling(weight: Array, mode: str) -> Array:
    """The weight of a transposed convolution, (C, C', K, K), that also upsamples."""
    spread = {"nearest": [1.0, 1.0], "bilinear": [0.25, 0.75, 0.75, 0.25]}[mode]
    taps = np.stack([np.convolve(spread, one) for one in np.eye(3)[::-1]])  # (3, K)
    weights: Array = np.einsum("oiyx,ya,xb->ioab", weight, taps, taps).astype(np.float32)
    return weights


def _repeat(weight: Array, columns: int) -> Array:
    """A kernel at places side by side: (C', C, K, K) to (columns * C', C, K, K + columns - 1)."""
    kernel = weight.shape[3]
    places = np.zeros((columns, *weight.shape[:3], kernel + columns - 1), np.float32)
    for column, place in enumerate(places):
        place[..., column : column + kernel] = weight
    return places.reshape(-1, *places.shape[2:])


def _constant(weight: Array) -> ov.Node:
    """A node of a weight; of a bare array, OpenVINO would make a Python list first."""
    return ops.constant(np.ascontiguousarray(weight))


def double_sides(node: ov.Node) -> ov.Node:
    """(N, C, H, W) to (N, C, 2H, 2W): each pixel becomes four."""
    return ops.interpolate(
        node,
        np.array([2.0, 2.0], np.float32),
        "nearest",
        "scales",
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
        axes=np.array([2, 3]),
    )


def _pad(node: ov.Node, margin: int, mode: str) -> ov.Node:
    return ops.pad(node, [0, 0, margin, margin], [0, 0, margin, margin], mode) if margin else node


def _by_channel(numbers: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    return numbers.reshape(1, -1, 1, 1)


def _affine(x: ov.Node, factor: float, shift: float) -> ov.Node:
    scaled = ops.multiply(x, np.float32(factor))
    return ops.add(scaled, np.float32(shift)) if shift else scaled


class OpenVinoEnlarger:
    """Enlarges paintings, for any number of threads.

    Args:
        core: OpenVINO.
        threads: how many parts are done at once.
    """

    def __init__(self, core: ov.Core, threads: int) -> None:
        self._core, self._threads = core, threads
        self._lock, self._pool = Lock(), ThreadPoolExecutor(threads)
        self._graphs: tuple[RequestPool, RequestPool] | None = None

    def __call__(self, photo: Rgb, small: Rgb, painted: Rgb) -> Rgb:
        """Enlarge a painting; see :class:`~.core.enlarging.Enlarger`."""
        prepare, compose = self.compile()
        enlarge = Enlarger(prepare, lambda *inputs: compose(*inputs)[0], self._pool.map)
        try:
            return enlarge(photo, small, painted)
        except Exception:  # what OpenVINO has compiled is not sound after a lack of memory
            with self._lock:
                self._graphs = None
            raise

    def compile(self) -> "tuple[RequestPool, RequestPool]":
        """What prepares and what puts together, compiled once."""
        with self._lock:
            if self._graphs is None:
                prepare = self._compile(_build_prepare(), 1)  # each stream has memory of its own
                self._graphs = prepare, self._compile(_build_compose(), self._threads)
            return self._graphs

    def _compile(self, graph: ov.Model, streams: int) -> "RequestPool":
        options = {"NUM_STREAMS": str(streams), **_OPTIONS}
        compiled = self._core.compile_model(graph, "CPU", options)
        return RequestPool(lambda: _Request(compiled))


def infer(request: ov.InferRequest, *inputs: npt.NDArray[Any]) -> list[npt.NDArray[Any]]:
    """Run a request, and copy its outputs: it uses its memory again.

    On one core, OpenVINO 2026.4 reports no error where memory runs out: the outputs stay those of
    the call before. So they are marked first, and a mark that is still there is the error.

    Args:
        request: whose memory holds the outputs, and the inputs if none are given.
        inputs: are read where they lie.

    Raises:
        MemoryError: an output is as it was.
    """
    for tensor in request.output_tensors:
        mark = _mark_of(tensor.data)
        mark[:] = _UNTOUCHED[: mark.size]
    if inputs:
        request.infer(inputs, share_inputs=True)
    else:
        request.infer()
    for tensor in request.output_tensors:
        mark = _mark_of(tensor.data)
        if not mark.size or mark.tobytes() == _UNTOUCHED[: mark.size].tobytes():
            raise MemoryError("not enough memory for a pass of OpenVINO")
    return [tensor.data.copy() for tensor in request.output_tensors]


def _mark_of(output: npt.NDArray[Any]) -> Bytes:
    """The first bytes of an output."""
    whole: Bytes = output.reshape(-1).view(np.uint8)
    return whole[: _UNTOUCHED.size]


class RequestPool:
    """Requests of a compiled graph, for any number of threads: each has memory for one call.

    Args:
        make: makes a request, which is called with the inputs.
    """

    def __init__(self, make: Callable[[], Callable[..., Any]]) -> None:
        self._make = make
        self._idle: list[Callable[..., Any]] = []

    def __call__(self, *inputs: npt.NDArray[Any]) -> Any:
        """What an idle request, or else a new one, gives."""
        try:
            request = self._idle.pop()
        except IndexError:
            request = self._make()
        try:
            return request(*inputs)
        finally:
            self._idle.append(request)


class _Request:
    """Memory for one call; to hand over an array would take longer than to copy it."""

    def __init__(self, compiled: ov.CompiledModel) -> None:
        self._request = compiled.create_infer_request()
        self._types = [one.element_type for one in compiled.inputs]
        self._inputs: list[npt.NDArray[Any]] = []

    def __call__(self, *inputs: npt.NDArray[Any]) -> Sequence[npt.NDArray[Any]]:
        """The outputs; numbers are converted as they are copied."""
        if [one.shape for one in inputs] != [one.shape for one in self._inputs]:
            self._inputs = []
            for i, one in enumerate(inputs):
                tensor = ov.Tensor(self._types[i], one.shape)
                self._request.set_input_tensor(i, tensor)
                self._inputs.append(tensor.data)
        for memory, one in zip(self._inputs, inputs, strict=True):
            memory[...] = one
        return infer(self._request)


class _Value:
    """A node of a graph, with operators that take numbers as float32."""

    def __init__(self, node: ov.Node) -> None:
        self.node = node

    def __add__(self, other: "_Value | float") -> "_Value":
        return _Value(ops.add(self.node, _node_of(other)))

    def __sub__(self, other: "_Value | float") -> "_Value":
        return _Value(ops.subtract(self.node, _node_of(other)))

    def __mul__(self, other: "_Value | float") -> "_Value":
        return _Value(ops.multiply(self.node, _node_of(other)))

    def __truediv__(self, other: "_Value | float") -> "_Value":
        return _Value(ops.divide(self.node, _node_of(other)))


def _node_of(value: "_Value | float") -> ov.Node | np.float32:
    return value.node if isinstance(value, _Value) else np.float32(value)


class _Operators:
    """See :class:`stylecli.core.enlarging.Operators`."""

    def mix(self, x: _Value, weights: npt.NDArray[Any]) -> _Value:
        kernels = np.ascontiguousarray(weights[..., None, None], np.float32)
        return _Value(ops.convolution(x.node, kernels, [1, 1], [0, 0], [0, 0], [1, 1]))

    def filter(self, x: _Value, kernels: Floats) -> _Value:
        return self._filter_with_strides(x, kernels, [1, 1])

    def _filter_with_strides(self, x: _Value, kernels: Floats, strides: list[int]) -> _Value:
        rows, columns = kernels.shape[1:]
        margins = [(rows - 1) // 2, (columns - 1) // 2]
        weights = np.broadcast_to(kernels, (x.node.shape[1], rows, columns))
        weights = np.ascontiguousarray(weights[:, None, None])
        return _Value(ops.group_convolution(x.node, weights, strides, margins, margins, [1, 1]))

    def halve(self, x: _Value, down: Floats, across: Floats) -> _Value:
        # Columns as channels: with three channels, most of a vector would be empty.
        count, channels, height, width = x.node.shape
        rows = ops.transpose(x.node, [0, 2, 3, 1])
        rows = ops.reshape(rows, np.array([count, height, 1, width * channels]), False)
        half = self._filter_with_strides(
            _Value(ops.transpose(rows, [0, 3, 1, 2])), down[None, :, None], [2, 1]
        )
        rows = ops.transpose(half.node, [0, 2, 3, 1])
        rows = ops.reshape(rows, np.array([count, height // 2, width, channels]), False)
        return self._filter_with_strides(
            _Value(ops.transpose(rows, [0, 3, 1, 2])), across[None, None], [1, 2]
        )

    def double(self, x: _Value) -> _Value:
        return _Value(double_sides(x.node))

    def blend(self, x: _Value) -> _Value:
        taps = np.outer(_BILINEAR, _BILINEAR)
        weights = np.ascontiguousarray(np.eye(x.node.shape[1])[..., None, None] * taps, np.float32)
        crop = [1, 1]
        return _Value(ops.convolution_backprop_data(x.node, weights, [2, 2], None, crop, crop))

    def largest(self, x: _Value) -> _Value:
        pooled = ops.max_pool(x.node, [1, 1], [1, 1], [1, 1], [1, 1], [3, 3])
        return _Value(pooled.output(0))

    def clip(self, x: _Value, low: float, high: float) -> _Value:
        return _Value(ops.clamp(x.node, low, high))

    def smaller(self, x: _Value, y: _Value) -> _Value:
        return _Value(ops.minimum(x.node, y.node))

    def root(self, x: _Value) -> _Value:
        return _Value(ops.sqrt(x.node))

    def stack(self, parts: list[_Value]) -> _Value:
        return _Value(ops.concat([part.node for part in parts], 0))

    def split(self, x: _Value, sizes: list[int]) -> list[_Value]:
        parts = ops.variadic_split(x.node, np.array(0), np.array(sizes))
        return [_Value(part) for part in parts.outputs()]

    def matmul(self, a: _Value, b: _Value) -> _Value:
        return _Value(ops.matmul(a.node, b.node, False, False))

    def join(self, blocks: _Value) -> _Value:
        apart = ops.reshape(blocks.node, np.array([*BLOCKS, 7, -1, BLOCK]), False)
        ordered = ops.transpose(apart, [2, 0, 3, 1, 4])
        return _Value(ops.reshape(ordered, np.array([7, BLOCKS[0], -1, TILE[1]]), False))

    def spread(self, cells: _Value) -> _Value:
        rows, columns = (side // CELL for side in TILE)
        square = ops.reshape(cells.node, np.array([rows, columns, CELL, CELL]), False)
        ordered = ops.transpose(square, [0, 2, 1, 3])
        return _Value(ops.reshape(ordered, np.array([1, BLOCKS[0], BLOCK, TILE[1]]), False))


def _build_prepare() -> ov.Model:
    pair = ops.parameter(ov.PartialShape([1, PART, PART, 6]), np.float32)
    strength = ops.parameter(ov.PartialShape([1]), np.float32)
    planes = _Value(ops.transpose(pair, [0, 3, 1, 2]))
    maps = prepare(_Operators(), planes, _Value(strength))
    return ov.Model([part.node for part in maps], [pair, strength], "prepare")


def _build_compose() -> ov.Model:
    photo = ops.parameter(ov.PartialShape([1, BLOCKS[0], BLOCK, TILE[1]]), np.uint8)
    patches = make_patches()
    enlarged = [*BLOCKS, -1, -1], [1, BLOCKS[0], BLOCK, -1], [1, BLOCKS[1], -1, BLOCK]
    shapes = [*enlarged, [TILE[0] * TILE[1] // CELL**2, len(patches)]]
    inputs = [ops.parameter(ov.PartialShape(shape), np.float32) for shape in shapes]
    nodes = ops.convert(photo, "f32"), *inputs, _constant(patches)
    tile = compose(_Operators(), *map(_Value, nodes)).node
    low, high = np.float32(0), np.float32(255)
    rounded = ops.fake_quantize(tile, low, high, low, high, 256)
    return ov.Model([ops.convert(rounded, "u8")], [photo, *inputs], "compose")
