"""What each extra of pyproject.toml adds to an installation, as the table of docs/benchmarks.md.

    pip install -e '.[cpu,heic,remote,onnx,ray,serve,docs,dev]'
    python benchmarks/extras.py

A size is the sum of what the RECORD files of the packages say, without compiled bytecode and
without stylecli's own files; of an extra, of all packages that the plain program does not need. An
import is timed as seconds of the processor, which other programs change little, in a process of
its own; all by turns.
"""

import subprocess
import sys
from importlib.metadata import distribution, version
from statistics import median

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROUNDS = 5
PROGRAM = "stylecli.cli"
# What each extra is there for.
MODULES = {
    "cpu": "openvino",
    "heic": "pillow_heif",
    "remote": "s3fs",
    "onnx": "onnx, onnxruntime",
    "ray": "ray",
    "serve": "starlette.applications, uvicorn, websockets",
    "docs": "sphinx.application",
    "dev": "pytest",
}


def needed(
    package: str, extras: frozenset[str], found: set[tuple[str, frozenset[str]]]
) -> set[str]:
    """The names of all packages that one needs, but for stylecli.

    Raises:
        PackageNotFoundError: one of them is not installed.
    """
    found.add((package, extras))
    for text in distribution(package).requires or []:
        one = Requirement(text)
        if one.marker and not any(one.marker.evaluate({"extra": e}) for e in extras | {""}):
            continue
        below = (canonicalize_name(one.name), frozenset(one.extras))
        if below not in found:
            needed(*below, found)
    return {name for name, _ in found} - {"stylecli"}


def megabytes(packages: set[str]) -> float:
    """The size of what they installed, without compiled bytecode."""
    files = (file for name in packages for file in distribution(name).files or [])
    return sum(file.size or 0 for file in files) / 1e6


def seconds_to_import(modules: str) -> float:
    """Seconds of the processor, in a fresh process."""
    code = f"import time; before = time.process_time(); import {modules}\n"
    code += "print(time.process_time() - before)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def by_turns(modules: list[str]) -> dict[str, float]:
    """The median of each; the first round, which fills the cache of the disk, does not count."""
    rounds = [{one: seconds_to_import(one) for one in modules} for _ in range(ROUNDS + 1)][1:]
    return {one: median(each[one] for each in rounds) for one in modules}


def main() -> None:
    """Print the table, and the versions that it is of."""
    base = needed("stylecli", frozenset(), set())
    rows = {"the base": base, "of which torch": needed("torch", frozenset(), set())}
    modules = {"the base": PROGRAM, "of which torch": "torch"}
    for extra, module in MODULES.items():
        rows[f"`{extra}`"] = needed("stylecli", frozenset([extra]), set()) - base
        modules[f"`{extra}`"] = module
    times = by_turns([*modules.values()])
    print(f"| installed | packages | MB | imported | × `{PROGRAM}` |")
    print("| --- | --- | --- | --- | --- |")
    for name, packages in rows.items():
        module = modules[name]
        ratio = times[module] / times[PROGRAM]
        print(
            f"| {name} | {len(packages)} | {megabytes(packages):,.0f} | `{module}` | {ratio:.1f} |"
        )
    names = ("torch", "openvino", "ray", "av")
    print("\nPython", sys.version.split()[0], *(f"{name} {version(name)}" for name in names))


if __name__ == "__main__":
    main()
