"""The paper's experiment: the same photos through every arm, and what can be measured of them."""

import hashlib
import platform
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stylecli import __version__
from stylecli.comparison.arms import (
    BATCH,
    Arm,
    bundled_arms,
    check_alike,
    check_names,
    objective_of,
    painter,
    shared_and_different,
    trained_arms,
)
from stylecli.comparison.folder import ComparisonFolder, find_painting
from stylecli.comparison.metrics import (
    batch_dependence,
    contrast_sensitivity,
    milliseconds,
    steps_to_reach,
)
from stylecli.config import CompareConfig, GatysConfig
from stylecli.core.devices import resolve_device, resolve_precision
from stylecli.core.objective import Scales, build_objective, prepared_network
from stylecli.core.tensors import to_tensor, to_uint8
from stylecli.errors import StyleCliError
from stylecli.events import Notice, Pixels, Progress, Step
from stylecli.files.atomic import require_writable
from stylecli.files.content import bundled_photos
from stylecli.files.door import require_regular
from stylecli.files.images import ImageError, Rgb, center_square, read_picture, read_rgb, shrunk
from stylecli.files.jobs import scan_images
from stylecli.gatys import optimize
from stylecli.training.resume import digest

_DEFAULT_PHOTOS = (14, 15, 7, 22)  # a face, a sky, a street, parrots
_MOST_PHOTOS = 24
_SMALLEST = 32  # px: the loss network halves a photo several times
_COMPANIONS = ((1, 4, 10), (17, 19, 12))  # two sets of bundled photos to share a batch with
_SPARE = 20  # for the one among them that is compared on itself

Event = Step | Notice | Progress


@dataclass(frozen=True)
class ArmResult:
    """One arm, measured; lists have an entry for each photo.

    Attributes:
        name: such as ``residual-in``.
        arch: of the generator.
        norm: and how it is applied.
        model: its file's name.
        parameters: how many.
        milliseconds: for the first photo, alone.
        losses: the weighted terms of the objective and their total.
        contrast: see :func:`stylecli.comparison.metrics.contrast_sensitivity`.
        batch_dependence: see :func:`stylecli.comparison.metrics.batch_dependence`.
        gatys_steps: L-BFGS steps that are as good; None is more than were taken.
        generator: its settings that are not compared, such as the activation.
        training: how the model was made.
    """

    name: str
    arch: str
    norm: str
    model: str
    parameters: int
    milliseconds: float
    losses: list[dict[str, float]]
    contrast: list[dict[str, dict[str, float]]]
    batch_dependence: list[float]
    gatys_steps: list[int | None]
    generator: dict[str, Any]
    training: dict[str, Any]


@dataclass(frozen=True)
class Comparison:
    """All that a comparison found: what the grid, the page, the table and the JSON show.

    Attributes:
        style: its name.
        photos: their names.
        arms: in the order of the columns.
        gatys: for each photo, the losses of the slow optimization; empty without it.
        gatys_losses: for each photo, the objective after 0, 1, 2 … steps; empty without Gatys.
        about: machine, versions, settings.
        pictures: (H, W, 3) in 0..255: the column's name to a picture for each photo.
    """

    style: str
    photos: list[str]
    arms: list[ArmResult]
    gatys: list[dict[str, float]]
    gatys_losses: list[list[float]]
    about: dict[str, Any]
    pictures: dict[str, list[Rgb]] = field(repr=False)

    def as_json(self) -> dict[str, Any]:
        """All but the pictures."""
        return asdict(replace(self, pictures={})) | {"columns": list(self.pictures)}


def spread(values: Sequence[float]) -> tuple[float, float]:
    """Mean and standard deviation over the photos."""
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else 0.0


def compare(
    config: CompareConfig,
    report: Callable[[Event], None] = lambda event: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Comparison | None:
    """Run a comparison, training first what is missing.

    Args:
        config: what to compare.
        report: told how it gets on.
        should_stop: asked after each step.

    Returns:
        None if it was stopped: the same comparison goes on where it was.

    Raises:
        StyleCliError: an unknown name, no photo that can be read, models that were not trained
            alike, or a folder that holds another comparison.
    """
    config.check()
    check_names(config.archs, config.norms)
    resolve_precision(config.precision, resolve_device(config.device))
    painting = find_painting(config.style)
    photos = _read(_photo_paths(config), config.size, report)
    found = [] if Path(config.style).is_file() else bundled_arms(config)
    style_size = found[0].info.training.get("style_size", 64) if found else config.style_size
    sha = digest([read_rgb(painting, style_size)])
    check_alike(found, sha)
    folder = ComparisonFolder(config, sha, list(photos))
    if not found:
        folder.check_content()
    require_writable(config.out)
    folder.claim()
    arms = found or trained_arms(config, folder, report, should_stop)
    if arms is None:
        return None
    check_alike(arms, sha)
    for difference in shared_and_different({arm.name: arm.generator for arm in arms})[1]:
        if not difference.startswith("width"):  # each architecture has one of its own
            report(Notice(f"the arms differ in more than norm and architecture: {difference}"))
    return _Measuring(config, painting, photos, arms, folder, report).run(should_stop)


class _StopError(Exception):
    """The user asked to stop."""


class _Measuring:
    """Arms and photos at hand, and the objective that judges them: that of their training."""

    def __init__(
        self,
        config: CompareConfig,
        painting: Path,
        photos: dict[Path, Rgb],
        arms: list[Arm],
        folder: ComparisonFolder,
        report: Callable[[Event], None],
    ) -> None:
        self.config, self.arms, self.folder, self.report = config, arms, folder, report
        self.paths, self.names, self.rgb = list(photos), _names(list(photos)), list(photos.values())
        self.device = resolve_device(config.device)
        self.photos = [to_tensor(rgb[None], self.device) for rgb in self.rgb]
        self.settings, scales = objective_of(arms[0])
        self.painting = read_rgb(painting, self.settings.style_size)
        network = prepared_network(self.settings, self.device, torch.float32)
        style_image = to_tensor(self.painting[None], self.device)
        balance = Scales.from_json(scales)
        self.objective = build_objective(self.settings, network, [style_image], balance)
        self.targets = [self.objective.content_target(photo) for photo in self.photos]
        self.done = 0
        self.of = len(photos) * (len(arms) + config.gatys)

    def run(self, should_stop: Callable[[], bool]) -> Comparison | None:
        self.should_stop = should_stop
        try:
            return self._compared()
        except _StopError:
            return None

    def _compared(self) -> Comparison:
        style = center_square(self.painting, min(self.painting.shape[:2]))
        pictures = {"photo": self.rgb, "style": [style] * len(self.rgb)}
        slow, curves = self._gatys() if self.config.gatys else ([], [])
        results = []
        for arm in self.arms:
            pictures[arm.name], result = self._measure(arm, curves)
            results.append(result)
        if slow:
            pictures["gatys"] = slow
        judged = [self._losses(to_tensor(rgb[None], self.device), i) for i, rgb in enumerate(slow)]
        style_name = Path(self.config.style).stem
        return Comparison(style_name, self.names, results, judged, curves, self._about(), pictures)

    def _go_on(self, note: str, more: float = 0.0) -> None:
        """Tell how far it is, and end it if that is wanted."""
        self.report(Progress((self.done + more) / self.of, note))
        if self.should_stop():
            raise _StopError

    def _gatys(self) -> tuple[list[Rgb], list[list[float]]]:
        pictures, curves = [], []
        objective = asdict(self.settings) | {"seed": self.config.seed, "precision": "float32"}
        settings = GatysConfig(**objective, steps=self.config.gatys_steps)
        key = self._gatys_key(settings)
        for i, name in enumerate(self.names):
            kept = self.folder.kept_gatys(self.paths[i], key)
            if kept is None:
                kept = self._optimized(i, settings)
                self.folder.keep_gatys(self.paths[i], key, *kept)
            pictures.append(kept[0])
            curves.append(kept[1])
            self.done += 1
            self._go_on(f"gatys on {name}")
        return pictures, curves

    def _gatys_key(self, settings: GatysConfig) -> str:
        """All that a result of the slow optimization depends on, but for the photo."""
        network = Path(settings.loss_net)
        weights = (
            hashlib.sha256(network.read_bytes()).hexdigest()
            if network.is_file()
            else settings.loss_net
        )
        return (
            f"{self.config.size} {replace(settings, device='')} {weights} "
            f"{self.objective.scales.as_json()} "
            f"{digest([self.painting])}"
        )

    def _optimized(self, photo: int, settings: GatysConfig) -> tuple[Rgb, list[float]]:
        totals: list[float] = []

        def watch(event: Pixels) -> None:
            totals.append(event.losses["total"])
            self._go_on(f"gatys on {self.names[photo]}, step {event.step}", event.progress)

        best = optimize(self.photos[photo], self.objective, settings, watch)
        return to_uint8(best)[0], totals

    def _measure(self, arm: Arm, curves: list[list[float]]) -> tuple[list[Rgb], ArmResult]:
        generator = arm.load().to(self.device)
        pictures, losses, contrast, depends, steps = [], [], [], [], []
        for i, photo in enumerate(self.photos):
            batches = [self._batch(photo, paths) for paths in companions(self.paths[i])]
            alone = painter(generator, None)
            paint = painter(generator, batches[0]) if arm.norm == BATCH else alone
            stylized = paint(photo)
            pictures.append(to_uint8(stylized)[0])
            losses.append(self._losses(stylized, i))
            contrast.append(contrast_sensitivity(paint, photo, self.objective))
            depends.append(batch_dependence(alone, photo, batches))
            steps.append(steps_to_reach(curves[i], losses[-1]["total"]) if curves else None)
            self.done += 1
            self._go_on(f"{arm.name} on {self.names[i]}")
        result = ArmResult(
            name=arm.name,
            arch=arm.arch,
            norm=arm.norm,
            model=arm.path.name,
            parameters=sum(p.numel() for p in generator.parameters()),
            milliseconds=milliseconds(alone, self.photos[0]),
            losses=losses,
            contrast=contrast,
            batch_dependence=depends,
            gatys_steps=steps,
            generator=arm.generator,
            training=arm.info.training,
        )
        return pictures, result

    @torch.no_grad()
    def _losses(self, stylized: Tensor, photo: int) -> dict[str, float]:
        terms: dict[str, Tensor] = self.objective(stylized, self.targets[photo])
        return {name: float(term) for name, term in terms.items()}

    def _batch(self, photo: Tensor, paths: Sequence[Path]) -> Tensor:
        """Photos, cut to the size of another one: (N, 3, H, W)."""
        height, width = photo.shape[2:]
        squares = [read_rgb(path, max(height, width)) for path in paths]
        return to_tensor(np.stack([rgb[:height, :width] for rgb in squares]), self.device)

    def _about(self) -> dict[str, Any]:
        settings = {k: str(v) if isinstance(v, Path) else v for k, v in asdict(self.config).items()}
        settings["photos"] = [str(path) for path in self.config.photos]
        return {
            "settings": settings,
            "scales": self.objective.scales.as_json(),
            "machine": f"{platform.machine()}, {platform.system()}",
            "threads": torch.get_num_threads(),
            "device": str(self.device),
            "torch": torch.__version__,
            "stylecli": __version__,
        }


def companions(photo: Path) -> tuple[list[Path], list[Path]]:
    """Two sets of bundled photos to share a batch with a photo, which is in neither."""
    content, bundled = photo.read_bytes(), bundled_photos()
    first, second = (
        [bundled[_SPARE if bundled[i].read_bytes() == content else i] for i in chosen]
        for chosen in _COMPANIONS
    )
    return first, second


def _photo_paths(config: CompareConfig) -> list[Path]:
    paths = [] if config.photos else [bundled_photos()[i] for i in _DEFAULT_PHOTOS]
    for given in config.photos:
        if not given.exists():
            raise StyleCliError(f"no such file or folder: {given}", hint="check the name")
        paths += scan_images(given) if given.is_dir() else [require_regular(given)]
    out = config.out.resolve()
    paths = [path for path in paths if not path.resolve().is_relative_to(out)]
    if not 0 < len(paths) <= _MOST_PHOTOS:
        raise StyleCliError(
            f"{len(paths)} photos were given",
            hint=f"compare on 1 to {_MOST_PHOTOS}; what lies in {config.out} does not count",
        )
    inside = config.content and [
        p for p in paths if p.resolve().is_relative_to(config.content.resolve())
    ]
    if inside:
        raise StyleCliError(
            f"{inside[0]} lies in {config.content}, so the arms would be trained on it",
            hint="compare on photos that are kept out of training",
        )
    return paths


def _read(paths: Sequence[Path], size: int, report: Callable[[Event], None]) -> dict[Path, Rgb]:
    read = {path: _read_one(path, size, report) for path in paths}
    photos = {path: rgb for path, rgb in read.items() if rgb is not None}
    for path, rgb in photos.items():
        if min(rgb.shape[:2]) < _SMALLEST:
            given = f"{path} is {rgb.shape[1]} x {rgb.shape[0]} px at --size {size}"
            raise StyleCliError(given, hint=f"its short side has to be {_SMALLEST} px at least")
    if not photos:
        raise StyleCliError(
            f"no photo can be read, of {len(paths)} given", hint="JPEG and PNG always can"
        )
    return photos


def _read_one(path: Path, size: int, report: Callable[[Event], None]) -> Rgb | None:
    try:
        return shrunk(read_picture(path), size).rgb
    except ImageError as error:
        report(Notice(f"left out: {error.message}"))
        return None


def _names(paths: Sequence[Path]) -> list[str]:
    """What photos are called: by their files; by their folders too where that is not enough."""
    plain = [path.name for path in paths]
    names = [
        path.name if plain.count(path.name) == 1 else f"{path.parent.name}/{path.name}"
        for path in paths
    ]
    return [name.encode(errors="replace").decode() for name in names]
