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
        defaults = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}
        given = {name: environment.get(name, default) for name, default in defaults.items()}
        number, count, local = (int(t) if t.isdecimal() else -1 for t in given.values())
        port = "0" if STORE in environment else environment.get("MASTER_PORT", "(missing)")
        if not 0 <= number < count or local < 0 or not (port.isdecimal() and int(port) < 2**16):
            given |= {} if STORE in environment else {"MASTER_PORT": port}
            text = ", ".join(f"{name} {value}" for name, value in given.items())
            hint = "torchrun sets them; unset MASTER_ADDR to train in one process"
            raise StyleCliError(f"variables that make no sense: {text}", hint=hint)
        return cls(number, count, local)
