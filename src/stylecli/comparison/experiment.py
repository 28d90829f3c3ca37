"""The experiment of the paper: every arm stylizes the same photos, and is measured on them."""

import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
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
    StoppedError,
    check_alike,
    find_arms,
    paint,
    read_objective,
    train_arms,
)
from stylecli.comparison.folder import (
    ArmResult,
    Comparison,
    ComparisonFolder,
    find_style_image,
)
from stylecli.comparison.metrics import (
    batch_dependence,
    contrast_sensitivity,
    grams_at_scales,
    steps_to_reach,
    style_at_scales,
    time_networks,
)
from stylecli.config import CompareConfig, GatysConfig
from stylecli.core.devices import resolve_device, to_tensor, to_uint8
from stylecli.core.generators import Generator
from stylecli.core.objective import Scales, build_objective, prepare_network
from stylecli.core.vgg import SMALLEST, load_loss_network
from stylecli.errors import StyleCliError
from stylecli.events import Notice, Pixels, Progress, Report
from stylecli.files.atomic import require_regular
from stylecli.files.colors import Rgb
from stylecli.files.content import bundled_photos
from stylecli.files.formats import ImageError
from stylecli.files.images import read_picture, read_rgb
from stylecli.files.jobs import scan_images
from stylecli.files.pictures import center_square, resize, shrink
from stylecli.gatys import optimize
from stylecli.options import as_json
from stylecli.training.state import hash_images

_DEFAULT_PHOTOS = (14, 15, 7, 22)  # a face, a sky, a street, parrots
_MOST_PHOTOS = 24
_COMPANIONS = ((1, 4, 10), (17, 19, 12))  # two sets of bundled photos to share a batch with
_SPARE = 20  # takes the place of a companion that is the compared photo itself


def read_photos(config: CompareConfig, report: Report) -> dict[Path, Rgb]:
    """The photos to compare on, scaled down to the size of the comparison, by their files.

    Raises:
        StyleCliError: a file is missing, no photo can be read, there are too many, one is too
            small, or the networks would be trained on one.
    """
    paths = _photo_paths(config)
    _check_paths(config, paths)
    read = {path: _read_photo(path, config.size, report) for path in paths}
    photos = {path: rgb for path, rgb in read.items() if rgb is not None}
    if not photos:
        raise StyleCliError(
            f"no photo can be read, of {len(paths)} given", hint="JPEG and PNG always can"
        )
    for path, rgb in photos.items():
        if min(rgb.shape[:2]) < SMALLEST:
            given = f"{path} is {rgb.shape[1]} x {rgb.shape[0]} px at --size {config.size}"
            raise StyleCliError(given, hint=f"its short side has to be {SMALLEST} px at least")
    return photos


def _photo_paths(config: CompareConfig) -> list[Path]:
    """The files that were named, and those in the folders that were named."""
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


def _read_photo(path: Path, size: int, report: Report) -> Rgb | None:
    try:
        return shrink(read_picture(path), size).rgb
    except ImageError as error:
        report(Notice(f"left out: {error.message}"))
        return None


def _name_photos(paths: Sequence[Path]) -> list[str]:
    """The names of photos in a report: of the files; with the folders where two are the same."""
    files = [path.name for path in paths]
    parts = [path.parts[-1:] if files.count(path.name) == 1 else path.parts[-2:] for path in paths]
    return ["/".join(part).encode(errors="replace").decode() for part in parts]


def choose_companions(photo: Path) -> list[list[Path]]:
    """Two sets of bundled photos to share a batch with a photo, which is in neither."""
    content, bundled = photo.read_bytes(), bundled_photos()
    return [
        [bundled[_SPARE if bundled[i].read_bytes() == content else i] for i in chosen]
        for chosen in _COMPANIONS
    ]


def compare(
    config: CompareConfig,
    report: Report = lambda event: None,
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
        StyleCliError: a name is unknown, no photo can be read, networks were not trained alike,
            or the folder holds another comparison.
    """
    config.check()
    resolve_device(config.device)
    style_image = find_style_image(config.style)
    photos = read_photos(config, report)
    arms = find_arms(config)
    style_size = arms[0].info.training.get("style_size", 64) if arms else config.style_size
    painting_sha256 = hash_images([read_rgb(style_image, style_size)])
    check_alike(arms, painting_sha256)
    folder = ComparisonFolder(config, painting_sha256, list(photos), overwrite=overwrite)
    if not arms:
        folder.check_content()
    folder.claim()
    try:
        arms = arms or train_arms(folder, report, should_stop)
        check_alike(arms, painting_sha256)
        return _Experiment(folder, style_image, photos, arms, report, should_stop).run()
    except StoppedError:
        return None


@dataclass
class _Experiment:
    """A comparison whose photos are read and whose networks are trained."""

    folder: ComparisonFolder
    style_path: Path
    given: Mapping[Path, Rgb]
    arms: Sequence[Arm]
    report: Report
    should_stop: Callable[[], bool]
    done: int = 0  # pictures, of one for each photo and column

    def __post_init__(self) -> None:
        self.config = self.folder.config
        self.device = resolve_device(self.config.device)
        self.paths, self.rgb = list(self.given), list(self.given.values())
        self.names = _name_photos(self.paths)
        self.photos = [self._tensor(rgb) for rgb in self.rgb]
        self._build_objective()
        self._prepare_judge()

    def _tensor(self, rgb: Rgb) -> Tensor:
        """(1, 3, H, W) on the device."""
        return to_tensor(rgb[None], self.device)

    def _build_objective(self) -> None:
        """The objective that the networks were trained on, with the scales of that training."""
        self.settings, scales = read_objective(self.arms[0], self.config.loss_net)
        self.style_image = read_rgb(self.style_path, self.settings.style_size)
        network = prepare_network(self.settings, self.device, torch.float32)
        images = [self._tensor(self.style_image)]
        self.objective = build_objective(self.settings, network, images, Scales.from_json(scales))
        self.targets = [self.objective.content_target(photo) for photo in self.photos]

    def _prepare_judge(self) -> None:
        """Gram matrices of the photos, and of the painting at their sizes, at three scales."""
        self.judge = load_loss_network().prepare(self.device, torch.float32)
        self.photo_grams = [grams_at_scales(photo, self.judge) for photo in self.photos]
        painting = read_picture(self.style_path).rgb
        short, long = sorted(painting.shape[:2])
        sides = [max(rgb.shape[:2]) for rgb in self.rgb]
        scaled = {side: resize(painting, round(side * short / long)) for side in set(sides)}
        grams = {k: grams_at_scales(self._tensor(rgb), self.judge) for k, rgb in scaled.items()}
        self.painting_grams = [grams[side] for side in sides]

    def run(self) -> Comparison:
        """Make and measure all pictures; StoppedError if the user asks to stop."""
        style = center_square(self.style_image, min(self.style_image.shape[:2]))
        pictures = {"photo": self.rgb, "style": [style] * len(self.rgb)}
        slow, curves = self._optimize_all() if self.config.gatys else ([], [])
        generators = [arm.load().to(self.device) for arm in self.arms]
        times = time_networks([partial(paint, one, None) for one in generators], self.photos[0])
        results = []
        for arm, generator, milliseconds in zip(self.arms, generators, times, strict=True):
            pictures[arm.name], result = self._measure(arm, generator, milliseconds, curves)
            results.append(result)
        if slow:
            pictures["gatys"] = slow
        optimized = [self._tensor(rgb) for rgb in slow]
        return Comparison(
            style=Path(self.config.style).stem,
            photos=self.names,
            arms=results,
            gatys=[self._compute_losses(one, i) for i, one in enumerate(optimized)],
            gatys_losses=curves,
            gatys_style_at_scales=[self._measure_style(one, i) for i, one in enumerate(optimized)],
            about=self._describe_run(),
            pictures=pictures,
        )

    def _advance(self, note: str, more: float = 0.0) -> None:
        """Report the progress, with ``more`` of the next picture; StoppedError if asked to stop."""
        total = len(self.photos) * (len(self.arms) + self.config.gatys)
        self.report(Progress((self.done + more) / total, note))
        if self.should_stop():
            raise StoppedError

    def _optimize_all(self) -> tuple[list[Rgb], list[list[float]]]:
        """For each photo, the slow optimization's picture, and its totals by step."""
        pictures, curves = [], []
        objective = {**asdict(self.settings), "seed": self.config.seed, "precision": "float32"}
        settings = GatysConfig(**objective, steps=self.config.gatys_steps)
        key = self._gatys_key(settings)
        for i, name in enumerate(self.names):
            kept = self.folder.load_gatys(self.paths[i], key)
            if kept is None:
                kept = self._optimize(i, settings)
                self.folder.save_gatys(self.paths[i], key, *kept)
            pictures.append(kept[0])
            curves.append(kept[1])
            self.done += 1
            self._advance(f"gatys on {name}")
        return pictures, curves

    def _gatys_key(self, settings: GatysConfig) -> str:
        """All inputs of the slow optimization but the photo, in one text."""
        network = Path(settings.loss_net)
        weights = sha256(network.read_bytes()).hexdigest() if network.is_file() else network
        return (
            f"{self.config.size} {replace(settings, device='')} {weights} "
            f"{self.objective.scales.as_json()} {hash_images([self.style_image])}"
        )

    def _optimize(self, photo: int, settings: GatysConfig) -> tuple[Rgb, list[float]]:
        totals: list[float] = []

        def watch(event: Pixels) -> None:
            totals.append(event.losses["total"])
            self._advance(f"gatys on {self.names[photo]}, step {event.step}", event.progress)

        content = self.photos[photo]
        best = optimize(content, content, self.objective, settings, watch)
        return to_uint8(best)[0], totals

    def _measure(
        self, arm: Arm, generator: Generator, milliseconds: float, curves: list[list[float]]
    ) -> tuple[list[Rgb], ArmResult]:
        """The pictures of an arm, and their measurements."""
        alone = partial(paint, generator, None)
        pictures: list[Rgb] = []
        losses, style, contrast, dependence = [], [], [], []
        for i, photo in enumerate(self.photos):
            batches = [self._read_batch(photo, paths) for paths in choose_companions(self.paths[i])]
            stylize = partial(paint, generator, batches[0] if arm.norm == BATCH else None)
            stylized = stylize(photo)
            pictures.append(to_uint8(stylized)[0])
            losses.append(self._compute_losses(stylized, i))
            style.append(self._measure_style(stylized, i))
            contrast.append(contrast_sensitivity(stylize, photo, self.objective))
            dependence.append(batch_dependence(alone, photo, batches))
            self.done += 1
            self._advance(f"{arm.name} on {self.names[i]}")
        result = ArmResult(
            name=arm.name,
            arch=arm.arch,
            norm=arm.norm,
            model=arm.path.name,
            parameters=sum(p.numel() for p in generator.parameters()),
            generator=arm.generator,
            training=arm.info.training,
            losses=losses,
            style_at_scales=style,
            contrast=contrast,
            batch_dependence=dependence,
            gatys_steps=[
                steps_to_reach(curves[i], one["total"]) if curves else None
                for i, one in enumerate(losses)
            ],
            milliseconds=milliseconds,
        )
        return pictures, result

    @torch.no_grad()
    def _compute_losses(self, stylized: Tensor, photo: int) -> dict[str, float]:
        terms = self.objective(stylized, self.targets[photo])
        return {name: float(term) for name, term in terms.items()}

    def _measure_style(self, stylized: Tensor, photo: int) -> tuple[float, ...]:
        ours = grams_at_scales(stylized, self.judge)
        return style_at_scales(ours, self.painting_grams[photo], self.photo_grams[photo])

    def _read_batch(self, photo: Tensor, paths: Sequence[Path]) -> Tensor:
        """Photos, cut to the size of ``photo``: (N, 3, H, W)."""
        height, width = photo.shape[2:]
        squares = [read_rgb(path, max(height, width)) for path in paths]
        return to_tensor(np.stack([rgb[:height, :width] for rgb in squares]), self.device)

    def _describe_run(self) -> dict[str, Any]:
        photos = bundled_photos()
        return {
            "settings": as_json(self.config),
            "scales": self.objective.scales.as_json(),
            "companions": [[photos[i].name for i in chosen] for chosen in _COMPANIONS],
            "spare": photos[_SPARE].name,
            "machine": f"{platform.machine()}, {platform.system()}",
            "threads": torch.get_num_threads(),
            "device": str(self.device),
            "torch": torch.__version__,
            "stylecli": __version__,
        }
