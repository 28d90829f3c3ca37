"""All that is to be measured when a GPU is at hand, unattended: ``make gpu PHOTOS=folder``.

    python benchmarks/gpu.py OUT PHOTOS
    python benchmarks/gpu.py OUT PHOTOS --device cpu --tiny      # to try the script itself

Each step is a command with a time limit of its own; what it printed is OUT/NAME.txt, how it ended
OUT/NAME.json. A step that fails or runs out of time is noted, and the next one begins. Run again,
it does what is not done yet. It needs torch, torchvision and this project's source on PYTHONPATH.
"""

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(pretty_exceptions_enable=False)
_HERE = Path(__file__).parent
_PAINTINGS = sorted((_HERE.parent / "models" / "paintings").glob("*.jpg"))
_PAINTING = _HERE.parent / "models" / "paintings" / "starry-night.jpg"


@dataclass(frozen=True)
class Step:
    """One command.

    Attributes:
        name: of its files in the folder of results.
        seconds: it may take.
        command: arguments after the Python interpreter.
    """

    name: str
    seconds: float
    command: list[str]


def steps(out: Path, photos: Path, device: str, tiny: bool) -> list[Step]:
    """The most valuable first."""
    engine = [str(_HERE / "engine.py"), "throughput"]
    measure = [str(_HERE / "device.py"), device]
    found = [
        Step("tests", 300, ["-m", "pytest", "-n", "0", "-m", "requires_cuda", "tests"]),
        Step("device", 240, [*measure, "--tiny"] if tiny else measure),
        Step("throughput", 180, [*engine, "--repeats", "1"] if tiny else engine),
        training("default", 150, out, photos, device, {} if not tiny else {"steps": 4}),
    ]
    for batch, lr in ((8, 4e-3), (16, 2e-3), (16, 4e-3), (32, 2e-3), (32, 4e-3)):
        more = {"batch_size": batch, "lr": lr, "minutes": 0.5}
        if tiny:
            more = {"batch_size": 2, "lr": lr, "steps": 2}
        found.append(training(f"batch-{batch}-lr-{lr}", 90, out, photos, device, more))
        if tiny:
            break
    return [*found, *models(out, photos, device, tiny)]


def training(
    name: str, seconds: float, out: Path, photos: Path, device: str, more: dict[str, float]
) -> Step:
    """A training that is measured on photos kept out of it."""
    settings = [f"device={device}", *(f"{key}={value}" for key, value in more.items())]
    tiny = ["width=4", "size=64", "style_size=64"] if "steps" in more else []
    command = [
        str(_HERE / "training.py"),
        "run",
        str(_PAINTING),
        str(photos),
        str(out / "training"),
    ]
    return Step(f"training-{name}", seconds, [*command, name, *settings, *tiny])


def models(out: Path, photos: Path, device: str, tiny: bool) -> list[Step]:
    """The gallery and the arms of the paper, in one training each; ``make models`` has several."""
    train = ["-m", "stylecli", "train", "--content", str(photos), "--device", device]
    train += ["--init", "scratch"]
    length = ["--steps", "2", "--width", "4", "--size", "64"] if tiny else ["--minutes", "8"]
    target = out / "models" / "gallery.safetensors"
    gallery = [*train, *map(str, _PAINTINGS), *length, "--output", str(target)]
    gallery += ["--resume"] if target.with_suffix(".checkpoint.safetensors").exists() else []
    found = [Step("gallery", 600, gallery)]
    paper = ["--recipe", "paper", "--batch-size", "4"]
    for arch in ("residual", "pyramid"):
        for norm in ("in", "bn"):
            name = f"starry-night-{arch}-{norm}"
            chosen = ["--arch", arch, "--norm", norm, "--steps", "2" if tiny else "3000"]
            output = ["--output", str(out / "models" / f"{name}.safetensors"), "--overwrite"]
            command = [*train, str(_PAINTING), *paper, *chosen, *output]
            found.append(Step(name, 240, [*command, "--size", "64"] if tiny else command))
    return found


def perform(step: Step, out: Path) -> dict[str, object]:
    """Run a step and write what came of it."""
    began = time.monotonic()
    with (out / f"{step.name}.txt").open("w") as log:
        try:
            command = [sys.executable, *step.command]
            done = subprocess.run(
                command, stdout=log, stderr=subprocess.STDOUT, timeout=step.seconds, check=False
            )
            ended: int | str = done.returncode
        except subprocess.TimeoutExpired:
            ended = f"stopped after {step.seconds:.0f} s"
    seconds = round(time.monotonic() - began, 1)
    result = {"name": step.name, "ended": ended, "seconds": seconds, "command": step.command}
    (out / f"{step.name}.json").write_text(json.dumps(result, indent=1) + "\n")
    return result


@app.command()
def main(
    out: Path,
    photos: Path,
    device: Annotated[str, typer.Option(help="cuda, or another, to try it.")] = "cuda",
    tiny: Annotated[bool, typer.Option(help="Settings so small that a CPU can try them.")] = False,
) -> None:
    """Do every step that has not ended well yet."""
    (out / "models").mkdir(parents=True, exist_ok=True)
    failed = 0
    for step in steps(out, photos, device, tiny):
        before = out / f"{step.name}.json"
        if before.exists() and json.loads(before.read_text())["ended"] == 0:
            print(f"{step.name}: done before", flush=True)
            continue
        result = perform(step, out)
        failed += result["ended"] != 0
        print(f"{step.name}: ended {result['ended']} after {result['seconds']} s", flush=True)
    raise typer.Exit(int(failed > 0))


if __name__ == "__main__":
    app()
