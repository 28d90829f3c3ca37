"""Files of many pictures: videos and animations, behind one protocol."""

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from stylecli.files.animations import Animation
from stylecli.files.door import STANDARD_STREAM
from stylecli.files.formats import is_video
from stylecli.files.pictures import Picture


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
