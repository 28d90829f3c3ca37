"""Which file becomes which: planning only, no image is opened."""

import mimetypes
import sys
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from stylecli.errors import StyleCliError
from stylecli.files.door import STANDARD_STREAM, require_local, require_regular
from stylecli.files.formats import (
    READABLE,
    VIDEOS,
    WRITABLE_VIDEOS,
    can_become,
    ending_for,
    format_for,
    is_video,
)
from stylecli.files.scanning import LeftOut, describe_left_out, mirrored, scan
from stylecli.files.shards import WHOLE, Shard
from stylecli.files.urls import Place, Url, common_folder


@dataclass(frozen=True)
class Job:
    """One image or video to stylize.

    Attributes:
        source: the file to read; ``-`` is standard input.
        target: the file to write; ``-`` is standard output.
        ending: the suffix of what is written to standard output, such as ``.png``.
        note: one line on a target that is not as was asked for; empty if it is.
    """

    source: Place
    target: Place
    ending: str = ""
    note: str = ""

    @property
    def is_video(self) -> bool:
        """Whether the source is a video by its suffix."""
        return is_video(self.source)


@dataclass(frozen=True)
class Plan:
    """What a run will do.

    Attributes:
        jobs: the files to stylize.
        skipped: those whose target is there already, and is not to be replaced.
        shard: which part of all files they are.
        left_out: one line on what lies in the folders and is not taken; empty if nothing.
    """

    jobs: tuple[Job, ...]
    skipped: tuple[Job, ...]
    shard: Shard = WHOLE
    left_out: str = ""


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
        shard: which part of the jobs. Parts are made before what is there is skipped: processes
            that begin one after the other have no job twice, and leave none out. A file that is
            named alone, or ``-``, belongs to every part.

    Raises:
        StyleCliError: an input is missing, no image or an address; there is nothing to do; two
            sources have one target; a source would be overwritten; or a store cannot be listed.
    """
    for path in {*inputs, out} - {STANDARD_STREAM}:
        if isinstance(path, Path):
            require_local(path)
    left_out: LeftOut = Counter()
    if STANDARD_STREAM in (*inputs, out):
        shard = WHOLE
        jobs = [_stream_job(inputs, out, suffix, format)]
    else:
        if format and not suffix and _key(out) in map(_key, inputs):
            raise StyleCliError(
                f"the next run would take for photos what --format writes into {out}",
                hint="add --suffix, or give another output folder",
            )
        jobs = [_named(job, out, suffix, format) for job in _pair(inputs, out, left_out)]
    left = describe_left_out(left_out)
    if not jobs:
        raise StyleCliError(
            f"no images or videos in {', '.join(map(str, inputs))}" + (f"; {left}" if left else ""),
            hint=_known_endings(),
        )
    if suffix:  # the results of an earlier run may lie beside the photos
        made = {_key(job.target) for job in jobs}
        jobs = [job for job in jobs if _key(job.source) not in made]
    _refuse_collisions(jobs)
    if len(inputs) == 1 and not inputs[0].is_dir():
        shard = WHOLE
    jobs = jobs[shard.number :: shard.count]
    there = set() if overwrite else _already_there(jobs)
    return Plan(
        tuple(job for job in jobs if job not in there),
        tuple(job for job in jobs if job in there),
        shard,
        left,
    )


def _already_there(jobs: Sequence[Job]) -> set[Job]:
    """The jobs whose target exists; a store is asked for one listing, and not for each."""
    urls = [job.target for job in jobs if isinstance(job.target, Url)]
    if not urls:
        return {job for job in jobs if not job.ending and _exists(job.target)}
    folder = common_folder(urls)
    names = set(folder.objects)
    return {job for job, url in zip(jobs, urls, strict=True) if url.relative_to(folder) in names}


def _known_endings() -> str:
    """A hint that lists the endings of images and videos."""
    return f"they end in: {' '.join(sorted(READABLE | VIDEOS))}"


def _stream_job(inputs: Sequence[Place], out: Place, suffix: str, format: str | None) -> Job:
    """The job for one image through standard input or output: PNG, if nothing says otherwise."""
    if len(inputs) > 1 or inputs[0].is_dir():
        raise StyleCliError(
            f"- stands for one image, and not for {', '.join(map(str, inputs))}",
            hint="stylecli stylize photo.jpg -, or: stylecli stylize - painted.jpg",
        )
    (source,) = inputs
    if source != STANDARD_STREAM:
        _checked(require_regular(source) if isinstance(source, Path) else source)
    if suffix or (format and out != STANDARD_STREAM):
        raise StyleCliError(
            f"{out} is not a folder, and --suffix and --format make names in one",
            hint="leave them out; only with - as the output, --format has an effect",
        )
    if out != STANDARD_STREAM:
        return _with_container(Job(source, out))
    ending = ending_for(
        source if source.suffix else Path("x.gif"), format or source.suffix or "png"
    )
    return Job(source, out, _with_container(Job(source, Path(f"x{ending}"))).target.suffix)


def _pair(inputs: Sequence[Place], out: Place, left_out: LeftOut) -> Iterator[Job]:
    """A job for each file, before names are changed; what is left out is counted."""
    _require_inputs(inputs)
    is_one_file = len(inputs) == 1 and inputs[0].is_file()
    if is_one_file and _looks_like_file(out) and not out.is_dir():
        yield _job_to_file(inputs[0], out)
        return
    _require_folder(out, is_one_file=is_one_file)
    for source in inputs:
        if source.is_dir():
            found = scan(source, out, left_out)
            yield from (Job(path, mirrored(path, source, out)) for path in found)
        else:
            yield Job(_checked(source), out / source.name)


def _require_inputs(inputs: Sequence[Place]) -> None:
    """Raise StyleCliError unless each input is a folder or a regular file."""
    for source in inputs:
        if not _exists(source):
            raise StyleCliError(f"no such file or folder: {source}", hint="check the name")
        if isinstance(source, Path) and not source.is_dir():
            require_regular(source)


def _require_folder(out: Place, *, is_one_file: bool) -> None:
    """Raise StyleCliError if the output is a file, or may have been meant as one."""
    if is_one_file and out.suffix and not out.exists():
        how = "make it first" if isinstance(out, Path) else "choose a name without a dot"
        raise StyleCliError(
            f"{out} does not end like an image or video",
            hint=f"{_known_endings()}; if a folder is meant, {how}",
        )
    named_as_file = _looks_like_file(out) and not out.is_dir()
    if named_as_file or (isinstance(out, Path) and out.is_file()):
        raise StyleCliError(
            f"the output {out} is a file, and the input is not one image",
            hint="give a folder as the last argument",
        )


def _job_to_file(source: Place, out: Place) -> Job:
    """The job for one file to one named file."""
    if not can_become(_checked(source), out):
        raise StyleCliError(
            f"{source} cannot become {out}: one is a video, and one is an image",
            hint="give the output the suffix of the input; a .gif can become a .mp4, and so back",
        )
    return Job(source, out)


def _with_container(job: Job) -> Job:
    """A job whose target can be written: a film in a container that is not becomes an MP4."""
    if not is_video(job.target):
        format_for(job.target)
        return job
    if job.target.suffix.lower() in WRITABLE_VIDEOS:
        return job
    target = job.target.with_name(f"{job.target.stem}{ending_for(job.target)}")
    note = f"{job.source} becomes {target}: {job.target.suffix} is read, and not written"
    return Job(job.source, target, note=note)


def _named(job: Job, out: Place, suffix: str, format: str | None) -> Job:
    """A job with its target's suffix and format changed."""
    if job.target == out and (suffix or format):
        raise StyleCliError(
            f"{out} is a name already, and --suffix and --format make names",
            hint="leave them out, or give a folder as the last argument",
        )
    return _with_container(job) if job.target == out else _renamed(job, suffix, format)


def _renamed(job: Job, suffix: str, format: str | None) -> Job:
    asked = ending_for(job.source, format) if format is not None else job.target.suffix
    name = f"{job.target.stem}{suffix}{asked}"
    return _with_container(Job(job.source, job.target.with_name(name)))


def _looks_like_file(out: Place) -> bool:
    # To ask Pillow would take a tenth of a second, as it loads a hundred formats.
    kind = mimetypes.guess_type(out.name)[0] or ""
    return out.suffix.lower() in READABLE | VIDEOS or kind.startswith(("image/", "video/"))


def _checked(path: Place) -> Place:
    """The path itself, if it is an image or a video by its suffix."""
    if path.suffix.lower() not in READABLE | VIDEOS:
        raise StyleCliError(f"{path} is not an image or a video by its name", hint=_known_endings())
    return path


def _exists(path: Place) -> bool:
    try:
        return path.exists()
    except OSError:  # a name too long, or a folder that may not be entered
        return False


def _key(path: Place) -> str:
    """Equal for two paths that name one file, by the rules of the platform's file systems."""
    if isinstance(path, Url):
        return str(path)
    name = str(path.resolve())
    if sys.platform in ("darwin", "win32"):
        return unicodedata.normalize("NFC", name).casefold()
    return name


def _refuse_collisions(jobs: Iterable[Job]) -> None:
    """Raise StyleCliError if a job would overwrite an input or the result of another."""
    taken: dict[str, Place] = {}
    for job in jobs:
        target = _key(job.target)
        if target == _key(job.source) and not job.ending:
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
        if _key(job.source) in taken and not job.ending:
            raise StyleCliError(
                f"{job.source} is an input, and another input would become it",
                hint="give another output folder",
            )
