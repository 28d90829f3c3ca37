"""``stylecli compare``."""

from collections.abc import Collection
from typing import Annotated, Any

import typer

from stylecli.commands.shared import JSON, QUIET, command
from stylecli.commands.signature import options_from
from stylecli.config import CompareConfig
from stylecli.console import Reporter, Watch, print_table, watch_for_stop
from stylecli.errors import StyleCliError
from stylecli.options import command_line, options_of

_OVERWRITE = typer.Option(
    "--overwrite", help="Remove the comparison that the folder holds, and begin."
)


@command
@options_from(CompareConfig)
def compare(
    given: dict[str, Any],
    overwrite: Annotated[bool, _OVERWRITE] = False,
    quiet: Annotated[bool, QUIET] = False,
    as_json: Annotated[bool, JSON] = False,
) -> None:
    """Compare norms and generators on the same photos: a grid, a page, the numbers.

    For starry-night it takes one to three minutes. For a painting it first trains the networks
    that are missing, all of them alike. Ctrl-C keeps what is done; the same command goes on.

    Examples:
        stylecli compare --norm bn,in
        stylecli compare my-photos/ --style painting.jpg --minutes 10 -o two
    """
    config = CompareConfig(**given)
    _refuse_idle(config, given)
    config.check()
    line = command_line("compare", config, always=("norms",))  # which are its topic
    with Reporter(quiet=quiet, as_json=as_json) as reporter, watch_for_stop(quiet) as should_stop:
        reporter.advance("comparing", 0.0, "loading torch")  # seconds
        from stylecli.comparison.experiment import compare as run_comparison
        from stylecli.comparison.report import collect_results, tabulate_metrics, write_outputs

        watch = Watch(reporter, "training", "comparing")
        comparison = run_comparison(config, watch, should_stop, overwrite=overwrite)
    if comparison is None:
        reporter.event(event="stopped")
        reporter.say(f"stopped; go on with: {line}")
        raise typer.Exit(130)
    written = write_outputs(comparison, config.out, line)
    if as_json:
        files = [str(path) for path in written]
        reporter.event(event="finished", files=files, results=collect_results(comparison, line))
    elif not quiet:
        table = tabulate_metrics(comparison)
        print_table([(head, *texts) for head, texts in table.rows.items()], ("", *table.networks))
    for path in written:
        reporter.say(str(path))


def _refuse_idle(config: CompareConfig, given: Collection[str]) -> None:
    """Raise StyleCliError for an option that was given and would have no effect."""
    from stylecli.comparison.folder import FIXED, find_networks, find_style_image  # imports Pillow

    find_style_image(config.style)
    if "gatys_steps" in given and not config.gatys:
        raise StyleCliError("--gatys-steps acts only with --gatys", hint="add --gatys")
    idle = [one.flag for one in options_of(CompareConfig) if one.name in {*FIXED} & {*given}]
    if idle and find_networks(config.style):
        raise StyleCliError(
            f"{', '.join(idle)} would change nothing: the networks of {config.style} are trained",
            hint="leave that out; or pass a painting's file, to train some: --style PAINTING.jpg",
        )
