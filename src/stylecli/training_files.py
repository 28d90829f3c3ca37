"""Where a training writes, and which of its settings a resume may change."""

import json
import math
import os
import platform
import re
import unicodedata
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from stylecli.config import TrainConfig
from stylecli.core.checkpoints import SUFFIX, read_metadata
from stylecli.errors import StyleCliError
from stylecli.files.atomic import atomic_path
from stylecli.files.content import PREVIEW

if TYPE_CHECKING:  # the command line reads this module, and --help must not wait for torch
    from torch import Tensor

    State = tuple[dict[str, Tensor], dict[str, Tensor]]  # of a generator and of its optimizer

# A resumed training may change these; anything else would make it another training.
_FREE_ON_RESUME = frozenset(
    {
        *("styles", "add_style", "output", "content", "init", "license"),
        *("steps", "minutes", "device", "precision", "preview_every"),
    }
)


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

    def _refuse_running(self, process: dict[str, Any]) -> None:
        """Raise StyleCliError if that process still trains: two would undo each other's work."""
        if process in ({}, this_process()) or process["host"] != platform.node():
            return
        with suppress(psutil.Error):
            if psutil.Process(process["pid"]).create_time() == process["started"]:
                raise StyleCliError(
                    f"{self.model} is being trained by process {process['pid']}",
                    hint="wait until it has ended, or pass another --output",
                )

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
        self._refuse_running(saved.get("process", {}))
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


def this_process() -> dict[str, Any]:
    """Which process writes a checkpoint: a number alone is given to another one some day."""
    started = psutil.Process().create_time()
    return {"host": platform.node(), "pid": os.getpid(), "started": started}


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
    saved = files.check(resume=True, overwrite=overwrite).get("config")
    if saved is None:
        raise StyleCliError(f"{files.checkpoint} holds no training", hint="start again")
    if saved.keys() != {one.name for one in fields(TrainConfig)}:
        raise StyleCliError(
            f"{files.checkpoint} is of another version of stylecli",
            hint="start again with --overwrite",
        )
    paths = {key: Path(saved[key]) for key in ("add_style", "output", "content") if saved[key]}
    styles = tuple(map(Path, saved["styles"]))
    layers = tuple(saved["style_layers"])
    config = TrainConfig(**{**saved, **paths, "styles": styles, "style_layers": layers})
    if "steps" in changes or "minutes" in changes:
        config = replace(config, steps=None, minutes=None)
    return replace(config, **changes)


def as_json(config: TrainConfig) -> dict[str, Any]:
    """The settings as JSON can hold them."""
    values = {**asdict(config), "styles": [str(path) for path in config.styles]}
    values["style_layers"] = list(config.style_layers)
    return {k: str(v) if isinstance(v, Path) else v for k, v in values.items()}


def refuse_changes(config: TrainConfig, saved: dict[str, Any]) -> None:
    """Raise StyleCliError if a resume would make another training of it."""
    now = as_json(config)
    told = [key for key in now if key not in _FREE_ON_RESUME and now[key] is not None]
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
