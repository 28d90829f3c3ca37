"""The folder of a comparison: which comparison it belongs to, its training photos and results."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, get_args

from stylecli.config import CompareConfig
from stylecli.core.model_files import bundled_painting, list_named_models, model_folders
from stylecli.core.spec import Arch, Norm
from stylecli.core.tensor_files import SUFFIX
from stylecli.errors import StyleCliError
from stylecli.files.atomic import require_regular, require_writable, write_text
from stylecli.files.colors import Rgb
from stylecli.files.content import ContentPhotos, bundled_photos
from stylecli.files.images import read_picture, write_picture
from stylecli.files.pictures import Picture
from stylecli.options import as_json, options_of

# What another run into the same folder may change; with the other settings, arms are trained.
_FREE = {"photos", "style", "norms", "archs", "gatys", "gatys_steps", "size", "out", "device"}
FIXED = tuple(one.name for one in options_of(CompareConfig) if one.name not in _FREE)


@dataclass(frozen=True)
class ArmResult:
    """The measurements of one arm, see :class:`stylecli.comparison.arms.Arm`.

    Lists have an entry for each photo; measures are those of :mod:`stylecli.comparison.metrics`.

    Attributes:
        model: the name of its file.
        losses: the weighted terms of the objective and their total.
        gatys_steps: of L-BFGS, after which its total is as low; None is more than were taken.
        generator: its settings that are not compared, such as the width.
        training: how the model was made.
        milliseconds: for the first photo, alone.
    """

    name: str
    arch: str
    norm: str
    model: str
    parameters: int
    losses: list[dict[str, float]]
    style_at_scales: list[tuple[float, ...]]
    contrast: list[dict[str, dict[str, float]]]
    batch_dependence: list[float]
    gatys_steps: list[int | None]
    generator: dict[str, Any]
    training: dict[str, Any]
    milliseconds: float


@dataclass(frozen=True)
class Comparison:
    """All results of a comparison.

    Attributes:
        arms: in the order of the columns.
        gatys: for each photo, the losses of the slow optimization; empty without it.
        gatys_losses: for each photo, the objective after 0, 1, 2 … steps; empty without Gatys.
        gatys_style_at_scales: for each photo, as of an arm; empty without Gatys.
        about: machine, versions, settings.
        pictures: (H, W, 3) in 0..255: the name of the column to a picture for each photo.
    """

    style: str
    photos: list[str]
    arms: list[ArmResult]
    gatys: list[dict[str, float]]
    gatys_losses: list[list[float]]
    gatys_style_at_scales: list[tuple[float, ...]]
    about: dict[str, Any]
    pictures: dict[str, list[Rgb]] = field(repr=False)

    def as_json(self) -> dict[str, Any]:
        """All but the pictures."""
        return asdict(replace(self, pictures={})) | {"columns": list(self.pictures)}


_BUNDLED = ".bundled-photos"
WRITTEN = ("grid.png", "report.html", "results.json")
_WRITTEN_BY = {"written_by": "stylecli compare"}  # a file of another program does not hold it


class ComparisonFolder:
    """The folder in which a comparison keeps its models and results.

    Raises:
        StyleCliError: the folder holds another comparison, or other things.
    """

    def __init__(
        self,
        config: CompareConfig,
        painting_sha256: str,
        photos: Sequence[Path],
        *,
        overwrite: bool = False,
    ) -> None:
        self.config, self.out, self.overwrite = config, config.out, overwrite
        self.sha256 = {path: sha256(path.read_bytes()).hexdigest() for path in photos}
        self.mark, self.models = self.out / "comparison.json", self.out / "models"
        settings = {name: as_json(config)[name] for name in FIXED}
        content = str(config.content.resolve()) if config.content else "bundled"
        photos_sha256 = sorted(self.sha256.values())
        inputs = {"content": content, "painting": painting_sha256, "photos": photos_sha256}
        self.identity: dict[str, Any] = {**settings, **inputs, **_WRITTEN_BY}
        self._check()

    def _check(self) -> None:
        if not self.out.exists():
            return
        if not self.out.is_dir():
            raise StyleCliError(f"{self.out} is a file", hint="pass a folder with --output")
        theirs = self._read_claims()
        if not theirs and any(not path.name.startswith(".") for path in self.out.iterdir()):
            raise StyleCliError(
                f"{self.out} is not empty, and holds no comparison",
                hint="pass another folder with --output",
            )
        if theirs and self._has_results() and not self.overwrite:
            changed = [key for key in self.identity if self.identity[key] != theirs.get(key)]
            if changed:
                raise StyleCliError(
                    f"{self.out} holds another comparison; it differs in: {', '.join(changed)}",
                    hint="pass another folder with --output; or --overwrite, to begin anew",
                )

    def _has_results(self) -> bool:
        """Whether a training has begun or there are results.

        Until then another comparison may take the folder: the first may have been mistyped. A
        checkpoint counts, or that other comparison would go on with the training.
        """
        return any(self.models.glob(f"*{SUFFIX}")) or (self.out / "results.json").exists()

    def _read_claims(self) -> dict[str, Any]:
        """The identity of the comparison that made this folder; {} if none did."""
        try:
            claimed = json.loads(require_regular(self.mark).read_text(encoding="utf-8"))
        except (ValueError, StyleCliError):
            return {}
        is_ours = isinstance(claimed, dict) and claimed.items() >= _WRITTEN_BY.items()
        return claimed if is_ours else {}

    def claim(self) -> None:
        """Mark the folder as that of this comparison; StyleCliError if it cannot be written."""
        require_writable(self.out)
        if self._read_claims() and self._has_results():
            if not self.overwrite:
                return
            self._clear()
        write_text(self.mark, json.dumps(self.identity, indent=1))

    def _clear(self) -> None:
        """Remove what an earlier comparison trained, optimized and wrote."""
        for name in ("models", "gatys"):
            shutil.rmtree(self.out / name, ignore_errors=True)
        for name in WRITTEN:
            (self.out / name).unlink(missing_ok=True)

    def _list_others(self) -> list[Path]:
        """The bundled photos that are not compared on; StyleCliError if none is left."""
        hashed = {sha256(path.read_bytes()).hexdigest(): path for path in bundled_photos()}
        others = [path for key, path in hashed.items() if key not in self.sha256.values()]
        if not others:
            raise StyleCliError(
                "all bundled photos are compared on, and none is left to train on",
                hint="pass --content with a folder of other photos",
            )
        return others

    def check_content(self) -> None:
        """Raise StyleCliError if there are no photos to train on."""
        if self.config.content:
            ContentPhotos(self.config.content, self.config.seed)
        else:
            self._list_others()

    def content(self) -> Path:
        """A folder of the photos to train on: the user's, or a new copy of the bundled others."""
        if self.config.content:
            return self.config.content
        folder = self.out / _BUNDLED
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for path in self._list_others():
            shutil.copy(path, folder)
        return folder

    def load_gatys(self, photo: Path, key: str) -> tuple[Rgb, list[float]] | None:
        """The picture that an earlier run optimized for a photo, and its totals; None without."""
        picture, file = self._gatys_files(photo, key)
        if not (picture.is_file() and file.is_file()):
            return None
        try:
            totals = [float(total) for total in json.loads(file.read_text(encoding="utf-8"))]
            return read_picture(picture).rgb, totals
        except (ValueError, TypeError, StyleCliError):  # a damaged one is made again
            return None

    def save_gatys(self, photo: Path, key: str, rgb: Rgb, totals: list[float]) -> None:
        """Store a picture and its totals for the next run."""
        picture, file = self._gatys_files(photo, key)
        picture.parent.mkdir(parents=True, exist_ok=True)
        write_picture(picture, Picture(rgb))
        write_text(file, json.dumps(totals))

    def _gatys_files(self, photo: Path, key: str) -> tuple[Path, Path]:
        name = sha256(f"{self.sha256[photo]} {key}".encode()).hexdigest()[:16]
        return self.out / "gatys" / f"{name}.png", self.out / "gatys" / f"{name}.json"


def find_networks(style: str) -> dict[tuple[str, str], Path]:
    """The trained networks of a style, bundled or found by name: architecture and norm to file.

    There are none of a painting's file, whatever its name: its networks are to be trained.
    """
    pairs = [(arch, norm) for arch in get_args(Arch) for norm in get_args(Norm)]
    wanted = {"-".join((style, *pair)): pair for pair in pairs}
    found: dict[tuple[str, str], Path] = {}
    if not Path(style).is_file():
        for name, path in list_named_models(model_folders()):
            if name in wanted:
                found.setdefault(wanted[name], path)
    return found


def find_style_image(style: str) -> Path:
    """The style image: the file itself, or that of a bundled style.

    Raises:
        StyleCliError: it is neither, or is not a regular file.
    """
    return require_regular(bundled_painting(Path(style)))
