r"""How fast and how large the engine is on this machine; see ratios.py for what it has to reach.

    python benchmarks/engine.py throughput            # folder to folder against the bare network
    python benchmarks/engine.py latency               # one photo, the whole process
    python benchmarks/engine.py streams               # one photo on all cores, or one on each
    python benchmarks/engine.py memory                # peak of the process, by image size
    python benchmarks/engine.py memory --sides 10000  # a hundred megapixels: minutes
    python benchmarks/engine.py files                 # peak after 100 and after 1,000 small files
    python benchmarks/engine.py strips                # against a plain pass, 3,000 x 2,000
    python benchmarks/engine.py enlarging             # a painting to full size, one core

Close other programs first. Everything is repeated; the fastest of each counts.
"""

import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Annotated, get_args

import numpy as np
import openvino as ov
import psutil
import torch
import typer
from PIL import Image
from rich.console import Console
from rich.table import Table

from stylecli.config import DEFAULT_MODEL
from stylecli.core.devices import to_tensor
from stylecli.core.generators import Generator
from stylecli.core.model_files import find_style
from stylecli.core.openvino_backend import mix_weights
from stylecli.core.openvino_graph import OpenVinoEnlarger, build_graph
from stylecli.core.spec import GeneratorSpec, Norm
from stylecli.core.strips import rows_in, run_in_strips
from stylecli.engine import Stylizer
from stylecli.engine.stylizer import open_backends
from stylecli.files.content import bundled_photos

SIZE = (768, 512)
PHOTOS = 24
# Where this is set, a checkout is compiled again by each process, and an installed program is not.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)


def machine() -> str:
    """The processor's name and its cores."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        lines = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        name = lines[0].partition(":")[2].strip() if lines else name
    memory = psutil.virtual_memory().total / 2**30
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return f"{name}, {psutil.cpu_count()} threads, {memory:.0f} GiB, {gpu}"


def show(title: str, heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    """A table, and the machine it was measured on."""
    table = Table(*heads, title=title, caption=machine())
    for row in rows:
        table.add_row(*row)
    Console(width=110).print(table)


@contextmanager
def folder_of_photos(count: int, size: tuple[int, int]) -> Iterator[Path]:
    """A folder with ``count`` JPEGs of a size, in a folder that may be written."""
    with tempfile.TemporaryDirectory() as folder:
        inputs = Path(folder) / "in"
        inputs.mkdir()
        for i in range(count):
            image = Image.open(bundled_photos()[i % 24]).convert("RGB")
            image.resize(size, Image.Resampling.LANCZOS).save(inputs / f"{i:04}.jpg", quality=92)
        yield Path(folder)


def fastest(work: Callable[[], object], repeats: int) -> float:
    """Seconds of the fastest of several."""
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return min(times)


@app.command()
def throughput(model: str = DEFAULT_MODEL, repeats: int = 5) -> None:
    """The engine folder to folder, the bare network, and torch eager float32, by turns."""
    path, _, mix = find_style(model)
    auto = Stylizer(model)
    (bare,) = open_backends(path, mix, backend="auto", device="auto", precision="auto")
    (eager,) = open_backends(path, mix, backend="torch", device="cpu", precision="float32")
    with folder_of_photos(PHOTOS, SIZE) as folder:
        photos = [np.asarray(Image.open(p))[None] for p in sorted((folder / "in").iterdir())]

        def engine() -> None:
            results = auto.run(folder / "in", folder / "out", overwrite=True)
            assert not any(result.error for result in results)

        bare(photos[0])  # compiled for this size
        engine()
        times = {"engine, files to files": [], "bare network": [], "torch eager float32": []}
        for _ in range(repeats):  # by turns: what else runs on the machine meets all alike
            times["engine, files to files"].append(fastest(engine, 1))
            times["bare network"].append(fastest(lambda: [bare(p) for p in photos], 1))
            times["torch eager float32"].append(fastest(lambda: [eager(p) for p in photos], 1))
    best = {name: min(seconds) for name, seconds in times.items()}
    network = best["bare network"]
    rows = [
        (
            name,
            f"{PHOTOS / s:.2f}",
            f"{network / s:.0%}",
            f"{best['torch eager float32'] / s:.2f} x",
        )
        for name, s in best.items()
    ]
    heads = ("", "photos/s", "of the bare network", "of torch eager float32")
    show(f"{PHOTOS} photos of {SIZE[0]} x {SIZE[1]}, {auto.description}", heads, rows)


@app.command()
def streams(model: str = DEFAULT_MODEL, photos: int = 24, repeats: int = 7) -> None:
    """OpenVINO's network alone: a photo at a time on all cores, or more at once on fewer each."""
    path, info, mix = find_style(model)
    core, cores = ov.Core(), psutil.cpu_count(logical=False) or 1
    graph, noises = build_graph(mix_weights(path, mix), info.spec, (1, SIZE[1], SIZE[0], 3))
    planes = [np.zeros((1, 1, SIZE[1] // n, SIZE[0] // n), np.float32) for _, n in noises]
    photo = np.random.default_rng(0).integers(0, 256, (1, SIZE[1], SIZE[0], 3), np.uint8)
    queues = {}
    for count in sorted({1, 2, cores // 4, cores // 2, cores} & set(range(1, cores + 1))):
        compiled = core.compile_model(graph, "CPU", {"NUM_STREAMS": str(count)})
        queues[count] = ov.AsyncInferQueue(compiled, count)
    times: dict[int, list[float]] = {count: [] for count in queues}
    for _ in range(repeats + 1):  # the first round warms up
        for count, queue in queues.items():
            began = time.perf_counter()
            for _ in range(photos):
                queue.start_async([photo, *planes], share_inputs=True)
            queue.wait_all()
            times[count].append(time.perf_counter() - began)
    ratios = {n: np.array(times[1][1:]) / times[n][1:] for n in times}
    rows = [
        (
            f"{n}",
            f"{cores / n:.0f}",
            f"{photos / min(times[n][1:]):.1f}",
            f"{min(r):.2f} x",
            f"{np.median(r):.2f} x",
        )
        for n, r in ratios.items()
    ]
    heads = ("photos at once", "cores for each", "photos/s", "speed, least", "median")
    show(f"the network alone, {SIZE[0]} x {SIZE[1]}, {info.name}", heads, rows)


def stylecli(*arguments: object) -> list[str]:
    """The command line that runs this program."""
    return [sys.executable, "-m", "stylecli", "stylize", *map(str, arguments), "-q", "--overwrite"]


@app.command()
def latency(model: str = DEFAULT_MODEL, repeats: int = 7) -> None:
    """One photo in a new process, cache warm, against a process that only loads torch."""
    with folder_of_photos(1, SIZE) as folder:
        photo, painted = folder / "in" / "0000.jpg", folder / "painted.jpg"
        commands = {
            "stylecli": stylecli(photo, painted, "-m", model),
            "with torch, float32": stylecli(
                photo, painted, "-m", model, "--backend", "torch", "--precision", "float32"
            ),
            "python, import torch": [sys.executable, "-c", "import torch"],
        }
        best = by_turns(commands, repeats)
    rows = [
        (name, f"{seconds:.2f}", f"{seconds / best['stylecli']:.2f} x")
        for name, seconds in best.items()
    ]
    show(f"one photo of {SIZE[0]} x {SIZE[1]}, whole process", ("", "seconds", "of stylecli"), rows)


def by_turns(commands: dict[str, list[str]], repeats: int) -> dict[str, float]:
    """Seconds of the fastest run of each command; the first round warms caches."""
    times: dict[str, list[float]] = {name: [] for name in commands}
    for turn in range(repeats + 1):
        for name, command in commands.items():
            seconds = fastest(
                lambda command=command: subprocess.run(command, check=True, capture_output=True), 1
            )
            if turn:
                times[name].append(seconds)
    return {name: min(seconds) for name, seconds in times.items()}


def peak_of(command: list[str]) -> tuple[float, float]:
    """Peak resident memory in MiB of a process, seen from outside, and its seconds."""
    began, peak = time.perf_counter(), 0
    process = psutil.Popen(command)
    while process.poll() is None:
        try:
            peak = max(peak, process.memory_info().rss)
        except psutil.NoSuchProcess:
            break
        time.sleep(0.01)
    assert process.wait() == 0, command
    return peak / 2**20, time.perf_counter() - began


@app.command()
def memory(
    model: str = DEFAULT_MODEL,
    sides: str = "512,1024,2048,4096",
    max_memory: Annotated[float, typer.Option(help="GiB, as of stylize.")] = 0.5,
) -> None:
    """Peak memory of the whole process for one square image, by its side."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "x.jpg", Path(folder) / "y.jpg"
        for side in map(int, sides.split(",")):
            Image.open(bundled_photos()[3]).resize((side, side)).save(source)
            more = ["-m", model, "--max-memory", max_memory, "--stroke-size", "network"]
            peak, seconds = peak_of(stylecli(source, target, *more))
            assert Image.open(target).size == (side, side)
            rows.append((f"{side:,} x {side:,}", f"{peak:,.0f}", f"{seconds:.1f}"))
    show(f"peak of the process, --max-memory {max_memory}", ("image", "MiB", "seconds"), rows)


@app.command()
def files(model: str = DEFAULT_MODEL, counts: str = "100,1000") -> None:
    """Peak memory of the process after so many small files."""
    rows = []
    for count in map(int, counts.split(",")):
        with folder_of_photos(count, (128, 96)) as folder:
            peak, seconds = peak_of(stylecli(folder / "in", folder / "out", "-m", model))
            assert len(list((folder / "out").iterdir())) == count
            rows.append((f"{count:,}", f"{peak:,.0f}", f"{seconds:.1f}"))
    show("peak of the process, 128 x 96", ("files", "MiB", "seconds"), rows)


@app.command()
def strips(width: int = 3000, height: int = 2000) -> None:
    """Strips against a plain pass in float32: rounding may differ by one of 255, and seldom."""
    cpu, rows = torch.device("cpu"), []
    photo = Image.open(bundled_photos()[7]).convert("RGB").resize((width, height))
    rgb = np.asarray(photo)
    for arch, norm in product(("residual", "pyramid"), get_args(Norm)):
        torch.manual_seed(0)
        generator = Generator(GeneratorSpec(arch, norm)).eval()
        with torch.inference_mode():
            plain = generator(to_tensor(rgb[None], cpu))[0].permute(1, 2, 0).numpy()
        strips = run_in_strips(generator, rgb, cpu, torch.float32, rows_in(2**30, generator, width))
        apart = np.abs(strips - (255 * plain).round().clip(0, 255))
        rows.append((arch, norm, f"{apart.max():.0f}", f"{(apart > 0).mean():.1e}"))
    heads = ("generator", "norm", "largest difference, of 255", "share that differs")
    show(f"strips, {width} x {height}", heads, rows)


@app.command()
def enlarging(megapixels: float = 12, short_side: int = 384, repeats: int = 7) -> None:
    """Processor time of one core for a megapixel of the last enlargement, beside Pillow's bicubic.

    OV_CPU_MAX_ISA=avx2 and ONEDNN_MAX_CPU_ISA=AVX2 in the environment hold OpenVINO to AVX2. The
    second alone holds its convolutions, and --precision bfloat16 then cannot be compiled.
    """
    core = ov.Core()
    core.set_property("CPU", {"INFERENCE_NUM_THREADS": 1})
    photo = Image.open(bundled_photos()[22]).convert("RGB")
    factor = (megapixels * 1e6 / (photo.width * photo.height)) ** 0.5
    photo = photo.resize((round(photo.width * factor), round(photo.height * factor)))
    factor = min(photo.size) / short_side
    small = photo.resize((round(photo.width / factor), round(photo.height / factor)))
    arrays = np.asarray(photo), np.asarray(small), 255 - np.asarray(small)
    began = time.process_time()
    enlarge = OpenVinoEnlarger(core, 1)
    enlarge(
        arrays[0][: round(32 * factor), : round(32 * factor)], *(x[:32, :32] for x in arrays[1:])
    )
    first = time.process_time() - began
    works: dict[str, Callable[[], object]] = {
        "enlarging": lambda: enlarge(*arrays),
        "Pillow, bicubic": lambda: small.resize(photo.size, Image.Resampling.BICUBIC),
    }
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(repeats):
        for name, work in works.items():
            began = time.process_time()
            work()
            times[name].append(time.process_time() - began)
    size = photo.width * photo.height / 1e6
    pillow = min(times["Pillow, bicubic"])
    rows = [
        (name, f"{min(some) * 1000 / size:.1f}", f"{min(some) / pillow:.2f} x")
        for name, some in times.items()
    ]
    heads = ("", "ms of one core for a megapixel", "of Pillow")
    title = f"{small.width} x {small.height} to {photo.width} x {photo.height}"
    show(f"{title}; up in {first * 1000:.0f} ms", heads, rows)


if __name__ == "__main__":
    app()
