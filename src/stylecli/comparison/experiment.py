"""The experiment of the paper: every arm stylizes the same photos, and is measured on them."""

import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
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
    objective_of,
    painter,
    trained_arms,
)
from stylecli.comparison.folder import (
    ArmResult,
    Comparison,
    ComparisonFolder,
    find_style_image,
    has_arms,
)
from stylecli.comparison.metrics import (
    Grams,
    batch_dependence,
    contrast_sensitivity,
    grams_at_scales,
    milliseconds,
    steps_to_reach,
    style_at_scales,
)
from stylecli.config import CompareConfig, GatysConfig, ObjectiveConfig
from stylecli.core.devices import resolve_device
from stylecli.core.generators import Generator
from stylecli.core.objective import PerceptualObjective, Scales, build_objective, prepared_network
from stylecli.core.tensors import to_tensor, to_uint8
from stylecli.core.vgg import SMALLEST, load_loss_network
from stylecli.errors import StyleCliError
from stylecli.events import Notice, Pixels, Progress, Step
from stylecli.files.atomic import require_writable
from stylecli.files.colors import Rgb
from stylecli.files.content import bundled_photos
from stylecli.files.formats import ImageError
from stylecli.files.images import read_picture, read_rgb
from stylecli.files.jobs import scan_images
from stylecli.files.paths import require_regular
from stylecli.files.pictures import center_square, resize, shrink
from stylecli.gatys import optimize
from stylecli.options import as_json
from stylecli.training.state import hash_images

_DEFAULT_PHOTOS = (14, 15, 7, 22)  # a face, a sky, a street, parrots
_MOST_PHOTOS = 24
_COMPANIONS = ((1, 4, 10), (17, 19, 12))  # two sets of bundled photos to share a batch with
_SPARE = 20  # takes the place of a companion that is the compared photo itself


def read_photos(config: CompareConfig, report: Callable[[Notice], None]) -> dict[Path, Rgb]:
    """The photos to compare on, scaled down to the size of the comparison, by their files.

    Args:
        config: names photos and folders; if none, four bundled photos are taken.
        report: told of each file that cannot be read, and is left out.

    Raises:
        StyleCliError: a file is missing, no photo can be read, there are too many, one is too
            small, or the arms would be trained on one.
    """
    paths = _photo_paths(config)
    _check_paths(config, paths)
    read = {path: _read_photo(path, config.size, report) for path in paths}
    photos = {path: rgb for path, rgb in read.items() if rgb is not None}
    if not photos:
        raise StyleCliError(
            f"no photo can be read, of {len(paths)} given", hint="JPEG and PNG always can"
        )
    _check_sizes(photos, config.size)
    return photos


def _photo_paths(config: CompareConfig) -> list[Path]:
    """The files that were given, and those in the folders that were given."""
    if not config.photos:
        return [bundled_photos()[i] for i in _DEFAULT_PHOTOS]
    paths: list[Path] = []
    for given in config.photos:
        if not given.exists():
            raise StyleCliError(f"no such file or folder: {given}", hint="check the name")
        paths += scan_images(given) if given.is_dir() else [require_regular(given)]
    out = config.out.resolve()
    return [path for path in paths if not path.resolve().is_relative_to(out)]


def _check_paths(config: CompareConfig, paths: Sequence[Path]) -> None:
    if not 0 < len(paths) <= _MOST_PHOTOS:
        raise StyleCliError(
            f"{len(paths)} photos were given",
            hint=f"compare on 1 to {_MOST_PHOTOS}; what lies in {config.out} does not count",
        )
    if config.content is None:
        return
    content = config.content.resolve()
    for path in paths:
        if path.resolve().is_relative_to(content):
            raise StyleCliError(
                f"{path} lies in {config.content}, so the networks would be trained on it",
                hint="compare on photos that are kept out of training",
            )


def _read_photo(path: Path, size: int, report: Callable[[Notice], None]) -> Rgb | None:
    try:
        return shrink(read_picture(path), size).rgb
    except ImageError as error:
        report(Notice(f"left out: {error.message}"))
        return None


def _check_sizes(photos: Mapping[Path, Rgb], size: int) -> None:
    for path, rgb in photos.items():
        if min(rgb.shape[:2]) < SMALLEST:
            given = f"{path} is {rgb.shape[1]} x {rgb.shape[0]} px at --size {size}"
            raise StyleCliError(given, hint=f"its short side has to be {SMALLEST} px at least")


def names_of(paths: Sequence[Path]) -> list[str]:
    """The names of photos in a report: of the files; with the folders where two are the same."""
    files = [path.name for path in paths]
    names = [
        path.name if files.count(path.name) == 1 else f"{path.parent.name}/{path.name}"
        for path in paths
    ]
    return [name.encode(errors="replace").decode() for name in names]


def companions(photo: Path) -> tuple[list[Path], list[Path]]:
    """Two sets of bundled photos to share a batch with a photo, which is in neither."""
    content, bundled = photo.read_bytes(), bundled_photos()
    first, second = (
        [bundled[_SPARE if bundled[i].read_bytes() == content else i] for i in chosen]
        for chosen in _COMPANIONS
    )
    return first, second


def companion_names() -> list[list[str]]:
    """The names of both sets, for a photo that is in neither."""
    return [[bundled_photos()[i].name for i in chosen] for chosen in _COMPANIONS]


def spare_name() -> str:
    """The name of the photo that takes the place of a companion that is the photo itself."""
    return bundled_photos()[_SPARE].name


Event = Step | Notice | Progress


def compare(
    config: CompareConfig,
    report: Callable[[Event], None] = lambda event: None,
    should_stop: Callable[[], bool] = lambda: False,
    *,
    overwrite: bool = False,
) -> Comparison | None:
    """Run a comparison, training first what is missing.

    Args:
        config: what to compare.
        report: is called with events on the way.
        should_stop: is asked after each step.
        overwrite: remove what the folder holds of this comparison or another, and begin anew.

    Returns:
        None if it was stopped; the same comparison goes on where it was.

    Raises:
        StyleCliError: an unknown name, no photo that can be read, models that were not trained
            alike, or a folder that holds another comparison.
    """
    config.check()
    resolve_device(config.device)
    style_image = find_style_image(config.style)
    photos = read_photos(config, report)
    found = bundled_arms(config) if has_arms(config.style) else []
    style_size = found[0].info.training.get("style_size", 64) if found else config.style_size
    sha = hash_images([read_rgb(style_image, style_size)])
    check_alike(found, sha)
    folder = ComparisonFolder(config, sha, list(photos), overwrite=overwrite)
    if not found:
        folder.check_content()
    require_writable(config.out)
    folder.claim()
    arms = found or trained_arms(config, folder, report, should_stop)
    if arms is None:
        return None
    check_alike(arms, sha)
    try:
        return _prepare(config, style_image, photos, arms, folder, report, should_stop).run()
    except _StopError:
        return None


class _StopError(Exception):
    """The user asked to stop."""


@dataclass
class _Experiment:
    """A comparison whose photos are read and whose arms are trained.

    Attributes:
        folder: keeps the results of the slow optimization.
        arms: the columns.
        paths: of the photos.
        rgb: the photos: (H, W, 3) in 0..255 each.
        photos: the same: (1, 3, H, W) RGB in [0, 1] each, on the device.
        painting: (H, W, 3) in 0..255, of its own size.
        style_image: the painting at the size of the training.
        settings: of the objective that the arms were trained on.
        objective: that objective, with the scales of that training.
        done: how many pictures are made, of one for each photo and column.
    """

    config: CompareConfig
    folder: ComparisonFolder
    arms: list[Arm]
    paths: list[Path]
    rgb: list[Rgb]
    photos: list[Tensor]
    painting: Rgb
    style_image: Rgb
    settings: ObjectiveConfig
    objective: PerceptualObjective
    report: Callable[[Event], None]
    should_stop: Callable[[], bool]
    done: int = 0

    def __post_init__(self) -> None:
        self.names = names_of(self.paths)
        self.targets = [self.objective.content_target(photo) for photo in self.photos]
        self.device = self.photos[0].device
        self.judge = load_loss_network().prepare(self.device, torch.float32)
        self.photo_grams = [grams_at_scales(photo, self.judge) for photo in self.photos]
        sides = [max(rgb.shape[:2]) for rgb in self.rgb]
        grams = {side: self._painting_grams(side) for side in set(sides)}
        self.painting_grams = [grams[side] for side in sides]

    def _painting_grams(self, long_side: int) -> tuple[Grams, ...]:
        """Of the painting, scaled to a long side, for :func:`style_at_scales`."""
        sides = self.painting.shape[:2]
        scaled = resize(self.painting, round(long_side * min(sides) / max(sides)))
        return grams_at_scales(to_tensor(scaled[None], self.device), self.judge)

    def run(self) -> Comparison:
        """Make and measure all pictures.

        Raises:
            _StopError: the user asked to stop.
        """
        style = center_square(self.style_image, min(self.style_image.shape[:2]))
        pictures = {"photo": self.rgb, "style": [style] * len(self.rgb)}
        slow, curves = self._gatys() if self.config.gatys else ([], [])
        results = []
        generators = [arm.load().to(self.device) for arm in self.arms]
        for arm, generator in zip(self.arms, generators, strict=True):
            pictures[arm.name], result = self._measure(arm, generator, curves)
            results.append(result)
        times = milliseconds([painter(one, None) for one in generators], self.photos[0])
        timed = zip(results, times, strict=True)
        if slow:
            pictures["gatys"] = slow
        optimized = [to_tensor(rgb[None], self.device) for rgb in slow]
        return Comparison(
            style=Path(self.config.style).stem,
            photos=self.names,
            arms=[replace(result, milliseconds=time) for result, time in timed],
            gatys=[self._losses(one, i) for i, one in enumerate(optimized)],
            gatys_losses=curves,
            gatys_style_at_scales=[self._style(one, i) for i, one in enumerate(optimized)],
            about=self._about(),
            pictures=pictures,
        )

    def _advance(self, note: str, more: float = 0.0) -> None:
        """Report the progress; ``more`` is the share of the picture that is being made.

        Raises:
            _StopError: the user asked to stop.
        """
        total = len(self.photos) * (len(self.arms) + self.config.gatys)
        self.report(Progress((self.done + more) / total, note))
        if self.should_stop():
            raise _StopError

    def _gatys(self) -> tuple[list[Rgb], list[list[float]]]:
        """For each photo, the slow optimization's picture, and its totals by step."""
        pictures, curves = [], []
        objective = {**asdict(self.settings), "seed": self.config.seed, "precision": "float32"}
        settings = GatysConfig(**objective, steps=self.config.gatys_steps)
        key = self._gatys_key(settings)
        for i, name in enumerate(self.names):
            kept = self.folder.load_gatys(self.paths[i], key)
            if kept is None:
                kept = self._optimized(i, settings)
                self.folder.save_gatys(self.paths[i], key, *kept)
            pictures.append(kept[0])
            curves.append(kept[1])
            self.done += 1
            self._advance(f"gatys on {name}")
        return pictures, curves

    def _gatys_key(self, settings: GatysConfig) -> str:
        """All that a result of the slow optimization depends on, but for the photo."""
        network = Path(settings.loss_net)
        weights = sha256(network.read_bytes()).hexdigest() if network.is_file() else network
        return (
            f"{self.config.size} {replace(settings, device='')} {weights} "
            f"{self.objective.scales.as_json()} {hash_images([self.style_image])}"
        )

    def _optimized(self, photo: int, settings: GatysConfig) -> tuple[Rgb, list[float]]:
        totals: list[float] = []

        def watch(event: Pixels) -> None:
            totals.append(event.losses["total"])
            self._advance(f"gatys on {self.names[photo]}, step {event.step}", event.progress)

        content = self.photos[photo]
        best = optimize(content, content, self.objective, settings, watch)
        return to_uint8(best)[0], totals

    def _measure(
        self, arm: Arm, generator: Generator, curves: list[list[float]]
    ) -> tuple[list[Rgb], ArmResult]:
        """The pictures of an arm, and what is measured of them."""
        alone = painter(generator, None)
        pictures: list[Rgb] = []
        losses, style, contrast, dependence = [], [], [], []
        for i, photo in enumerate(self.photos):
            batches = [self._batch(photo, paths) for paths in companions(self.paths[i])]
            paint = painter(generator, batches[0]) if arm.norm == BATCH else alone
            stylized = paint(photo)
            pictures.append(to_uint8(stylized)[0])
            losses.append(self._losses(stylized, i))
            style.append(self._style(stylized, i))
            contrast.append(contrast_sensitivity(paint, photo, self.objective))
            dependence.append(batch_dependence(alone, photo, batches))
            self.done += 1
            self._advance(f"{arm.name} on {self.names[i]}")
        result = ArmResult(
            **arm.description(generator),
            losses=losses,
            style_at_scales=style,
            contrast=contrast,
            batch_dependence=dependence,
            gatys_steps=_steps(curves, [one["total"] for one in losses]),
        )
        return pictures, result

    @torch.no_grad()
    def _losses(self, stylized: Tensor, photo: int) -> dict[str, float]:
        terms: dict[str, Tensor] = self.objective(stylized, self.targets[photo])
        return {name: float(term) for name, term in terms.items()}

    def _style(self, stylized: Tensor, photo: int) -> tuple[float, ...]:
        ours = grams_at_scales(stylized, self.judge)
        return style_at_scales(ours, self.painting_grams[photo], self.photo_grams[photo])

    def _batch(self, photo: Tensor, paths: Sequence[Path]) -> Tensor:
        """Photos, cut to the size of another one: (N, 3, H, W)."""
        height, width = photo.shape[2:]
        squares = [read_rgb(path, max(height, width)) for path in paths]
        return to_tensor(np.stack([rgb[:height, :width] for rgb in squares]), self.device)

    def _about(self) -> dict[str, Any]:
        return {
            "settings": as_json(self.config),
            "scales": self.objective.scales.as_json(),
            "companions": companion_names(),
            "machine": f"{platform.machine()}, {platform.system()}",
            "threads": torch.get_num_threads(),
            "device": str(self.device),
            "torch": torch.__version__,
            "stylecli": __version__,
        }


def _steps(curves: list[list[float]], totals: list[float]) -> list[int | None]:
    """For each photo, how many steps of the slow optimization are as good as an arm."""
    if not curves:
        return [None] * len(totals)
    return [steps_to_reach(*one) for one in zip(curves, totals, strict=True)]


def _prepare(
    config: CompareConfig,
    style_image: Path,
    photos: dict[Path, Rgb],
    arms: list[Arm],
    folder: ComparisonFolder,
    report: Callable[[Event], None],
    should_stop: Callable[[], bool],
) -> _Experiment:
    """Build the objective that the arms were trained on, and put the photos on the device."""
    device = resolve_device(config.device)
    settings, scales = objective_of(arms[0], config.loss_net)
    style_rgb = read_rgb(style_image, settings.style_size)
    network = prepared_network(settings, device, torch.float32)
    style_images = [to_tensor(style_rgb[None], device)]
    objective = build_objective(settings, network, style_images, Scales.from_json(scales))
    return _Experiment(
        config=config,
        folder=folder,
        arms=arms,
        paths=list(photos),
        rgb=list(photos.values()),
        photos=[to_tensor(rgb[None], device) for rgb in photos.values()],
        painting=read_picture(style_image).rgb,
        style_image=style_rgb,
        settings=settings,
        objective=objective,
        report=report,
        should_stop=should_stop,
    )
