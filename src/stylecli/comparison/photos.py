"""The photos of a comparison, and those that share a batch with them."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from stylecli.config import CompareConfig
from stylecli.core.vgg import SMALLEST
from stylecli.errors import StyleCliError
from stylecli.events import Notice
from stylecli.files.colors import Rgb
from stylecli.files.content import bundled_photos
from stylecli.files.door import require_regular
from stylecli.files.formats import ImageError
from stylecli.files.images import read_picture
from stylecli.files.pictures import shrunk
from stylecli.files.scanning import scan_images

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
        return shrunk(read_picture(path), size).rgb
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
