"""Which file becomes which: planning only, no image is opened."""

import sys
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from stylecli.errors import StyleCliError
from stylecli.files.images import READABLE, format_for


@dataclass(frozen=True)
class Job:
    """One image to stylize: from where, to where."""

    source: Path
    target: Path


@dataclass(frozen=True)
class Plan:
    """What a run will do.

    Attributes:
        jobs: to be done.
        skipped: already there, and not to be done again.
    """

    jobs: tuple[Job, ...]
    skipped: tuple[Job, ...]


def plan(
    inputs: Sequence[Path],
    out: Path,
    *,
    overwrite: bool = False,
    suffix: str = "",
    format: str | None = None,
) -> Plan:
    """Plan a run: mirror each folder under ``out``; one file may go to one named file.

    Args:
        inputs: files and folders. In a folder, files that are no images by their suffix are
            passed over, and so are hidden ones and what lies in ``out``.
        out: a folder; or a file, if the only input is one and ``out`` has an image suffix.
        overwrite: do again what is already there.
        suffix: added to each name in a folder, before its ending.
        format: the ending of each name in a folder; None keeps the photo's own.

    Raises:
        StyleCliError: an input is missing or no image, there is nothing to do, two sources have
            one target, or a source would be overwritten.
    """
    jobs = [
        job if job.target == out else Job(job.source, _renamed(job.target, suffix, format))
        for job in _pair(inputs, out)
    ]
    if not jobs:
        known = " ".join(sorted(READABLE))
        raise StyleCliError(
            f"no images in {', '.join(map(str, inputs))}", hint=f"images end in: {known}"
        )
    _refuse_collisions(jobs)
    there = {job for job in jobs if not overwrite and job.target.exists()}
    return Plan(
        tuple(job for job in jobs if job not in there),
        tuple(job for job in jobs if job in there),
    )


def _pair(inputs: Sequence[Path], out: Path) -> Iterator[Job]:
    for source in inputs:
        if not _exists(source):
            raise StyleCliError(f"no such file or folder: {source}", hint="check the name")
    to_file = _looks_like_file(out) and not out.is_dir()
    if to_file and len(inputs) == 1 and inputs[0].is_file():
        format_for(out)
        yield Job(_checked(inputs[0]), out)
        return
    if to_file or out.is_file():
        raise StyleCliError(
            f"the output {out} is a file, and the input is not one image",
            hint="give a folder as the last argument",
        )
    for source in inputs:
        if source.is_dir():
            yield from (Job(p, out / p.relative_to(source)) for p in _scan(source, out))
        else:
            yield Job(_checked(source), out / source.name)


def _renamed(target: Path, suffix: str, format: str | None) -> Path:
    ending = target.suffix if format is None else f".{format.lower().lstrip('.')}"
    renamed = target.with_name(f"{target.stem}{suffix}{ending}")
    format_for(renamed)
    return renamed


def _scan(folder: Path, out: Path) -> Iterable[Path]:
    root, inside = folder.resolve(), out.resolve()
    if inside == root or not inside.is_relative_to(root):
        return scan_images(folder)
    return (path for path in scan_images(folder) if not path.resolve().is_relative_to(inside))


def scan_images(folder: Path) -> Iterator[Path]:
    """The files in a folder, or below, that are images by their suffix; hidden ones are not."""
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if _is_image(path) and not hidden and path.is_file():
            yield path


def _looks_like_file(out: Path) -> bool:
    return out.suffix.lower() in Image.registered_extensions()


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in READABLE


def _checked(path: Path) -> Path:
    if not _is_image(path):
        known = " ".join(sorted(READABLE))
        raise StyleCliError(f"{path} is not an image by its name", hint=f"images end in: {known}")
    return path


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name too long, or a folder that may not be entered
        return False


def _key(path: Path) -> str:
    """Equal for two paths that name one file, by the rules of the platform's file systems."""
    name = unicodedata.normalize("NFC", str(path.resolve()))
    return name.casefold() if sys.platform in ("darwin", "win32") else str(path.resolve())


def _refuse_collisions(jobs: Iterable[Job]) -> None:
    taken: dict[str, Path] = {}
    for job in jobs:
        target = _key(job.target)
        if target == _key(job.source):
            raise StyleCliError(
                f"{job.source} would be overwritten by its own stylization",
                hint="give another output folder",
            )
        if target in taken:
            raise StyleCliError(
                f"{taken[target]} and {job.source} would both become {job.target}",
                hint="stylize them into two folders",
            )
        taken[target] = job.source
    for job in jobs:
        if _key(job.source) in taken:
            raise StyleCliError(
                f"{job.source} is an input, and another input would become it",
                hint="give another output folder",
            )
