"""The errors that a person is meant to read.

Holds: :class:`HwosimError` and the few kinds that callers tell apart. A message is one line that
names the thing, the reason and the mend. Keep out: errors that only one package raises and nobody
outside catches; those stand beside the code that raises them, as subclasses of these.
"""

from __future__ import annotations

__all__ = [
    "BackendAbsentError",
    "BadInputError",
    "HwosimError",
]


class HwosimError(Exception):
    """A failure with a name, a reason and a mend, printed as one line.

    Parameters
    ----------
    thing : str
        What failed: a file, a program, a URL, a scenario, a setting.
    reason : str
        Why, in the words of the field.
    mend : str
        What the reader can do about it.
    """

    def __init__(self, thing: str, reason: str, mend: str) -> None:
        super().__init__(thing, reason, mend)
        self.thing = thing
        self.reason = reason
        self.mend = mend

    def __str__(self) -> str:
        return " ".join(f"{self.thing}: {self.reason}; {self.mend}".split())


class BadInputError(HwosimError):
    """What was handed in (a file, a name, a scenario, an option) cannot be used."""


class BackendAbsentError(HwosimError):
    """An archive, a store, a table catalog or a broker cannot be reached or refuses us."""
