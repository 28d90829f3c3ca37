"""Fast style transfer with instance normalization (Ulyanov, Vedaldi, Lempitsky 2017)."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stylecli.comparison.experiment import compare
    from stylecli.comparison.folder import ArmResult, Comparison
    from stylecli.config import CompareConfig, GatysConfig, StylizeConfig, TrainConfig
    from stylecli.engine import Result, Stylizer
    from stylecli.errors import StyleCliError
    from stylecli.events import TrainResult
    from stylecli.gatys import stylize_slowly
    from stylecli.training.loop import train

__version__ = "0.2.0"
__all__ = [
    "ArmResult",
    "CompareConfig",
    "Comparison",
    "GatysConfig",
    "Result",
    "StyleCliError",
    "StylizeConfig",
    "Stylizer",
    "TrainConfig",
    "TrainResult",
    "__version__",
    "compare",
    "stylize_slowly",
    "train",
]
_HOMES = {
    "comparison.experiment": ("compare",),
    "comparison.folder": ("ArmResult", "Comparison"),
    "config": ("CompareConfig", "GatysConfig", "StylizeConfig", "TrainConfig"),
    "engine": ("Result", "Stylizer"),
    "errors": ("StyleCliError",),
    "events": ("TrainResult",),
    "gatys": ("stylize_slowly",),
    "training.loop": ("train",),
}


def __getattr__(name: str) -> Any:
    """Import what is asked for, and not before: torch alone takes seconds."""
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"stylecli.{home}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
