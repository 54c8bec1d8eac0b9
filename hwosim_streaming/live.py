"""What the live stream page shows: the latest messages of the stream and how fast they come.

Holds: :class:`LiveStream`, which reads a feed in a thread of its own and answers with a small
snapshot. Keep out reading Kafka (``hwosim_streaming.reader``) and serving pages
(``hwosim_streaming.report_server``).
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any

from hwosim_assets.errors import HwosimError

__all__ = ["Feed", "LiveMessage", "LiveStream"]

#: Seconds over which the rate is counted.
WINDOW_S = 10.0
#: Seconds until a feed that failed is tried again.
PAUSE_S = 5.0
#: Messages that the page lists.
LATEST = 20


@dataclass(frozen=True)
class LiveMessage:
    """One message of the stream, as far as the page shows it.

    Attributes
    ----------
    topic : str
        Kafka topic.
    key : str
        Detector, or instrument where there is none.
    message_id : str
        ``ce_id``.
    subject : str
        Archive file name of the product.
    size : int
        Bytes of the value.
    """

    topic: str
    key: str
    message_id: str
    subject: str
    size: int


#: Yields messages as they come until the event is set; raises a HwosimError when the broker is not there.
Feed = Callable[[threading.Event], Iterable[LiveMessage]]


class LiveStream:
    """Reads a feed from the first question on, and again after a pause when it fails.

    Parameters
    ----------
    feed : Feed
        Where messages come from.
    clock : callable, optional
        Monotonic seconds.
    """

    def __init__(self, feed: Feed, clock: Callable[[], float] = time.monotonic) -> None:
        self._feed = feed
        self._clock = clock
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._latest: deque[LiveMessage] = deque(maxlen=LATEST)
        self._arrivals: deque[tuple[float, int]] = deque()
        self._by_key: Counter[str] = Counter()
        self._messages = self._bytes = 0
        self._trouble = ""

    def start(self) -> None:
        """Begin to read, unless that was done."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._read, name="hwosim-live", daemon=True)
                self._thread.start()

    def close(self) -> None:
        """Stop reading and wait for the thread."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=10)

    def snapshot(self) -> dict[str, Any]:
        """Return what there is to show: totals, rates over ten seconds, the latest messages, the trouble."""
        with self._lock:
            self._forget_old()
            recent = list(self._arrivals)
            return {
                "messages": self._messages,
                "bytes": self._bytes,
                "messages_per_s": len(recent) / WINDOW_S,
                "bytes_per_s": sum(size for _, size in recent) / WINDOW_S,
                "by_key": dict(sorted(self._by_key.items())),
                "latest": [asdict(message) for message in reversed(self._latest)],
                "trouble": self._trouble,
            }

    def _read(self) -> None:
        while not self._stop.is_set():
            try:
                for message in self._feed(self._stop):
                    self._note(message)
            except HwosimError as error:
                with self._lock:
                    self._trouble = str(error)
            self._stop.wait(PAUSE_S)

    def _note(self, message: LiveMessage) -> None:
        with self._lock:
            self._trouble = ""
            self._latest.append(message)
            self._arrivals.append((self._clock(), message.size))
            self._by_key[message.key] += 1
            self._messages += 1
            self._bytes += message.size
            self._forget_old()

    def _forget_old(self) -> None:
        oldest = self._clock() - WINDOW_S
        while self._arrivals and self._arrivals[0][0] < oldest:
            self._arrivals.popleft()
