"""Images of many frames: animated GIF, WebP, PNG and AVIF with their times, TIFF with its pages."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, islice
from pathlib import Path
from typing import Any

from PIL import Image, ImageSequence

from stylecli.files.formats import (
    MAX_PIXELS,
    ImageError,
    format_for,
    is_video,
)
from stylecli.files.images import open_image, require_size, save_image
from stylecli.files.pictures import Picture, as_image, as_picture
from stylecli.files.video.frames import Clip, Frame, fit_frames

_TIMED = frozenset({"GIF", "WEBP", "PNG", "AVIF"})
_FORMATS = _TIMED | {"TIFF"}
_KEPT_BY_ENCODER = frozenset({"GIF", "PNG"})  # Pillow holds all frames of these until the end
_SHORTEST, _USUAL = 10, 100  # ms: browsers show frames of no more than the one for the other


@dataclass(frozen=True, kw_only=True)
class Animation(Clip):
    """An image file of several frames.

    Attributes:
        hidden: how many pictures come first and are not shown by those who show the animation.
        faulty: how many more frames the file should have.
    """

    hidden: int = 0
    faulty: int = 0

    @classmethod
    def of(cls, image: Image.Image, path: Path, max_pixels: int = MAX_PIXELS) -> "Animation":
        """That of an open file, of which the header and the first frame are read."""
        frames = count_frames(image)
        hidden = int(image.format == "PNG" and bool(image.info.get("default_image")))
        sound = _sound_frames(image) if image.format == "PNG" else frames
        image.seek(min(hidden, sound - 1))
        alpha = as_picture(image).alpha
        return cls(
            path=path,
            count=sound - hidden,
            has_alpha=alpha is not None and int(alpha.min()) < 255,
            loop=image.info.get("loop"),
            max_pixels=max_pixels,
            hidden=hidden,
            faulty=frames - sound,
        )

    def notes(self, target: Path) -> list[str]:
        """What a result in the file ``target`` will lack beside transparency."""
        if not self.faulty:
            return []
        whole = self.count + self.faulty
        return [f"only the first {self.count} of {whole} frames can be read, and are kept"]

    def frames(self) -> Iterator[Frame[Picture]]:
        """All frames as a viewer composes them, upright, one at a time.

        Raises:
            ImageError: the file is damaged.
        """
        start = Fraction(0)
        with open_image(self.path, self.max_pixels) as image:
            every = ImageSequence.Iterator(image)
            for frame in islice(every, self.hidden, self.hidden + self.count):
                require_size(self.path, frame, self.max_pixels)
                frame.load()
                time = frame.info.get("duration") or 0
                seconds = Fraction(time if time > _SHORTEST else _USUAL) / 1000
                yield Frame(as_picture(frame), start, seconds)
                start += seconds


def write_animation(
    clip: Clip, target: Path, frames: Iterator[Frame[Picture]], quality: int, *, metadata: bool
) -> None:
    """Encode pictures as an image of many frames, whole or not at all.

    Where Pillow's encoder allows it, one frame is in memory at a time. Where it does not, all
    frames together may have as many pixels as one image.

    Args:
        clip: where the frames come from.
        target: the file; its suffix names the format.
        frames: those of the clip, painted.
        quality: 1 to 100, for WebP and AVIF.
        metadata: keep EXIF, where the format has it.

    Raises:
        ImageError: it cannot be written.
    """
    format_ = format_for(target)
    if format_ in _TIMED or is_video(clip.path):  # pages of a TIFF may differ
        frames = fit_frames(frames, Fraction(1))
    first = next(frames, None)
    if first is None:
        raise ImageError(f"{clip.path} has no frames")
    if format_ in _KEPT_BY_ENCODER:
        _require_room(clip, first.picture)
    times: list[int] = []  # it grows while frames are encoded
    images = _images(chain([first], frames), format_, times)
    options = _options(first.picture, format_, clip.loop, times, metadata=metadata)
    if format_ == "PNG":  # its encoder looks at the sizes of all frames first
        image, *options["append_images"] = images
    else:
        image = _Stream(images, clip.count)
    try:
        save_image(target, image, format_, quality, options)
    except ImageError:
        if isinstance(image, _Stream) and image.failure:  # a frame failed, not the writing
            raise image.failure from None
        raise


def _images(
    frames: Iterator[Frame[Picture]], format_: str, times: list[int]
) -> Iterator[Image.Image]:
    """Pictures as Pillow's; their times in ms are added to a list.

    Each time is between two that are rounded, so that the rounding never adds up.
    """
    unit = Fraction(10 if format_ == "GIF" else 1, 1000)  # s
    begin: Fraction | None = None
    for frame in frames:
        begin = frame.start if begin is None else begin
        since, until = frame.start - begin, frame.start - begin + frame.seconds
        times.append(int(1000 * unit) * (round(until / unit) - round(since / unit)))
        yield as_image(frame.picture, format_)


def _options(
    first: Picture, format_: str, loop: int | None, times: list[int], *, metadata: bool
) -> dict[str, Any]:
    """Pillow's options for encoding many frames."""
    options: dict[str, Any] = {"save_all": True}
    if metadata:
        options |= first.metadata.options(format_)
    if format_ in _TIMED:
        options["duration"] = times
        if loop is not None:
            options["loop"] = loop
    if format_ == "GIF":
        options["disposal"] = 0 if first.alpha is None else 2
    if format_ == "WEBP" and first.alpha is not None:
        options["kmax"] = 1  # store whole frames, as differences lose their transparency
    return options


def _require_room(clip: Clip, first: Picture) -> None:
    """Raise ImageError if all frames together have more pixels than an image may have."""
    height, width = first.rgb.shape[:2]
    pixels = clip.count * width * height
    if pixels > clip.max_pixels:
        raise ImageError(
            f"{clip.path} has {clip.count} frames of {width} x {height}, {pixels:,} pixels, "
            f"more than {clip.max_pixels:,}: scale it down with --max-size, "
            "write a .webp, or stylize with --max-pixels"
        )


def keeps_frames(target: Path) -> bool:
    """Whether a file of that suffix can hold many frames."""
    return is_video(target) or format_for(target) in _FORMATS


def count_frames(image: Image.Image) -> int:
    """How many frames an image has; 1 where others are not frames, such as a photo's thumbnail."""
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
