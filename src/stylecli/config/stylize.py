"""The options of ``stylecli stylize``."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from stylecli.config.shared import FILES, LOOK
from stylecli.errors import StyleCliError, choose_from
from stylecli.files.formats import MAX_PIXELS, READABLE, USUAL_ENDINGS, WRITABLE_VIDEOS
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
    layers: int | None = option(
        None,
        "How often the picture is painted, each time finer and over the layer before; 1 looks more "
        "like a filter. [default: 2; with --stroke-size network 1]",
        panel=LOOK,
        least=1,
        most=5,
    )
    stroke_size: float | Literal["network"] = option(
        1.0,
        "Width of the strokes against the picture: 2 is twice as wide, 0.5 half; network: as many "
        "pixels as the network paints, at full size, as in the paper.",
        panel=LOOK,
        word="network",
        least=0.05,
        most=16,
    )
    max_size: int | None = option(
        None,
        "Long side, px, to which larger photos are scaled down before they are painted.",
        panel=LOOK,
        least=16,
        most=10**6,
    )
    format: str | None = option(
        None,
        "Write all files as jpg, png, webp and so on; films and animations as mp4, gif and so on, "
        "too. [default: as the file]",
        offered=tuple(sorted(suffix[1:] for suffix in USUAL_ENDINGS | WRITABLE_VIDEOS)),
    )
    suffix: str = option("", "Added to each file's name, before its ending, such as -painted.")
    quality: int = option(
        95, "Quality of JPEG, WebP, AVIF, HEIC and videos, 1 to 100.", least=1, most=100
    )
    strip_metadata: bool = option(
        False, "Leave EXIF, XMP and the like out: no place, no date, no camera."
    )
    max_pixels: int = option(
        MAX_PIXELS, "Refuse to open images of more pixels than this.", least=1, most=10**12
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
