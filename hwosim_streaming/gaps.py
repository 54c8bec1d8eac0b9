"""What is missing from a stream as its reader sees it: gaps in the sequence numbers of each key.

Holds: :class:`Gaps`. Sequence numbers of a key run from 0 within a run and never wrap, so that every
number between the first and the latest one seen belongs to a message: one that is late, or lost.
Keep out reading (``reader``) and the proof by message id (``verify``).
"""

from __future__ import annotations

from collections import OrderedDict

__all__ = ["Gaps"]

#: Missing numbers remembered for each key; a reader that joins late must not fill the memory.
REMEMBERED = 100_000
#: Keys of runs that are remembered; a page that watches for months must not fill the memory with runs long over.
PLACES = 10_000


class Gaps:
    """Keeps the sequence numbers that have not come yet, by run and key.

    Attributes
    ----------
    forgotten : int
        Missing numbers that were dropped because there were more than are remembered.
    """

    def __init__(self) -> None:
        self.forgotten = 0
        self._remembered = 0
        self._next: OrderedDict[tuple[str, str], int] = OrderedDict()
        self._missing: dict[tuple[str, str], dict[int, None]] = {}

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
            late = self._missing.get(place, {})
            if sequence in late:
                del late[sequence]
                self._remembered -= 1
            return 0
        self._next[place] = sequence + 1
        self._next.move_to_end(place)
        new = sequence - expected
        if new:
            self._miss(place, expected, sequence)
        if len(self._next) > PLACES:
            oldest, _ = self._next.popitem(last=False)
            self._forget(len(self._missing.pop(oldest, {})))
        return new

    def _miss(self, place: tuple[str, str], expected: int, sequence: int) -> None:
        """Remember the numbers that were left out before one, the latest of them if they are very many."""
        missing = self._missing.setdefault(place, {})
        first = max(expected, sequence - REMEMBERED)
        self.forgotten += first - expected
        missing.update(dict.fromkeys(range(first, sequence)))
        self._remembered += sequence - first
        while len(missing) > REMEMBERED:
            del missing[next(iter(missing))]
            self._forget(1)

    def _forget(self, count: int) -> None:
        self._remembered -= count
        self.forgotten += count

    @property
    def count(self) -> int:
        """How many numbers have not come, forgotten ones among them."""
        return self.forgotten + self._remembered

    def missing(self) -> list[tuple[str, str, int]]:
        """Return (run id, key, number) of what has not come, in order."""
        return sorted((*place, number) for place, numbers in self._missing.items() for number in numbers)
