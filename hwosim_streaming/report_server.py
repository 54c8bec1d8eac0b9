"""The loopback pages: quality reports out of the lake, and the live stream.

Holds: a small web server. Dagster's pages neutralise ``file:`` and ``s3:`` links, so a check links
here; the path of a report is its key in the lake. Keep out what a report says
(``hwosim_assets.quality.report``) and what the stream does (``hwosim_streaming.live``).

It listens on 127.0.0.1 only, answers only to names of this machine (so that a foreign web page
cannot read it by rebinding a name), reads only keys of reports, and sends nothing that runs a
script except the live page's own.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
import threading
from collections.abc import AsyncIterator, Callable
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from hwosim_assets.errors import BackendAbsentError, HwosimError
from hwosim_assets.lake.store import Lake, NotStoredError
from hwosim_assets.lake.tables import Tables
from hwosim_assets.quality import pages
from hwosim_assets.quality.report import QUALITY_REPORTS, summary, summary_page
from hwosim_assets.settings import Settings
from hwosim_streaming.live import Feed, LiveStream
from hwosim_streaming.live_feed import group_lags, kafka_feed
from hwosim_streaming.metrics import CONTENT_TYPE, metrics_text

if TYPE_CHECKING:
    import uvicorn

    from hwosim_streaming.lag import Lag

__all__ = ["ReportServer"]

_REPORT = re.compile(r"reports/(?:[A-Za-z0-9][A-Za-z0-9._=-]*/)+jw[0-9]{5}/[0-9a-f]{64}\.(html|json)")
_PROGRAM = re.compile(r"[0-9]{5}")
_DEFAULT_PORT = 3080
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
_LIVE_SCRIPT = """
"use strict";
const put = (id, text) => { document.getElementById(id).textContent = text; };
const rows = (id, lines) => {
  const body = document.getElementById(id);
  body.replaceChildren(...lines.map((cells) => {
    const row = document.createElement("tr");
    row.append(...cells.map((text) => {
      const cell = document.createElement("td");
      cell.textContent = text;
      return cell;
    }));
    return row;
  }));
};
new EventSource("/live/events").onmessage = (event) => {
  const now = JSON.parse(event.data);
  put("totals", `${now.messages} messages, ${(now.bytes / 1e6).toFixed(2)} MB; ` +
    `${now.messages_per_s.toFixed(1)} messages and ${(now.bytes_per_s / 1e6).toFixed(3)} MB per second`);
  put("trouble", now.trouble);
  rows("keys", Object.entries(now.by_key).map(([key, count]) => [key, String(count)]));
  rows("latest", now.latest.map((message) =>
    [message.topic, message.key, message.subject, String(message.size), message.message_id]));
};
"""


class ReportServer:
    """The pages, served from a thread until closed.

    Parameters
    ----------
    lake : Lake
        Where the reports lie.
    tables : Tables
        Where their index lies.
    feed : Feed
        Where the live page's messages come from; read once somebody looks.
    port : int
        Port on 127.0.0.1; 0 takes a free one.
    lags : callable, optional
        Says how far readers are behind, for the metrics.
    names : sequence of str, optional
        Further host names that requests may use (a proxy's in front of this server).

    Raises
    ------
    BackendAbsentError
        If the port is taken.
    """

    def __init__(
        self,
        lake: Lake,
        tables: Tables,
        feed: Feed,
        port: int,
        names: tuple[str, ...] = (),
        lags: Callable[[], list[Lag]] = list,
    ) -> None:
        self._lake, self._tables, self._lags = lake, tables, lags
        self._live = LiveStream(feed)
        self._socket = _listen(port)
        self.port: int = self._socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._server = self._start(("127.0.0.1", "localhost", *names))

    @classmethod
    def from_settings(cls, settings: Settings, feed: Feed | None = None) -> ReportServer:
        """Serve at the port of ``HWOSIM_REPORT_URL``, on this machine alone.

        Raises
        ------
        BackendAbsentError
            If the port is taken, or lake or tables cannot be used.
        """
        named = urlsplit(settings.report_url)
        names = (named.hostname,) if named.hostname else ()
        port = named.port if named.port is not None else _DEFAULT_PORT
        lake, tables = Lake.from_settings(settings), Tables.from_settings(settings)
        return cls(lake, tables, feed or kafka_feed(settings), port, names, partial(group_lags, settings))

    def __enter__(self) -> ReportServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop serving and reading."""
        self._server.should_exit = True
        self._thread.join(timeout=10)
        self._live.close()
        self._socket.close()

    def wait(self) -> None:
        """Return when the server was closed."""
        self._thread.join()

    def _start(self, names: tuple[str, ...]) -> uvicorn.Server:
        import uvicorn

        routes = [
            Route("/", self._programs),
            Route("/health", lambda _request: PlainTextResponse("ok\n")),
            Route("/program/{program}", self._program),
            Route("/live", lambda _request: HTMLResponse(_live_page(), headers=_HEADERS)),
            Route("/live.js", lambda _request: Response(_LIVE_SCRIPT, media_type="text/javascript", headers=_HEADERS)),
            Route("/live/events", self._events),
            Route("/metrics", self._metrics),
            Route("/{key:path}", self._report),
        ]
        app = Starlette(
            routes=routes,
            middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=list(names))],
            exception_handlers={HTTPException: _refused, HwosimError: _trouble},
        )
        config = uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=1, lifespan="off")
        server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=server.run, kwargs={"sockets": [self._socket]}, name="hwosim-reports", daemon=True
        )
        self._thread.start()
        return server

    def _programs(self, _request: Request) -> Response:
        by_program: dict[str, list[dict[str, object]]] = {}
        columns = ["program", "asset", "verdict"]
        for row in self._tables.scan(QUALITY_REPORTS, columns=columns).to_pylist():
            by_program.setdefault(row["program"], []).append(row)
        return HTMLResponse(pages.programs_page(by_program), headers=_HEADERS)

    def _program(self, request: Request) -> Response:
        program = request.path_params["program"]
        if not _PROGRAM.fullmatch(program) or not summary(self._tables, program):
            raise HTTPException(404, "No quality report of such a program.")
        return HTMLResponse(summary_page(self._tables, program), headers=_HEADERS)

    def _report(self, request: Request) -> Response:
        key = request.path_params["key"]
        named = _REPORT.fullmatch(key)
        if named is None:
            raise HTTPException(404, "No such page.")
        try:
            content = self._lake.read(key)
        except NotStoredError as error:
            raise HTTPException(404, "No such report.") from error
        kind = "text/html" if named.group(1) == "html" else "application/json"
        return Response(content, media_type=kind, headers=_HEADERS)

    def _metrics(self, _request: Request) -> Response:
        """Answer Prometheus; the stream is watched from the first question on."""
        self._live.start()
        return Response(metrics_text(self._live.snapshot(), self._lags), media_type=CONTENT_TYPE)

    async def _events(self, request: Request) -> Response:
        self._live.start()

        async def tell() -> AsyncIterator[str]:
            while not self._server.should_exit and not await request.is_disconnected():
                yield f"data: {json.dumps(self._live.snapshot())}\n\n"
                await asyncio.sleep(1.0)

        return StreamingResponse(
            tell(), media_type="text/event-stream", headers={**_HEADERS, "Cache-Control": "no-store"}
        )


def _listen(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
        listener.listen()  # from here on requests wait, so that nobody finds the door closed
    except OSError as error:
        listener.close()
        raise BackendAbsentError(
            f"report server 127.0.0.1:{port}",
            f"cannot listen ({error.strerror})",
            "set HWOSIM_REPORT_URL to a free port",
        ) from error
    return listener


def _refused(_request: Request, error: Exception) -> Response:
    status, detail = (error.status_code, error.detail) if isinstance(error, HTTPException) else (500, "Failed.")
    return HTMLResponse(_said("Not found" if status == 404 else "Refused", detail), status, headers=_HEADERS)


def _trouble(_request: Request, error: Exception) -> Response:
    return HTMLResponse(_said("The lake does not answer", str(error)), 503, headers=_HEADERS)


def _said(title: str, text: str) -> str:
    return pages.document(title, pages.block("h1", title), pages.block("p", text), pages.link("/", "All programs"))


def _live_page() -> str:
    def empty_table(name: str, columns: tuple[str, ...]) -> pages.Markup:
        head = pages.block("tr", *(pages.block("th", column, scope="col") for column in columns))
        body = pages.block("tbody", id=name)
        return pages.block("div", pages.block("table", pages.block("thead", head), body), class_="scroll")

    return pages.document(
        "The live stream",
        pages.block("h1", "The live stream"),
        pages.block("p", "Waiting for the stream.", id="totals"),
        pages.block("p", id="trouble", class_="failed"),
        pages.block("h2", "Messages by detector"),
        empty_table("keys", ("key", "messages")),
        pages.block("h2", "Latest"),
        empty_table("latest", ("topic", "key", "product", "bytes", "message id")),
        pages.link("/", "All programs"),
        script="/live.js",
    )
