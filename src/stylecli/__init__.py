"""Fast style transfer with instance normalization (Ulyanov, Vedaldi, Lempitsky 2017)."""

from typing import Any

__version__ = "0.1.0"
__all__ = ["Stylizer", "__version__"]


def __getattr__(name: str) -> Any:
    if name == "Stylizer":  # not for the version's sake
        from stylecli.engine import Stylizer

        return Stylizer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
