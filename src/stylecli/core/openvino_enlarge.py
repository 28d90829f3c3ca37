"""The enlargement of paintings as two graphs of OpenVINO's own operators, in float32."""

from collections.abc import Sequence
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt
import openvino as ov
from openvino import opset13 as ops

from stylecli.core.enlarging import (
    CELL,
    PART,
    TILE,
    Enlarger,
    Floats,
    compose,
    make_patches,
    prepare,
)
from stylecli.files.colors import Rgb

# Photos of many sizes would fill a cache of what was compiled for each.
_PATCHES = 5  # the input of the second graph that never changes
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
        self._compiled: list[ov.CompiledModel] = []
        self._idle: list[Enlarger] = []

    def __call__(self, photo: Rgb, small: Rgb, painted: Rgb) -> Rgb:
        """Enlarge a painting; see :class:`~.core.enlarging.Enlarger`."""
        try:
            enlarger = self._idle.pop()
        except IndexError:
            enlarger = self._create()
        try:
            return enlarger(photo, small, painted)
        finally:
            self._idle.append(enlarger)

    def _create(self) -> Enlarger:
        with self._compiling:
            if not self._compiled:
                graphs = _build_prepare(), _build_compose()
                self._compiled = [self._core.compile_model(g, "CPU", self._options) for g in graphs]
        first, second = (_Request(compiled) for compiled in self._compiled)
        return Enlarger(first, lambda *inputs: second(*inputs)[0])


class _Request:
    """A graph's memory for one call; to hand over an array would take longer than to copy it."""

    def __init__(self, compiled: ov.CompiledModel) -> None:
        self._request = compiled.create_infer_request()
        self._inputs: list[npt.NDArray[Any]] = []
        if len(compiled.inputs) == _PATCHES + 1:  # the last input is always the same
            self._request.set_input_tensor(_PATCHES, ov.Tensor(make_patches()))

    def __call__(self, *inputs: npt.NDArray[Any]) -> Sequence[npt.NDArray[Any]]:
        """The outputs, which last until the next call."""
        if [one.shape for one in inputs] != [one.shape for one in self._inputs]:
            tensors = [ov.Tensor(np.ascontiguousarray(one)) for one in inputs]
            for i, tensor in enumerate(tensors):
                self._request.set_input_tensor(i, tensor)
            self._inputs = [tensor.data for tensor in tensors]
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
        rows, columns = kernels.shape[1:]
        margins = [rows // 2, columns // 2]
        weights = np.broadcast_to(kernels, (x.node.shape[1], rows, columns))
        weights = np.ascontiguousarray(weights[:, None, None])
        return _Value(ops.group_convolution(x.node, weights, [1, 1], margins, margins, [1, 1]))

    def largest(self, x: _Value) -> _Value:
        pooled = ops.max_pool(x.node, [1, 1], [1, 1], [1, 1], [1, 1], [3, 3])
        return _Value(pooled.output(0))

    def clip(self, x: _Value, low: float, high: float) -> _Value:
        return _Value(ops.clamp(x.node, low, high))

    def between(self, x: _Value, low: _Value, high: _Value) -> _Value:
        return _Value(ops.minimum(ops.maximum(x.node, low.node), high.node))

    def root(self, x: _Value) -> _Value:
        return _Value(ops.sqrt(x.node))

    def split(self, x: _Value, sizes: list[int]) -> list[_Value]:
        parts = ops.variadic_split(x.node, np.array(0), np.array(sizes))
        return [_Value(part) for part in parts.outputs()]

    def matmul(self, a: _Value, b: _Value) -> _Value:
        return _Value(ops.matmul(a.node, b.node, False, False))

    def spread(self, cells: _Value) -> _Value:
        rows, columns = (side // CELL for side in TILE)
        square = ops.reshape(cells.node, np.array([rows, columns, CELL, CELL]), False)
        ordered = ops.transpose(square, [0, 2, 1, 3])
        return _Value(ops.reshape(ordered, np.array([1, *TILE]), False))


def _build_prepare() -> ov.Model:
    inputs = [ops.parameter(ov.PartialShape([PART, PART, 3]), np.uint8) for _ in range(2)]
    strength = ops.parameter(ov.PartialShape([1]), np.float32)
    small, painted = (
        _Value(ops.unsqueeze(ops.transpose(ops.convert(x, "f32"), [2, 0, 1]), np.array(0)))
        for x in inputs
    )
    maps = prepare(_Operators(), small, painted, _Value(strength))
    return ov.Model([part.node for part in maps], [*inputs, strength], "prepare")


def _build_compose() -> ov.Model:
    photo = ops.parameter(ov.PartialShape([1, *TILE]), np.uint8)
    patches, cells = make_patches().shape, TILE[0] * TILE[1] // CELL**2
    shapes = [7, -1, -1], [TILE[0], -1], [-1, TILE[1]], [cells, patches[0]], patches
    inputs = [ops.parameter(ov.PartialShape(list(shape)), np.float32) for shape in shapes]
    values = [_Value(node) for node in (ops.convert(photo, "f32"), *inputs)]
    tile = compose(_Operators(), *values).node
    low, high = np.float32(0), np.float32(255)
    rounded = ops.fake_quantize(tile, low, high, low, high, 256)
    return ov.Model([ops.convert(rounded, "u8")], [photo, *inputs], "compose")
