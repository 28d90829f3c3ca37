"""What the work can be told: each of these options once, with all that is said of it.

A module for each command that has a config, and one for what they share. No import of torch:
``stylecli --help`` shows these.
"""

from stylecli.config.compare import CompareConfig
from stylecli.config.gatys import GatysConfig
from stylecli.config.shared import DEFAULT_MODEL, GALLERY, ComputeConfig, ObjectiveConfig
from stylecli.config.stylize import StylizeConfig
from stylecli.config.train import GeneratorConfig, TrainConfig

__all__ = [
    "DEFAULT_MODEL",
    "GALLERY",
    "CompareConfig",
    "ComputeConfig",
    "GatysConfig",
    "GeneratorConfig",
    "ObjectiveConfig",
    "StylizeConfig",
    "TrainConfig",
]
