"""An archive made hostile on purpose: slow, failing, breaking off, lying, as real archives are now and then.

Holds: :class:`Faults`, what goes wrong how often, and :class:`Hostile`, which stands between the local
archive and its clients and makes it so. Keep out the archive itself (``server``).

What becomes of a request is drawn from the seed, the request and how often it was made before, so that the
same questions meet the same faults whatever else is asked meanwhile, and a question that is repeated may pass.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import socket
import struct
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, fields
from random import Random
from typing import Any

from hwosim_assets.errors import BadInputError

__all__ = ["FAULTS", "Faults", "Hostile"]

#: What a fault does to one request; its share is that of the requests it befalls.
FAULTS = {
    "latency": "seconds that a reply is late on average (not a share)",
    "error": "status 500",
    "busy": "status 429 with Retry-After of 1 s",
    "reset": "the connection is reset before the reply",
    "stall": "half of the reply, then silence",
    "slow": "640 bytes a second",
    "truncate": "half of the reply, then the connection closes",
    "short": "half of a file, announced and ended as if it were all",
    "corrupt": "one byte of a file is another",
    "drop": "product rows are left out (share of rows)",
    "duplicate": "product rows are repeated (share of rows)",
    "wrong_size": "product rows state another size (share of rows)",
    "forbidden": "status 403, for the same files each time",
    "missing": "status 404, for the same files each time",
}
#: Of one request one of these happens at the most.
_ONCE = ("error", "busy", "reset", "stall", "slow", "truncate", "short", "corrupt")
_FILES_ONLY = frozenset({"short", "corrupt"})
_FILE_PATHS = ("/api/v0.1/Download/file", "/search/jwst/api/v0.1/retrieve_product")
#: A stalled reply is let go after so long, whether its reader left or not, in seconds.
LONGEST_STALL = 600.0
_DRIP_BYTES, _DRIP_SECONDS = 64, 0.1

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]


@dataclass(frozen=True)
class Faults:
    """How often what goes wrong; see :data:`FAULTS`. All are shares of 0 to 1, except ``latency`` in seconds.

    Raises
    ------
    BadInputError
        When a share lies outside, or those of which one happens at the most exceed 1 together.
    """

    seed: int = 0
    latency: float = 0.0
    error: float = 0.0
    busy: float = 0.0
    reset: float = 0.0
    stall: float = 0.0
    slow: float = 0.0
    truncate: float = 0.0
    short: float = 0.0
    corrupt: float = 0.0
    drop: float = 0.0
    duplicate: float = 0.0
    wrong_size: float = 0.0
    forbidden: float = 0.0
    missing: float = 0.0

    def __post_init__(self) -> None:
        outside = [name for name in FAULTS if not 0 <= getattr(self, name) <= (3600 if name == "latency" else 1)]
        if outside or sum(getattr(self, name) for name in _ONCE) > 1:
            what = ", ".join(outside) or "the shares of " + ", ".join(_ONCE) + " together"
            raise BadInputError(what, "lies outside 0 to 1", "give shares of all requests, for example error=0.05")

    @classmethod
    def parse(cls, text: str, seed: int = 0) -> Faults:
        """Return the faults of a text like ``error=0.05,stall=0.01,latency=0.02``.

        Raises
        ------
        BadInputError
            When it names another fault or gives no number.
        """
        given: dict[str, float] = {}
        for part in text.split(","):
            name, _, value = part.strip().partition("=")
            try:
                given[name] = float(value)
            except ValueError:
                given[name] = float("nan")
            if name not in FAULTS or given[name] != given[name]:
                raise BadInputError(
                    f"fault {part.strip()[:60]!r}", "is none", f"give NAME=SHARE; names: {', '.join(FAULTS)}"
                )
        return cls(seed=seed, **given)

    def any(self) -> bool:
        """Tell whether anything goes wrong."""
        return any(getattr(self, one.name) for one in fields(self) if one.name != "seed")


class Hostile:
    """An ASGI application that does to the replies of another what faults say.

    Parameters
    ----------
    application : callable
        The archive.
    faults : Faults
        What goes wrong.
    """

    def __init__(self, application: Application, faults: Faults) -> None:
        self._application = application
        self._faults = faults
        self._times: Counter[str] = Counter()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request, or not."""
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return
        is_file = scope["path"] in _FILE_PATHS
        question = f"{scope['method']} {scope['path']}?{scope['query_string'].decode('latin-1')}"
        self._times[question] += 1
        draws = self._draws(question, self._times[question])
        if self._faults.latency:
            await asyncio.sleep(draws.expovariate(1 / self._faults.latency))
        fault = self._lasting(question) if is_file else ""
        fault = fault or self._fate(draws, is_file and scope["method"] == "GET")
        if fault in _STATUS:
            await _refuse(send, *_STATUS[fault])
        elif fault == "reset":
            await _hang_up(send, receive, reset=True)
        elif fault:
            await self._application(scope, receive, _Damaged(fault, draws, receive, send))
        elif not is_file and (self._faults.drop or self._faults.duplicate or self._faults.wrong_size):
            await self._application(scope, receive, _Rewritten(self._faults, draws, send))
        else:
            await self._application(scope, receive, send)

    def _draws(self, *what: object) -> Random:
        return Random(hashlib.sha256(repr((self._faults.seed, *what)).encode()).digest())  # noqa: S311  (no secret)

    def _lasting(self, question: str) -> str:
        """Return what befalls a file each time: by its name, however it is asked for."""
        draw = self._draws("lasting", question.partition(" ")[2]).random()
        if draw < self._faults.forbidden:
            return "forbidden"
        return "missing" if draw < self._faults.forbidden + self._faults.missing else ""

    def _fate(self, draws: Random, is_file: bool) -> str:
        draw = draws.random()
        for name in _ONCE:
            draw -= getattr(self._faults, name)
            if draw < 0:
                return name if is_file or name not in _FILES_ONLY else ""
        return ""


_STATUS: dict[str, tuple[int, list[tuple[bytes, bytes]]]] = {
    "error": (500, []),
    "busy": (429, [(b"retry-after", b"1")]),
    "forbidden": (403, []),
    "missing": (404, []),
}


class _Damaged:
    """Passes a reply on until the fault; what comes after it is swallowed."""

    def __init__(self, fault: str, draws: Random, receive: Receive, send: Send) -> None:
        self._fault, self._draws, self._receive, self._send = fault, draws, receive, send
        self._left = 0
        self._start: Message = {}
        self._over = False

    async def __call__(self, message: Message) -> None:
        if self._over:
            return
        if message["type"] == "http.response.start":
            self._begin(message)
        elif self._fault == "slow":
            await self._drip(message)
        else:
            await self._cut(message)

    def _begin(self, message: Message) -> None:
        """Keep the headers back until the first bytes, and reckon where to cut."""
        headers = dict(message["headers"])
        length = int(headers.get(b"content-length", b"0"))
        self._left = length if self._fault == "corrupt" else length // 2
        if self._fault == "short":
            headers[b"content-length"] = b"%d" % self._left
        self._start = message | {"headers": list(headers.items())}

    async def _headers(self) -> None:
        if self._start:
            await self._send(self._start)
            self._start = {}

    async def _cut(self, message: Message) -> None:
        await self._headers()
        body = message.get("body", b"")
        if self._fault == "corrupt":
            await self._send(message | {"body": self._flipped(body)})
            return
        whole = len(body) < self._left or (len(body) == self._left == 0 and not message.get("more_body"))
        await self._send({"type": "http.response.body", "body": body[: self._left], "more_body": True})
        self._left -= len(body[: self._left])
        if whole and message.get("more_body"):
            return
        self._over = True
        if self._fault == "short":
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})
        elif self._fault == "truncate":
            await _hang_up(self._send, self._receive, reset=False)
        else:  # stall
            await _gone(self._receive, LONGEST_STALL)
            await _hang_up(self._send, self._receive, reset=False)

    def _flipped(self, body: bytes) -> bytes:
        """Change one byte, once."""
        if not body or not self._left:
            return body
        self._left = 0
        place = self._draws.randrange(len(body))
        return body[:place] + bytes([body[place] ^ 0x55]) + body[place + 1 :]

    async def _drip(self, message: Message) -> None:
        await self._headers()
        body = message.get("body", b"")
        for start in range(0, len(body), _DRIP_BYTES):
            await self._send(
                {"type": "http.response.body", "body": body[start : start + _DRIP_BYTES], "more_body": True}
            )
            if await _gone(self._receive, _DRIP_SECONDS):
                self._over = True
                return
        if not message.get("more_body"):
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})


class _Rewritten:
    """Passes a reply on with other product rows in it."""

    def __init__(self, faults: Faults, draws: Random, send: Send) -> None:
        self._faults, self._draws, self._send = faults, draws, send
        self._start: Message = {}
        self._body = b""

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._start = message
            return
        self._body += message.get("body", b"")
        if message.get("more_body"):
            return
        body = self._other_rows(self._body)
        headers = dict(self._start["headers"]) | {b"content-length": b"%d" % len(body)}
        await self._send(self._start | {"headers": list(headers.items())})
        await self._send({"type": "http.response.body", "body": body, "more_body": False})

    def _other_rows(self, body: bytes) -> bytes:
        """Drop, repeat and falsify rows; repeated ones are counted in the paging as MAST does, dropped ones not."""
        try:
            said = json.loads(body)
            rows, paging = said["data"], said["paging"]
            if not rows or "dataURI" not in rows[0]:
                return body
        except (ValueError, KeyError, TypeError):
            return body
        kept: list[Any] = []
        for row in rows:
            draws = [self._draws.random() for _ in range(3)]
            if draws[0] < self._faults.drop:
                continue
            wrong = row | {"size": int(row["size"] or 0) + 2880} if draws[1] < self._faults.wrong_size else row
            kept.append(wrong)
            if draws[2] < self._faults.duplicate:
                kept.append(row)
                for name in ("rows", "rowsFiltered", "rowsTotal"):
                    paging[name] += 1
        said["data"] = kept
        return json.dumps(said).encode()


async def _refuse(send: Send, status: int, headers: list[tuple[bytes, bytes]]) -> None:
    length = (b"content-length", b"0")
    await send({"type": "http.response.start", "status": status, "headers": [length, *headers]})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _gone(receive: Receive, seconds: float) -> bool:
    """Wait until the client has hung up, so long at the most; tell whether it has."""

    async def until_gone() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    try:
        await asyncio.wait_for(until_gone(), seconds)
    except TimeoutError:
        return False
    return True


async def _hang_up(send: Send, receive: Receive, *, reset: bool) -> None:
    """Close the connection under the reply; ASGI has no word for it, so the server's transport is taken."""
    cycle: Any = getattr(send, "__self__", None)  # uvicorn's cycle of one request
    transport = cycle.transport
    if reset:
        line = transport.get_extra_info("socket")
        line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
    else:
        transport.close()
    await _gone(receive, 10.0)  # the server takes a request that ends before its connection for a mistake
