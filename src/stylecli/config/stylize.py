"""The options of ``stylecli stylize``."""

from dataclasses import dataclass
from typing import ClassVar

from stylecli.config.shared import FILES, LOOK
from stylecli.errors import StyleCliError, choose_from
from stylecli.files.formats import READABLE, WRITABLE_VIDEOS
from stylecli.options import check_options, option


@dataclass(frozen=True)
class StylizeConfig:
    """How photos are read, painted and written."""

    PANEL: ClassVar[str] = FILES

    strength: float = option(
        1.0,
        "How much of the painted picture, 0 to 1; the rest is the photo.",
        panel=LOOK,
        least=0,
        most=1,
    )
    preserve_color: bool = option(
        False, "Keep the photo's colors; take light and dark only.", panel=LOOK
    )
    max_size: int | None = option(
        None,
        "Long side, px, to which larger photos are scaled down before they are painted.",
        least=16,
        most=10**6,
    )
    stroke_size: float | None = option(
        None,
        "Width of the strokes: 1 is as the model paints, 2 is twice as wide; auto is 1 up to 2.5 "
        "megapixels, and larger photos get the strokes of their version of one megapixel. "
        "[default: auto]",
        panel=LOOK,
        auto=True,
        least=1,
        most=64,
    )
    format: str | None = option(
        None,
        "Write all files as jpg, png, webp and so on; films and animations as mp4, gif and so on, "
        "too. [default: as the file]",
        offered=tuple(sorted(suffix[1:] for suffix in READABLE | WRITABLE_VIDEOS)),
    )
    steady: float = option(
        0.0,
        "For videos and animations, 0 to 0.95: how much of the frame before stays where nothing "
        "moves.",
        panel=LOOK,
        least=0,
        most=0.95,
    )
    suffix: str = option("", "Added to each file's name, before its ending, such as -painted.")
    quality: int = option(
        95, "Quality of JPEG, WebP, AVIF, HEIC and videos, 1 to 100.", least=1, most=100
    )
    strip_metadata: bool = option(False, "Leave EXIF out: no place, no date, no camera.")
    max_pixels: int = option(
        200_000_000, "Refuse to open images of more pixels than this.", least=1, most=10**12
    )

    def check(self) -> None:
        """Raise StyleCliError if the settings cannot be meant."""
        check_options(self)
        if "/" in self.suffix or "\\" in self.suffix:
            raise StyleCliError(f"--suffix {self.suffix!r} holds a slash", hint="such as: -painted")
        if self.format is not None and f".{self.format.lower().lstrip('.')}" not in (
            READABLE | WRITABLE_VIDEOS
        ):
            known = (ending[1:] for ending in READABLE | WRITABLE_VIDEOS)
            raise StyleCliError(
                f"unknown --format {self.format!r}", hint=choose_from(self.format, known)
            )
