"""``stylecli export`` and ``stylecli import``."""

from pathlib import Path
from typing import Annotated

import typer

from stylecli.commands.completion import models, offer
from stylecli.commands.shared import (
    OUTPUT,
    OVERWRITE,
    QUIET,
    choose_output,
    command,
    prepare_output,
    use_of,
)
from stylecli.console import Reporter

_STYLE = typer.Option(
    help="One style of a model that has several, such as udnie; or a blend, such as "
    "udnie:0.7,great-wave:0.3.",
    autocompletion=offer(completes="styles"),
)
_LICENSE = "A line that is stored in the model: who may do what with it."


@command
def export(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL", help="Name, file or URL of a model.", autocompletion=models
        ),
    ],
    last: Annotated[
        Path | None, typer.Argument(metavar="OUT.onnx", help="The file to write.")
    ] = None,
    output: Annotated[Path | None, OUTPUT] = None,
    style: Annotated[str | None, _STYLE] = None,
    opset: Annotated[int, typer.Option(help="The version of ONNX's operators.")] = 18,
    overwrite: Annotated[bool, OVERWRITE] = False,
    quiet: Annotated[bool, QUIET] = False,
) -> None:
    """Write a model as ONNX, for other runtimes, and check that it paints the same.

    The input is named photo: (batch, 3, height, width), RGB in [0, 1], photos of any size. The
    output is named painted, and is like the input.

    Examples:
        stylecli export udnie udnie.onnx
        stylecli export gallery blend.onnx --style udnie:0.7,great-wave:0.3
    """
    out = choose_output(last, output)
    prepare_output(out, overwrite=overwrite)
    with Reporter(quiet=quiet) as reporter:
        reporter.advance("exporting", 0.0, "in torch and in ONNX Runtime")  # seconds
        from stylecli.exchange import export_onnx

        worst = export_onnx(model, out, style, opset=opset, overwrite=overwrite)
    reporter.say(f"{out}: ONNX Runtime and torch differ by {worst:.1e} at most")


@command
def import_(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="The checkpoint: a state dict, .pth or .safetensors."),
    ],
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="The model is written as models/NAME.safetensors.")
    ],
    license: Annotated[str, typer.Option(help=_LICENSE)] = "",
    overwrite: Annotated[bool, OVERWRITE] = False,
    quiet: Annotated[bool, QUIET] = False,
) -> None:
    """Turn a checkpoint of PyTorch's fast_neural_style example into a model.

    Examples:
        stylecli import mosaic.pth mosaic
        stylecli import mosaic.pth mine --license "Weights: BSD-3-Clause"
    """
    with Reporter(quiet=quiet) as reporter:
        reporter.advance("importing", 0.0, "loading torch")  # seconds
        from stylecli.exchange import import_checkpoint

        path = import_checkpoint(file, name, license, overwrite=overwrite)
    reporter.say(f"{path}: {use_of(path)}")
