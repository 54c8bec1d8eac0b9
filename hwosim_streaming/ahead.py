"""What is needed next, made in a thread while what was needed last is in use.

Holds: :class:`Ahead`. It bounds what making a product adds to the stream: one is waited for only as far as fetching or
perturbing it takes longer than sending the one before it. Keep out what is made and how long it is kept (``pixels``).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

__all__ = ["Ahead"]

T = TypeVar("T")


class Ahead(Generic[T]):
    """Makes things by name, one of them before it is asked for.

    Parameters
    ----------
    make : callable
        Makes the thing of a name; called in one thread, never twice at a time.
    names : iterable of str
        What will be asked for, in the order in which that first happens; some may be passed over.
    drop : callable
        Given what was made and is not asked for.

    Attributes
    ----------
    waited_s : list of float
        Seconds that each call of :meth:`take` waited.
    """

    def __init__(self, make: Callable[[str], T], names: Iterable[str], drop: Callable[[T], object]) -> None:
        self._make, self._drop = make, drop
        self._places = {name: place for place, name in enumerate(names)}
        self._names = iter(self._places)
        self._asked: set[str] = set()
        self._next: tuple[str, Future[T]] | None = None
        # One thread: a second thing would have to be held, too, and would take processors from the sender.
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="ahead")
        self.waited_s: list[float] = []

    def begin(self) -> None:
        """Begin with the first thing that was not asked for yet, unless one is there or being made."""
        name = None if self._next else next((name for name in self._names if name not in self._asked), None)
        if name is not None:
            self._next = name, self._pool.submit(self._make, name)

    def take(self, name: str) -> T:
        """Return a thing, which is then forgotten, and begin with the next; raises what making it raises."""
        began = time.perf_counter()
        place = self._places.get(name, -1)
        if self._next is not None and name not in self._asked and self._places[self._next[0]] < place:
            self._drop_next()  # passed over: messages that are too late may be left out
        self._asked.add(name)
        if self._next is not None and self._next[0] == name:
            made, self._next = self._next[1], None
        else:
            made = self._pool.submit(self._make, name)
        thing = made.result()
        self.waited_s.append(time.perf_counter() - began)
        self.begin()
        return thing

    def close(self) -> None:
        """End the thread."""
        self._pool.shutdown(cancel_futures=True)
        self._drop_next()

    def _drop_next(self) -> None:
        """Drop what was made and not asked for, if anything was."""
        made, self._next = self._next, None
        if made is not None and not made[1].cancel() and made[1].exception() is None:
            self._drop(made[1].result())
