"""Where a training writes: its model, checkpoint, log and preview, and what is not overwritten."""

import errno
import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stylecli.config import TrainConfig
from stylecli.core import tensor_files
from stylecli.core.model_files import shorten_name, style_name
from stylecli.core.tensor_files import SUFFIX
from stylecli.errors import StyleCliError
from stylecli.files.atomic import writable_folder, write_text
from stylecli.files.content import PREVIEW

if TYPE_CHECKING:  # only a training needs it
    from filelock import BaseFileLock

_POINTS = 60  # of a curve, at most
# The errors of file systems, such as those of a network, that have no locks.
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}


@dataclass(frozen=True)
class TrainFiles:
    """The model file of a training and what lies beside it."""

    model: Path

    @classmethod
    def of(cls, config: TrainConfig) -> "TrainFiles":
        """The files of a training: at its output, or in ``models/``, named by its style images.

        Raises:
            StyleCliError: the output is not a ``.safetensors`` file.
        """
        if config.output is None:
            name = "-".join(map(style_name, config.paintings)) or "style"
            name = f"{Path(config.init).stem}-{name}" if config.add_style else name
            return cls(Path("models") / f"{shorten_name(name)}{SUFFIX}")
        if tensor_files.has_controls(config.output.name):
            raise StyleCliError(
                f"the output {config.output.name!r} holds a control character",
                hint="give the model a name that can be shown",
            )
        if config.output.suffix != SUFFIX:
            raise StyleCliError(
                f"the output {config.output} does not end in {SUFFIX}",
                hint=f"for example: --output models/name{SUFFIX}",
            )
        return cls(config.output)

    @property
    def checkpoint(self) -> Path:
        """The state of an unfinished training."""
        return self.model.with_suffix(f".checkpoint{SUFFIX}")

    @property
    def so_far(self) -> Path:
        """The model of a training that was stopped."""
        return self.model.with_suffix(f".so-far{SUFFIX}")

    @property
    def log(self) -> Path:
        """The losses: a JSON object in each line."""
        return self.model.with_suffix(".jsonl")

    @property
    def preview(self) -> Path:
        """A picture of some photos as the network stylizes them now."""
        return self.model.with_suffix(PREVIEW)

    def cut_log(self, step: int) -> None:
        """Drop the lines after ``step``: a killed training wrote them after its last checkpoint."""
        if not self.log.exists():
            return
        kept = [line for line in self._lines() if _step_of(line) <= step]
        write_text(self.log, "".join(f"{line}\n" for line in kept))

    def append_log(self, line: dict[str, Any]) -> None:
        """Add a line to the log."""
        with self.log.open("a") as log:
            log.write(json.dumps(line) + "\n")

    def read_curve(self) -> list[dict[str, float]]:
        """The log in brief, for the model file: the means of stretches of equal length."""
        names = {"step", "seconds", "content", "style", "tv", "total"}
        lines = [line for line in map(_parse, self._lines()) if line.keys() >= names]
        length = max(1, -(-len(lines) // _POINTS))
        stretches = [lines[i : i + length] for i in range(0, len(lines), length)]
        return [
            {key: round(sum(line[key] for line in some) / len(some), 1) for key in some[0]}
            for some in stretches
        ]

    def _lines(self) -> list[str]:
        try:
            return self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return []

    def _check_log(self) -> None:
        if self.log.is_symlink():
            raise StyleCliError(
                f"{self.log} is a link, and a training would write its log into another file",
                hint="pass another --output, or move it",
            )
        first = self._lines()[:2]  # one of them may be torn
        if first and all(_step_of(line) == math.inf for line in first):
            raise StyleCliError(
                f"{self.log} exists, and is not a log of a training",
                hint="it would be overwritten: pass another --output, or move it",
            )

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other trainings from writing these files, which would undo each other's work.

        The operating system releases the lock when the process ends, however it ends. A folder
        that had to be made for the lock is removed again if it is still empty.

        Raises:
            StyleCliError: another training holds them, or the folder cannot be written.
        """
        with writable_folder(self.model.parent):
            lock = self._acquire_lock()
            try:
                yield
            finally:
                with suppress(OSError):  # Windows removes the file by itself, afterwards
                    if lock.is_locked:
                        Path(lock.lock_file).unlink()
                lock.release()

    def _acquire_lock(self) -> "BaseFileLock":
        from filelock import FileLock, Timeout

        lock = FileLock(self.model.parent / f".{self.model.name}.lock", timeout=0)
        try:
            with suppress(NotImplementedError):
                lock.acquire()
        except Timeout:
            raise StyleCliError(
                f"{self.model} is being trained already",
                hint="wait until that training has ended, or pass another --output",
            ) from None
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise StyleCliError(
                    f"cannot lock {self.model}: {error.strerror or error}",
                    hint="pass another --output, or see whether this folder can be written",
                ) from error
        return lock

    def refuse_to_replace_files(self, *, resume: bool, overwrite: bool) -> None:
        """Check that no file of the user's would be lost.

        Raises:
            StyleCliError: a model, the checkpoint of a training, or a foreign file would be lost.
        """
        self._check_log()
        if overwrite:
            return
        if os.path.lexists(self.model):  # true of a broken link too
            keep = "move that model" if resume else "--output"
            raise StyleCliError(
                f"{self.model} exists",
                hint=f"pass --overwrite to replace it, or {keep} to keep both",
            )
        if os.path.lexists(self.checkpoint) and not resume:
            raise StyleCliError(
                f"an interrupted training of {self.model.stem} is there: {self.checkpoint}",
                hint="pass --resume to go on with it, or --overwrite to start again",
            )


def _step_of(line: str) -> float:
    """The step of a line in a log; infinity if the line is not one of a log."""
    step: Any = _parse(line).get("step")
    return float(step) if tensor_files.is_number(step) else math.inf


def _parse(line: str) -> dict[str, Any]:
    """The JSON object in a line; empty for another line, such as half of one, of a full disk."""
    try:
        return tensor_files.parse(line)
    except ValueError:
        return {}
