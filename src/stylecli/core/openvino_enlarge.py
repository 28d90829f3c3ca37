"""The enlargement of paintings as graphs of OpenVINO's own operators, in float32."""

from collections.abc import Sequence
from contextlib import suppress
from threading import Lock, Thread
from typing import Any

import numpy as np
import numpy.typing as npt
import openvino as ov
from openvino import opset13 as ops

from stylecli.core.enlarging import (
    BLOCK,
    BLOCKS,
    CELL,
    PART,
    PATCHES,
    TILE,
    Enlarger,
    Floats,
    compose,
    has_bristles,
    make_patches,
    prepare,
)
from stylecli.core.openvino_graph import double_sides
from stylecli.files.colors import Rgb

_AT_PATCHES = 5  # the input of a graph with bristles that never changes
_BILINEAR = 0.25, 0.75, 0.75, 0.25
_OPTIONS = {"INFERENCE_PRECISION_HINT": "f32"}


class OpenVinoEnlarger:
    """Enlarges paintings; for as many threads as like.

    Args:
        core: OpenVINO.
        streams: calls that may run at once.
    """

    def __init__(self, core: ov.Core, streams: int) -> None:
        self._core, self._options = core, {"NUM_STREAMS": str(streams), **_OPTIONS}
        self._compiling = Lock()
        self._compiled: dict[bool | None, ov.CompiledModel] = {}  # None is what prepares
        self._expected: set[bool] = set()
        self._idle: dict[bool, list[Enlarger]] = {False: [], True: []}  # with bristles or not

    def __call__(self, photo: Rgb, small: Rgb, painted: Rgb) -> Rgb:
        """Enlarge a painting; see :class:`~.core.enlarging.Enlarger`."""
        bristles = has_bristles(photo.shape[0] / small.shape[0])
        try:
            enlarger = self._idle[bristles].pop()
        except IndexError:
            enlarger = self._create(bristles)
        try:
            return enlarger(photo, small, painted)
        finally:
            self._idle[bristles].append(enlarger)

    def expect(self, factor: float) -> None:
        """Compile what enlarges by a factor in a thread of its own, once."""
        bristles = has_bristles(factor)
        if bristles not in self._expected:
            self._expected.add(bristles)
            Thread(target=self._compile_ahead, args=[bristles]).start()

    def _compile_ahead(self, bristles: bool) -> None:
        with suppress(Exception):  # whoever enlarges then meets it
            self._compile(bristles)

    def _create(self, bristles: bool) -> Enlarger:
        first, second = map(_Request, self._compile(bristles))
        return Enlarger(first, lambda *inputs: second(*inputs)[0])

    def _compile(self, bristles: bool) -> list[ov.CompiledModel]:
        """What prepares, and what puts together."""
        with self._compiling:
            for part in (None, bristles):
                if part not in self._compiled:
                    graph = _build_prepare() if part is None else _build_compose(part)
                    self._compiled[part] = self._core.compile_model(graph, "CPU", self._options)
            return [self._compiled[None], self._compiled[bristles]]


class _Request:
    """A graph's memory for one call; to hand over an array would take longer than to copy it."""

    def __init__(self, compiled: ov.CompiledModel) -> None:
        self._request = compiled.create_infer_request()
        self._types = [one.element_type for one in compiled.inputs]
        self._inputs: list[npt.NDArray[Any]] = []
        if len(compiled.inputs) == _AT_PATCHES + 1:  # the last input is always the same
            self._request.set_input_tensor(_AT_PATCHES, ov.Tensor(make_patches()))

    def __call__(self, *inputs: npt.NDArray[Any]) -> Sequence[npt.NDArray[Any]]:
        """The outputs, which last until the next call; numbers are converted as they are copied."""
        if [one.shape for one in inputs] != [one.shape for one in self._inputs]:
            self._inputs = []
            for i, one in enumerate(inputs):
                tensor = ov.Tensor(self._types[i], one.shape)
                self._request.set_input_tensor(i, tensor)
                self._inputs.append(tensor.data)
        for memory, one in zip(self._inputs, inputs, strict=True):
            memory[...] = one
        self._request.infer()
        return [tensor.data for tensor in self._request.output_tensors]


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
        return self._filtered(x, kernels, [1, 1])

    def _filtered(self, x: _Value, kernels: Floats, strides: list[int]) -> _Value:
        rows, columns = kernels.shape[1:]
        margins = [(rows - 1) // 2, (columns - 1) // 2]
        weights = np.broadcast_to(kernels, (x.node.shape[1], rows, columns))
        weights = np.ascontiguousarray(weights[:, None, None])
        return _Value(ops.group_convolution(x.node, weights, strides, margins, margins, [1, 1]))

    def halve(self, x: _Value, down: Floats, across: Floats) -> _Value:
        # Columns as channels: with three channels, most of a vector would be empty.
        channels, height, width = x.node.shape[1:]
        rows = ops.transpose(x.node, [0, 2, 3, 1])
        rows = ops.reshape(rows, np.array([1, height, 1, width * channels]), False)
        half = self._filtered(
            _Value(ops.transpose(rows, [0, 3, 1, 2])), down[None, :, None], [2, 1]
        )
        rows = ops.transpose(half.node, [0, 2, 3, 1])
        rows = ops.reshape(rows, np.array([1, height // 2, width, channels]), False)
        return self._filtered(_Value(ops.transpose(rows, [0, 3, 1, 2])), across[None, None], [1, 2])

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


def _build_compose(bristles: bool) -> ov.Model:
    photo = ops.parameter(ov.PartialShape([1, BLOCKS[0], BLOCK, TILE[1]]), np.uint8)
    blocks, cells = list(BLOCKS), TILE[0] * TILE[1] // CELL**2
    shapes = [[cells, PATCHES[0]], list(PATCHES)]
    shapes = [[*blocks, -1, -1], [1, blocks[0], BLOCK, -1], [1, blocks[1], -1, BLOCK], *shapes]
    shapes = shapes if bristles else shapes[:3]
    inputs = [ops.parameter(ov.PartialShape(shape), np.float32) for shape in shapes]
    values = [_Value(node) for node in (ops.convert(photo, "f32"), *inputs)]
    tile = compose(_Operators(), *values).node
    low, high = np.float32(0), np.float32(255)
    rounded = ops.fake_quantize(tile, low, high, low, high, 256)
    return ov.Model([ops.convert(rounded, "u8")], [photo, *inputs], "compose")
