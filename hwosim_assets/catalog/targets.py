"""Where the events of a subscription go: a file of JSON lines, or a webhook.

Holds: :class:`Target`, what it must be able to do, and :func:`target_of`, which finds one by its address. Another
kind is an entry point of the group ``hwosim.targets``, named after the scheme of its addresses. Keep out which
events there are and which were sent (``catalog.subscriptions``).
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import unquote, urlsplit

from hwosim_assets.errors import BackendAbsentError, BadInputError, HwosimError
from hwosim_assets.settings import redacted

if TYPE_CHECKING:
    from hwosim_assets.settings import Settings

__all__ = ["FileTarget", "Target", "Webhook", "target_of"]

#: How often a webhook is called with the same events, and the first pause between (s), doubled each time.
ATTEMPTS, PAUSE = 5, 0.5
#: Seconds that a webhook has for its answer, and that it may tell us to wait.
ANSWER_SECONDS, LONGEST_PAUSE = 30.0, 60.0


class Target(Protocol):
    """A place that takes events."""

    def send(self, events: list[dict[str, Any]]) -> None:
        """Hand over events in order; return when the target has them all.

        Raises
        ------
        HwosimError
            If it does not take them all.
        """

    def has(self, ids: set[str]) -> set[str]:
        """Return which events of an interrupted delivery arrived; none where the target cannot tell."""


def target_of(address: str, settings: Settings) -> Target:
    """Return the target of an address.

    Parameters
    ----------
    address : str
        A path or ``file://`` for JSON lines, ``http(s)://`` for a webhook, or an address of a scheme that
        another package provides (``kafka:TOPIC``).
    settings : Settings
        For targets of other packages.

    Raises
    ------
    BadInputError
        If nothing takes such an address.
    """
    parts = urlsplit(address)
    if parts.scheme in ("http", "https"):
        return Webhook(address)
    if parts.scheme in ("", "file"):
        return FileTarget(Path(unquote(parts.path)))
    found = {point.name: point for point in entry_points(group="hwosim.targets")}
    if parts.scheme not in found:
        known = ", ".join(["a path", "file://", "http://", "https://", *(f"{name}:" for name in found)])
        raise BadInputError(f"target {redacted(address)}", "is of a kind that nothing here serves", f"use {known}")
    make: Callable[[str, Settings], Target] = found[parts.scheme].load()
    return make(address, settings)


class FileTarget:
    """A file of JSON lines, one for each event.

    Parameters
    ----------
    path : pathlib.Path
        Made at the first event; a line that a kill cut short is removed.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def send(self, events: list[dict[str, Any]]) -> None:
        """Append events and see that they are on the disk."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a+b") as file:
                file.truncate(_whole_lines(file))
                file.write(b"".join(json.dumps(event).encode() + b"\n" for event in events))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            reason = f"cannot be written ({error.strerror or error})"
            raise HwosimError(f"file {self._path}", reason, "mend that, then: hwosim basket deliver") from error

    def has(self, ids: set[str]) -> set[str]:
        """Return which of the ids stand in whole lines of the file."""
        if not self._path.exists():
            return set()
        found = set()
        with self._path.open("rb") as file:
            for line in file:
                try:
                    found.add(json.loads(line)["id"] if line.endswith(b"\n") else None)
                except (ValueError, KeyError, TypeError):
                    continue  # a line of somebody else's
        return ids & found


def _whole_lines(file: Any) -> int:
    """Return where the last whole line of a file ends."""
    end: int = file.seek(0, os.SEEK_END)
    while end:
        start = max(0, end - 65536)
        file.seek(start)
        at = file.read(end - start).rfind(b"\n")
        if at >= 0:
            return start + int(at) + 1
        end = start
    return 0


class Webhook:
    """An address that events are posted to, as a batch of CloudEvents in JSON.

    A batch that failed is posted again with the same ``Idempotency-Key``, and events keep their ids: a receiver
    that drops ids it has seen gets each event once, whatever was killed when.

    Parameters
    ----------
    url : str
        Where to.
    """

    def __init__(self, url: str) -> None:
        self._url = url

    def send(self, events: list[dict[str, Any]]) -> None:
        """Post events until the receiver takes them or has refused five times."""
        import httpx

        # Of the ids in their own order: after a kill the events come in the order of the table.
        key = hashlib.sha256("".join(sorted(event["id"] for event in events)).encode()).hexdigest()
        headers = {"Content-Type": "application/cloudevents-batch+json", "Idempotency-Key": key}
        name, pause = f"webhook {redacted(self._url)}", PAUSE
        here = urlsplit(self._url).hostname in ("localhost", "127.0.0.1", "::1")  # no proxy leads there
        for attempt in range(1, ATTEMPTS + 1):
            asked_to_wait = 0.0
            try:
                reply = httpx.post(
                    self._url, content=json.dumps(events), headers=headers, timeout=ANSWER_SECONDS, trust_env=not here
                )
            except httpx.HTTPError as error:
                reason = f"does not answer ({' '.join(str(error).split()) or type(error).__name__})"
            except httpx.InvalidURL as error:
                raise BadInputError(name, f"is no address ({error})", "subscribe with another one") from error
            else:
                if reply.is_success:
                    return
                reason = f"answered {reply.status_code}"
                if reply.status_code < 500 and reply.status_code not in (408, 429):
                    raise HwosimError(name, reason, "correct the receiver, then: hwosim basket deliver")
                asked = reply.headers.get("Retry-After", "")
                asked_to_wait = float(asked) if asked.isdecimal() else 0.0
            if attempt < ATTEMPTS:
                time.sleep(min(max(pause, asked_to_wait), LONGEST_PAUSE))
                pause *= 2
        raise BackendAbsentError(name, f"{reason}, {ATTEMPTS} times", "start it, then: hwosim basket deliver")

    def has(self, ids: set[str]) -> set[str]:
        """Return nothing: a receiver is not asked what it has, it knows events by their ids."""
        return set()
