"""A run that is shared among processes or machines: which part of it is whose."""

from collections.abc import Mapping
from dataclasses import dataclass

from stylecli.errors import StyleCliError


@dataclass(frozen=True)
class Shard:
    """A part of a run that is shared among processes: every ``count``-th job.

    Attributes:
        number: of the part, from 0.
        count: of all parts.
    """

    number: int = 0
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """From text such as ``0/4``, the first of four.

        Raises:
            StyleCliError: it is no such text.
        """
        number, slash, count = text.partition("/")
        if slash and number.isdecimal() and count.isdecimal() and int(number) < int(count):
            return cls(int(number), int(count))
        hint = "such as 0/4, 1/4, 2/4 and 3/4 for four processes"
        raise StyleCliError(f"--shard {text} is not a part of a whole", hint=hint)

    @classmethod
    def of_environment(cls, environment: Mapping[str, str]) -> "Shard":
        """That of the variables of torchrun or of SLURM's srun; the whole, if there are none.

        Raises:
            StyleCliError: they make no sense.
        """
        for number, count in (("RANK", "WORLD_SIZE"), ("SLURM_PROCID", "SLURM_NTASKS")):
            if number in environment and count in environment:
                return cls.parse(f"{environment[number]}/{environment[count]}")
        return cls()


WHOLE = Shard()
