"""A generator as a graph of ONNX's operators, built from its weights: for photos of any size."""

from collections.abc import Mapping, Sequence
from functools import partialmethod
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from stylecli.core.architectures import architecture_of
from stylecli.core.architectures.layers import noise_plane, upsampling_taps
from stylecli.core.spec import (
    EPSILON,
    GRAY,
    INPUT_GAIN,
    LAST_LAYER_GAIN,
    OUTPUT_RANGE,
    GeneratorSpec,
)

Array = npt.NDArray[np.float32]
Weights = Mapping[str, Array]


def build_onnx(weights: Weights, spec: GeneratorSpec, opset: int) -> ModelProto:
    """A network from ``photo`` to ``painted``: both (N, 3, H, W), RGB in [0, 1], N, H and W free.

    It pads a photo and crops its picture as :meth:`stylecli.core.generators.Generator.forward`
    does, and clips the colors. Noise has the seed 0.

    Args:
        weights: of one style, by their names in a model file.
        spec: of the generator, with a width.
        opset: the version of ONNX's operators, at least 18.
    """
    graph = _Graph()
    photo = _Value(graph, "photo")
    sides = graph.add("Shape", photo, start=2)
    x = (_pad_to_inner_size(photo, sides, spec) - GRAY) * INPUT_GAIN
    z: _Value = architecture_of(spec).build(_OnnxLayers(graph, weights, spec), x, spec)
    z = z * LAST_LAYER_GAIN
    whole = graph.add("Clip", z * OUTPUT_RANGE + GRAY, np.float32(0), np.float32(1))
    graph.add("Slice", whole, np.zeros(2, np.int64), sides, np.array([2, 3]), name="painted")
    shape: list[str | int | None] = ["batch", 3, "height", "width"]
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name in ("photo", "painted")
    ]
    opsets = [helper.make_opsetid("", opset)]
    return helper.make_model(
        helper.make_graph(graph.nodes, "generator", ends[:1], ends[1:], graph.constants),
        ir_version=helper.find_min_ir_version_for(opsets),  # older runtimes read it too
        opset_imports=opsets,
    )


class _Graph:
    """The nodes and the constants of a graph."""

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []

    def add(self, kind: str, *inputs: object, name: str = "", **attributes: Any) -> "_Value":
        """A node's output; of its inputs, what is neither a value nor None is a constant."""
        name = name or f"{kind}_{len(self.nodes)}"
        names = [self._name_of(one) for one in inputs]
        self.nodes.append(helper.make_node(kind, names, [name], name, **attributes))
        return _Value(self, name, self._is_integer(kind, inputs, attributes.get("to")))

    def _is_integer(self, kind: str, inputs: Sequence[object], to: object) -> bool:
        """Whether a node's output are integers: those of most are of their first input's type."""
        if kind in ("Shape", "Range", "Where"):
            return True
        first = next(one for one in inputs if isinstance(one, _Value))
        return to == TensorProto.INT64 if to else first.is_integer

    def _name_of(self, given: object) -> str:
        if isinstance(given, _Value):
            return given.name
        if given is None:  # an input that is left out
            return ""
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(given), name))
        return name


class _Value:
    """A value in a graph, of floats or of integers of 64 bits, with Python's operators."""

    def __init__(self, graph: _Graph, name: str, is_integer: bool = False) -> None:
        self.graph, self.name, self.is_integer = graph, name, is_integer

    def _with(self, kind: str, other: "_Value | float") -> "_Value":
        value = self
        if self.is_integer and isinstance(other, float):
            value = self.graph.add("Cast", self, to=TensorProto.FLOAT)
        dtype = np.int64 if value.is_integer else np.float32
        given = other if isinstance(other, _Value) else np.array(other, dtype)
        return self.graph.add(kind, value, given)

    __add__ = partialmethod(_with, "Add")
    __sub__ = partialmethod(_with, "Sub")
    __mul__ = partialmethod(_with, "Mul")
    __floordiv__ = partialmethod(_with, "Div")  # of numbers that are not negative
    __and__ = partialmethod(_with, "BitwiseAnd")
    __xor__ = partialmethod(_with, "BitwiseXor")

    def __rshift__(self, bits: int) -> "_Value":
        # ONNX shifts unsigned numbers only, and runtimes multiply signed ones only.
        return self._with("Div", 2**bits)


def _pad_to_inner_size(photo: _Value, sides: _Value, spec: GeneratorSpec) -> _Value:
    """The photo, padded as ``core/architectures/layers.py`` says, at the bottom and the right.

    Row ``i`` of the result is row ``last - |last - i|`` of a photo whose last row is ``last`` if
    both its sides are long enough to be mirrored; otherwise it is row ``min(i, last)``.
    """
    add = photo.graph.add
    architecture = architecture_of(spec)
    multiple, least = architecture.multiple, architecture.least
    inner = add("Max", (sides + (multiple - 1)) // multiple * multiple, np.int64(least))  # (2,)
    fits = add("Cast", add("Less", inner - sides, sides), to=TensorProto.INT64)
    mirrors = add("Cast", add("ReduceMin", fits, keepdims=0), to=TensorProto.BOOL)
    for axis in (2, 3):
        side, end = (add("Gather", one, np.int64(axis - 2), axis=0) for one in (sides, inner))
        last = side - 1
        places = _count_to(end)
        mirrored = last - add("Abs", last - places)
        index = add("Where", mirrors, mirrored, add("Min", places, last))
        photo = add("Gather", photo, index, axis=axis, name=f"padded_{axis}")
    return photo


def _count_to(end: _Value) -> _Value:
    """The integers from 0 up to a number, without it."""
    return end.graph.add("Range", np.int64(0), end, np.int64(1))


class _OnnxLayers:
    """Layers as nodes of a graph."""

    def __init__(self, graph: _Graph, weights: Weights, spec: GeneratorSpec) -> None:
        self.graph, self.weights, self.spec = graph, weights, spec

    def conv(self, x: _Value, name: str, channels: int, kernel: int, stride: int = 1) -> _Value:
        weight, bias = self.weights[f"{name}.weight"], self.weights.get(f"{name}.bias")
        return self._convolve(x, weight, bias, "reflect", stride)

    def to_rgb(self, x: _Value, name: str, kernel: int) -> _Value:
        return self.conv(x, name, 3, kernel)

    def upsample_conv(self, x: _Value, name: str, channels: int, mode: str) -> _Value:
        """Both as one convolution of the small map; see ``core/torch_layers.py``."""
        taps = np.array(upsampling_taps(mode), np.float32)
        weight, bias = self.weights[f"{name}.weight"], self.weights.get(f"{name}.bias")
        four = np.einsum("oiyx,pya,qxb->opqiab", weight, taps, taps).reshape(-1, *weight.shape[1:])
        bias = None if bias is None else bias.repeat(4)
        x = self._convolve(x, four, bias, "edge")
        return self.graph.add("DepthToSpace", x, blocksize=2, mode="CRD")

    def _convolve(
        self, x: _Value, weight: Array, bias: Array | None, mode: str, stride: int = 1
    ) -> _Value:
        """A convolution that keeps the sides, but for its stride: the map is padded first."""
        if margin := weight.shape[2] // 2:
            x = self.graph.add("Pad", x, np.array([0, 0, margin, margin] * 2), mode=mode)
        constants = [weight] if bias is None else [weight, bias]
        return self.graph.add("Conv", x, *constants, strides=[stride] * 2)

    def norm(self, x: _Value, name: str) -> _Value:
        if self.spec.norm == "none":
            return x
        kind, parts = "InstanceNormalization", ["weight", "bias"]
        if self.spec.norm == "bn":
            kind, parts = "BatchNormalization", [*parts, "running_mean", "running_var"]
        constants = [self.weights[f"{name}.{part}"] for part in parts]
        return self.graph.add(kind, x, *constants, epsilon=EPSILON)

    def activation(self, x: _Value) -> _Value:
        return self.graph.add("Relu", x)

    def noise(self, x: _Value, name: str, layer: int) -> _Value:
        if self.spec.noise == "none":
            return x
        add = self.graph.add
        height, width = (add("Shape", x, start=axis, end=axis + 1) for axis in (2, 3))
        rows, columns = (_count_to(add("Squeeze", side)) for side in (height, width))
        plane = noise_plane(add("Unsqueeze", rows, np.array([1])), columns, layer, 0)
        strength = self.weights[f"{name}.strength"][None, :, None, None]
        return x + add("Mul", plane, strength)  # (1, C, H, W)

    def upsample(self, x: _Value) -> _Value:
        scales = np.array([1, 1, 2, 2], np.float32)
        how = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        return self.graph.add("Resize", x, None, scales, mode="nearest", **how)

    def pool(self, x: _Value, scale: int) -> _Value:
        sides = [scale, scale]
        return self.graph.add("AveragePool", x, kernel_shape=sides, strides=sides)

    def add(self, x: _Value, y: _Value) -> _Value:
        return x + y

    def concatenate(self, x: _Value, y: _Value) -> _Value:
        return self.graph.add("Concat", x, y, axis=1)
