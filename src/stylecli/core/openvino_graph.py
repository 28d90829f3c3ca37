"""A generator as a graph of OpenVINO's own operators, built from the weights in a model file."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import openvino as ov
from openvino import opset13 as ops

from stylecli.core.architectures import architecture_of
from stylecli.core.geometry import upsampled_taps
from stylecli.core.spec import (
    EPSILON,
    GRAY,
    INPUT_GAIN,
    LAST_LAYER_GAIN,
    LEAK,
    OUTPUT_RANGE,
    GeneratorSpec,
)

Weights = Mapping[str, npt.NDArray[np.float32]]


def build_graph(weights: Weights, spec: GeneratorSpec) -> tuple[ov.Model, list[tuple[int, int]]]:
    """A network from pictures to pictures: (N, H, W, 3) in 0..255 to the same, H and W free.

    Height and width are multiples of what the architecture pads to.

    Args:
        weights: of one style, by their names in a model file.
        spec: of the generator, with a width.

    Returns:
        The network, and for each of its further inputs, which are planes of noise
        (1, 1, H / scale, W / scale), the noise's layer and the scale.
    """
    photos = ops.parameter([-1, -1, -1, 3], np.uint8, "photos")
    x = ops.transpose(ops.convert(photos, "f32"), [0, 3, 1, 2])
    x = _affine(x, INPUT_GAIN / 255, -INPUT_GAIN * GRAY)
    layers = _GraphLayers(weights, spec)
    z = architecture_of(spec).build(layers, _Map(x, 1), spec).node
    z = _affine(z, LAST_LAYER_GAIN, 0.0)
    z = ops.tanh(z) if spec.output == "tanh" else z
    painted = ops.round(_affine(z, 255 * OUTPUT_RANGE, 255 * GRAY), "half_to_even")
    painted = ops.convert(ops.clamp(painted, 0.0, 255.0), "u8")
    painted = ops.transpose(painted, [0, 2, 3, 1])
    return ov.Model([painted], [photos, *layers.planes], "generator"), layers.noises


_UNPADDED = ([0, 0], [0, 0], [1, 1])


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
        node = ops.convolution(node, self.weights[f"{name}.weight"], [stride] * 2, *_UNPADDED)
        return _Map(self._biased(node, name), x.scale * stride)

    def upsample_conv(self, x: _Map, name: str, channels: int, mode: str) -> _Map:
        taps = np.array(upsampled_taps(mode), np.float32)
        four = np.einsum("oiyx,pya,qxb->opqiab", self.weights[f"{name}.weight"], taps, taps)
        weight = four.reshape(4 * channels, *four.shape[3:])
        node = ops.convolution(_padded(x.node, 1, "edge"), weight, [1, 1], *_UNPADDED)
        node = ops.depth_to_space(node, "depth_first", 2)
        return _Map(self._biased(node, name), x.scale // 2)

    def _biased(self, node: ov.Node, name: str) -> ov.Node:
        if f"{name}.bias" not in self.weights:
            return node
        return ops.add(node, _by_channel(self.weights[f"{name}.bias"]))

    def to_rgb(self, x: _Map, name: str, kernel: int) -> _Map:
        return self.conv(x, name, 3, kernel)

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
        if self.spec.activation == "relu":
            return _Map(ops.relu(x.node), x.scale)
        return _Map(ops.prelu(x.node, np.array([LEAK], np.float32)), x.scale)

    def noise(self, x: _Map, name: str, layer: int) -> _Map:
        if self.spec.noise == "none":
            return x
        plane = ops.parameter([1, 1, -1, -1], np.float32, f"noise{layer}")
        self.planes.append(plane)
        self.noises.append((layer, x.scale))
        noise = ops.multiply(plane, _by_channel(self.weights[f"{name}.strength"]))
        return _Map(ops.add(x.node, noise), x.scale)

    def upsample(self, x: _Map) -> _Map:
        doubled = ops.interpolate(
            x.node,
            np.array([2.0, 2.0], np.float32),
            "nearest",
            "scales",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
            axes=np.array([2, 3]),
        )
        return _Map(doubled, x.scale // 2)

    def pool(self, x: _Map, scale: int) -> _Map:
        sides = [scale, scale]
        pooled = ops.avg_pool(x.node, sides, [0, 0], [0, 0], sides, True)
        return _Map(pooled, x.scale * scale)

    def add(self, x: _Map, y: _Map) -> _Map:
        return _Map(ops.add(x.node, y.node), x.scale)

    def concatenate(self, x: _Map, y: _Map) -> _Map:
        return _Map(ops.concat([x.node, y.node], 1), x.scale)


def _padded(node: ov.Node, margin: int, mode: str) -> ov.Node:
    return ops.pad(node, [0, 0, margin, margin], [0, 0, margin, margin], mode) if margin else node


def _by_channel(numbers: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    return numbers.reshape(1, -1, 1, 1)


def _affine(x: ov.Node, factor: float, shift: float) -> ov.Node:
    scaled = ops.multiply(x, np.float32(factor))
    return ops.add(scaled, np.float32(shift)) if shift else scaled
