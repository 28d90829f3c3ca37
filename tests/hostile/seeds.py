"""Sound files of every kind that the program reads, made once; and what damages them."""

from io import BytesIO
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import torch
from hypothesis import strategies as st
from PIL import Image, ImageCms, PngImagePlugin

from stylecli.config import TrainConfig
from stylecli.core.generators import Generator
from stylecli.core.model_files import ModelInfo, save_model
from stylecli.core.spec import GeneratorSpec
from stylecli.files.content import bundled_photos
from stylecli.training.loop import train

SMALL = 24  # px


def pictures() -> dict[str, bytes]:
    """By their ending."""
    photo = Image.open(bundled_photos()[4]).resize((SMALL + 9, SMALL))
    clear = photo.copy()
    clear.putalpha(Image.linear_gradient("L").resize(photo.size))
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", "words " * 50)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    frames = [photo.rotate(20 * i) for i in range(3)]
    moving = {"save_all": True, "append_images": frames[1:], "duration": 40}
    deep = Image.fromarray(np.arange(SMALL * SMALL, dtype=np.uint16).reshape(SMALL, SMALL) * 90)
    exif = Image.Exif()
    exif[0x0112] = 6
    return {
        "plain.jpg": _saved(photo, "JPEG", exif=exif, icc_profile=profile),
        "progressive.jpeg": _saved(photo.convert("CMYK"), "JPEG", progressive=True),
        "clear.png": _saved(clear, "PNG", pnginfo=text),
        "palette.png": _saved(photo.quantize(16), "PNG"),
        "deep.png": _saved(deep, "PNG"),
        "moving.png": _saved(photo, "PNG", **moving),
        "moving.gif": _saved(photo, "GIF", **moving),
        "moving.webp": _saved(photo, "WEBP", **moving),
        "plain.webp": _saved(clear, "WEBP"),
        "plain.bmp": _saved(photo, "BMP"),
        "pages.tiff": _saved(photo, "TIFF", save_all=True, append_images=frames[1:]),
        "deep.tif": _saved(deep, "TIFF", compression="tiff_lzw"),
        "plain.avif": _saved(photo, "AVIF"),
    }


def _saved(image: Image.Image, kind: str, **options: object) -> bytes:
    file = BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def film(folder: Path) -> bytes:
    """Six frames of H.264."""
    photo = np.asarray(Image.open(bundled_photos()[4]).resize((48, 32)))
    path = folder / "film.mp4"
    iio.imwrite(path, np.stack([np.roll(photo, i, 1) for i in range(6)]), fps=12)
    return path.read_bytes()


def model(folder: Path) -> bytes:
    """A model of two styles."""
    spec = GeneratorSpec(width=4, noise="gaussian")
    generator = Generator(spec).remix(torch.ones(2, 1))
    path = folder / "tiny.safetensors"
    save_model(path, generator, ModelInfo("tiny", generator.spec, styles=["a", "b"]))
    return path.read_bytes()


def checkpoint(folder: Path, painting: Path) -> bytes:
    """Of a training that was stopped after two of four steps."""
    output = folder / "small.safetensors"
    config = TrainConfig(
        styles=(painting,),
        output=output,
        init="scratch",
        width=4,
        steps=4,
        batch_size=1,
        size=64,
        style_size=64,
    )
    asked = iter([False, True, True, True])
    train(config, should_stop=lambda: next(asked))
    return output.with_suffix(".checkpoint.safetensors").read_bytes()


Damage = tuple[str, float, float, bytes]


def damages() -> st.SearchStrategy[list[Damage]]:
    """One to three changes: what, where (of the length), how much, and bytes for it."""
    kinds = st.sampled_from(["cut", "flip", "append", "splice", "remove", "repeat"])
    share = st.floats(0, 1, allow_nan=False)
    one = st.tuples(kinds, share, share, st.binary(min_size=1, max_size=40))
    return st.lists(one, min_size=1, max_size=3)


def damaged(data: bytes, other: bytes, changes: list[Damage]) -> bytes:
    """``data`` with these changes; ``other`` is what is spliced in."""
    for kind, where, much, extra in changes:
        at = int(where * len(data))
        length = 1 + int(much * 0.3 * len(data))
        if kind == "cut":
            data = data[: max(at, 1)]
        elif kind == "flip" and data:
            at = min(at, len(data) - 1)
            data = data[:at] + bytes([data[at] ^ (extra[0] or 1)]) + data[at + 1 :]
        elif kind == "append":
            data = data + extra
        elif kind == "splice":
            start = int(much * len(other))
            data = data[:at] + other[start : start + length] + data[at + length :]
        elif kind == "remove":
            data = data[:at] + data[at + length :]
        elif kind == "repeat":
            data = data[:at] + data[at : at + length] * 2 + data[at + length :]
    return data
