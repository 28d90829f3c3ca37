"""Images through a trained generator: :class:`Stylizer` is the API, and the command uses it too."""

from stylecli.engine.pipeline import Result
from stylecli.engine.stylizer import Stylizer, describe_look, full_name

__all__ = ["Result", "Stylizer", "describe_look", "full_name"]
