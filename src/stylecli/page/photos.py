"""The photos of a run, and how they are painted at the size of a screen.

All files lie in one folder that goes at the end, under random names.
"""

import json
import secrets
import shutil
from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import lru_cache, partial
from pathlib import Path, PurePath
from threading import Lock
from typing import Any

import numpy as np

from stylecli.config import DEFAULT_MODEL, LookConfig, StylizeConfig
from stylecli.core.tensor_files import is_control
from stylecli.engine import Stylizer
from stylecli.engine.painter import FINEST
from stylecli.files.colors import Rgb
from stylecli.files.formats import READABLE, USUAL_ENDINGS, VIDEOS, WRITABLE_VIDEOS, ending_for
from stylecli.files.pictures import Picture, encode_jpeg, mix, shrink
from stylecli.files.video.clips import read_clip_or_picture
from stylecli.options import options_of
from stylecli.page.refusals import RefusedError, say_name
from stylecli.page.styles import Style, list_styles, parse_style
from stylecli.page.workers import AT_ONCE, Urgency, Workers

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
        kind: ``photo`` or ``film``.
        width: px.
        height: px.
    """

    id: str
    name: str
    path: Path
    kind: str
    width: int
    height: int

    def describe(self) -> dict[str, object]:
        """What the page shows of it: all but the path."""
        return {key: value for key, value in asdict(self).items() if key != "path"}


def require_size(size: int) -> None:
    """Raise RefusedError if an upload has too many bytes."""
    if size > MOST_BYTES:
        raise RefusedError(
            413,
            f"the file has {size / 2**30:.1f} GiB, and at most {MOST_BYTES // 2**30} are taken",
            "stylecli stylize takes files of any size",
        )


@dataclass(frozen=True)
class Look:
    """A style and how it is painted."""

    style: Style
    config: StylizeConfig

    @classmethod
    def of(cls, given: Mapping[str, object]) -> "Look":
        """What a request asks for.

        Args:
            given: ``style``, and any field of :class:`LookConfig`; texts may be values in JSON.

        Raises:
            StyleCliError: there is no such style, or a setting is out of range.
        """
        settings = {one.name: parse_setting(given.get(one.name)) for one in options_of(LookConfig)}
        config = StylizeConfig(**{k: value for k, value in settings.items() if value is not None})
        config.check()
        return cls(parse_style(str(given.get("style") or DEFAULT_MODEL)), config)


def parse_setting(given: object) -> Any:
    """Parse a setting, which is text in an address; a check of settings refuses what is not one."""
    with suppress(ValueError, RecursionError):
        return json.loads(given) if isinstance(given, str) else given
    return given


class PhotoService:
    """Photos and the networks that paint them; every method takes time, and belongs in a thread.

    Args:
        folder: for the files of this run.

    Attributes:
        painters: the threads that paint pictures.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.painters = folder, Workers(AT_ONCE)
        self._photos: dict[str, Photo] = {}
        # Of threads that ask for the same at once, one makes it, and the others wait.
        self._locks: defaultdict[object, Lock] = defaultdict(Lock)
        self._open = lru_cache(_OPEN)(lambda one: Stylizer(one.choice.path, one.choice.style))
        self._look_at = lru_cache(_IN_MEMORY)(_look_at)
        self._paint = lru_cache(_PAINTINGS)(self._paint_at)

    def warm_up(self) -> None:
        """Open the networks that are bundled while nothing else is to be done."""
        gray = np.full((64, 64, 3), 128, np.uint8)  # a network is compiled when it is first used
        for style in list_styles().values():
            if not style.is_own:
                warm_up = partial(lambda one: self.network(one)(gray), style)
                self.painters.submit(warm_up, Urgency.SPARE)

    def network(self, style: Style) -> Stylizer:
        """The network of a style or blend; those that were used last stay open.

        Raises:
            StyleCliError: the model is gone or damaged, or the blend is not one.
        """
        with self._locks[style]:
            return self._open(style)

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
        with suppress(OSError):  # if the folder is gone, the file cannot be stored
            if shutil.disk_usage(self.folder).free < size + _SPARE:
                raise RefusedError(
                    507,
                    f"the disk has no room: {self.folder}",
                    "remove files; or set TMPDIR to a folder with room, and start again",
                )
        return name, self.new_path(suffix)

    def add(self, name: str, path: Path) -> Photo:
        """Look at an upload, and keep it.

        Raises:
            StyleCliError: it cannot be read.
        """
        with say_name(name, path):
            kind, width, height, _ = self._look_at(path)
        photo = Photo(secrets.token_urlsafe(12), name, path, kind, width, height)
        self._photos[photo.id] = photo
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
        with suppress(OSError):
            photo.path.unlink()

    def screen(self, photo: Photo) -> Picture:
        """A photo, or the first frame of a film, at screen size; it is decoded once.

        Raises:
            StyleCliError: its file cannot be read any more.
        """
        with self._locks[photo]:
            return self._look_at(photo.path)[-1]

    def paint(self, photo: Photo, look: Look, size: int) -> bytes:
        """A photo painted at screen size or smaller: a JPEG.

        Args:
            photo: what is painted.
            look: how it is painted.
            size: the long side of the result, px.

        Raises:
            StyleCliError: the photo or the model cannot be read, or memory is short.
        """
        config = look.config
        # Paintings are kept at full strength in their own colors, so that another strength, or the
        # photo's colors, does not need the network again.
        picture, painted = self._paint(photo, look.style, config.layers, config.stroke_size, size)
        rgb = mix(picture.rgb, painted, config.strength, preserve_color=config.preserve_color)
        return encode_jpeg(shrink(replace(picture, rgb=rgb), size))

    def _paint_at(
        self, photo: Photo, style: Style, layers: int | None, stroke_size: float | str, size: int
    ) -> tuple[Picture, Rgb]:
        """A photo and its painting, (H, W, 3) in 0..255, of the same size.

        The network needs a certain size for strokes of their usual width. A smaller picture is
        painted at that size.
        """
        picture = self.screen(photo)
        height, width = picture.rgb.shape[:2]
        if size < SCREEN:
            needed = FINEST * max(height, width) / min(height, width)
            picture = shrink(picture, max(size, round(needed)))
        strokes = {"layers": layers, "stroke_size": stroke_size}
        return picture, self.network(style)(picture.rgb, **strokes)


def result_name(photo: Photo, look: Look) -> str:
    """The name under which a painted photo is downloaded."""
    name = PurePath(photo.name)
    return f"{name.stem}-{look.style.id}{ending_for(Path(photo.name))}"


def _look_at(path: Path) -> tuple[str, int, int, Picture]:
    """A file's kind, width and height in px, and the photo or first frame at screen size."""
    read, _ = read_clip_or_picture(path, path.with_name(f"x{ending_for(path)}"))
    if isinstance(read, Picture):
        kind, picture = "photo", read
    else:
        kind, picture = "film", next(read.frames()).picture
    height, width = picture.rgb.shape[:2]
    return kind, width, height, shrink(picture, SCREEN)
