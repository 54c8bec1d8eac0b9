"""What is missing from a stream as its reader sees it: gaps in the sequence numbers of each key.

Holds: :class:`Gaps`. Sequence numbers of a key run from 0 within a run and never wrap, so that every
number between the first and the latest one seen belongs to a message: one that is late, or lost.
Keep out reading (``reader``) and the proof by message id (``verify``).
"""

from __future__ import annotations

from collections import defaultdict

__all__ = ["Gaps"]

#: Missing numbers remembered for each key; a reader that joins late must not fill the memory.
REMEMBERED = 100_000


class Gaps:
    """Keeps the sequence numbers that have not come yet, by run and key.

    Attributes
    ----------
    forgotten : int
        Missing numbers that were dropped because there were more than are remembered.
    """

    def __init__(self) -> None:
        self.forgotten = 0
        self._next: dict[tuple[str, str], int] = {}
        self._missing: dict[tuple[str, str], dict[int, None]] = defaultdict(dict)

    def note(self, run_id: str, key: str, sequence: int) -> int:
        """Take a number that came.

        Parameters
        ----------
        run_id, key : str
            What it counts in.
        sequence : int
            The number. The first of a key is where its counting starts.

        Returns
        -------
        int
            How many numbers before it are newly missing.
        """
        place = (run_id, key)
        expected = self._next.get(place, sequence)
        if sequence < expected:
            self._missing[place].pop(sequence, None)
            return 0
        self._next[place] = sequence + 1
        missing = self._missing[place]
        for number in range(max(expected, sequence - REMEMBERED), sequence):
            missing[number] = None
        new = sequence - expected
        self.forgotten += max(0, new - REMEMBERED)
        while len(missing) > REMEMBERED:
            del missing[next(iter(missing))]
            self.forgotten += 1
        return new

    @property
    def count(self) -> int:
        """How many numbers have not come, forgotten ones among them."""
        return self.forgotten + sum(len(numbers) for numbers in self._missing.values())

    def missing(self) -> list[tuple[str, str, int]]:
        """Return (run id, key, number) of what has not come, in order."""
        return sorted((*place, number) for place, numbers in self._missing.items() for number in numbers)
