"""A generator as a graph of OpenVINO's own operators, built from the weights in a model file.

It computes what torch computes. Two layers that are slow as they are written have equals that are
three times as fast: a convolution after an upsampling, and the last one.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import openvino as ov
from openvino import opset13 as ops

from stylecli.core.architectures import architecture_of
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

# That the last convolution paints at once. Four are no faster, and OpenVINO 2026.4 computes them
# wrong in bfloat16 on AMX, at 16 and 24 channels.
_COLUMNS = 2
_UNPADDED = ([0, 0], [0, 0], [1, 1])


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


class _Map:
    """A node, and how much smaller than the photo its sides are."""

    def __init__(self, node: ov.Node, scale: int) -> None:
        self.node, self.scale = node, scale


class _GraphLayers:
    """Layers as nodes of a graph."""

    def __init__(self, weights: Weights, spec: GeneratorSpec) -> None:
        self.weights, self.spec = weights, spec
        self.planes: list[ov.Node] = []
        self.noises: list[tuple[int, int]] = []

    def conv(self, x: _Map, name: str, channels: int, kernel: int, stride: int = 1) -> _Map:
        node = _padded(x.node, kernel // 2, "reflect")
        node = ops.convolution(
            node, _constant(self.weights[f"{name}.weight"]), [stride] * 2, *_UNPADDED
        )
        return _Map(self._biased(node, name), x.scale * stride)

    def upsample_conv(self, x: _Map, name: str, channels: int, mode: str) -> _Map:
        """Both as one transposed convolution, which is three times as fast."""
        weight = _doubling(self.weights[f"{name}.weight"], mode)
        crop = [weight.shape[2] // 2 + 1] * 2  # what comes of the margin alone
        node = _padded(x.node, 1, "edge")
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
        node = _padded(x.node, kernel // 2, "reflect")
        node = ops.convolution(
            node, _constant(_repeated(weight, columns)), [1, columns], *_UNPADDED
        )
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


def _repeated(weight: Array, columns: int) -> Array:
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


def _padded(node: ov.Node, margin: int, mode: str) -> ov.Node:
    return ops.pad(node, [0, 0, margin, margin], [0, 0, margin, margin], mode) if margin else node


def _by_channel(numbers: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    return numbers.reshape(1, -1, 1, 1)


def _affine(x: ov.Node, factor: float, shift: float) -> ov.Node:
    scaled = ops.multiply(x, np.float32(factor))
    return ops.add(scaled, np.float32(shift)) if shift else scaled
