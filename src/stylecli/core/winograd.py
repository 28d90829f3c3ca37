"""Convolutions of 3 x 3 with fixed weights, in a quarter of the multiplications.

A tile of 4 x 4 outputs needs 6 x 6 inputs. Inputs and weights are transformed so that 36 products,
in place of 144, give the 16 outputs; over all channels and tiles these are 36 products of matrices.
The transforms cost time too, so it pays for many channels only, and where the processor has no
faster number format than float32.

Source: Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", arXiv 1509.09308, with
F(4 x 4, 3 x 3) and its interpolation points 0, 1, -1, 2, -2.
"""

from functools import cached_property
from itertools import product
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

# Measured on an AMD EPYC with AVX2: with 64 channels in and out, the transforms cost what the
# products save.
_LEAST_OUTPUTS = 128
_TILES = 256  # at once: their 36 matrices stay in the processor's cache, and memory stays small

_INPUT = torch.tensor(
    [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ],
    dtype=torch.float32,
)
_WEIGHT = torch.tensor(
    [[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]], dtype=torch.float64
)
_OUTPUT = torch.tensor(
    [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]],
    dtype=torch.float32,
)
# Both axes at once.
_INPUTS = torch.kron(_INPUT, _INPUT)  # (36, 36)
_OUTPUTS = torch.kron(_OUTPUT, _OUTPUT)  # (16, 36)


class FrozenConv2d:
    """A convolution of 3 x 3 on the CPU, in float32, that has a gradient for its input alone.

    Args:
        weight: (C', C, 3, 3).
        bias: (C',).
    """

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        self.weight, self.bias = weight, bias

    @staticmethod
    def pays(weight: Tensor) -> bool:
        """Whether it is faster than torch's convolution with this weight."""
        is_plain = weight.device.type == "cpu" and weight.dtype == torch.float32
        return is_plain and weight.shape[0] >= _LEAST_OUTPUTS

    def __call__(self, x: Tensor, padding: int) -> Tensor:
        """(N, C, H, W) to (N, C', H - 2 + 2 padding, W - 2 + 2 padding); zeros are padded."""
        convolved: Tensor = _Convolution.apply(x, self, padding)
        return convolved

    @cached_property
    def forward_weight(self) -> Tensor:
        """(36, C, C'): the weight, transformed."""
        return _transformed(self.weight)

    @cached_property
    def backward_weight(self) -> Tensor:
        """(36, C', C): that of the convolution which leads a gradient back."""
        return _transformed(self.weight.flip(2, 3).transpose(0, 1))


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, conv: FrozenConv2d, padding: int) -> Tensor:
        ctx.conv, ctx.padding = conv, padding
        return _convolved(x, conv.forward_weight, padding).add_(conv.bias[:, None, None])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return _convolved(gradients[0], ctx.conv.backward_weight, 2 - ctx.padding), None, None


def _transformed(weight: Tensor) -> Tensor:
    """(C', C, 3, 3) to (36, C, C')."""
    once = _WEIGHT / 24
    four_axes = torch.einsum("ai,bj,kcij->abck", once, once, weight.double())
    return four_axes.flatten(0, 1).float().contiguous()


def _convolved(x: Tensor, weight: Tensor, padding: int) -> Tensor:
    """(N, C, H, W) to (N, C', H - 2 + 2 padding, W - 2 + 2 padding), with channels last."""
    count, inputs, height, width = x.shape
    height, width = height - 2 + 2 * padding, width - 2 + 2 * padding
    down, across = -(-height // 4), -(-width // 4)  # tiles
    more = (padding, padding + 4 * across - width, padding, padding + 4 * down - height)
    x = F.pad(x, more).contiguous(memory_format=torch.channels_last)
    outputs = weight.shape[2]
    shape = (count, outputs, 4 * down, 4 * across)
    result = x.new_empty(shape).contiguous(memory_format=torch.channels_last)
    tiles = result.permute(0, 2, 3, 1).view(count, down, 4, across, 4, outputs)
    of_image, _, of_row, of_column = x.stride()
    strides = (of_row, of_column, of_image, 4 * of_row, 4 * of_column, 1)
    images, rows = max(1, _TILES // (down * across)), max(1, _TILES // across)
    for image, row in product(range(0, count, images), range(0, down, rows)):
        part = tiles[image : image + images, row : row + rows]
        part_shape = (*part.shape[:2], across)
        start = x.storage_offset() + image * of_image + 4 * row * of_row
        windows = x.as_strided((6, 6, *part_shape, inputs), strides, start)
        seen = (_INPUTS @ windows.reshape(36, -1)).view(36, -1, inputs)
        products = torch.bmm(seen, weight)  # (36, tiles, C')
        back = (_OUTPUTS @ products.flatten(1)).view(4, 4, *part_shape, outputs)
        part.copy_(back.permute(2, 3, 0, 4, 1, 5))
    if shape[2:] == (height, width):
        return result
    return result[..., :height, :width].clone(memory_format=torch.channels_last)
