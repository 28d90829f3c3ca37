"""Which of the processes that work together this one is."""

from collections.abc import Mapping
from dataclasses import dataclass

from stylecli.errors import StyleCliError

# The file through which the processes of one machine find each other. Processes that torchrun
# started find each other by its address.
STORE = "STYLECLI_STORE"
# The variables for a process's number, the count of processes, and its number on its machine.
_TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
_SRUN = ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID")


@dataclass(frozen=True)
class Rank:
    """The place of a process among those that work together.

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
        """Its place among those that train together; a process of its own, if there are none.

        Raises:
            StyleCliError: the variables of torchrun make no sense.
        """
        if STORE not in environment and "MASTER_ADDR" not in environment:
            return cls()
        rank = cls._of_variables(environment, _TORCHRUN)
        port = "0" if STORE in environment else environment.get("MASTER_PORT", "(missing)")
        if not (port.isdecimal() and int(port) < 2**16):
            raise StyleCliError(
                f"variables that make no sense: MASTER_PORT {port}",
                hint="torchrun sets it; unset MASTER_ADDR to train in one process",
            )
        return rank

    @classmethod
    def of_launcher(cls, environment: Mapping[str, str]) -> "Rank":
        """Its place among those that torchrun or SLURM's srun started; or a process of its own.

        The script of a batch job of SLURM is one process. It has SLURM_PROCID and SLURM_NTASKS as
        well, but only srun sets SLURM_STEP_NUM_TASKS, the number of tasks that do run.

        Raises:
            StyleCliError: the variables make no sense.
        """
        for names in (_TORCHRUN, _SRUN):
            if names[0] in environment and names[1] in environment:
                return cls._of_variables(environment, names)
        return cls()

    @classmethod
    def _of_variables(cls, environment: Mapping[str, str], names: tuple[str, str, str]) -> "Rank":
        texts = [environment.get(*one) for one in zip(names, ("0", "1", "0"), strict=True)]
        number, count, local = (int(text) if text.isdecimal() else -1 for text in texts)
        if not 0 <= number < count or local < 0:
            given = ", ".join(f"{name} {text}" for name, text in zip(names, texts, strict=True))
            hint = "torchrun or srun sets them; unset them for one process"
            raise StyleCliError(f"variables that make no sense: {given}", hint=hint)
        return cls(number, count, local)


def tasks_told(environment: Mapping[str, str]) -> int:
    """How many processes of one job there may be, as its launcher's variables tell; at least 1."""
    texts = [environment.get(name, "") for name in (_TORCHRUN[1], _SRUN[1], "SLURM_NTASKS")]
    return max([1, *(int(text) for text in texts if text.isdecimal())])
