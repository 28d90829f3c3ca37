"""The API: a trained model that stylizes images, files and folders."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import groupby, islice
from pathlib import Path
from typing import Any, overload

import numpy as np
from PIL import Image

from stylecli.config import LOOK, ModelConfig, StylizeConfig
from stylecli.core.backend import Backend
from stylecli.core.devices import all_devices, choose_backend
from stylecli.core.model_files import ModelInfo, find_style
from stylecli.engine.painter import Painter
from stylecli.engine.pipeline import Pipeline, Result
from stylecli.errors import StyleCliError, choose_from
from stylecli.events import Frames, Notice
from stylecli.files.atomic import remove_leftovers
from stylecli.files.colors import Rgb
from stylecli.files.jobs import WHOLE, Job, Shard, plan
from stylecli.files.pictures import as_image, as_picture, shrink
from stylecli.files.stores import place
from stylecli.options import options_of


def full_name(model: Path | str, style: str | None = None) -> str:
    """A model and, if it holds several, the style or blend that is chosen of it.

    Raises:
        StyleCliError: as for :func:`stylecli.core.model_files.find_style`.
    """
    _, info, mix = find_style(str(model), style)
    return _full_name(model, style, info, mix)


def _full_name(model: Path | str, style: str | None, info: ModelInfo, mix: list[float]) -> str:
    """See :func:`full_name`; a single style has its name in the file, however it was typed."""
    if len(mix) == 1:
        return info.name
    chosen = info.styles[mix.index(1.0)] if 1.0 in mix else style or str(model)
    return f"{info.name}, {chosen}"


class Stylizer:
    """A trained model, ready to use.

    Args:
        model: name, file or URL, or the name of a style in one.
        style: which style of the model, or a blend; see :func:`~.core.model_files.load_model`.
        device: see :func:`stylecli.core.devices.resolve_device`.
        precision: see :func:`stylecli.core.devices.resolve_precision`.
        backend: ``auto``, ``openvino`` or ``torch``: see
            :func:`~.core.devices.choose_backend`.
        batch_size: images of one size at once; None is what suits the device.
        max_memory: bytes, of which a third is for images that are decoded or wait to be written
            (one is let in however large it is), and the rest for a pass of the network: an
            image that needs more goes in strips. None is three quarters of what is free.
        seed: of the noise inside the network, 0 to 2^31 - 1: another one, other strokes.

    Attributes:
        info: what the model file says of itself.
        description: what, where and how it computes, such as
            ``gallery, udnie on cpu, torch, float32``.

    Raises:
        StyleCliError: no such model, device, precision or backend; or a number out of range.
    """

    def __init__(
        self,
        model: Path | str,
        style: str | None = None,
        device: str = "auto",
        precision: str = "auto",
        backend: str = "auto",
        batch_size: int | None = None,
        max_memory: int | None = None,
        seed: int = 0,
    ) -> None:
        self._arguments = (model, style, device, precision, backend, batch_size, max_memory, seed)
        on: dict[str, Any] = {"device": device, "precision": precision, "backend": backend}
        gib = None if max_memory is None else max_memory / 2**30
        ModelConfig(**on, batch_size=batch_size, max_memory=gib, seed=seed).check()
        path, self.info, mix = find_style(str(model), style)
        self._name, self._seed = _full_name(model, style, self.info, mix), seed
        backends = open_backends(path, mix, seed=seed, **on)
        copies = f"{len(backends)} x " if len(backends) > 1 else ""
        self.description = f"{self._name} on {copies}{backends[0].description}"
        self._paint = Painter(
            backends, self.info.spec.arch, self.info.spec.channels, batch_size, max_memory
        )
        self._swept: set[Path] = set()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled as its arguments: another process opens the model itself."""
        return type(self), self._arguments

    @overload
    def __call__(self, image: Rgb, **look: Any) -> Rgb: ...
    @overload
    def __call__(self, image: Image.Image, **look: Any) -> Image.Image: ...
    @overload
    def __call__(self, image: Sequence[Any], **look: Any) -> list[Any]: ...

    def __call__(self, image: Any, **look: Any) -> Any:
        """Stylize one image, or several, each to the same size.

        Args:
            image: (H, W, 3) in 0..255; or any of Pillow's, which is turned upright first, and
                becomes one in sRGB with the same transparency; or a list of such images, of which
                neighbors of one size are painted together.
            look: any of :class:`StylizeConfig` that changes how a picture looks: ``strength``,
                ``preserve_color``, ``layers``, ``stroke_size``, ``max_size``.

        Returns:
            An array for an array, an image of Pillow's for one, a list for a list.

        Raises:
            StyleCliError: a path, an array of another shape or type, or a bad setting.
        """
        config = _look(look)
        if not isinstance(image, list | tuple):
            return self._stylize([image], config)[0]
        return self._stylize(image, config)

    def _stylize(self, images: Sequence[Any], config: StylizeConfig) -> list[Any]:
        pictures = [shrink(as_picture(image), config.max_size) for image in images]
        stylized: list[Any] = []
        for _, alike in groupby(pictures, key=lambda picture: picture.rgb.shape):
            while batch := list(islice(alike, self._paint.batch_size)):
                paintings = self._paint([picture.rgb for picture in batch], config)
                for picture, rgb in zip(batch, paintings, strict=True):
                    is_array = isinstance(images[len(stylized)], np.ndarray)
                    stylized.append(rgb if is_array else as_image(replace(picture, rgb=rgb), "PNG"))
        return stylized

    def run(
        self,
        inputs: Path | str | Sequence[Path | str],
        out: Path | str,
        config: StylizeConfig | None = None,
        *,
        overwrite: bool = False,
        shard: Shard = WHOLE,
    ) -> list[Result]:
        """Stylize files and folders, as the command does; what is there already is skipped.

        Args:
            inputs: images, videos and folders, here or as the URL of a store.
            out: a folder; or a file, for one.
            config: how to read, paint and write.
            overwrite: do again what is there.
            shard: which part of the files, if several processes share them.

        Raises:
            StyleCliError: as for :func:`stylecli.files.jobs.plan`, or a bad setting.
        """
        config = config or StylizeConfig()
        given = [inputs] if isinstance(inputs, (str, Path)) else inputs
        planned = plan(
            [place(path) for path in given],
            place(out),
            overwrite=overwrite,
            suffix=config.suffix,
            format=config.format,
            shard=shard,
        )
        return self.run_jobs(planned.jobs, config=config)

    def run_jobs(
        self,
        jobs: Sequence[Job],
        report: Callable[[Result | Frames | Notice], None] = lambda event: None,
        should_stop: Callable[[], bool] = lambda: False,
        config: StylizeConfig | None = None,
    ) -> list[Result]:
        """Stylize files; what fails is in the results, and the rest goes on.

        Args:
            jobs: from :func:`stylecli.files.jobs.plan`.
            report: called for each file when it is written, in the order of the jobs, and for
                frames.
            should_stop: asked before each batch; what is in work is then still written, but for
                a video, which is left out. A file that fails is reported before another is
                painted, unless that one is painted or written at the same time.
            config: how to read, paint and write.

        Returns:
            One for each job that was begun: those after a stop are missing, and so are those after
            the first that found the disk full, or a store that takes nothing.

        Raises:
            StyleCliError: a bad setting.
            BrokenPipeError: standard output has no reader any more.
        """
        config = config or StylizeConfig()
        config.check()
        folders = {job.target.parent for job in jobs if isinstance(job.target, Path)} - self._swept
        for folder in folders:  # once each: it may be large, and the calls many
            remove_leftovers(folder)
        self._swept |= folders
        made_with = describe_look(self._name, config, self._seed)
        return Pipeline(self._paint, jobs, config, report, should_stop, made_with).run()


def open_backends(
    path: Path, mix: list[float], *, backend: str, device: str, precision: str, seed: int = 0
) -> list[Backend]:
    """The best backend that fits what was asked for; one for each GPU, if none is chosen.

    Args:
        path: a model file.
        mix: shares of its styles.
        backend: ``auto``, ``openvino`` or ``torch``.
        device: see :func:`stylecli.core.devices.resolve_device`.
        precision: see :func:`stylecli.core.devices.resolve_precision`.
        seed: of the noise inside the network, 0 to 2^31 - 1.

    Raises:
        StyleCliError: it is not there, or cannot do that.
    """
    if choose_backend(backend, device)[0] == "openvino":
        from stylecli.core.openvino_backend import OpenVinoBackend

        return [OpenVinoBackend(path, mix, precision, seed)]
    from stylecli.core.torch_backend import load_torch_backend

    return [load_torch_backend(path, mix, one, precision, seed) for one in all_devices(device)]


def describe_look(name: str, config: StylizeConfig, seed: int = 0) -> str:
    """A model's name and the settings that a picture is made with, but for those at their default.

    Args:
        name: as of :func:`full_name`.
        config: how it is painted.
        seed: of the noise inside the network.
    """
    words = [name]
    for one in options_of(StylizeConfig):
        value = getattr(config, one.name)
        if one.panel == LOOK and value != one.default:
            shown = str(value).removesuffix(".0")  # from Python or JSON, 2.0 may come as 2
            words.append(one.flag if value is True else f"{one.flag} {shown}")
    return " ".join([*words, *([f"--seed {seed}"] if seed else [])])


def _look(given: dict[str, Any]) -> StylizeConfig:
    known = [one.name for one in options_of(StylizeConfig) if one.panel == LOOK]
    for name in given:
        if name not in known:
            raise StyleCliError(f"unknown setting {name!r}", hint=choose_from(name, known))
    config = StylizeConfig(**given)
    config.check()
    return config
