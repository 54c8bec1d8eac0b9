"""The loopback pages: quality reports out of the lake, and the live stream.

Holds: a small web server. Dagster's pages neutralise ``file:`` and ``s3:`` links, so a check links
here; the path of a report is its key in the lake. Keep out what a report says
(``hwosim_assets.quality.report``) and what the stream does (``hwosim_streaming.live``).

It listens on 127.0.0.1 unless told otherwise, answers only to names of this machine (so that a foreign web page
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
from typing import TYPE_CHECKING, Any, TypeVar, cast
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from hwosim_assets.catalog.products import PRODUCTS
from hwosim_assets.errors import BackendAbsentError, BadInputError, HwosimError
from hwosim_assets.lake.store import Lake, NotStoredError
from hwosim_assets.lake.tables import Tables
from hwosim_assets.quality import fleet_pages, markup
from hwosim_assets.quality.drift import Followed, followed
from hwosim_assets.quality.history import CHECK_RESULTS, history
from hwosim_assets.quality.lineage import lineage
from hwosim_assets.quality.lineage_page import lineage_page
from hwosim_assets.quality.report import QUALITY_REPORTS, refused_files, report_page, summary, summary_page
from hwosim_assets.settings import Settings
from hwosim_streaming.lag import behind
from hwosim_streaming.live import Feed, LiveStream
from hwosim_streaming.live_feed import group_lags, kafka_feed
from hwosim_streaming.live_page import SCRIPT, live_page
from hwosim_streaming.metrics import CONTENT_TYPE, metrics_text
from hwosim_streaming.operations_page import operations_page

if TYPE_CHECKING:
    import uvicorn

    from hwosim_streaming.lag import Lag

__all__ = ["ReportServer"]

_REPORT = re.compile(r"reports/(?:[A-Za-z0-9][A-Za-z0-9._=-]*/)+jw[0-9]{5}/[0-9a-f]{64}\.(html|json)")
_PROGRAM = re.compile(r"[0-9]{5}")
_DEFAULT_PORT = 3080
#: The tables that a page rests on which is kept until one of them changes.
_RESTS_ON = {"/": (QUALITY_REPORTS,), "/drift": (CHECK_RESULTS, PRODUCTS)}
T = TypeVar("T")
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data: 'self'; "
    "script-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


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
    host : str
        Address to listen at; 127.0.0.1 but in a container, whose port is published on loopback.

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
        operations: Callable[[], dict[str, Any]] | None = None,
        host: str = "127.0.0.1",
    ) -> None:
        self._lake, self._tables, self._lags, self._operations = lake, tables, lags, operations
        self._kept: dict[str, tuple[tuple[int | None, ...], Any]] = {}
        self._live = LiveStream(feed, lag=lambda: behind(self._lags()))
        self._socket = _listen(host, port)
        self.port: int = self._socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._server = self._start(("127.0.0.1", "localhost", *names))

    @classmethod
    def from_settings(
        cls,
        settings: Settings,
        feed: Feed | None = None,
        operations: Callable[[], dict[str, Any]] | None = None,
        host: str = "127.0.0.1",
    ) -> ReportServer:
        """Serve at the port of ``HWOSIM_REPORT_URL``, on this machine alone unless another ``host`` is named.

        ``operations`` tells how the platform runs; without it there is no such page.

        Raises
        ------
        BackendAbsentError
            If the port is taken, or lake or tables cannot be used.
        """
        named = urlsplit(settings.report_url)
        names = (named.hostname,) if named.hostname else ()
        port = named.port if named.port is not None else _DEFAULT_PORT
        lake, tables = Lake.from_settings(settings), Tables.from_settings(settings)
        lags = partial(group_lags, settings)
        return cls(lake, tables, feed or kafka_feed(settings), port, names, lags, operations, host)

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
            Route("/programs.json", self._programs_json),
            Route("/health", lambda _request: PlainTextResponse("ok\n")),
            Route("/program/{program:int}.json", self._program_json),
            Route("/program/{program}", self._program),
            Route("/lineage/{name}", self._lineage),
            Route("/drift", self._drift),
            Route("/drift.json", self._drift_json),
            Route("/operations", self._how_it_runs),
            Route("/operations.json", self._how_it_runs),
            Route("/live", lambda _request: HTMLResponse(live_page(), headers=_HEADERS)),
            Route("/live.js", lambda _request: Response(SCRIPT, media_type="text/javascript", headers=_HEADERS)),
            Route("/live/events", self._events),
            Route("/live/picture.png", self._picture),
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

    def _reports(self) -> list[dict[str, Any]]:
        """Return what the page of all programs says of the latest reports."""
        columns = list(fleet_pages.REPORT_COLUMNS)
        return self._unchanged("/", lambda: self._tables.scan(QUALITY_REPORTS, columns=columns).to_pylist())

    def _followed(self) -> list[Followed]:
        """Return every series that is followed and how it went."""
        return self._unchanged("/drift", lambda: followed(self._tables))

    def _unchanged(self, page: str, read: Callable[[], T]) -> T:
        """Return what a page rests on, read anew when one of its tables has changed."""
        now = tuple(
            self._tables.look(spec.name, lambda table: table.metadata.current_snapshot_id) for spec in _RESTS_ON[page]
        )
        kept = self._kept.get(page)
        if kept is None or kept[0] != now:
            kept = self._kept[page] = now, read()  # read after it was asked for: never older than it says
        return cast("T", kept[1])

    def _programs(self, request: Request) -> Response:
        only = request.query_params.get("verdict", "")
        if only not in ("", *fleet_pages.VERDICTS):
            raise HTTPException(404, f"Programs are {', '.join(fleet_pages.VERDICTS)}.")
        return HTMLResponse(fleet_pages.programs_page(self._reports(), only), headers=_HEADERS)

    def _programs_json(self, _request: Request) -> Response:
        return _json({"programs": fleet_pages.programs_rows(self._reports())})

    def _known(self, program: str) -> str:
        if not _PROGRAM.fullmatch(program) or not summary(self._tables, program):
            raise HTTPException(404, "No quality report of such a program.")
        return program

    def _program(self, request: Request) -> Response:
        program = self._known(request.path_params["program"])
        return HTMLResponse(summary_page(self._tables, program), headers=_HEADERS)

    def _program_json(self, request: Request) -> Response:
        program = self._known(f"{request.path_params['program']:05d}")
        said = {"stages": summary(self._tables, program), "refused": refused_files(self._tables, program)}
        return _json({"program": program, **said, "history": history(self._tables, program)})

    def _lineage(self, request: Request) -> Response:
        name = request.path_params["name"]
        try:
            steps = lineage(self._tables, name)
        except BadInputError as error:
            raise HTTPException(404, f"{error}.") from error
        return HTMLResponse(lineage_page(name, steps), headers=_HEADERS)

    def _how_it_runs(self, request: Request) -> Response:
        if self._operations is None:
            raise HTTPException(404, "Operations are shown where Dagster runs: hwosim dev, hwosim reports.")
        found = self._operations()
        if request.url.path.endswith(".json"):
            return _json(found)
        return HTMLResponse(operations_page(found), headers=_HEADERS)

    def _drift(self, _request: Request) -> Response:
        return HTMLResponse(fleet_pages.drift_page(self._followed()), headers=_HEADERS)

    def _drift_json(self, _request: Request) -> Response:
        return _json({"series": [one.as_document() for one in self._followed()]})

    def _report(self, request: Request) -> Response:
        key = request.path_params["key"]
        named = _REPORT.fullmatch(key)
        if named is None:
            raise HTTPException(404, "No such page.")
        try:
            if named.group(1) == "html":
                return HTMLResponse(report_page(self._lake, self._tables, key), headers=_HEADERS)
            return Response(self._lake.read(key), media_type="application/json", headers=_HEADERS)
        except NotStoredError as error:
            raise HTTPException(404, "No such report.") from error

    def _metrics(self, _request: Request) -> Response:
        """Answer Prometheus; the stream is watched from the first question on."""
        self._live.start()
        return Response(metrics_text(self._live.snapshot(), self._lags), media_type=CONTENT_TYPE)

    def _picture(self, _request: Request) -> Response:
        content = self._live.picture
        if not content:
            raise HTTPException(404, "No frame has come yet.")
        return Response(content, media_type="image/png", headers={**_HEADERS, "Cache-Control": "no-store"})

    async def _events(self, request: Request) -> Response:
        self._live.start()

        async def tell() -> AsyncIterator[str]:
            while not self._server.should_exit and not await request.is_disconnected():
                yield f"data: {json.dumps(self._live.snapshot())}\n\n"
                await asyncio.sleep(1.0)

        return StreamingResponse(
            tell(), media_type="text/event-stream", headers={**_HEADERS, "Cache-Control": "no-store"}
        )


def _listen(host: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen()  # from here on requests wait, so that nobody finds the door closed
    except OSError as error:
        listener.close()
        raise BackendAbsentError(
            f"report server {host}:{port}",
            f"cannot listen ({error.strerror})",
            "set HWOSIM_REPORT_URL to a free port, and --host to an address of this machine",
        ) from error
    return listener


def _json(document: dict[str, Any]) -> Response:
    """Return rows as JSON; moments become text, and nothing else is there that JSON does not know."""
    text = json.dumps(document, default=str, ensure_ascii=False, allow_nan=False)
    return Response(text, media_type="application/json", headers=_HEADERS)


def _refused(_request: Request, error: Exception) -> Response:
    status, detail = (error.status_code, error.detail) if isinstance(error, HTTPException) else (500, "Failed.")
    return HTMLResponse(_said("Not found" if status == 404 else "Refused", detail), status, headers=_HEADERS)


def _trouble(_request: Request, error: Exception) -> Response:
    return HTMLResponse(_said("The lake does not answer", str(error)), 503, headers=_HEADERS)


def _said(title: str, text: str) -> str:
    return markup.document(title, markup.block("h1", title), markup.block("p", text), markup.link("/", "All programs"))
