"""Which file becomes which. This is planning only: images are not opened."""

import mimetypes
import os
import re
import sys
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from heapq import heappop, heappush
from pathlib import Path

from stylecli.errors import StyleCliError
from stylecli.files.atomic import require_local, require_regular
from stylecli.files.formats import (
    READABLE,
    USUAL_VIDEO,
    VIDEOS,
    WRITABLE_VIDEOS,
    can_become,
    ending_for,
    format_for,
    is_video,
)
from stylecli.files.stores import STANDARD_STREAM, Place, Url


@dataclass(frozen=True)
class Shard:
    """A part of a run that is shared among processes: every ``count``-th job."""

    number: int = 0  # of the part, from 0
    count: int = 1  # of all parts

    def __str__(self) -> str:
        return f"shard {self.number} of {self.count}"

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """From text such as ``0/4``, the first of four.

        Raises:
            StyleCliError: it is not such a text.
        """
        number, slash, count = text.partition("/")
        if slash and number.isdecimal() and count.isdecimal() and int(number) < int(count):
            return cls(int(number), int(count))
        hint = "such as 0/4, 1/4, 2/4 and 3/4 for four processes"
        raise StyleCliError(f"--shard {text} is not a part of a whole", hint=hint)


WHOLE = Shard()

# Names of folders and files that file servers and systems make; all in lower case.
_OF_SERVERS = "@eadir @tmp @recycle @recently-snapshot #recycle #snapshot"
_OF_SYSTEMS = "$recycle.bin recycler lost+found __macosx thumbs.db ehthumbs.db desktop.ini"
_WITH_BLANKS = "system volume information", "network trash folder", "temporary items"
_SYSTEM = frozenset([*_OF_SERVERS.split(), *_OF_SYSTEMS.split(), *_WITH_BLANKS])
_HIDDEN = "hidden or of the system"
_KNOWN = READABLE | VIDEOS
_ENDINGS = f"they end in: {' '.join(sorted(_KNOWN))}"
_MOST_NAMED = 6  # endings; more would make a long line

LeftOut = Counter[str]  # how many entries of a folder were left out, by ending or by reason


def scan_images(folder: Path) -> list[Path]:
    """The files in a folder, or below, that are images by their suffix, without hidden ones."""
    return _scan_files(folder, READABLE, None, Counter())


def _describe_left_out(left_out: LeftOut) -> str:
    """What was left out, such as ``12 .txt, 2 hidden or of the system``; empty if nothing."""
    in_order = sorted(left_out.items(), key=lambda one: (-one[1], one[0]))
    endings = [(name, count) for name, count in in_order if name.startswith(".")]
    parts = [f"{count} {name}" for name, count in endings[:_MOST_NAMED]]
    if more := sum(count for _, count in endings[_MOST_NAMED:]):
        parts.append(f"{more} with other endings")
    parts += [f"{count} {name}" for name, count in in_order if not name.startswith(".")]
    return ", ".join(parts)


def _scan_files(
    root: Path, suffixes: frozenset[str], out: Place | None, left_out: LeftOut
) -> list[Path]:
    """The files of some suffixes in a folder and all below it, sorted, without those in ``out``.

    Hidden files are left out, and what systems and file servers make for themselves. A link to a
    folder is followed once; one that leads back, or into ``out``, is not. What is left out is
    counted, except what lies in ``out``.
    """
    real, results = root.resolve(), out.resolve() if isinstance(out, Path) else None
    if results and real.is_relative_to(results):  # results beside the photos, or above
        results = None

    def is_result(path: Path) -> bool:
        return results is not None and path.resolve().is_relative_to(results)

    found: list[Path] = []
    seen: set[tuple[int, int]] = set()  # folders
    folders = [(False, root)]  # links come last, so that real names are preferred
    while folders:
        is_link, folder = heappop(folders)
        if is_result(folder):
            continue
        try:
            status = folder.stat()
            identity = status.st_dev, status.st_ino
            if identity in seen or (is_link and real.is_relative_to(folder.resolve())):
                left_out.update(["linked to what is read already"] if is_link else [])
                continue
            seen.add(identity)
            with os.scandir(folder) as entries:
                for entry in entries:
                    path = Path(entry)
                    if _is_hidden(entry.name):
                        left_out[_HIDDEN] += 1
                    elif _is_folder(entry):
                        heappush(folders, (entry.is_symlink(), path))
                    elif reason := _reason_to_leave_out(path, suffixes):
                        left_out[reason] += 1
                    elif not (entry.is_symlink() and is_result(path)):
                        found.append(path)
        except OSError:  # no permission
            left_out["without permission"] += 1
    return sorted(found)


def _scan_objects(folder: Url, out: Place, left_out: LeftOut) -> Iterator[str]:
    """The names of images and videos below a folder, by the rules of :func:`_scan_files`."""
    results = out if isinstance(out, Url) and not folder.is_relative_to(out) else None
    hidden = set()
    for name in folder.objects:
        parts = name.split("/")
        first = next((i for i, part in enumerate(parts, 1) if _is_hidden(part)), 0)
        if first:  # so is a name that goes up, with ..
            hidden.add(tuple(parts[:first]))
        elif results and (folder / name).is_relative_to(results):
            pass
        elif (folder / name).suffix.lower() in _KNOWN:
            yield name
        elif name:
            left_out[_ending(name)] += 1
    if hidden:
        left_out[_HIDDEN] += len(hidden)


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name.lower() in _SYSTEM


def _ending(name: str) -> str:
    """The ending of a name for a message, if it is short and plain."""
    ending = Path(name).suffix.lower()
    return ending if re.fullmatch(r"\.[a-z0-9_+~-]{1,12}", ending) else "without an ending"


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    with suppress(OSError):  # a link to where there is no permission
        return entry.is_dir()
    return False


def _reason_to_leave_out(path: Path, suffixes: frozenset[str]) -> str:
    """Why an entry of a folder is not a file of some suffixes; empty if it is one."""
    if path.suffix.lower() not in suffixes:
        return _ending(path.name)
    with suppress(OSError):  # no permission: the file is reported when it is opened
        if not path.is_file():
            return "linked to nothing" if path.is_symlink() else "not regular"
    return ""


@dataclass(frozen=True)
class Job:
    """One image or video to stylize."""

    source: Place  # the file to read; - is standard input
    target: Place  # the file to write; - is standard output
    ending: str = ""  # the suffix of what is written to standard output, such as .png
    asked: str = ""  # the ending that was asked for, where it is read and not written

    @property
    def note(self) -> str:
        """One line on a target in another format than was asked for; empty otherwise."""
        if not self.asked:
            return ""
        return f"{self.source} becomes {self.target}: {self.asked} is read, and not written"

    @property
    def is_video(self) -> bool:
        """Whether the source is a video by its suffix."""
        return is_video(self.source)


@dataclass(frozen=True)
class Plan:
    """What a run will do."""

    jobs: tuple[Job, ...]  # the files to stylize
    skipped: tuple[Job, ...]  # those whose target is there already, and is not to be replaced
    shard: Shard = WHOLE  # which part of all files they are
    left_out: str = ""  # what the folders hold beside, such as 12 .txt; empty if nothing


def plan(
    inputs: Sequence[Place],
    out: Place,
    *,
    overwrite: bool = False,
    suffix: str = "",
    format: str | None = None,
    shard: Shard = WHOLE,
) -> Plan:
    """Plan a run: mirror each folder under ``out``; one file may go to one named file.

    Args:
        inputs: files and folders, here or in a store; or ``-`` alone: an image from standard
            input. In a folder, files that are not images or videos by their suffix are left out,
            and so are hidden ones, those that systems make, and what lies in ``out``.
        out: a folder; or a file, if the only input is one and ``out`` has the suffix of one; or
            ``-``, standard output, for one image.
        overwrite: do again what is already there.
        suffix: added to each name in a folder, before its ending.
        format: the ending of each image in a folder, or on standard output; None keeps that of
            the photo.
        shard: which part of the jobs, of all before any is skipped: so processes that begin one
            after the other share all jobs. A file that is named alone is in every part.

    Raises:
        StyleCliError: an input is missing, not an image, or an address; there is nothing to do; two
            sources have one target; a source would be overwritten; or a store cannot be listed.
    """
    for path in {*inputs, out} - {STANDARD_STREAM}:
        if isinstance(path, Path):
            require_local(path)
    left_out: LeftOut = Counter()
    if STANDARD_STREAM in (*inputs, out):
        jobs = [_stream_job(inputs, out, suffix, format)]
    else:
        jobs = _plan_files(inputs, out, suffix, format, left_out)
    if len(inputs) == 1 and not inputs[0].is_dir():
        shard = WHOLE
    jobs = jobs[shard.number :: shard.count]
    return _make_plan(jobs, shard, _describe_left_out(left_out), overwrite=overwrite)


def _make_plan(jobs: Sequence[Job], shard: Shard, left_out: str, *, overwrite: bool) -> Plan:
    """A plan in which jobs that are done already are skipped, unless they are done again."""
    there = set() if overwrite else _find_done(jobs)
    to_do = tuple(job for job in jobs if job not in there)
    return Plan(to_do, tuple(job for job in jobs if job in there), shard, left_out)


def _plan_files(
    inputs: Sequence[Place], out: Place, suffix: str, format: str | None, left_out: LeftOut
) -> list[Job]:
    """All jobs, whatever is there already; what is left out is counted."""
    if format and not suffix and _key(out) in map(_key, inputs):
        raise StyleCliError(
            f"the next run would take for photos what --format writes into {out}",
            hint="add --suffix, or give another output folder",
        )
    jobs = list(_pair(inputs, out, suffix, format, left_out))
    if not jobs:
        message = f"no images or videos in {', '.join(map(str, inputs))}"
        reasons = f"; left out: {_describe_left_out(left_out)}" if left_out else ""
        raise StyleCliError(message + reasons, hint=_ENDINGS)
    if suffix:  # the results of an earlier run may lie beside the photos
        results = {_key(job.target) for job in jobs}
        jobs = [job for job in jobs if _key(job.source) not in results]
    jobs = _tell_films_apart(jobs)
    _refuse_collisions(jobs)
    return jobs


def _find_done(jobs: Sequence[Job]) -> set[Job]:
    """The jobs whose target exists; a store is asked for one listing, and not for each."""
    urls = [job.target for job in jobs if isinstance(job.target, Url)]
    if not urls:
        return {job for job in jobs if not job.ending and _exists(job.target)}
    folder = urls[0]
    while not all(url.is_relative_to(folder) for url in urls):
        folder = folder.parent
    names = set(folder.objects)
    return {job for job, url in zip(jobs, urls, strict=True) if url.relative_to(folder) in names}


def _stream_job(inputs: Sequence[Place], out: Place, suffix: str, format: str | None) -> Job:
    """The job for one image through standard input or output: PNG, if nothing says otherwise."""
    if len(inputs) > 1 or inputs[0].is_dir():
        raise StyleCliError(
            f"- stands for one image, and not for {', '.join(map(str, inputs))}",
            hint="stylecli stylize photo.jpg -, or: stylecli stylize - painted.jpg",
        )
    (source,) = inputs
    if source != STANDARD_STREAM:
        _require_input(source)
    if suffix or (format and out != STANDARD_STREAM):
        raise StyleCliError(
            f"{out} is not a folder, and --suffix and --format make names in one",
            hint="leave them out; only with - as the output, --format has an effect",
        )
    if out != STANDARD_STREAM:
        return _with_container(Job(source, out))
    ending = ending_for(source, format or source.suffix or "png")
    return Job(source, out, _with_container(Job(source, Path(f"x{ending}"))).target.suffix)


def _pair(
    inputs: Sequence[Place], out: Place, suffix: str, format: str | None, left_out: LeftOut
) -> Iterator[Job]:
    """A job for each file; what is left out is counted."""
    for source in inputs:
        _require_input(source)
    is_one_file = len(inputs) == 1 and inputs[0].is_file()
    if is_one_file and _looks_like_file(out):
        yield _job_to_file(inputs[0], out, makes_name=bool(suffix or format))
        return
    _require_folder(out, is_one_file=is_one_file)
    for source in inputs:
        for path, target in _mirror(source, out, left_out):
            ending = path.suffix if format is None else ending_for(path, format)
            name = f"{path.stem}{suffix}{ending}"
            yield _with_container(Job(path, target.with_name(name)))


def _mirror(source: Place, out: Place, left_out: LeftOut) -> Iterator[tuple[Place, Place]]:
    """The files of an input, each with the place that it has below ``out``."""
    if not source.is_dir():
        yield source, out / source.name
        return
    if isinstance(source, Url):
        names = _scan_objects(source, out, left_out)
    else:
        found = _scan_files(source, _KNOWN, out, left_out)
        names = (path.relative_to(source).as_posix() for path in found)
    for name in names:
        parts = [part for part in name.split("/") if part]
        # On Windows, such as a\b or C:b.
        if isinstance(out, Path) and any(Path(part).name != part or "\0" in part for part in parts):
            raise StyleCliError(
                f"{source / name} has a name that a file of this machine cannot have",
                hint="rename it, or write to another store",
            )
        yield source / name, out.joinpath(*parts) if isinstance(out, Path) else out / name


def _require_input(source: Place) -> None:
    """Raise StyleCliError unless an input is a folder, or an image or a video by its name."""
    if not _exists(source):
        raise StyleCliError(f"no such file or folder: {source}", hint="check the name")
    if source.is_dir():
        return
    if isinstance(source, Path):
        require_regular(source)
    if source.suffix.lower() not in _KNOWN:
        raise StyleCliError(f"{source} is not an image or a video by its name", hint=_ENDINGS)


def _require_folder(out: Place, *, is_one_file: bool) -> None:
    """Raise StyleCliError if the output is a file, or may have been meant as one."""
    if is_one_file and out.suffix and not out.exists():
        how = "make it first" if isinstance(out, Path) else "choose a name without a dot"
        raise StyleCliError(
            f"{out} does not end like an image or video",
            hint=f"{_ENDINGS}; if a folder is meant, {how}",
        )
    if _looks_like_file(out) or (isinstance(out, Path) and out.is_file()):
        raise StyleCliError(
            f"the output {out} is a file, and the input is not one image",
            hint="give a folder as the last argument",
        )


def _job_to_file(source: Place, out: Place, *, makes_name: bool) -> Job:
    if not can_become(source, out):
        raise StyleCliError(
            f"{source} cannot become {out}: one is a video, and one is an image",
            hint="give the output the suffix of the input; a .gif and a .mp4 can become each other",
        )
    if makes_name:
        raise StyleCliError(
            f"{out} is a name already, and --suffix and --format make names",
            hint="leave them out, or give a folder as the last argument",
        )
    return _with_container(Job(source, out))


def _with_container(job: Job) -> Job:
    """A job whose target can be written: a film in a container that is not becomes an MP4."""
    if not is_video(job.target):
        format_for(job.target)
        return job
    if job.target.suffix.lower() in WRITABLE_VIDEOS:
        return job
    return _as_mp4(job, job.target.stem)


def _as_mp4(job: Job, stem: str) -> Job:
    target = job.target.with_name(f"{stem}{USUAL_VIDEO}")
    return replace(job, target=target, asked=job.asked or job.target.suffix)


def _tell_films_apart(jobs: Sequence[Job]) -> list[Job]:
    """The jobs, where ``a.ts`` becomes ``a.ts.mp4`` if another file becomes ``a.mp4``."""
    counts = Counter(_key(job.target) for job in jobs)
    return [
        _as_mp4(job, f"{job.target.stem}{job.source.suffix}")
        if job.asked and counts[_key(job.target)] > 1
        else job
        for job in jobs
    ]


def _looks_like_file(out: Place) -> bool:
    """Whether an output is named as an image or a video, and is not a folder."""
    # To ask Pillow would take a tenth of a second, as it loads a hundred formats.
    kind = mimetypes.guess_type(out.name)[0] or ""
    is_known = out.suffix.lower() in _KNOWN or kind.startswith(("image/", "video/"))
    return is_known and not out.is_dir()


def _exists(path: Place) -> bool:
    with suppress(OSError):  # a name too long, or a folder that may not be entered
        return path.exists()
    return False


def _key(path: Place) -> str:
    """Equal for two paths that name one file, by the rules of the platform's file systems."""
    if isinstance(path, Url):
        return str(path)
    name = str(path.resolve())
    if sys.platform in ("darwin", "win32"):
        return unicodedata.normalize("NFC", name).casefold()
    return name


def _refuse_collisions(jobs: Sequence[Job]) -> None:
    """Raise StyleCliError if a job would overwrite an input or the result of another."""
    sources = {_key(job.source) for job in jobs}
    taken: dict[str, Place] = {}
    for job in jobs:
        target = _key(job.target)
        if target in sources:
            what = f"{job.target} is an input, and another input would become it"
            if target == _key(job.source):
                what = f"{job.source} would be overwritten by its own stylization"
            raise StyleCliError(what, hint="give another output folder")
        if target in taken:
            raise StyleCliError(
                f"{taken[target]} and {job.source} would both become {job.target}",
                hint="stylize them into two folders",
            )
        taken[target] = job.source


def into_folder(planned: Plan, out: Place, folder: str, *, overwrite: bool = False) -> Plan:
    """The same run into a folder below its output.

    Args:
        planned: from :func:`plan`, with nothing skipped.
        out: the output folder that it was planned with.
        folder: the name of a folder in it.
        overwrite: do again what is already there.

    Raises:
        StyleCliError: a source would be overwritten.
    """
    assert not planned.skipped
    jobs = [
        replace(job, target=out / folder / job.target.relative_to(out))  # type: ignore[operator, arg-type]
        for job in planned.jobs
    ]
    _refuse_collisions(jobs)
    return _make_plan(jobs, planned.shard, planned.left_out, overwrite=overwrite)
