"""Files of many pictures: videos and animations, behind one protocol."""

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from stylecli.files.animations import Animation, lost_frames
from stylecli.files.door import STANDARD_STREAM
from stylecli.files.formats import MAX_PIXELS, is_video
from stylecli.files.images import opened
from stylecli.files.pictures import Picture, as_picture


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

    Only one picture, the first, goes through a standard stream.

    Raises:
        ImageError: it cannot be opened.
    """
    if STANDARD_STREAM in (source, target):
        return None
    if is_video(source):
        from stylecli.files.video import Video  # imports FFmpeg's libraries: photos need none

        return Video.open(source)
    return Animation.open(source, target)


def read_clip_or_picture(
    source: Path, target: Path, max_pixels: int = MAX_PIXELS
) -> tuple[Clip | Picture, str]:
    """Open a file of many pictures; or decode a file of one, or of which one can be kept.

    Only one picture, the first, goes through a standard stream. A photo's file is opened once.

    Returns:
        The clip or the picture, and one line on what a picture in ``target`` lacks.

    Raises:
        ImageError: it cannot be opened, or it is damaged.
    """
    if is_video(source) and (clip := open_clip(source, target)):
        return clip, ""
    through_stream = STANDARD_STREAM in (source, target)
    with opened(source, max_pixels) as image:
        clip = None if through_stream else Animation.of(image, source, target, max_pixels)
        if clip is not None:
            return clip, ""
        lacks = "" if through_stream else lost_frames(image, source, target)
        image.load()
        return as_picture(image), lacks
