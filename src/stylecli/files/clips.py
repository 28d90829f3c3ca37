"""What holds many pictures: videos and animations, read and written alike."""

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from stylecli.files.animations import Animation, is_animation
from stylecli.files.images import STANDARD_STREAM, Picture
from stylecli.files.video import Video, is_video


class Clip(Protocol):
    """A file of many pictures; it also knows how to write another of its kind.

    Attributes:
        count: of its frames, an estimate.
    """

    @property
    def count(self) -> int:
        """How many frames there are, about."""

    def notice(self, target: Path) -> str:
        """What a result in this file will lack, in one line; empty if nothing."""

    def frames(self) -> Iterator[Picture]:
        """Each as a person sees it; one at a time."""

    def write(
        self, target: Path, pictures: Iterator[Picture], quality: int, *, metadata: bool = True
    ) -> None:
        """Encode as many pictures, with the times and the sound of this file."""


def open_clip(source: Path, target: Path) -> Clip | None:
    """A file of many pictures; None if it holds one, or its target can hold only one.

    Through a standard stream goes one picture: the first.

    Raises:
        ImageError: it cannot be opened.
    """
    if STANDARD_STREAM in (source, target):
        return None
    if is_video(source):
        return Video.open(source)
    return Animation.open(source) if is_animation(source, target) else None
