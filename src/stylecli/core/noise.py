"""Noise planes: random numbers that depend on a position, a layer and a seed, and nothing else.

Each number is a hash of its position (a counter-based generator: Salmon et al. 2011). So strips,
batches, devices and backends agree, the noise in a video does not move, and a small plane is a
corner of a larger one. Only operators are used, so NumPy's arrays and torch's tensors both work.
"""

from typing import Any

Array = Any  # of NumPy, or a tensor of torch

_LOW_32 = 0xFFFFFFFF
_ROWS, _COLUMNS = 0x2C1B3C6D, 0x297A2D39  # arbitrary, to hash rows and columns differently
_FOUR_BYTES_MEAN = 4 * 127.5
_FOUR_BYTES_STD = (4 * (256**2 - 1) / 12) ** 0.5


def noise_plane(rows: Array, columns: Array, layer: int, seed: Array) -> Array:
    """Nearly normal numbers of mean 0 and variance 1: sums of the four bytes of a hash.

    Args:
        rows: int64, from 0, of a shape such as (H, 1).
        columns: int64, from 0, of a shape such as (W,).
        layer: the number of the layer; each layer has another plane.
        seed: 0 to 2^31 - 1; each seed gives other planes. An array of shape (N, 1, 1, 1) gives
            N planes.

    Returns:
        An array of the shape that rows, columns and seed broadcast to, of the default float type.
    """
    key = seed * 64 + layer
    by_row = _hash(_hash(rows * 2 + _ROWS) + key)
    by_column = _hash(_hash(columns * 2 + _COLUMNS) + key)
    bits = _hash_once(by_row ^ by_column)
    pairs = (bits & 0x00FF00FF) + ((bits >> 8) & 0x00FF00FF)
    total = (pairs & 0xFFFF) + (pairs >> 16)
    return (total - _FOUR_BYTES_MEAN) * (1 / _FOUR_BYTES_STD)


def _hash(n: Array) -> Array:
    """A hash of 32 bits, each of which depends on every bit of ``n``, in two rounds."""
    return _hash_once(_hash_once(n & _LOW_32))


def _hash_once(n: Array) -> Array:
    """One round. The factor is below 2^27, so that every product fits in 63 bits."""
    n = ((n >> 16) ^ n) * 0x045D9F3B & _LOW_32
    return (n >> 16) ^ n
