"""A run that is shared among processes or machines: which part of it is whose."""

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

    def __str__(self) -> str:
        return f"shard {self.number} of {self.count}"

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


WHOLE = Shard()
