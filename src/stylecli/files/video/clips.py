"""Files of many pictures, opened and written: films, and animations.

An animation is a GIF, WebP, PNG or AVIF with the times of its frames, or a TIFF with its pages.
"""

from collections.abc import Iterator
from contextlib import suppress
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
    is_video_by_content,
    keeps_alpha,
    may_be_animated,
)
from stylecli.files.images import open_image, require_file, require_size, save_image
from stylecli.files.pictures import Picture, as_image, as_picture
from stylecli.files.video.frames import Clip, Frame, fit_frames

_TIMED = frozenset({"GIF", "WEBP", "PNG", "AVIF"})
_FORMATS = _TIMED | {"TIFF"}
_KEPT_BY_ENCODER = frozenset({"GIF", "PNG"})  # Pillow holds all frames of these until the end
_SHORTEST, _USUAL = 10, 100  # ms: browsers show frames of no more than the one for the other


def read_clip_or_picture(
    source: Path, target: Path, max_pixels: int = MAX_PIXELS
) -> tuple[Clip | Picture, str]:
    """Open a file of many pictures; or decode a file of one, or of which one can be kept.

    A photo's file is opened once.

    Returns:
        The clip or the picture, and one line on what a result in ``target`` will lack, and what is
        mended; empty if nothing.

    Raises:
        ImageError: it cannot be opened, or it is damaged.
    """
    if film := _open_film(source, target):
        return film, _join_notes(film, target)
    with open_image(source, max_pixels) as image:
        frames = _count_frames(image) if may_be_animated(source) else 1
        if is_video(target) or (frames > 1 and format_for(target) in _FORMATS):
            animation = Animation.of(image, source, max_pixels)
            return animation, _join_notes(animation, target)
        image.load()
        picture = as_picture(image)
    if frames == 1:
        return picture, ""
    lost = f"only the first of its {frames} frames is kept; a .webp or .tiff keeps all"
    return picture, f"{source}: {lost}"


def _open_film(source: Path, target: Path) -> Clip | None:
    if not _is_film(source):
        return None
    if not (is_video(target) or may_be_animated(target)):
        raise ImageError(f"{source} is a film, and {target} can hold only one picture")
    from stylecli.files.video.films import Video  # imports FFmpeg's libraries: photos need none

    return Video.open(source, target)


def _join_notes(clip: Clip, target: Path) -> str:
    """One line on what a result will lack, and what is mended; empty if nothing."""
    notes = list(clip.notes)
    if clip.has_alpha and not keeps_alpha(target):
        notes.insert(0, f"its transparency is lost in {target}; a .webm would keep it")
    return f"{clip.path}: {'; '.join(notes)}" if notes else ""


def _is_film(source: Path) -> bool:
    if source.suffix:
        return is_video(source)
    with require_file(source).open("rb") as file:
        return is_video_by_content(file.read(400))


def write_clip(
    clip: Clip,
    target: Path,
    frames: Iterator[Frame[Picture]],
    quality: int,
    *,
    metadata: bool = True,
) -> None:
    """Encode the frames of a clip with their times, whole or not at all.

    Frames of another size than the first are fitted into it, but for the pages of a TIFF.

    Args:
        clip: where the frames come from. What is beside the picture of a film is kept in a film.
        target: the file; its suffix names the container, or the format of an animation.
        frames: those of the clip, painted.
        quality: 1 to 100, as for a JPEG.
        metadata: keep EXIF, or title, place, languages, chapters and so on.

    Raises:
        StyleCliError: it cannot be written, or there are no frames.
    """
    if is_video(target):
        frames = fit_frames(frames, clip.pixel_shape)
    elif is_video(clip.path) or format_for(target) in _TIMED:
        frames = fit_frames(frames, Fraction(1))
    first = next(frames, None)
    if first is None:
        raise ImageError(f"{clip.path} has no frames")
    frames = chain([first], frames)
    if is_video(target):
        from stylecli.files.video.encoding import write_film  # imports FFmpeg's libraries

        write_film(clip, target, first, frames, quality, metadata=metadata)
    else:
        _write_animation(clip, target, first, frames, quality, metadata=metadata)


@dataclass(frozen=True, kw_only=True)
class Animation(Clip):
    """An image file of several frames.

    Attributes:
        hidden: how many pictures come first and are not shown by those who show the animation.
    """

    hidden: int = 0

    @classmethod
    def of(cls, image: Image.Image, path: Path, max_pixels: int = MAX_PIXELS) -> "Animation":
        """That of an open file, of which the header and the first frame are read."""
        frames = _count_frames(image)
        hidden = int(image.format == "PNG" and bool(image.info.get("default_image")))
        sound = _count_sound_frames(image) if image.format == "PNG" else frames
        image.seek(min(hidden, sound - 1))
        alpha = as_picture(image).alpha
        some = f"only the first {sound - hidden} of {frames - hidden} frames can be read"
        return cls(
            path=path,
            count=sound - hidden,
            notes=[f"{some}, and are kept"] if sound < frames else [],
            has_alpha=alpha is not None and int(alpha.min()) < 255,
            loop=image.info.get("loop"),
            max_pixels=max_pixels,
            hidden=hidden,
        )

    def frames(self) -> Iterator[Frame[Picture]]:
        """All frames as a viewer composes them, upright, one at a time.

        Raises:
            ImageError: the file is damaged.
        """
        start = Fraction(0)
        with open_image(self.path, self.max_pixels) as image:
            every = ImageSequence.Iterator(image)
            for frame in islice(every, self.hidden, self.hidden + self.count):
                require_size(frame.size, self.max_pixels)
                frame.load()
                time = frame.info.get("duration") or 0
                seconds = Fraction(time if time > _SHORTEST else _USUAL) / 1000
                yield Frame(as_picture(frame), start, seconds)
                start += seconds


def _write_animation(
    clip: Clip,
    target: Path,
    first: Frame[Picture],
    frames: Iterator[Frame[Picture]],
    quality: int,
    *,
    metadata: bool,
) -> None:
    """Encode an image of many frames.

    Where Pillow's encoder allows it, one frame is in memory at a time. Where it does not, all
    frames together may have as many pixels as one image.
    """
    format_ = format_for(target)
    if format_ in _KEPT_BY_ENCODER:
        _require_room(clip, first.picture)
    times: list[int] = []  # it grows while frames are encoded
    images = _images(frames, format_, first.start, times)
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
    frames: Iterator[Frame[Picture]], format_: str, begin: Fraction, times: list[int]
) -> Iterator[Image.Image]:
    """Pictures as Pillow's, from a time in seconds on; their times in ms are added to a list.

    Each time is between two that are rounded, so that the rounding never adds up.
    """
    unit = Fraction(10 if format_ == "GIF" else 1, 1000)  # s
    for frame in frames:
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


def _count_frames(image: Image.Image) -> int:
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


def _count_sound_frames(image: Image.Image) -> int:
    """How many frames come before the first that cannot be read."""
    number = 1
    with suppress(Exception):  # Pillow raises many kinds of error on damaged files
        while number < _count_frames(image):
            image.seek(number)
            image.load()
            number += 1
    return number
