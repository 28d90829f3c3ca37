"""A small painting at the size of its photo, as a print: strokes, bristles, edges of the photo.

The painting is taken apart, at its own size, into what follows the photo and the strokes over it: a
local regression of each channel on the photo's luma gives a slope A, and the strokes are the rest,
P - A luma (a guided filter: He, Sun, Tang 2010; at the small size, as in the fast guided filter: He
and Sun 2015). At full size the picture is A times the photo's own luma plus the strokes. So an edge
of the photo is as sharp as in the photo, and as strong, and of the same sign, as it was painted.
Detail of a few of 255, such as a sensor's noise, stays out.

Strokes are averaged along their direction, which a structure tensor tells (Kyprianidis and Kang
2011), and sharpened within the range of their neighbors; cubic B-splines enlarge them. All weights
of the enlargement are positive, so no halo appears.

Bristles are a noise of spots (sparse convolution: Lewis 1989; oriented, as in Gabor noise: Lagae et
al. 2009): in each cell of 16 x 16 pixels lie stripes along the stroke, of a random strength that
depends on the cell's position and nothing else. They fade where the painting is even.

The formulas here are written once, over a few operators that each backend provides.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import product
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from stylecli.core.noise import noise_plane
from stylecli.files.colors import Rgb

Node = Any  # an array of a backend, with + - * /
Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]

LUMA = np.array([0.299, 0.587, 0.114], np.float32)
GRAY = 128.0  # values are centered, which keeps sums small
CELL = 16  # px: one spot of bristles starts in each
TILE = 128, 256  # px: what is put together at once, which fits in a processor's cache
_WINDOW = 600  # px of the painting: what is kept prepared
HALO = 11  # px of the painting: how far one of its pixels has an effect
PART = 216  # px of the painting: how many are prepared at once, with a halo

_RADIUS = 2  # px of the painting: the regression is that of a square of 5 x 5
_NOISE = 25.0  # of 255, squared: what varies less than that is as good as even
_CORE = 4.0  # of 255: detail of the photo below that stays out
_DIRECTIONS = 10
_BRISTLE = 6.5  # of 255: standard deviation of bristles in lively strokes
_EVEN = 4.0  # of 255 per px: a gradient that gets half of that
_SHARPENING = 2.5
_FREQUENCIES = 0.04, 0.2  # of bristles, per px
_LAYER = 63  # of the noise: no generator has as many
_BROAD = 0.3  # weight of the direction of a wider neighborhood


class Operators(Protocol):
    """What a backend computes for the formulas, beside + - * /."""

    def mix(self, x: Node, weights: npt.NDArray[Any]) -> Node:
        """Sums of channels, (N, C, h, w) with (K, C): (N, K, h, w)."""

    def filter(self, x: Node, kernels: Floats) -> Node:
        """Each channel of (N, C, h, w) with a kernel (C, a, b), or all with one; zeros around."""

    def largest(self, x: Node) -> Node:
        """The largest of each 3 x 3 of (N, C, h, w)."""

    def clip(self, x: Node, low: float, high: float) -> Node:
        """Values within bounds."""

    def between(self, x: Node, low: Node, high: Node) -> Node:
        """The same, with bounds for each value."""

    def root(self, x: Node) -> Node:
        """The square root."""

    def split(self, x: Node, sizes: list[int]) -> list[Node]:
        """Parts along the first axis."""

    def matmul(self, a: Node, b: Node) -> Node:
        """Matrix products of the last two axes."""

    def spread(self, cells: Node) -> Node:
        """(rows * columns, CELL * CELL) of a tile's cells to (1, *TILE)."""


def prepare(ops: Operators, small: Node, painted: Node, strength: Node) -> tuple[Node, ...]:
    """What the tiles need of a painting, at its size.

    Args:
        ops: the operators.
        small: the photo scaled down, (1, 3, h, w) in 0..255, float32.
        painted: its stylization, the same.
        strength: how much is enlarged: 0 for factor 1, toward 1 for large ones.

    Returns:
        Slopes; strokes; luma, three times; the gradient, likewise, (1, 3, h, w) each; and how near
        each direction is to that of the strokes, (1, directions, h, w). They are right
        :data:`HALO` inside of the edges.
    """
    # Operators are fastest on arrays of one shape, so luma has three channels.
    luma = ops.mix(small, np.tile(LUMA, (3, 1))) - GRAY
    painted = painted - GRAY
    slope = _regress(ops, luma, painted)
    rest = painted - slope * luma
    shares, gradient = _directions(ops, painted)
    strokes = rest + (_sharpen(ops, _smooth(ops, rest, shares)) - rest) * strength
    return slope, strokes, luma, gradient, shares


def compose(
    ops: Operators,
    photo: Node,
    maps: Node,
    down: Node,
    across: Node,
    spots: Node,
    patches: Node,
) -> Node:
    """A tile at full size.

    Args:
        ops: the operators.
        photo: its luma, (1, *TILE) in 0..255, float32.
        maps: slopes, strokes and luma around it, (7, k, l).
        down: what its rows are made of, (TILE[0], k).
        across: what its columns are made of, (l, TILE[1]).
        spots: of bristles, in and around each of its cells, (cells, 9 * directions).
        patches: what :func:`make_patches` gives.

    Returns:
        (3, *TILE) around 0..255.
    """
    enlarged = ops.matmul(down, ops.matmul(maps, across))
    slope, strokes, luma = ops.split(enlarged, [3, 3, 1])
    bristles = ops.spread(ops.matmul(spots, patches))
    photo = photo - GRAY
    detailed = photo - ops.clip(photo - luma, -_CORE, _CORE)
    return slope * detailed + (strokes + (bristles + GRAY))


def _regress(ops: Operators, luma: Node, painted: Node) -> Node:
    """Slopes on luma, each times the share of the variance that it explains."""
    box = np.full(2 * _RADIUS + 1, 1 / (2 * _RADIUS + 1), np.float32)
    mean, mean_painted = _blur(ops, luma, box), _blur(ops, painted, box)
    variance = _blur(ops, luma * luma, box) - mean * mean + _NOISE
    of_painted = _blur(ops, painted * painted, box) - mean_painted * mean_painted + _NOISE
    covariance = _blur(ops, painted * luma, box) - mean_painted * mean
    share = covariance * covariance / (of_painted * variance)
    return _blur(ops, covariance / variance * share, _bell(0.7, 1))


def _directions(ops: Operators, painted: Node) -> tuple[Node, Node]:
    """How near each direction is to that of the strokes; and the gradient."""
    bell, slope = _bell(0.9, 2), np.arange(-2, 3)
    slope = (slope * bell / (slope**2 * bell).sum()).astype(np.float32)
    x, y = _separably(ops, painted, bell, slope), _separably(ops, painted, slope, bell)
    energy = ops.mix(x * x + y * y, np.ones((3, 3)))
    # Along strokes: cosine and sine of the double angle, times the gradient squared.
    first, second = [[1.0] * 3, [0.0] * 3], [[0.0] * 3, [-2.0] * 3]
    near = ops.mix(y * y - x * x, np.array(first)) + ops.mix(x * y, np.array(second))
    near = _blur(ops, near, _bell(1.5, 3))
    tensor = near + _blur(ops, near, _bell(3.0, 5)) * _BROAD
    return _shares(ops, tensor), ops.root(_blur(ops, energy, _bell(1.5, 3)) + 1e-6)


def _shares(ops: Operators, tensor: Node) -> Node:
    """The two directions next to an angle share it; the angle is given times any length."""
    angles = np.arange(_DIRECTIONS) * (2 * np.pi / _DIRECTIONS)
    length = ops.root(ops.mix(tensor * tensor, np.ones((_DIRECTIONS, 2))) + 1e-3)
    near = ops.mix(tensor, np.stack([np.cos(angles), np.sin(angles)], 1)) / length
    least = float(np.cos(2 * np.pi / _DIRECTIONS))
    shares = ops.clip(near - least, 0.0, 1.0) + 1e-4
    return shares / ops.mix(shares, np.ones((_DIRECTIONS, _DIRECTIONS)))


def _smooth(ops: Operators, x: Node, shares: Node) -> Node:
    """Average three channels along strokes."""
    directions, channels = np.eye(_DIRECTIONS), np.eye(3)
    lines = ops.mix(x, np.tile(channels, (_DIRECTIONS, 1)))
    lines = ops.filter(lines, np.repeat(_lines(), 3, 0))  # (1, directions * 3, h, w)
    lines = lines * ops.mix(shares, np.repeat(directions, 3, 0))
    return ops.mix(lines, np.tile(channels, (1, _DIRECTIONS)))


def _sharpen(ops: Operators, x: Node) -> Node:
    """An unsharp mask that stays within the range of each 3 x 3."""
    sharp = x + (x - _blur(ops, x, _bell(0.8, 1))) * _SHARPENING
    return ops.between(sharp, ops.largest(x * -1.0) * -1.0, ops.largest(x))


def _blur(ops: Operators, x: Node, bell: Floats) -> Node:
    return _separably(ops, x, bell, bell)


def _separably(ops: Operators, x: Node, down: Floats, across: Floats) -> Node:
    return ops.filter(ops.filter(x, across[None, None]), down[None, :, None])


def _bell(sigma: float, radius: int) -> Floats:
    values = np.exp(-(np.arange(-radius, radius + 1) ** 2) / (2 * sigma**2))
    bell: Floats = (values / values.sum()).astype(np.float32)
    return bell


def _turned(side: int, angle: float) -> tuple[Floats, Floats]:
    """Coordinates along and across a direction, of a square around its middle."""
    at = np.arange(side) - (side - 1) / 2
    along = at * np.cos(angle) + at[:, None] * np.sin(angle)
    return along, at[:, None] * np.cos(angle) - at * np.sin(angle)


def _lines() -> Floats:
    """(directions, 7, 7): each averages along a short line."""
    kernels = []
    for angle in np.arange(_DIRECTIONS) * (np.pi / _DIRECTIONS):
        along, across = _turned(7, angle)
        values = np.exp(-(along**2) / (2 * 2.0**2) - across**2 / (2 * 0.5**2))
        kernels.append(values / values.sum())
    return np.array(kernels, np.float32)


def make_patches() -> Floats:
    """Of a cell's pixels, what each of the spots in the 3 x 3 cells around it adds.

    Returns:
        (9 * directions, CELL * CELL); the whole has a variance of about 1.
    """
    rng = np.random.default_rng(1)
    side = 3 * CELL
    hann = np.sin(np.pi * (np.arange(side) + 0.5) / side)
    spots = []
    for angle in np.arange(_DIRECTIONS) * (np.pi / _DIRECTIONS):
        frequencies, phases = rng.uniform(*_FREQUENCIES, 8), rng.uniform(0, 2 * np.pi, 8)
        _, across = _turned(side, angle)
        waves = np.cos(2 * np.pi * frequencies * across[..., None] + phases).sum(-1)
        window = np.outer(hann, hann) * np.exp(-((across / CELL) ** 2))
        spots.append(window * (waves - (window * waves).sum() / window.sum()))
    cells = np.array(spots).reshape(-1, 3, CELL, 3, CELL)
    cells /= ((cells**2).sum((1, 2, 3, 4)) / CELL**2).mean() ** 0.5
    cells = cells[:, ::-1, :, ::-1]  # the cell above adds its lower part
    ordered = cells.transpose(1, 3, 0, 2, 4).reshape(-1, CELL**2)
    return np.ascontiguousarray(ordered, np.float32)


class Enlarger:
    """Enlarges paintings in tiles, always the same ones, however much memory there is.

    Args:
        prepare: :func:`prepare` of a backend: photo and painting (PART, PART, 3), uint8, and the
            strength, to planes (1, channels, PART, PART).
        compose: :func:`compose` of a backend, of luma and to (3, *TILE), both uint8.
    """

    def __init__(
        self,
        prepare: Callable[[Rgb, Rgb, Floats], Sequence[Floats]],
        compose: Callable[[Bytes, Floats, Floats, Floats, Floats], Bytes],
    ) -> None:
        self._prepare, self._compose = prepare, compose

    def __call__(self, photo: Rgb, small: Rgb, painted: Rgb) -> Rgb:
        """Enlarge a painting.

        Args:
            photo: (H, W, 3) in 0..255.
            small: the photo scaled down, (h, w, 3).
            painted: its stylization, (h, w, 3).

        Returns:
            (H, W, 3) in 0..255.
        """
        large = np.empty(photo.shape, np.uint8)
        factor = photo.shape[0] / small.shape[0]
        strength = max(0.0, 1 - factor**-2)  # the share of pixels that the small photo lacks
        down, across = (_Axis(small.shape[i], photo.shape[i], TILE[i], strength) for i in (0, 1))
        for rows in down.windows():
            for columns in across.windows():
                maps = self._maps(small, painted, rows, columns, strength)
                directions = rows.at_cells(columns.at_cells(maps[7:], 2), 1)
                spots = _spots(directions, rows.first // CELL, columns.first // CELL, factor)
                self._fill(large, photo, maps[:7], spots, rows, columns)
                del maps, directions, spots  # or they stay until the next window's are made
        return large

    def _maps(
        self, small: Rgb, painted: Rgb, down: "_Window", across: "_Window", strength: float
    ) -> Floats:
        """The maps of a window, prepared in squares; beyond the edges, they go on evenly."""
        (top, bottom), (left, right) = down.inside, across.inside
        (above, below), (before, after) = down.beyond, across.beyond
        sides = above + bottom - top + below, before + right - left + after
        whole = np.empty((8 + _DIRECTIONS, *sides), np.float32)
        maps = whole[:, above : sides[0] - below, before : sides[1] - after]
        inner = PART - 2 * HALO
        for y, x in product(range(0, maps.shape[1], inner), range(0, maps.shape[2], inner)):
            rows = np.arange(PART)[:, None] + (top + y - HALO)
            columns = np.arange(PART) + (left + x - HALO)
            at = rows.clip(0, small.shape[0] - 1), columns.clip(0, small.shape[1] - 1)
            done = self._prepare(small[at], painted[at], np.array([strength], np.float32))
            part = maps[:, y : y + inner, x : x + inner]
            high, wide = HALO + part.shape[1], HALO + part.shape[2]
            channels = (3, 3, 1, 1, _DIRECTIONS)
            few = [
                planes[0, :count, HALO:high, HALO:wide]
                for planes, count in zip(done, channels, strict=True)
            ]
            np.concatenate(few, out=part)
        maps = whole[:, above : sides[0] - below]
        maps[..., :before] = maps[..., before : before + 1]
        maps[..., sides[1] - after :] = maps[..., sides[1] - after - 1 : sides[1] - after]
        whole[:, :above] = maps[:, :1]
        whole[:, sides[0] - below :] = maps[:, -1:]
        return whole

    def _fill(
        self,
        large: Rgb,
        photo: Rgb,
        maps: Floats,
        spots: Floats,
        down: "_Window",
        across: "_Window",
    ) -> None:
        """Put together the tiles of a window."""
        tile = np.zeros((1, *TILE), np.uint8)
        columns_of_tiles = [(one, np.ascontiguousarray(one.weights.T)) for one in across.tiles()]
        for rows in down.tiles():
            luma = np.asarray(Image.fromarray(photo[slice(*rows.pixels)]).convert("L"))
            for columns, weights in columns_of_tiles:
                part = luma[:, slice(*columns.pixels)]
                tile[0, : part.shape[0], : part.shape[1]] = part
                around = maps[:, slice(*rows.painted), slice(*columns.painted)]
                some = spots[slice(*rows.cells), slice(*columns.cells)]
                some = some.reshape(-1, 9 * _DIRECTIONS)
                done = self._compose(tile, around, rows.weights, weights, some)
                place = large[slice(*rows.pixels), slice(*columns.pixels)]
                for channel in range(3):  # several times as fast as all at once
                    place[..., channel] = done[channel, : part.shape[0], : part.shape[1]]


class _Tile(NamedTuple):
    """Part of an axis: what is put together at once."""

    pixels: tuple[int, int]  # of the photo
    painted: tuple[int, int]  # pixels of the painting, from the window's first
    cells: tuple[int, int]  # of bristles, likewise
    weights: Floats  # (TILE, pixels of the painting)


class _Axis:
    """Rows or columns of a painting and of its photo."""

    def __init__(self, count: int, size: int, tile: int, strength: float) -> None:
        self.count, self.size, self.tile, self.strength = count, size, tile, strength
        self.scale = count / size
        reach = int(np.ceil(tile * self.scale)) + 4
        # Of a tile; rounded, as OpenVINO keeps memory for each number that it has met.
        step = max(4, 2 ** (reach.bit_length() - 4))
        self.reach = -(-reach // step) * step

    def windows(self) -> Iterator["_Window"]:
        """Parts of bounded size, each of whole tiles."""
        step = max(1, int(_WINDOW / self.scale) // self.tile) * self.tile
        for first in range(0, self.size, step):
            yield _Window(self, first, min(first + step, self.size))

    def start(self, pixel: int) -> int:
        """The first pixel of the painting for a tile; it may lie beyond the painting."""
        return int(np.floor((pixel + 0.5) * self.scale - 0.5)) - 1

    def weights(self, pixel: int) -> Floats:
        """What the pixels of a tile are made of, (tile, reach): cubic B-splines, or linear."""
        at = (np.arange(pixel, pixel + self.tile) + 0.5) * self.scale - 0.5
        near = np.floor(at).astype(int)
        t = at - near
        spline = np.array([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, 3 * t * (1 + t - t**2) + 1, t**3])
        linear = np.array([0 * t, 1 - t, t, 0 * t])
        taps = self.strength * spline / 6 + (1 - self.strength) * linear
        weights = np.zeros((self.tile, self.reach), np.float32)
        for offset, tap in zip(range(-1, 3), taps, strict=True):
            weights[np.arange(self.tile), near + offset - self.start(pixel)] += tap
        return weights


class _Window:
    """Part of an axis that is prepared at once: whole tiles."""

    def __init__(self, axis: _Axis, first: int, end: int) -> None:
        self.axis, self.first, self.end = axis, first, end
        last = first + (end - 1 - first) // axis.tile * axis.tile
        beyond = int(CELL * axis.scale) + 1  # bristles that begin outside of it
        self.painted = axis.start(first) - beyond, axis.start(last) + axis.reach + beyond
        start, end = self.painted
        self.inside = max(0, start), min(axis.count, end)
        self.beyond = self.inside[0] - start, end - self.inside[1]

    def tiles(self) -> Iterator[_Tile]:
        """Its tiles."""
        for first in range(self.first, self.end, self.axis.tile):
            start = self.axis.start(first) - self.painted[0]
            cell = (first - self.first) // CELL
            yield _Tile(
                (first, min(first + self.axis.tile, self.end)),
                (start, start + self.axis.reach),
                (cell, cell + self.axis.tile // CELL),
                self.axis.weights(first),
            )

    def at_cells(self, shares: Floats, along: int) -> Floats:
        """Values at the middles of its cells, and of one more at each end."""
        tiles = -(-(self.end - self.first) // self.axis.tile)
        cells = np.arange(-1, tiles * self.axis.tile // CELL + 1)
        at = (self.first + (cells + 0.5) * CELL) * self.axis.scale - self.painted[0]
        return shares.take(at.astype(int), along)


def _spots(directions: Floats, row: int, column: int, factor: float) -> Floats:
    """How strong the spots in and around each cell are.

    Args:
        directions: the gradient, and the shares of directions, in and around the cells,
            (1 + directions, rows + 2, columns + 2).
        row: of the first cell, counted from the photo's first.
        column: the same.
        factor: of the enlargement.

    Returns:
        (rows, columns, 3, 3, directions), a view.
    """
    gradient, shares = directions[0], directions[1:]
    rows, columns = np.arange(shares.shape[1])[:, None] + row, np.arange(shares.shape[2]) + column
    strength = gradient / (gradient + _EVEN) * _BRISTLE * min(max((factor - 2) / 4, 0.0), 1.0)
    spots = shares * (noise_plane(rows, columns, _LAYER, 0) * strength).astype(np.float32)
    spots = np.ascontiguousarray(spots.transpose(1, 2, 0))
    around = np.lib.stride_tricks.sliding_window_view(spots, (3, 3), (0, 1))
    return around.transpose(0, 1, 3, 4, 2)
