"""Images of many frames: animated GIF, WebP, PNG and AVIF with their times, TIFF with its pages."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any

from PIL import Image, ImageSequence

from stylecli.files.formats import MAX_PIXELS, ImageError, format_for
from stylecli.files.images import opened, require_size, save_image
from stylecli.files.pictures import Picture, as_image, as_picture

_TIMED = frozenset({"GIF", "WEBP", "PNG", "AVIF"})
_FORMATS = _TIMED | {"TIFF"}
_SUFFIXES = frozenset({".gif", ".webp", ".png", ".apng", ".avif", ".tif", ".tiff"})
_KEPT_BY_ENCODER = frozenset({"GIF", "PNG"})  # Pillow holds all frames of these until the end
_DEFAULT_TIME = 20  # ms; browsers show the frames of a GIF without times for about as long


@dataclass(frozen=True)
class Animation:
    """An image file of several frames.

    Attributes:
        path: the file.
        count: how many frames can be read.
        faulty: how many more the file should have.
        loop: how often the animation is shown, 0 for ever; None if the file does not say.
        times: for how long each frame is shown, in ms; one for each frame that was read so far.
    """

    path: Path
    count: int
    faulty: int
    loop: int | None
    times: list[int] = field(default_factory=list)
    max_pixels: int = MAX_PIXELS

    @classmethod
    def open(cls, path: Path, target: Path) -> "Animation | None":
        """As :meth:`of`, of a file that is not open yet.

        Raises:
            ImageError: it cannot be opened.
        """
        if not _holds_frames(path, target):
            return None
        with opened(path) as image:
            return cls.of(image, path, target)

    @classmethod
    def of(
        cls, image: Image.Image, path: Path, target: Path, max_pixels: int = MAX_PIXELS
    ) -> "Animation | None":
        """That of an open file; None if it has one frame, or its target can hold only one."""
        frames = _count_frames(image)
        if frames == 1 or not _holds_frames(path, target):
            return None
        sound = _sound_frames(image) if image.format == "PNG" else frames
        return cls(path, sound, frames - sound, image.info.get("loop"), max_pixels=max_pixels)

    def notice(self, target: Path) -> str:
        """What the result will lack; empty if nothing."""
        if not self.faulty:
            return ""
        all_ = self.count + self.faulty
        return (
            f"{self.path}: only the first {self.count} of {all_} frames can be read, and are kept"
        )

    def frames(self) -> Iterator[Picture]:
        """All frames as a viewer composes them, upright, one at a time.

        Raises:
            ImageError: the file is damaged.
        """
        self.times.clear()
        with opened(self.path, self.max_pixels) as image:
            for frame in islice(ImageSequence.Iterator(image), self.count):
                require_size(self.path, frame, self.max_pixels)
                frame.load()
                self.times.append(round(frame.info.get("duration") or _DEFAULT_TIME))
                yield as_picture(frame)

    def write(
        self, target: Path, pictures: Iterator[Picture], quality: int, *, metadata: bool = True
    ) -> None:
        """Encode frames with the times and the loops of this file, whole or not at all.

        Where Pillow's encoder allows it, one frame is in memory at a time. Where it does not, all
        frames together may have as many pixels as one image.

        Args:
            target: the file; its suffix names the format.
            pictures: one for each of :meth:`frames`.
            quality: 1 to 100, for WebP and AVIF.
            metadata: keep EXIF, where the format has it.

        Raises:
            ImageError: it cannot be written.
        """
        format_ = format_for(target)
        first = next(pictures)
        if format_ in _KEPT_BY_ENCODER:
            self._require_room(first)
        images = (as_image(picture, format_) for picture in chain([first], pictures))
        options = self._options(first, format_, metadata=metadata)
        if format_ == "PNG":  # its encoder looks at the sizes of all frames first
            image, *options["append_images"] = images
        else:
            image = _Stream(images, self.count)
        try:
            save_image(target, image, format_, quality, options)
        except ImageError:
            if isinstance(image, _Stream) and image.failure:  # a frame failed, not the writing
                raise image.failure from None
            raise

    def _options(self, first: Picture, format_: str, *, metadata: bool) -> dict[str, Any]:
        """Pillow's options for encoding many frames."""
        options: dict[str, Any] = {"save_all": True}
        if metadata:
            options |= first.metadata.options(format_)
        if format_ in _TIMED:
            options["duration"] = self.times  # it grows while frames are read
            if self.loop is not None:
                options["loop"] = self.loop
        if format_ == "GIF":
            options["disposal"] = 0 if first.alpha is None else 2
        if format_ == "WEBP" and first.alpha is not None:
            options["kmax"] = 1  # store whole frames, as differences lose their transparency
        return options

    def _require_room(self, first: Picture) -> None:
        """Raise ImageError if all frames together have more pixels than an image may have."""
        height, width = first.rgb.shape[:2]
        pixels = self.count * width * height
        if pixels > self.max_pixels:
            raise ImageError(
                f"{self.path} has {self.count} frames of {width} x {height}, {pixels:,} pixels, "
                f"more than {self.max_pixels:,}: scale it down with --max-size, "
                "write a .webp, or stylize with --max-pixels"
            )


def lost_frames(image: Image.Image, path: Path, target: Path) -> str:
    """One line if an open file has frames for which its target has no room; empty if not."""
    frames = _count_frames(image)
    if frames == 1 or path.suffix.lower() not in _SUFFIXES or _holds_frames(path, target):
        return ""
    return f"{path}: only the first of its {frames} frames is kept; a .webp or .tiff keeps all"


def _holds_frames(path: Path, target: Path) -> bool:
    """Whether the frames of a file can go into its target."""
    return format_for(target) in _FORMATS and path.suffix.lower() in _SUFFIXES


def _count_frames(image: Image.Image) -> int:
    """How many frames an image has; 1 where others are no frames, such as a photo's thumbnail."""
    return int(getattr(image, "n_frames", 1)) if image.format in _FORMATS else 1


class _Stream(Image.Image):
    """An image of many frames, of which each is made when Pillow's encoder seeks it.

    Attributes:
        failure: the error that ended the making of a frame, if any.
    """

    is_animated = True

    def __init__(self, images: Iterator[Image.Image], count: int) -> None:
        super().__init__()
        self.n_frames = count
        self._images = images
        self._at = -1
        self.failure: Exception | None = None
        self.seek(0)

    def tell(self) -> int:
        return self._at

    def seek(self, frame: int) -> None:
        if frame <= self._at:  # encoders go back to the first frame when they have finished
            return
        try:
            image = next(self._images, None)
        except Exception as failure:
            self.failure = failure
            raise
        if image is None:
            raise EOFError
        vars(self).update(vars(image))  # Pillow does the same with an image that it loads late
        self._at = frame


def _sound_frames(image: Image.Image) -> int:
    """How many frames come before the first that cannot be read."""
    count = int(getattr(image, "n_frames", 1))
    return next((number for number in range(1, count) if not _is_readable(image, number)), count)


def _is_readable(image: Image.Image, number: int) -> bool:
    try:
        image.seek(number)
        image.load()
    except Exception:  # Pillow raises many kinds of error on damaged files
        return False
    return True
