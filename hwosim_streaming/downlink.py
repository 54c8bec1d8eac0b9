"""The way of a message from the recorder to the ground: contacts, link rate, light time.

Holds: :func:`received_mjd`. Keep out the other schedules (``schedule``).

The recorder is emptied first in, first out. A contact of the day stands at its evenly spaced place, from MJD 0,
so that it depends on no observation. The recorder's capacity limits what waits on board: what finds it full
enters when there is room again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from hwosim_assets.perturb.schedule import Contacts
from hwosim_streaming.faults import draw

__all__ = ["received_mjd"]

DAY_SECONDS = 86400.0
#: A link that is missed so often in a row counts as lost; without an end a plan would never be made.
CONTACTS_TRIED = 10_000


def received_mjd(
    contacts: Contacts, seed: int, exposed: Sequence[float | None], sizes: Sequence[int]
) -> list[float | None]:
    """Return when each message has reached the ground.

    Parameters
    ----------
    contacts : Contacts
        The downlink.
    seed : int
        Root seed (missed contacts).
    exposed : sequence of float or None
        When each was recorded, MJD UTC, not decreasing; unknown ones last, and sent behind the others.
    sizes : sequence of int
        Bytes.

    Returns
    -------
    list of float or None
        MJD UTC, not decreasing; all ``None`` when no exposure time is known.
    """
    if not exposed or exposed[0] is None:
        return [None] * len(exposed)
    link = _Link(contacts, seed)
    waiting: deque[tuple[float, int]] = deque()
    on_board = 0
    sent_at = last = exposed[0]
    found: list[float | None] = []
    for time, size in zip(exposed, sizes, strict=True):
        recorded = last = time if time is not None else last
        while waiting and waiting[0][0] <= recorded:
            on_board -= waiting.popleft()[1]
        while waiting and on_board + size > contacts.recorder_gigabytes * 1e9:
            left, freed = waiting.popleft()
            on_board, recorded = on_board - freed, max(recorded, left)
        sent_at = link.send(max(recorded, sent_at), size)
        waiting.append((sent_at, size))
        on_board += size
        found.append(sent_at + contacts.light_s / DAY_SECONDS)
    return found


class _Link:
    """A link that is open in contacts."""

    def __init__(self, contacts: Contacts, seed: int) -> None:
        self._contacts, self._seed = contacts, seed
        self._spacing, self._length = 1 / contacts.per_day, contacts.hours / 24

    def send(self, start: float, size: int) -> float:
        """Return when so many bytes have gone, begun at the earliest at a time (MJD)."""
        left = size / (self._contacts.megabytes_per_s * 1e6) / DAY_SECONDS
        number = int(start // self._spacing)
        for contact in range(number, number + CONTACTS_TRIED):
            opens = contact * self._spacing
            closes = opens + self._length
            if closes <= start or self._is_missed(contact):
                continue
            begin = max(start, opens)
            if begin + left <= closes:
                return begin + left
            left -= closes - begin
        return start + left

    def _is_missed(self, contact: int) -> bool:
        missed = self._contacts.missed
        return bool(missed) and draw(self._seed, "contact", str(contact))[0] < missed
