"""What the live stream page shows: the latest messages, how fast they come, what is wrong, the newest frame.

Holds: :class:`LiveStream`, which reads a feed in a thread of its own and answers with a small
snapshot, the same for however many look. Keep out reading Kafka (``hwosim_streaming.reader``) and serving pages
(``hwosim_streaming.report_server``).
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any

from hwosim_assets.errors import HwosimError
from hwosim_streaming.tally import DAMAGED, DUPLICATE

__all__ = ["Feed", "LiveMessage", "LivePicture", "LiveStream"]

_LOG = logging.getLogger(__name__)
#: Seconds over which the rate is counted.
WINDOW_S = 10.0
#: Seconds until a feed that failed is tried again.
PAUSE_S = 5.0
#: Seconds between two questions for the lag of readers.
LAG_S = 5.0
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
    fault : str
        What is wrong with it, or empty.
    missing : int
        How many messages are missing so far.
    """

    topic: str
    key: str
    message_id: str
    subject: str
    size: int
    fault: str = ""
    missing: int = 0


@dataclass(frozen=True)
class LivePicture:
    """A frame drawn.

    Attributes
    ----------
    png : bytes
        The picture.
    caption : str
        What it shows, in a line.
    """

    png: bytes
    caption: str


#: Yields messages as they come, and now and then the newest frame drawn, until the event is set; raises a
#: HwosimError when the broker is not there.
Feed = Callable[[threading.Event], Iterable[LiveMessage | LivePicture]]


class LiveStream:
    """Reads a feed from the first question on, and again after a pause when it fails.

    Parameters
    ----------
    feed : Feed
        Where messages come from.
    clock : callable, optional
        Monotonic seconds.
    lag : callable, optional
        Asks the broker how many messages each group is behind.
    """

    def __init__(
        self,
        feed: Feed,
        clock: Callable[[], float] = time.monotonic,
        lag: Callable[[], dict[str, int]] = dict,
    ) -> None:
        self._feed = feed
        self._clock = clock
        self._ask_lag = lag
        self._lag: dict[str, int] = {}
        self._faults = Counter({DAMAGED: 0, DUPLICATE: 0})
        self._missing = 0
        self._picture = LivePicture(b"", "")
        self._pictures = 0
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._latest: deque[LiveMessage] = deque(maxlen=LATEST)
        self._arrivals: deque[tuple[float, int]] = deque()
        self._by_key: Counter[str] = Counter()
        self._messages = self._bytes = 0
        self._trouble = ""

    def start(self) -> None:
        """Begin to read, unless that was done."""
        with self._lock:
            if not self._threads:
                for name, target in (("hwosim-live", self._read), ("hwosim-lag", self._follow_lag)):
                    self._threads.append(threading.Thread(target=target, name=name, daemon=True))
                    self._threads[-1].start()

    def close(self) -> None:
        """Stop reading and wait for the threads."""
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=10)

    @property
    def picture(self) -> bytes:
        """The newest frame as a PNG; empty as long as none has come."""
        with self._lock:
            return self._picture.png

    def snapshot(self) -> dict[str, Any]:
        """Return what there is to show: totals, rates over ten seconds, faults, lag, the latest messages, the trouble.

        ``picture`` counts the pictures that came; when it changes, :attr:`picture` is another one.
        """
        with self._lock:
            self._forget_old()
            recent = list(self._arrivals)
            return {
                "messages": self._messages,
                "bytes": self._bytes,
                "messages_per_s": len(recent) / WINDOW_S,
                "bytes_per_s": sum(size for _, size in recent) / WINDOW_S,
                "faults": dict(self._faults),
                "missing": self._missing,
                "lag": dict(self._lag),
                "picture": self._pictures,
                "caption": self._picture.caption,
                "by_key": dict(sorted(self._by_key.items())),
                "latest": [asdict(message) for message in reversed(self._latest)],
                "trouble": self._trouble,
            }

    def _read(self) -> None:
        while not self._stop.is_set():
            try:
                for found in self._feed(self._stop):
                    if isinstance(found, LiveMessage):
                        self._note(found)
                    else:
                        self._draw(found)
            except HwosimError as error:
                self._tell(str(error))
            except Exception:  # what one message does must not end the page for all that follow
                _LOG.exception("the live stream stumbled and goes on after it")
                self._tell("the live stream stumbled over a message; the server's log says how")
            self._stop.wait(PAUSE_S)

    def _tell(self, trouble: str) -> None:
        with self._lock:
            self._trouble = trouble

    def _follow_lag(self) -> None:
        while not self._stop.is_set():
            try:
                lag = self._ask_lag()
            except HwosimError:
                lag = {}  # the feed says what is wrong with the broker
            with self._lock:
                self._lag = lag
            self._stop.wait(LAG_S)

    def _draw(self, picture: LivePicture) -> None:
        with self._lock:
            self._picture = picture
            self._pictures += 1

    def _note(self, message: LiveMessage) -> None:
        with self._lock:
            self._trouble = ""
            self._latest.append(message)
            self._arrivals.append((self._clock(), message.size))
            self._by_key[message.key] += 1
            self._messages += 1
            self._missing = message.missing
            if message.fault:
                self._faults[message.fault] += 1
            self._bytes += message.size
            self._forget_old()

    def _forget_old(self) -> None:
        oldest = self._clock() - WINDOW_S
        while self._arrivals and self._arrivals[0][0] < oldest:
            self._arrivals.popleft()
