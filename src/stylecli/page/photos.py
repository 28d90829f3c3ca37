"""The photos of a run, and how they are painted: small pictures from memory, large ones as files.

All files lie in one folder that goes at the end, under random names.
"""

import secrets
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Any

from stylecli.config import StylizeConfig
from stylecli.core.tensor_files import is_control
from stylecli.engine import Stylizer
from stylecli.engine.painter import FINEST
from stylecli.errors import StyleCliError
from stylecli.files.colors import Rgb
from stylecli.files.formats import READABLE, USUAL_ENDINGS, VIDEOS, WRITABLE_VIDEOS, ending_for
from stylecli.files.jobs import Job
from stylecli.files.pictures import Picture, encode_jpeg, mix, shrink
from stylecli.files.video.clips import read_clip_or_picture
from stylecli.page.cache import LruCache
from stylecli.page.refusals import RefusedError
from stylecli.page.styles import Chosen

SCREEN, STRIP = 1600, 320  # px, the long side of a picture in the main view, and in the strip
MOST_BYTES = 4 * 2**30  # of an upload; a film of some minutes has one or two
MOST_PHOTOS = 500  # at once
_SPARE = 256 * 2**20  # bytes of the disk that stay free
_IN_MEMORY = 24  # photos at screen size, of at most 6 MB each
_PAINTINGS = 16  # likewise
_OPEN = 12  # networks, of 20 to 30 MB each: all styles that are bundled, and some blends
_NAME = 200  # characters


@dataclass(frozen=True)
class Photo:
    """A photo or a film that was uploaded.

    Attributes:
        id: what the page calls it.
        name: what the user calls it; it is shown, and never part of a path.
        path: its file.
        about: what the page is told of it.
    """

    id: str
    name: str
    path: Path
    about: dict[str, object]

    @property
    def is_film(self) -> bool:
        """Whether it has many frames."""
        return self.about["kind"] == "film"


def require_size(size: int) -> None:
    """Raise RefusedError if an upload has too many bytes."""
    if size > MOST_BYTES:
        raise RefusedError(
            413,
            f"the file has {size / 2**30:.1f} GiB, and at most {MOST_BYTES // 2**30} are taken",
            "stylecli stylize takes files of any size",
        )


def rename_in(error: StyleCliError, path: Path, name: str) -> StyleCliError:
    """The same error with a name in place of a path."""
    error.message = error.message.replace(str(path), name)
    error.hint = error.hint.replace(str(path), name)
    return error


@dataclass(frozen=True)
class Look:
    """A style and how it is painted."""

    chosen: Chosen
    config: StylizeConfig

    @classmethod
    def of(cls, given: Mapping[str, object]) -> "Look":
        """What a request asks for.

        Raises:
            StyleCliError: there is no such style, or a setting is out of range.
        """
        told = {name: given[name] for name in _LOOK if given.get(name) is not None}
        settings: dict[str, Any] = {name: _setting(name, told[name]) for name in told}
        config = StylizeConfig(**settings)
        config.check()
        return cls(Chosen.of(str(given.get("style") or "")), config)

    def paint(self, network: Stylizer, rgb: Rgb) -> Rgb:
        """An image that a network paints so: (H, W, 3) in 0..255, and as large."""
        painted: Rgb = network(rgb, **{name: getattr(self.config, name) for name in _LOOK})
        return painted


_LOOK = {"layers", "stroke_size", "strength", "preserve_color"}


def _setting(name: str, given: object) -> object:
    """A setting from a text or from JSON.

    Raises:
        RefusedError: it is not of its kind.
    """
    text = str(given).lower()
    try:
        if name == "preserve_color":
            return {"0": False, "1": True, "false": False, "true": True}[text]
        return int(text) if name == "layers" else float(text)
    except (KeyError, ValueError):
        raise RefusedError(400, f"{name} is {given!r}", "it is a number") from None


class PhotoService:
    """Photos and the networks that paint them; every method takes time, and belongs in a thread.

    Args:
        folder: for the files of this run.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._networks = LruCache[Chosen, Stylizer](_OPEN)
        self._photos: dict[str, Photo] = {}
        self._screens = LruCache[str, Picture](_IN_MEMORY)
        self._paintings = LruCache[object, Rgb](_PAINTINGS)

    def network(self, chosen: Chosen) -> Stylizer:
        """The network of a style or blend; those that were used last stay open.

        Raises:
            StyleCliError: the model is gone or damaged, or the blend is not one.
        """
        return self._networks.get(chosen, lambda: Stylizer(chosen.path, chosen.style))

    def new_path(self, suffix: str) -> Path:
        """A path for a new file."""
        return self.folder / f"{secrets.token_urlsafe(12)}{suffix}"

    def begin_upload(self, given: str, size: int) -> tuple[str, Path]:
        """What to call an upload, and where to store it.

        Args:
            given: the file's name as the browser tells it.
            size: its bytes, or 0 if that is not known.

        Raises:
            RefusedError: it is not a photo or film by its name, it is too large, the disk has no
                room, or there are too many.
        """
        shown = "".join(char for char in given if not is_control(char))
        name = PurePath(shown.replace("\\", "/")).name[-_NAME:] or "photo"
        suffix = PurePath(name).suffix.lower()
        if suffix not in READABLE | VIDEOS:
            known = " ".join(sorted(USUAL_ENDINGS | WRITABLE_VIDEOS))
            message = f"{name} is not an image or a video by its name"
            raise RefusedError(400, message, f"they end in: {known}")
        if len(self._photos) >= MOST_PHOTOS:
            raise RefusedError(429, f"{MOST_PHOTOS} photos are open", "remove some of them")
        require_size(size)
        self.require_room(size)
        return name, self.new_path(suffix)

    def require_room(self, size: int = 0) -> None:
        """Raise RefusedError if the disk has no room for so many bytes more."""
        try:
            free = shutil.disk_usage(self.folder).free
        except OSError as error:
            message = f"cannot use the folder {self.folder}: {error.strerror or error}"
            raise StyleCliError(message, hint="start stylecli serve again") from error
        if free < size + _SPARE:
            raise RefusedError(
                507,
                f"the disk has no room: {self.folder}",
                "remove files; or set TMPDIR to a folder with room, and start again",
            )

    def add(self, name: str, path: Path) -> Photo:
        """Look at an upload, and keep it.

        Raises:
            StyleCliError: it cannot be read.
        """
        number = secrets.token_urlsafe(12)
        try:
            about, picture = _look_at(path)
        except StyleCliError as error:
            raise rename_in(error, path, name) from error
        photo = Photo(number, name, path, {"id": number, "name": name, **about})
        self._photos[number] = photo
        self._screens.get(number, lambda: picture)
        return photo

    def find(self, number: str) -> Photo:
        """A photo by its id.

        Raises:
            RefusedError: there is none.
        """
        photo = self._photos.get(number)
        if photo is None:
            raise RefusedError(404, "this photo is not here any more", "choose it again")
        return photo

    def remove(self, number: str) -> None:
        """Forget a photo, and remove its file."""
        photo = self.find(number)
        self._photos.pop(number, None)
        self._screens.drop(number)
        with suppress(OSError):
            photo.path.unlink()

    def screen(self, photo: Photo) -> Picture:
        """A photo, or the first frame of a film, at screen size; it is decoded once.

        Raises:
            StyleCliError: its file cannot be read any more.
        """
        return self._screens.get(photo.id, lambda: _look_at(photo.path)[1])

    def encode_screen(self, photo: Photo) -> bytes:
        """A photo at screen size: a JPEG.

        Raises:
            StyleCliError: its file cannot be read any more.
        """
        return encode_jpeg(self.screen(photo))

    def paint_small(self, photo: Photo, look: Look, size: int) -> bytes:
        """A photo painted at screen size or smaller: a JPEG.

        The network needs a certain size for strokes of their usual width. A smaller picture is
        painted at that size, and the painting is scaled down.

        Args:
            photo: what is painted.
            look: how it is painted.
            size: the long side of the result, px.

        Raises:
            StyleCliError: the photo or the model cannot be read, or memory is short.
        """
        picture = self.screen(photo)
        height, width = picture.rgb.shape[:2]
        if size < SCREEN:
            needed = FINEST * max(height, width) / min(height, width)
            picture = shrink(picture, max(size, round(needed)))
        config, network = look.config, self.network(look.chosen)
        # Paintings are kept at full strength in their own colors, so that another strength, or the
        # photo's colors, does not need the network again.
        strokes = {"layers": config.layers, "stroke_size": config.stroke_size}
        key = photo.id, look.chosen, *strokes.values(), picture.rgb.shape
        painted = self._paintings.get(key, lambda: network(picture.rgb, **strokes))
        rgb = mix(picture.rgb, painted, config.strength, preserve_color=config.preserve_color)
        return encode_jpeg(shrink(replace(picture, rgb=rgb), size))

    def paint_full(self, photo: Photo, look: Look) -> bytes:
        """A photo painted at full size: the file that the command line would write.

        Raises:
            StyleCliError: it is a film, it cannot be read, or the result cannot be written.
        """
        if photo.is_film:
            raise RefusedError(400, f"{photo.name} is a film", "paint it as one")
        target = self.new_path(ending_for(photo.path))
        jobs = [Job(photo.path, target)]
        (result,) = self.network(look.chosen).run_jobs(jobs, config=look.config)
        if result.error:
            self.require_room()
            raise rename_in(StyleCliError(result.error), photo.path, photo.name)
        try:
            return target.read_bytes()
        finally:
            target.unlink()


def result_name(photo: Photo, look: Look) -> str:
    """The name under which a painted photo is downloaded."""
    name = PurePath(photo.name)
    return f"{name.stem}-{look.chosen.label}{ending_for(Path(photo.name))}"


def _look_at(path: Path) -> tuple[dict[str, object], Picture]:
    """What the page is told of a file, and the photo or first frame at screen size."""
    read, _ = read_clip_or_picture(path, path.with_name(f"x{ending_for(path)}"))
    if isinstance(read, Picture):
        return _about("photo", read), shrink(read, SCREEN)
    first = next(read.frames()).picture
    return _about("film", first), shrink(first, SCREEN)


def _about(kind: str, picture: Picture) -> dict[str, object]:
    height, width = picture.rgb.shape[:2]
    return {"kind": kind, "width": width, "height": height}
