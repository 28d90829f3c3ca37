"""A small painting at the size of its photo, as a print: strokes, bristles, edges of the photo.

The painting is taken apart, at its own size, into what follows the photo and the strokes over it: a
local regression of each channel on the photo's luma gives a slope A, and the strokes are the rest,
P - A luma (a guided filter: He, Sun, Tang 2010; at the small size, as in the fast guided filter: He
and Sun 2015). At full size the picture is A times the photo's own luma plus the strokes. So an edge
of the photo is as sharp as in the photo, and as strong, and of the same sign, as it was painted.
Detail of a few of 255, such as a sensor's noise, stays out.

Strokes are averaged along their direction, which a structure tensor gives (Kyprianidis and Kang
2011), and sharpened within the range of their neighbors; cubic B-splines enlarge them. All weights
of the enlargement are positive, so no halo appears.

Slopes, and the directions of strokes, change slowly: they are computed at half of the painting's
size. Averages along any direction are mixed of five filters (steerable filters: Freeman and Adelson
1991).

Bristles are a noise of spots (sparse convolution: Lewis 1989; oriented, as in Gabor noise: Lagae et
al. 2009): in each cell of 16 x 16 pixels lie stripes along the stroke, of a random strength that
depends on the cell's position and nothing else. They fade where the painting is even.

The formulas here are written once, over a few operators that each backend provides.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import product
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from stylecli.core.architectures.layers import noise_plane
from stylecli.files.colors import Rgb

Node = Any  # an array of a backend, with + - * /
Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]

LUMA = np.array([0.299, 0.587, 0.114], np.float32)
GRAY = 128.0  # values are centered, which keeps sums small
CELL = 16  # px: one spot of bristles starts in each
TILE = 128, 256  # px: what is put together at once, which fits in a processor's cache
BLOCK = 64  # px: rows and columns of a tile that are enlarged together, by products of matrices
BLOCKS = TILE[0] // BLOCK, TILE[1] // BLOCK
_WINDOW = 600  # px of the painting: what is kept prepared
HALO = 12  # px of the painting, even: how far one of its pixels has an effect
PART = 216  # px of the painting, even: how many are prepared at once, with a halo

_NOISE = 25.0  # of 255, squared: what varies less than that is as good as even
_CORE = 4.0  # of 255: detail of the photo below that stays out
_DIRECTIONS = 10
_BRISTLE = 6.5  # of 255: standard deviation of bristles in lively strokes
_EVEN = 4.0  # of 255 per px: a gradient that gets half of that
_SHARPENING = 2.5
_AVERAGED = 0.7  # how far strokes are averaged and sharpened at most; the rest stays as painted
_PLAIN = 2.0  # up to this factor, there are no bristles
_LIVELY = 6.0  # from this factor on, they are as strong as they get
_BASIS = 5  # filters that averages along a line are mixed of
_FREQUENCIES = 0.04, 0.2  # of bristles, per px
_WAVES, _SHIFT = 8, 0.015  # in each spot; how far their frequencies lie beside even ones
_LAYER = 63  # of the noise: generators have fewer layers
_BROAD = 0.3  # weight of the direction of a wider neighborhood


class Operators(Protocol):
    """What a backend computes for the formulas, beside + - * /."""

    def mix(self, x: Node, weights: npt.NDArray[Any]) -> Node:
        """Sums of channels, (N, C, h, w) with (K, C): (N, K, h, w)."""

    def filter(self, x: Node, kernels: Floats) -> Node:
        """Each channel of (N, C, h, w) with a kernel (C, a, b), or all with one; zeros around."""

    def halve(self, x: Node, down: Floats, across: Floats) -> Node:
        """Each channel of (N, C, h, w) with kernels of even length: (N, C, h / 2, w / 2)."""

    def double(self, x: Node) -> Node:
        """Each value of (N, C, h, w) becomes four: (N, C, 2 h, 2 w)."""

    def blend(self, x: Node) -> Node:
        """The same, bilinear."""

    def largest(self, x: Node) -> Node:
        """The largest of each 3 x 3 of (N, C, h, w)."""

    def clip(self, x: Node, low: float, high: float) -> Node:
        """Values within bounds."""

    def smaller(self, x: Node, y: Node) -> Node:
        """The smaller of two values."""

    def root(self, x: Node) -> Node:
        """The square root."""

    def stack(self, parts: list[Node]) -> Node:
        """One array of all along the first axis."""

    def split(self, x: Node, sizes: list[int]) -> list[Node]:
        """Parts along the first axis."""

    def matmul(self, a: Node, b: Node) -> Node:
        """Matrix products of the last two axes."""

    def join(self, blocks: Node) -> Node:
        """(down, across, 7 * k, BLOCK) of a tile's blocks to (7, down, k, TILE[1])."""

    def spread(self, cells: Node) -> Node:
        """(rows * columns, CELL * CELL) of a tile's cells to (1, down, BLOCK, TILE[1])."""


def prepare(ops: Operators, pair: Node, strength: Node) -> tuple[Node, ...]:
    """What the tiles need of a painting.

    Args:
        ops: the operators.
        pair: the photo scaled down and its stylization, (1, 6, h, w) in 0..255, float32; h and w
            are even.
        strength: how much strokes are averaged and sharpened: 0 for factor 1, toward 1 for large
            ones.

    Returns:
        Slopes, strokes and luma, three times, (1, 3, h, w) each; the gradient, (1, 1, h / 2,
        w / 2); and how near each direction is to that of the strokes, (1, directions, h / 2,
        w / 2). They are right :data:`HALO` inside of the edges.
    """
    # Operators are fastest on arrays of one shape, so luma has three channels.
    luma = ops.mix(pair, np.tile(np.append(LUMA, [0.0] * 3), (3, 1))) - GRAY
    painted = ops.mix(pair, np.eye(3, 6, 3)) - GRAY
    slope = _regress(ops, luma, painted)
    rest = painted - slope * luma
    shares, gradient = _directions(ops, painted)
    change = _sharpen(ops, _smooth(ops, rest, shares)) - rest
    return slope, rest + change * (strength * _AVERAGED), luma, gradient, shares


def finish(ops: Operators, pair: Node, strength: Node) -> Node:
    """A painting as its enlargement shows it, at its own size: strokes averaged and softened.

    Args:
        ops: the operators.
        pair: see :func:`prepare`.
        strength: see :func:`prepare`; with 0, the painting is returned as it is.

    Returns:
        (1, 3, h, w) around 0..255.
    """
    slope, strokes, luma, _, _ = prepare(ops, pair, strength)
    spline = np.array([1 / 6, 2 / 3, 1 / 6], np.float32)
    softer = (_blur(ops, x, spline) for x in (slope, strokes))
    slope, strokes = (x + (y - x) * strength for x, y in zip((slope, strokes), softer, strict=True))
    return slope * luma + (strokes + GRAY)


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
        photo: its luma, (1, down, BLOCK, TILE[1]) in 0..255, float32: down and across are numbers
            of its blocks.
        maps: slopes, strokes and luma around each block, (down, across, 7 * k, l).
        down: what rows are made of, (1, down, BLOCK, k).
        across: what columns are made of, (1, across, l, BLOCK).
        spots: of bristles, in and around each of its cells, (cells, 9 * directions).
        patches: what :func:`make_patches` gives.

    Returns:
        (3, down, BLOCK, TILE[1]) around 0..255.
    """
    enlarged = ops.matmul(down, ops.join(ops.matmul(maps, across)))
    slope, strokes, luma = ops.split(enlarged, [3, 3, 1])
    photo = photo - GRAY
    detailed = photo - ops.clip(photo - luma, -_CORE, _CORE)
    bristles = ops.spread(ops.matmul(spots, patches))
    return slope * detailed + (strokes + (bristles + GRAY))


def _regress(ops: Operators, luma: Node, painted: Node) -> Node:
    """Slopes on luma, each times the share of the variance that it explains."""
    box = np.array([0.1, 0.2, 0.2, 0.2, 0.2, 0.1], np.float32)

    squares = [luma * luma, painted * painted, painted * luma]
    means = ops.split(ops.halve(ops.stack([luma, painted, *squares]), box, box), [1] * 5)
    of_luma, of_painted, of_luma_squared, of_painted_squared, of_products = means
    variance = of_luma_squared - of_luma * of_luma + _NOISE
    variance_painted = of_painted_squared - of_painted * of_painted + _NOISE
    covariance = of_products - of_painted * of_luma
    share = covariance * covariance / (variance_painted * variance)
    return ops.blend(covariance / variance * share)


def _directions(ops: Operators, painted: Node) -> tuple[Node, Node]:
    """How near each direction is to that of the strokes; and the gradient."""
    at = np.arange(6) - 2.5
    bell = np.exp(-(at**2) / (2 * 0.9**2))
    slope = (at * bell / (at**2 * bell).sum()).astype(np.float32)
    bell = (bell / bell.sum()).astype(np.float32)
    x, y = ops.halve(painted, bell, slope), ops.halve(painted, slope, bell)
    # Along strokes: cosine and sine of the double angle, times the gradient squared; and that.
    ones, none = [1.0] * 3, [0.0] * 3
    both = ops.mix(x * y, np.array([none, [-2.0] * 3, none]))
    tensor = both + ops.mix(y * y, np.array([ones, none, ones]))
    tensor = tensor + ops.mix(x * x, np.array([[-1.0] * 3, none, ones]))
    near = _blur(ops, tensor, _bell(0.75, 2))
    gradient = ops.root(ops.mix(near, np.array([[0.0, 0.0, 1.0]])) + 1e-6)
    return _shares(ops, near + _blur(ops, near, _bell(1.5, 2)) * _BROAD), gradient


def _shares(ops: Operators, tensor: Node) -> Node:
    """The two directions next to an angle share it; the angle is given times any length."""
    angles = np.arange(_DIRECTIONS) * (2 * np.pi / _DIRECTIONS)
    length = ops.root(ops.mix(tensor * tensor, np.array([[1.0, 1.0, 0.0]] * _DIRECTIONS)) + 1e-3)
    near = ops.mix(tensor, np.stack([np.cos(angles), np.sin(angles), 0 * angles], 1)) / length
    least = float(np.cos(2 * np.pi / _DIRECTIONS))
    shares = ops.clip(near - least, 0.0, 1.0) + 1e-4
    return shares / ops.mix(shares, np.ones((_DIRECTIONS, _DIRECTIONS)))


def _smooth(ops: Operators, x: Node, shares: Node) -> Node:
    """Average three channels along strokes; three more are the negative of that."""
    weights, kernels = _steerable()
    signs = np.concatenate([np.eye(3), -np.eye(3)])
    parts = ops.filter(ops.mix(x, np.tile(np.eye(3), (_BASIS, 1))), np.repeat(kernels, 3, 0))
    parts = parts * ops.double(ops.mix(shares, np.repeat(weights.T, 3, 0)))
    return ops.mix(parts, np.tile(signs, (1, _BASIS)))


def _sharpen(ops: Operators, x: Node) -> Node:
    """An unsharp mask that stays within the range of each 3 x 3; of values and their negatives."""
    mask = -_SHARPENING * np.outer(_bell(0.8, 1), _bell(0.8, 1))
    mask[1, 1] += 1 + _SHARPENING
    sharp = ops.filter(x, mask[None].astype(np.float32))
    # What is below the largest, plus what is above the smallest, minus the whole.
    within = ops.smaller(sharp, ops.largest(x)) - sharp * 0.5
    return ops.mix(within, np.concatenate([np.eye(3), -np.eye(3)], 1))


def _blur(ops: Operators, x: Node, bell: Floats) -> Node:
    return ops.filter(ops.filter(x, bell[None, None]), bell[None, :, None])


def _bell(sigma: float, radius: int) -> Floats:
    values = np.exp(-(np.arange(-radius, radius + 1) ** 2) / (2 * sigma**2))
    bell: Floats = (values / values.sum()).astype(np.float32)
    return bell


def _turn_coordinates(side: int, angle: float) -> tuple[Floats, Floats]:
    """Coordinates along and across a direction, of a square around its middle."""
    at = np.arange(side) - (side - 1) / 2
    along = at * np.cos(angle) + at[:, None] * np.sin(angle)
    return along, at[:, None] * np.cos(angle) - at * np.sin(angle)


def _lines() -> Floats:
    """(directions, 7, 7): each averages along a short line."""
    kernels = []
    for angle in np.arange(_DIRECTIONS) * (np.pi / _DIRECTIONS):
        along, across = _turn_coordinates(7, angle)
        values = np.exp(-(along**2) / (2 * 2.0**2) - across**2 / (2 * 0.5**2))
        kernels.append(values / values.sum())
    return np.array(kernels, np.float32)


def _steerable() -> tuple[Floats, Floats]:
    """What :func:`_lines` are made of, nearly: (directions, basis) times (basis, 7, 7).

    The first filter is their mean, so that the sum of each is exactly theirs.
    """
    lines = _lines().reshape(_DIRECTIONS, -1)
    mean = lines.mean(0)
    weights, sizes, kernels = np.linalg.svd(lines - mean, full_matrices=False)
    count = _BASIS - 1
    weights = np.concatenate([np.ones((_DIRECTIONS, 1)), weights[:, :count] * sizes[:count]], 1)
    kernels = np.concatenate([mean[None], kernels[:count]]).reshape(_BASIS, 7, 7)
    return weights.astype(np.float32), kernels.astype(np.float32)


def make_patches() -> Floats:
    """Of a cell's pixels, what each of the spots in the 3 x 3 cells around it adds.

    Returns:
        (9 * directions, CELL * CELL); the whole has a variance of about 1.
    """
    side = 3 * CELL
    hann = np.sin(np.pi * (np.arange(side) + 0.5) / side)
    spots = []
    # Not of numpy.random, whose import takes longer than all of this.
    noise = noise_plane(np.arange(_DIRECTIONS)[:, None], np.arange(2 * _WAVES), _LAYER, 1)
    for direction, (phases, shifts) in enumerate(noise.reshape(_DIRECTIONS, 2, _WAVES)):
        frequencies = np.linspace(*_FREQUENCIES, _WAVES) + _SHIFT * shifts
        phases = 2 * np.pi * phases
        _, across = _turn_coordinates(side, direction * (np.pi / _DIRECTIONS))
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
        prepare: :func:`prepare` of a backend: photo and painting (1, PART, PART, 6), uint8, and the
            strength, to planes (1, channels, ...).
        compose: :func:`compose` of a backend, of luma and to (3, down, BLOCK, TILE[1]), both uint8.
        map_all: Python's ``map``, or that of a pool of threads.
    """

    def __init__(
        self,
        prepare: Callable[..., Sequence[Floats]],
        compose: Callable[..., Bytes],
        map_all: Callable[..., Iterator[None]] = map,
    ) -> None:
        self._prepare, self._compose, self._map_all = prepare, compose, map_all

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
        pair = np.concatenate([small, painted], 2)
        down, across = (_Axis(small.shape[i], photo.shape[i], TILE[i], strength) for i in (0, 1))
        for rows in down.windows():
            for columns in across.windows():
                maps, directions = self._maps(pair, rows, columns, strength)
                at_cells = rows.at_cells(columns.at_cells(directions, 2), 1)
                del directions
                spots = _spots(at_cells, rows.first // CELL, columns.first // CELL, factor)
                self._fill(large, photo, maps, spots, rows, columns)
                del maps, spots  # or they stay until the next window's are made
        return large

    def _run_all(self, work: Callable[..., None], *arguments: Iterable[Any]) -> None:
        """Call with each of the arguments; the first error is raised."""
        deque(self._map_all(work, *arguments), maxlen=0)

    def _maps(
        self, pair: Bytes, down: "_Window", across: "_Window", strength: float
    ) -> tuple[Floats, Floats]:
        """The maps of a window, prepared in squares; and gradient and directions, of half the size.

        Beyond the edges, the maps go on evenly.
        """
        (top, bottom), (left, right) = down.inside, across.inside
        maps = np.empty((7, bottom - top, right - left), np.float32)
        halves = (bottom - top + 1) // 2, (right - left + 1) // 2
        directions = np.empty((1 + _DIRECTIONS, *halves), np.float32)
        inner = PART - 2 * HALO

        def prepare_square(y: int, x: int) -> None:
            rows, columns = (np.arange(PART) + (start - HALO) for start in (y, x))
            part = pair.take(rows, 0, mode="clip").take(columns, 1, mode="clip")
            slope, strokes, luma, *others = self._prepare(
                part[None], np.array([strength], np.float32)
            )
            _paste([slope, strokes, luma[:, :1]], maps, y - top, x - left)
            _paste(others, directions, (y - top) // 2, (x - left) // 2)

        squares = product(range(top, bottom, inner), range(left, right, inner))
        self._run_all(prepare_square, *zip(*squares, strict=True))
        return np.pad(maps, ((0, 0), down.beyond, across.beyond), "edge"), directions

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
        reach = across.axis.reach
        columns_of_tiles = [(one, one.weights.transpose(0, 2, 1).copy()) for one in across.tiles()]

        def fill_row(rows: _Tile) -> None:
            tile = np.zeros(TILE, np.uint8)
            around = np.empty((*BLOCKS, 7, down.axis.reach, reach), np.float32)
            luma = np.asarray(Image.fromarray(photo[rows.pixels]).convert("L"))
            for columns, weights in columns_of_tiles:
                part = luma[:, columns.pixels]
                tile[: part.shape[0], : part.shape[1]] = part
                for i, j in np.ndindex(BLOCKS):
                    y, x = rows.painted[i], columns.painted[j]
                    around[i, j] = maps[:, y : y + down.axis.reach, x : x + reach]
                done = self._compose(
                    tile.reshape(1, -1, BLOCK, TILE[1]),
                    around.reshape(*BLOCKS, -1, reach),
                    rows.weights[None],
                    weights[None],
                    spots[rows.cells, columns.cells].reshape(-1, spots[0, 0].size),
                ).reshape(3, *TILE)
                place = large[rows.pixels, columns.pixels]
                for channel in range(3):  # several times as fast as all at once
                    place[..., channel] = done[channel, : part.shape[0], : part.shape[1]]

        self._run_all(fill_row, down.tiles())


def _paste(planes: Sequence[Floats], onto: Floats, y: int, x: int) -> None:
    """Put what is right of planes, all but their margins, to a place."""
    side = planes[0].shape[2]
    margin = HALO * side // PART
    part = onto[:, y : y + side - 2 * margin, x : x + side - 2 * margin]
    rows, columns = (slice(margin, margin + count) for count in part.shape[1:])
    np.concatenate([one[0, :, rows, columns] for one in planes], out=part)


class _Tile(NamedTuple):
    """Part of an axis: what is put together at once."""

    pixels: slice  # of the photo
    painted: list[int]  # the first pixel of the painting for each block, from the window's first
    cells: slice  # of bristles, from the window's first too
    weights: Floats  # (blocks, BLOCK, pixels of the painting)


class _Axis:
    """Rows or columns of a painting and of its photo."""

    def __init__(self, count: int, size: int, tile: int, strength: float) -> None:
        self.count, self.size, self.tile, self.strength = count, size, tile, strength
        self.scale = count / size
        reach = int(np.ceil(BLOCK * self.scale)) + 4
        # Of a block; rounded, as OpenVINO keeps memory for each number that it has met.
        step = max(4, 2 ** (reach.bit_length() - 4))
        self.reach = -(-reach // step) * step

    def windows(self) -> Iterator["_Window"]:
        """Parts of bounded size, each of whole tiles."""
        step = max(1, int(_WINDOW / self.scale) // self.tile) * self.tile
        for first in range(0, self.size, step):
            yield _Window(self, first, min(first + step, self.size))

    def start(self, pixel: int) -> int:
        """The first pixel of the painting for a block; it may lie beyond the painting."""
        return int(np.floor((pixel + 0.5) * self.scale - 0.5)) - 1

    def weights(self, pixel: int) -> Floats:
        """What the pixels of a block are made of, (BLOCK, reach)."""
        return _weights(pixel, self.start(pixel), self.reach, self.scale, self.strength)


@lru_cache(maxsize=256)  # the blocks of one size, such as a film's
def _weights(pixel: int, start: int, reach: int, scale: float, strength: float) -> Floats:
    """Weights of the painting's pixels from ``start`` on: cubic B-splines, or linear."""
    at = (np.arange(pixel, pixel + BLOCK) + 0.5) * scale - 0.5
    near = np.floor(at).astype(int)
    t = at - near
    spline = np.array([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, 3 * t * (1 + t - t**2) + 1, t**3])
    linear = np.array([0 * t, 1 - t, t, 0 * t])
    taps = strength * spline / 6 + (1 - strength) * linear
    weights = np.zeros((BLOCK, reach), np.float32)
    for offset, tap in zip(range(-1, 3), taps, strict=True):
        weights[np.arange(BLOCK), near + offset - start] += tap
    return weights


class _Window:
    """Part of an axis that is prepared at once: whole tiles."""

    def __init__(self, axis: _Axis, first: int, end: int) -> None:
        self.axis, self.first, self.end = axis, first, end
        last = first + -(-(end - first) // axis.tile) * axis.tile - BLOCK
        beyond = int(CELL * axis.scale) + 1  # bristles that begin outside of it
        self.start = (axis.start(first) - beyond) // 2 * 2  # what is prepared begins at an even one
        end = axis.start(last) + axis.reach + beyond
        self.inside = max(0, self.start), min(axis.count, end)
        self.beyond = self.inside[0] - self.start, end - self.inside[1]

    def tiles(self) -> Iterator[_Tile]:
        """Its tiles."""
        for first in range(self.first, self.end, self.axis.tile):
            blocks = range(first, first + self.axis.tile, BLOCK)
            cell = (first - self.first) // CELL
            yield _Tile(
                slice(first, min(first + self.axis.tile, self.end)),
                [self.axis.start(block) - self.start for block in blocks],
                slice(cell, cell + self.axis.tile // CELL),
                np.stack([self.axis.weights(block) for block in blocks]),
            )

    def at_cells(self, halves: Floats, along: int) -> Floats:
        """Of values at half size: those at the middles of its cells and of one more at each end."""
        tiles = -(-(self.end - self.first) // self.axis.tile)
        cells = np.arange(-1, tiles * self.axis.tile // CELL + 1)
        at = ((self.first + (cells + 0.5) * CELL) * self.axis.scale).astype(int)
        return halves.take((at.clip(*self.inside) - self.inside[0]) // 2, along, mode="clip")


def _spots(directions: Floats, row: int, column: int, factor: float) -> Floats:
    """How strong the spots in and around each cell are.

    Args:
        directions: the gradient, and the shares of directions, in and around the cells,
            (1 + directions, rows + 2, columns + 2).
        row: of the first cell, counted from the photo's first.
        column: the same.
        factor: of the enlargement; small ones show no bristles.

    Returns:
        (rows, columns, 3, 3, directions), a view.
    """
    gradient, shares = directions[0], directions[1:]
    rows, columns = np.arange(shares.shape[1])[:, None] + row, np.arange(shares.shape[2]) + column
    share = min(max(factor - _PLAIN, 0.0) / (_LIVELY - _PLAIN), 1.0)
    strength = gradient / (gradient + _EVEN) * _BRISTLE * share
    spots = shares * (noise_plane(rows, columns, _LAYER, 0) * strength).astype(np.float32)
    spots = np.ascontiguousarray(spots.transpose(1, 2, 0))
    around = np.lib.stride_tricks.sliding_window_view(spots, (3, 3), (0, 1))
    return around.transpose(0, 1, 3, 4, 2)
