"""Noise planes: fixed numbers for a position, a layer and a seed, whoever computes them.

The numbers are counted, not drawn (Salmon et al. 2011): each is a hash of where it stands. So
strips, batches, devices and backends agree, the noise of a film stands still, and a small plane is
a corner of a larger one. Only operators are used, which arrays of NumPy and tensors of torch share.
"""

from typing import Any

Array = Any  # of NumPy, or a tensor of torch

_LOW_32 = 0xFFFFFFFF
_ROWS, _COLUMNS = 0x2C1B3C6D, 0x297A2D39  # any two numbers: rows and columns differ in their hashes
_FOUR_BYTES_MEAN = 4 * 127.5
_FOUR_BYTES_STD = (4 * (256**2 - 1) / 12) ** 0.5


def noise_plane(rows: Array, columns: Array, layer: int, seed: Array) -> Array:
    """Numbers of mean 0 and variance 1, nearly normal: sums of the four bytes of a hash.

    Args:
        rows: int64, from 0, of a shape such as (H, 1).
        columns: int64, from 0, of a shape such as (W,).
        layer: of the network; each has another plane.
        seed: 0 to 2^31 - 1; another seed, other planes. An array of shape (N, 1, 1, 1) gives a
            plane for each.

    Returns:
        The shape that rows, columns and seed broadcast to, in the array library's default float.
    """
    key = seed * 64 + layer
    by_row = _mixed(_mixed(rows * 2 + _ROWS) + key)
    by_column = _mixed(_mixed(columns * 2 + _COLUMNS) + key)
    bits = _once_mixed(by_row ^ by_column)
    pairs = (bits & 0x00FF00FF) + ((bits >> 8) & 0x00FF00FF)
    total = (pairs & 0xFFFF) + (pairs >> 16)
    return (total - _FOUR_BYTES_MEAN) * (1 / _FOUR_BYTES_STD)


def _mixed(n: Array) -> Array:
    """A hash of 32 bits, each of which depends on every bit of ``n``: two multiplications."""
    return _once_mixed(_once_mixed(n & _LOW_32))


def _once_mixed(n: Array) -> Array:
    """Half of it. The factor is below 2^27, so that no product leaves 63 bits."""
    n = ((n >> 16) ^ n) * 0x045D9F3B & _LOW_32
    return (n >> 16) ^ n
