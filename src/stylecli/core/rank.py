"""Which of the processes that train together this one is."""

from collections.abc import Mapping
from dataclasses import dataclass

from stylecli.errors import StyleCliError

# The file through which the processes of one machine find each other. Processes that torchrun
# started find each other by its address.
STORE = "STYLECLI_STORE"


@dataclass(frozen=True)
class Rank:
    """The place of a process among those that train together.

    Attributes:
        number: from 0; the first process alone writes and prints.
        count: of all processes, on all machines.
        local: its number on its machine, from 0.
    """

    number: int = 0
    count: int = 1
    local: int = 0

    @classmethod
    def of_environment(cls, environment: Mapping[str, str]) -> "Rank":
        """That of the variables of torchrun; a process of its own, if there are none.

        Raises:
            StyleCliError: they make no sense.
        """
        if STORE not in environment and "MASTER_ADDR" not in environment:
            return cls()
        names, defaults = ("RANK", "WORLD_SIZE", "LOCAL_RANK"), ("0", "1", "0")
        texts = [environment.get(*one) for one in zip(names, defaults, strict=True)]
        number, count, local = (int(text) if text.isdecimal() else -1 for text in texts)
        if not 0 <= number < count or local < 0:
            given = ", ".join(f"{name} {text}" for name, text in zip(names, texts, strict=True))
            hint = "torchrun sets them; unset them to train in one process"
            raise StyleCliError(f"variables that make no sense: {given}", hint=hint)
        return cls(number, count, local)
