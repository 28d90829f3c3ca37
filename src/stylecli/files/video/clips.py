"""Files of many pictures, opened and written: films and animations alike."""

from collections.abc import Iterator
from pathlib import Path

from stylecli.files.formats import (
    MAX_PIXELS,
    ImageError,
    is_video,
    is_video_by_content,
    may_be_animated,
)
from stylecli.files.images import open_image, require_file
from stylecli.files.pictures import Picture, as_picture
from stylecli.files.video.animations import Animation, count_frames, keeps_frames, write_animation
from stylecli.files.video.frames import Clip, Frame


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
        frames = count_frames(image) if may_be_animated(source) else 1
        if keeps_frames(target) and (frames > 1 or is_video(target)):
            return Animation.of(image, source, max_pixels), ""
        image.load()
        picture = as_picture(image)
    if frames == 1:
        return picture, ""
    lost = f"only the first of its {frames} frames is kept; a .webp or .tiff keeps all"
    return picture, f"{source}: {lost}"


def write_clip(
    clip: Clip,
    target: Path,
    frames: Iterator[Frame[Picture]],
    quality: int,
    *,
    metadata: bool = True,
) -> None:
    """Encode the frames of a clip with their times, whole or not at all.

    Args:
        clip: where the frames come from. What is beside the picture of a film is kept in a film.
        target: the file; its suffix names the container, or the format of an animation.
        frames: those of the clip, painted.
        quality: 1 to 100, as for a JPEG.
        metadata: keep EXIF, or title, place, date and so on.

    Raises:
        StyleCliError: it cannot be written, or there are no frames.
    """
    if is_video(target):
        from stylecli.files.video.encoding import write_film  # imports FFmpeg's libraries

        write_film(clip, target, frames, quality, metadata=metadata)
    else:
        write_animation(clip, target, frames, quality, metadata=metadata)


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
