"""What limits the engine on a device: the bare network by batch and layout, decoding, encoding.

    python benchmarks/device.py cuda > device.json
    python benchmarks/device.py cpu --tiny

Photos a second of each part, in one run, as JSON.
"""

import io
import json
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any

import torch
import typer
from PIL import Image

from stylecli.config import DEFAULT_MODEL
from stylecli.core.model_files import load_model
from stylecli.files.content import bundled_photos

app = typer.Typer(pretty_exceptions_enable=False)
_BATCHES = (1, 2, 4, 8, 16, 32)
_LAYOUTS = {"contiguous": torch.contiguous_format, "channels last": torch.channels_last}


@app.command()
def main(device: str, tiny: Annotated[bool, typer.Option(help="Only to try it.")] = False) -> None:
    """Measure everything, and print it as JSON."""
    size = (96, 64) if tiny else (768, 512)
    seconds = 0.05 if tiny else 2.0
    where = torch.device(device)
    result: dict[str, Any] = {"device": name_of(where), "cores": os.cpu_count(), "size": size}
    result["network, photos/s"] = networks(where, size, seconds, _BATCHES[:2] if tiny else _BATCHES)
    result["files, photos/s"] = files(where, size, seconds)
    print(json.dumps(result, indent=1))


def name_of(device: torch.device) -> str:
    """The card's name, or that of the kind of device."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def per_second(
    work: Callable[[], object], count: int, seconds: float, device: torch.device
) -> float:
    """How many photos a second some work does that does ``count`` at a time."""

    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    work()
    wait()
    began, done = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        work()
        wait()
        done += count
    return round(done / (time.perf_counter() - began), 2)


def networks(
    device: torch.device, size: tuple[int, int], seconds: float, batches: tuple[int, ...]
) -> dict[str, float | str]:
    """The bare network: number format, layout, batch; then compiled, and as a CUDA graph."""
    generator, _ = load_model(DEFAULT_MODEL)
    generator = generator.to(device)
    found: dict[str, float | str] = {}
    for dtype in (torch.float32, torch.bfloat16):
        for layout, memory_format in _LAYOUTS.items():
            generator.to(memory_format=memory_format)  # type: ignore[call-overload]
            for batch in batches:
                photos = torch.rand(batch, 3, size[1], size[0], device=device)
                key = f"{str(dtype)[6:]}, {layout}, batch {batch}"
                work = runner(generator, photos, dtype)
                found[key] = tried(lambda: per_second(work, batch, seconds, device))  # noqa: B023
    photos = torch.rand(batches[-1], 3, size[1], size[0], device=device)
    compiled = torch.compile(generator, mode="reduce-overhead" if device.type == "cuda" else None)
    work = runner(compiled, photos, torch.bfloat16)
    count = batches[-1]
    found[f"bfloat16, compiled, batch {count}"] = tried(
        lambda: per_second(work, count, seconds, device)
    )
    return found


def runner(
    network: Callable[[torch.Tensor], torch.Tensor], photos: torch.Tensor, dtype: torch.dtype
) -> Callable[[], object]:
    """One pass, in a number format."""

    @torch.inference_mode()
    def work() -> object:
        with torch.autocast(photos.device.type, dtype, enabled=dtype != torch.float32):
            return network(photos)

    return work


def tried(work: Callable[[], float]) -> float | str:
    """What it gives, or why not."""
    try:
        return work()
    except Exception as error:  # of a compiler that is not there, or of memory: go on
        return f"{type(error).__name__}: {str(error)[:200]}"


def files(device: torch.device, size: tuple[int, int], seconds: float) -> dict[str, float | str]:
    """Decoding and encoding JPEG: one thread, all cores, and on the card where it can."""
    image = Image.open(bundled_photos()[3]).convert("RGB").resize(size)
    encoded = encode(image)
    threads = os.cpu_count() or 1
    found: dict[str, float | str] = {}
    cpu = torch.device("cpu")
    jobs = {"decode": lambda: decode(encoded), "encode": lambda: encode(image)}
    for name, job in jobs.items():
        found[f"{name}, one thread"] = per_second(job, 1, seconds, cpu)
        with ThreadPoolExecutor(threads) as pool:
            many = [None] * (4 * threads)
            spread = lambda job=job: list(pool.map(lambda _: job(), many))  # noqa: B023, E731
            found[f"{name}, {threads} threads"] = per_second(spread, len(many), seconds, cpu)
    if device.type == "cuda":
        from torchvision.io import decode_jpeg

        raw = [torch.frombuffer(bytearray(encoded), dtype=torch.uint8)] * 16
        found["decode on the card, 16 at once"] = tried(
            lambda: per_second(lambda: decode_jpeg(raw, device=device), 16, seconds, device)
        )
    return found


def encode(image: Image.Image) -> bytes:
    """As JPEG, as ``stylize`` writes it."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=95, subsampling=0)
    return file.getvalue()


def decode(data: bytes) -> Image.Image:
    """Of JPEG."""
    image = Image.open(io.BytesIO(data), formats=["JPEG"])
    image.load()
    return image


if __name__ == "__main__":
    app()
