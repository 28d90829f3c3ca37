"""Files of many pictures: videos and animations, behind one protocol."""

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from stylecli.files.formats import (
    MAX_PIXELS,
    ImageError,
    is_video,
    is_video_by_content,
    may_be_animated,
)
from stylecli.files.images import open_image, require_file
from stylecli.files.pictures import Picture, as_picture
from stylecli.files.video.animations import Animation, lost_frames


class Clip(Protocol):
    """A file of many pictures, which can also write another file of its kind."""

    @property
    def count(self) -> int:
        """About how many frames there are."""

    def notice(self, target: Path) -> str:
        """One line on what a result in the file ``target`` will lack; empty if nothing."""

    def frames(self) -> Iterator[Picture]:
        """All frames, upright and in sRGB, one at a time."""

    def write(
        self, target: Path, pictures: Iterator[Picture], quality: int, *, metadata: bool = True
    ) -> None:
        """Encode one picture for each frame, with the times and the sound of this file."""


def open_clip(source: Path, target: Path) -> Clip | None:
    """Open a file of many pictures; None if it holds one, or its target can hold only one.

    Args:
        source: the file; by its content, if its name has no suffix.
        target: the file to write; its suffix says what becomes of it.

    Raises:
        ImageError: it cannot be opened.
    """
    return _open_film(source, target) or Animation.open(source, target)


def read_clip_or_picture(
    source: Path, target: Path, max_pixels: int = MAX_PIXELS
) -> tuple[Clip | Picture, str]:
    """Open a file of many pictures; or decode a file of one, or of which one can be kept.

    A photo's file is opened once.

    Returns:
        The clip or the picture, and one line on what a picture in ``target`` lacks.

    Raises:
        ImageError: it cannot be opened, or it is damaged.
    """
    if film := _open_film(source, target):
        return film, ""
    with open_image(source, max_pixels) as image:
        clip = Animation.of(image, source, target, max_pixels)
        if clip is not None:
            return clip, ""
        lacks = lost_frames(image, source, target)
        image.load()
        return as_picture(image), lacks


def _open_film(source: Path, target: Path) -> Clip | None:
    if not (is_video(source) or (not source.suffix and is_video_by_content(_head(source)))):
        return None
    if not (is_video(target) or may_be_animated(target)):
        raise ImageError(f"{source} is a film, and {target} can hold only one picture")
    from stylecli.files.video.films import Video  # imports FFmpeg's libraries: photos need none

    return Video.open(source, target)


def _head(path: Path) -> bytes:
    with require_file(path).open("rb") as file:
        return file.read(400)
