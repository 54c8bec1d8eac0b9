"""How fast an archive is asked: so many requests a second, none while it asks for patience.

Holds: :class:`Pace`, shared by all threads of one client. Keep out what is asked and what is tried
again (``transport``).
"""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

__all__ = ["Pace", "seconds_asked"]


class Pace:
    """Turns for requests.

    Parameters
    ----------
    per_second : float
        Requests a second at the most, in all threads together; 0 for no limit.
    """

    def __init__(self, per_second: float = 0.0) -> None:
        self._gap = 1 / per_second if per_second else 0.0
        self._next = 0.0
        self._lock = threading.Lock()

    def wait(self) -> None:
        """Wait for the turn of one request."""
        with self._lock:
            turn = max(self._next, time.monotonic())
            self._next = turn + self._gap
        if (seconds := turn - time.monotonic()) > 0:
            time.sleep(seconds)

    def hold(self, seconds: float) -> None:
        """Let nobody ask for some time: the archive said that there are too many requests."""
        with self._lock:
            self._next = max(self._next, time.monotonic() + seconds)


def seconds_asked(retry_after: str) -> float:
    """Return how long an archive asks to wait: ``Retry-After`` in seconds or as a date (RFC 9110, 10.2.3).

    Parameters
    ----------
    retry_after : str
        The header's value; what cannot be read counts as 0.

    Returns
    -------
    float
        Seconds, 0 or more.
    """
    text = retry_after.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        until = parsedate_to_datetime(text)
    except ValueError:
        return 0.0
    until = until if until.tzinfo else until.replace(tzinfo=UTC)
    return max(0.0, (until - datetime.now(UTC)).total_seconds())
