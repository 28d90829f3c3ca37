"""Where a training writes, and which of its settings a resume may change."""

import errno
import json
import math
import re
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stylecli.config import TrainConfig, fixed_on_resume
from stylecli.core.model_files import SUFFIX, read_metadata
from stylecli.core.schema import CHECKPOINT, bad_fields, has_controls
from stylecli.errors import StyleCliError
from stylecli.files.atomic import atomic_path, require_writable
from stylecli.files.content import PREVIEW

if TYPE_CHECKING:  # the command line reads this module, and --help must not wait for torch
    from torch import Tensor

    State = tuple[dict[str, Tensor], dict[str, Tensor]]  # of a generator and of its optimizer

_DEFAULTS = TrainConfig()


_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}


@dataclass(frozen=True)
class TrainFiles:
    """The model file of a training and what lies beside it."""

    model: Path

    @classmethod
    def of(cls, config: TrainConfig) -> "TrainFiles":
        """Where a training writes: to its output, or to ``models/`` by the paintings' names.

        Raises:
            StyleCliError: the output is not a ``.safetensors`` file.
        """
        if config.output is None:
            name = "-".join(map(style_name, config.paintings)) or "style"
            name = f"{Path(config.init).stem}-{name}" if config.add_style else name
            return cls(Path("models") / f"{name[:80]}{SUFFIX}")
        if has_controls(config.output.name):
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
    def log(self) -> Path:
        """The losses, a JSON object a line."""
        return self.model.with_suffix(".jsonl")

    @property
    def preview(self) -> Path:
        """Photos as the training now paints them."""
        return self.model.with_suffix(PREVIEW)

    def cut_log(self, step: int) -> None:
        """Drop what a killed training logged after its last checkpoint, at ``step``."""
        if not self.log.exists():
            return
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        kept = [line for line in lines if _step_of(line) <= step]
        with atomic_path(self.log) as temporary:
            temporary.write_text("".join(f"{line}\n" for line in kept))

    def append_log(self, line: dict[str, Any]) -> None:
        """Add a line to the log."""
        with self.log.open("a") as log:
            log.write(json.dumps(line) + "\n")

    def curve(self, points: int = 60) -> list[dict[str, float]]:
        """The log in brief, to be kept in the model: means of as many stretches of equal length."""
        try:
            lines = [json.loads(line) for line in self.log.read_text(encoding="utf-8").splitlines()]
        except (OSError, ValueError):
            return []
        names = {"step", "seconds", "content", "style", "tv", "total"}
        if not all(isinstance(line, dict) and line.keys() == names for line in lines):
            return []  # another program has written to it
        length = max(1, -(-len(lines) // points))
        stretches = [lines[i : i + length] for i in range(0, len(lines), length)]
        return [
            {key: round(sum(line[key] for line in some) / len(some), 1) for key in some[0]}
            for some in stretches
        ]

    def _check_log(self) -> None:
        try:
            with self.log.open(encoding="utf-8", errors="replace") as log:
                first = log.readline()
        except OSError:
            return
        if first and _step_of(first) == math.inf:
            raise StyleCliError(
                f"{self.log} exists, and is no log of a training",
                hint="it would be overwritten: pass another --output, or move it",
            )

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other trainings from these files: two would undo each other's work.

        The operating system lets go of the lock when the process ends, however it ends. A folder
        that had to be made for the lock is removed again if it is still empty.

        Raises:
            StyleCliError: another training holds them, or the folder cannot be written.
        """
        from filelock import FileLock, Timeout

        folder = self.model.parent
        made = [one for one in (folder, *folder.parents) if not one.exists()]
        require_writable(folder)
        lock = FileLock(folder / f".{self.model.name}.lock", timeout=0)
        try:
            with suppress(NotImplementedError):
                lock.acquire()
        except Timeout:
            raise StyleCliError(
                f"{self.model} is being trained already",
                hint="wait until that training has ended, or pass another --output",
            ) from None
        except OSError as error:
            if error.errno not in _NO_LOCKS:  # of a network's file system
                raise StyleCliError(
                    f"cannot lock {self.model}: {error.strerror or error}",
                    hint="pass another --output, or see whether this folder can be written",
                ) from error
        try:
            yield
        finally:
            with suppress(OSError):  # Windows removes it by itself, afterwards
                if lock.is_locked:
                    Path(lock.lock_file).unlink()
            lock.release()
            with suppress(OSError):  # there is something in it
                for one in made:
                    one.rmdir()

    def check(self, *, resume: bool, overwrite: bool) -> dict[str, Any]:
        """What the checkpoint that is there says; {} if there is none that can be read.

        Raises:
            StyleCliError: a model or the state of a training would be lost.
        """
        if resume and not self.checkpoint.is_file():
            raise StyleCliError(
                f"nothing to resume: no {self.checkpoint}",
                hint="that training is finished, or was never begun: leave --resume out",
            )
        self._check_log()
        try:
            saved = read_metadata(self.checkpoint) if self.checkpoint.is_file() else {}
        except StyleCliError:  # damaged: to begin again is still possible
            if resume:
                raise
            saved = {}
        if resume and (bad := bad_fields(saved, CHECKPOINT)):
            raise damaged_checkpoint(self.checkpoint, f"its {bad[0]}")
        if overwrite or (resume and saved.get("overwrite", False)):
            return saved
        if self.model.exists():
            raise StyleCliError(
                f"{self.model} exists",
                hint="pass --overwrite to replace it, or --output to keep both",
            )
        if self.checkpoint.exists() and not resume:
            raise StyleCliError(
                f"an interrupted training of {self.model.stem} is there: {self.checkpoint}",
                hint="pass --resume to go on with it, or --overwrite to start again",
            )
        return saved


def damaged_checkpoint(path: Path, what: str) -> StyleCliError:
    """The error for a checkpoint that cannot be gone on from."""
    return StyleCliError(
        f"{path} is damaged, or of another version of stylecli: {what}",
        hint="start again with --overwrite",
    )


def style_name(painting: Path) -> str:
    """What a style is called: by the painting's file, in lower case, with hyphens."""
    plain = unicodedata.normalize("NFKD", painting.stem.lower())
    letters = "".join(letter for letter in plain if not unicodedata.combining(letter))
    return re.sub(r"[\W_]+", "-", unicodedata.normalize("NFC", letters)).strip("-") or "style"


def _step_of(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except (ValueError, TypeError, KeyError):  # half a line, from a full disk
        return math.inf


def saved_config(
    files: TrainFiles, changes: dict[str, Any], *, overwrite: bool = False
) -> TrainConfig:
    """The settings of the interrupted training whose checkpoint lies there, changed.

    Steps given in place of minutes, or the other way round, replace them.

    Raises:
        StyleCliError: there is no checkpoint, or it is damaged.
    """
    saved = files.check(resume=True, overwrite=overwrite)["config"]
    if saved.keys() != {one.name for one in fields(TrainConfig)}:
        raise StyleCliError(
            f"{files.checkpoint} is of another version of stylecli",
            hint="start again with --overwrite",
        )
    try:
        config = _from_json(saved)
        config.check()
    except TypeError as error:
        raise damaged_checkpoint(files.checkpoint, "its settings") from error
    if "steps" in changes or "minutes" in changes:
        config = replace(config, steps=None, minutes=None)
    return replace(config, **changes)


def chosen(config: TrainConfig) -> dict[str, Any]:
    """The settings that are not at their default."""
    values = {one.name: getattr(config, one.name) for one in fields(TrainConfig)}
    return {k: v for k, v in values.items() if v != getattr(_DEFAULTS, k)}


def _from_json(saved: dict[str, Any]) -> TrainConfig:
    """What :func:`as_json` was given."""
    paths = {key: Path(saved[key]) for key in ("add_style", "output", "content") if saved[key]}
    styles = tuple(map(Path, saved["styles"]))
    layers = tuple(saved["style_layers"])
    return TrainConfig(**{**saved, **paths, "styles": styles, "style_layers": layers})


def as_json(config: TrainConfig) -> dict[str, Any]:
    """The settings as JSON can hold them."""
    values = {**asdict(config), "styles": [str(path) for path in config.styles]}
    values["style_layers"] = list(config.style_layers)
    return {k: str(v) if isinstance(v, Path) else v for k, v in values.items()}


def refuse_changes(config: TrainConfig, saved: dict[str, Any]) -> None:
    """Raise StyleCliError if a resume would make another training of it."""
    now = as_json(config)
    told = [key for key in fixed_on_resume(TrainConfig) if now[key] is not None]
    changed = [key for key in told if now[key] != saved[key]]
    if changed:
        was = ", ".join(f"{key} {saved[key]}" for key in changed)
        raise StyleCliError(
            f"a resumed training cannot change its settings; it began with {was}",
            hint="leave those options out, or start again with --overwrite",
        )


def pack_state(prefix: str, state: "State") -> "dict[str, Tensor]":
    """Weights and optimizer as named tensors."""
    weights, moments = state
    tensors = {f"{prefix}.weights.{name}": tensor for name, tensor in weights.items()}
    return tensors | {f"{prefix}.moments.{name}": tensor for name, tensor in moments.items()}


def unpack_state(prefix: str, tensors: "dict[str, Tensor]") -> "State":
    """What :func:`pack_state` was given."""

    def below(name: str) -> "dict[str, Tensor]":
        start = f"{prefix}.{name}."
        return {k.removeprefix(start): v for k, v in tensors.items() if k.startswith(start)}

    return below("weights"), below("moments")
