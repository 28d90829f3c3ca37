"""Images of many frames: animated GIF, WebP and PNG with their times, TIFF with its pages."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import ImageSequence

from stylecli.files.images import (
    KEEPS_EXIF,
    Picture,
    as_image,
    as_picture,
    format_for,
    opened,
    save_image,
)

_TIMED = frozenset({"GIF", "WEBP", "PNG"})
_FORMATS = _TIMED | {"TIFF"}
_SUFFIXES = frozenset({".gif", ".webp", ".png", ".apng", ".tif", ".tiff"})
_FASTEST = 20  # ms: browsers and viewers slow a GIF without times down to about this


def is_animation(path: Path, target: Path) -> bool:
    """Whether a file has several frames, and its target can hold them.

    Raises:
        ImageError: it cannot be opened.
    """
    if format_for(target) not in _FORMATS or path.suffix.lower() not in _SUFFIXES:
        return False
    with opened(path) as image:
        return image.format in _FORMATS and getattr(image, "n_frames", 1) > 1


@dataclass(frozen=True)
class Animation:
    """An image file of several frames.

    Attributes:
        path: the file.
        count: of frames.
        loop: how often it is shown, 0 for ever; None if the file does not say.
        times: of each frame that was read, in ms.
    """

    path: Path
    count: int
    loop: int | None
    times: list[float] = field(default_factory=list)

    @classmethod
    def open(cls, path: Path) -> "Animation":
        """Read the head of a file.

        Raises:
            ImageError: it cannot be opened.
        """
        with opened(path) as image:
            return cls(path, getattr(image, "n_frames", 1), image.info.get("loop"))

    def frames(self) -> Iterator[Picture]:
        """All frames as a viewer composes them, upright, one at a time.

        Raises:
            ImageError: the file is damaged.
        """
        self.times.clear()
        with opened(self.path) as image:
            for frame in ImageSequence.Iterator(image):
                frame.load()
                self.times.append(frame.info.get("duration") or _FASTEST)
                yield as_picture(frame)

    def write(
        self, target: Path, pictures: Iterator[Picture], quality: int, *, metadata: bool = True
    ) -> None:
        """Encode frames with the times and the loops of this file, whole or not at all.

        All of them are in memory for that: what Pillow needs to find what has not changed.

        Args:
            target: the file; its suffix tells the format.
            pictures: one for each of :meth:`frames`.
            quality: 1 to 100, of WebP.
            metadata: keep EXIF, where the format has it.

        Raises:
            ImageError: it cannot be written.
        """
        format_ = format_for(target)
        all_ = list(pictures)
        first, *rest = [as_image(picture, format_) for picture in all_]
        options: dict[str, Any] = {"save_all": True, "append_images": rest}
        if metadata and all_[0].exif and format_ in KEEPS_EXIF:
            options["exif"] = all_[0].exif
        if format_ in _TIMED:
            options["duration"] = [round(time) for time in self.times]
            if self.loop is not None:
                options["loop"] = self.loop
        if format_ == "GIF":
            options["disposal"] = 2 if first.mode == "RGBA" else 0
        if format_ == "WEBP" and first.mode == "RGBA":
            options["kmax"] = 1  # whole frames: as differences, they lose their transparency
        save_image(target, first, format_, quality, options)
