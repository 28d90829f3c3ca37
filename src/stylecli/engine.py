"""Images through a generator: decode, stylize, encode; one bad file never stops the others."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from stylecli.core.backends import TorchBackend
from stylecli.core.checkpoints import load_model
from stylecli.core.devices import resolve_device, resolve_precision
from stylecli.errors import StyleCliError
from stylecli.files.images import Rgb, read_picture, write_picture
from stylecli.files.jobs import Job


@dataclass(frozen=True)
class Result:
    """What became of one image.

    Attributes:
        job: which one.
        seconds: taken.
        error: why it failed; empty if it did not.
    """

    job: Job
    seconds: float
    error: str = ""


class Stylizer:
    """A trained model, ready to use.

    Args:
        model: name or file, or the name of a style in one.
        style: which style of the model, or a blend; see :func:`~.core.checkpoints.load_model`.
        device: see :func:`stylecli.core.devices.resolve_device`.
        precision: see :func:`stylecli.core.devices.resolve_precision`.

    Attributes:
        info: what the model file says of itself.

    Raises:
        StyleCliError: no such model, device or precision.
    """

    def __init__(
        self, model: str, style: str | None = None, device: str = "auto", precision: str = "auto"
    ) -> None:
        where = resolve_device(device)
        dtype = resolve_precision(precision, where)
        generator, self.info = load_model(model, style)
        self._name = self.info.name if style is None else f"{self.info.name}, {style}"
        self._backend = TorchBackend(generator, where, dtype)

    @property
    def description(self) -> str:
        """What it is, where and how it computes: ``starry-night on cpu, bfloat16``."""
        dtype = str(self._backend.dtype).removeprefix("torch.")
        return f"{self._name} on {self._backend.device}, {dtype}"

    def __call__(self, rgb: Rgb) -> Rgb:
        """Stylize one image, (H, W, 3) in 0..255, to the same size."""
        stylized: Rgb = self._backend(rgb[None])[0]
        return stylized

    def run(
        self,
        jobs: Iterable[Job],
        report: Callable[[Result], None] = lambda result: None,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> list[Result]:
        """Stylize files; what fails is in the results, and the rest goes on.

        Args:
            jobs: from :func:`stylecli.files.jobs.plan`.
            report: told of each image as it is done.
            should_stop: asked before each image.
        """
        results: list[Result] = []
        for job in jobs:
            if should_stop():
                break
            results.append(self._stylize_file(job))
            report(results[-1])
        return results

    def _stylize_file(self, job: Job) -> Result:
        began = time.monotonic()
        error = ""
        try:
            picture = read_picture(job.source)
            write_picture(job.target, replace(picture, rgb=self(picture.rgb)))
        except StyleCliError as failure:
            error = failure.message
        except (RuntimeError, MemoryError) as failure:  # from torch: out of memory, above all
            error = f"{job.source}: {str(failure).partition(chr(10))[0]}"
        return Result(job, time.monotonic() - began, error)
