"""What somebody who only looks on sees go wrong: messages that are damaged, come again, or do not come.

Holds: :class:`Tally`. It sees what any reader sees, never the truth. Keep out reading (``live_feed``, ``watch``) and
showing it.
"""

from __future__ import annotations

import zlib
from collections import OrderedDict
from typing import Any

from hwosim_streaming.arrivals import text_headers
from hwosim_streaming.envelope import DIGITS, Header
from hwosim_streaming.gaps import Gaps

__all__ = ["DAMAGED", "DUPLICATE", "Tally"]

DAMAGED, DUPLICATE = "damaged", "duplicate"
#: Message ids remembered for telling duplicates; a copy follows its original closely.
REMEMBERED = 50_000


class Tally:
    """Counts over the messages of one or several topics, each noted once as it comes.

    Attributes
    ----------
    counts : dict of str to int
        How many were damaged on the way (their CRC is not the one that is stated), and how many came again.
    """

    def __init__(self) -> None:
        self.counts = {DAMAGED: 0, DUPLICATE: 0}
        self._gaps = Gaps()
        self._seen: OrderedDict[tuple[str, str], None] = OrderedDict()

    @property
    def missing(self) -> int:
        """How many sequence numbers have not come, of those between the first and the latest of each key."""
        return self._gaps.count

    def note(self, message: Any) -> str:
        """Take a message; return what is wrong with it, or an empty text."""
        said = text_headers(message)
        identity = (said.get(Header.RUN, ""), said.get(Header.ID, ""))
        sequence = said.get(Header.SEQUENCE, "")
        wrong = ""
        if Header.CRC in said and f"{zlib.crc32(message.value() or b''):08x}" != said[Header.CRC]:
            wrong = DAMAGED
        elif all(identity) and identity in self._seen:
            wrong = DUPLICATE
        if wrong:
            self.counts[wrong] += 1
        if sequence.isdecimal() and len(sequence) <= DIGITS:
            # Each topic counts for itself.
            key = f"{message.topic()}/{(message.key() or b'').decode('utf-8', 'replace')}"
            self._gaps.note(identity[0], key, int(sequence))
        self._seen[identity] = None
        if len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)
        return wrong
