"""A MAST-compatible archive over a folder of FITS files, on the loopback interface.

Holds: :class:`LocalArchive` and its HTTP endpoints: those that astroquery calls, downloads with
ranges, and two pages of our own (the programs with their fingerprints, the files that cannot be
read). Keep out what is answered: ``portal``, ``mission``, ``columns``; and what lies in the folder:
``folder``.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar
from urllib.parse import parse_qs

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from hwosim_assets.archive import mission, portal
from hwosim_assets.archive.caom import ArchivedFile, data_uri
from hwosim_assets.archive.columns import columns_config, mission_column_list
from hwosim_assets.archive.folder import Folder, Index
from hwosim_assets.archive.hostile import Faults, Hostile
from hwosim_assets.errors import BackendAbsentError
from hwosim_assets.fits.names import parse_name

__all__ = ["LocalArchive"]

T = TypeVar("T")
#: The longest question, in bytes; astroquery's longest (a thousand file sets) has about 50 kB.
LONGEST_QUESTION = 4 * 1024 * 1024
START_SECONDS = 10.0
URI_PREFIX = data_uri("")


class LocalArchive:
    """The archive of one folder; serves from its construction until :meth:`close`.

    Parameters
    ----------
    root : Path
        Folder of FITS files, at any depth.
    port : int
        TCP port; 0 for any free one.
    host : str
        Address to listen at; other machines reach it only if this is not a loopback address.
    exclusive : sequence of str
        File name patterns of exclusive-access files.
    token : str or None
        The token that may read them; without one nobody may.
    folder : Folder or None
        An opened folder, in place of ``root`` and ``exclusive``.
    faults : Faults or None
        What goes wrong, if it is to be hostile.

    Attributes
    ----------
    url : str
        Root URL, what ``HWOSIM_ARCHIVE_URL`` is set to.
    folder : Folder
        What is served.

    Raises
    ------
    BadInputError
        When ``root`` is not a folder.
    BackendAbsentError
        When the port cannot be used.
    """

    def __init__(
        self,
        root: Path,
        port: int = 0,
        *,
        host: str = "127.0.0.1",
        exclusive: Sequence[str] = (),
        token: str | None = None,
        folder: Folder | None = None,
        faults: Faults | None = None,
    ) -> None:
        self.folder = folder or Folder(root, exclusive=exclusive)
        self._token = token
        self._digests: dict[str, tuple[str, str]] = {}
        self._socket = _listen(host, port)
        bound_host, bound_port = self._socket.getsockname()[:2]
        self.url = f"http://{bound_host}:{bound_port}"
        application: Any = self._application()
        if faults is not None and faults.any():
            application = Hostile(application, faults)
        config = uvicorn.Config(
            application, log_level="warning", access_log=False, lifespan="off", timeout_graceful_shutdown=1
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._socket]}, name="local-archive", daemon=True
        )
        self._thread.start()
        self._await_start()

    def _await_start(self) -> None:
        until = time.monotonic() + START_SECONDS
        while not self._server.started:
            if time.monotonic() > until or not self._thread.is_alive():
                raise BackendAbsentError(f"local archive {self.url}", "did not start", "try another port")
            time.sleep(0.005)

    def serve_forever(self) -> None:
        """Wait until :meth:`close` is called from elsewhere or the keyboard interrupts."""
        while self._thread.is_alive():
            self._thread.join(0.5)

    def close(self) -> None:
        """Stop serving; connections that are being served get one second."""
        self._server.should_exit = True
        self._thread.join(START_SECONDS)
        self._socket.close()

    def __enter__(self) -> LocalArchive:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _application(self) -> Starlette:
        mission_root = "/search/jwst/api/v0.1"
        routes = [
            Route("/api/v0/invoke", self._invoke, methods=["GET", "POST"]),
            Route("/portal/Mashup/Mashup.asmx/columnsconfig", self._columns, methods=["GET", "POST"]),
            Route("/api/v0.1/Download/file", self._download),
            Route("/api/v0.1/path_lookup/", self._path_lookup),
            Route(f"{mission_root}/search", self._search, methods=["POST"]),
            Route(f"{mission_root}/list_products", self._list_products, methods=["GET"]),
            Route(f"{mission_root}/post_list_products", self._list_products, methods=["POST"]),
            Route(f"{mission_root}/retrieve_product", self._retrieve),
            Route("/search/util/api/v0.1/column_list", self._column_list),
            Route("/whoami", self._whoami),
            Route("/hwosim/v1/programs", self._programs),
            Route("/hwosim/v1/skipped", self._skipped),
        ]
        return Starlette(routes=routes, exception_handlers={OSError: _folder_gone})

    async def _answer(self, question: Callable[[Index], T]) -> T:
        """Ask the folder in a thread; looking at it may take a while."""
        return await run_in_threadpool(lambda: question(self.folder.index()))

    async def _invoke(self, request: Request) -> Response:
        asked = (await _form(request)).get("request", "")
        return JSONResponse(await self._answer(lambda index: portal.invoke(index.listing, asked)))

    async def _columns(self, request: Request) -> Response:
        return JSONResponse(columns_config((await _form(request)).get("colConfigId", "")))

    async def _search(self, request: Request) -> Response:
        asked = await _json(request)
        try:
            return JSONResponse(await self._answer(lambda index: mission.search(index.listing, asked)))
        except mission.MissionQuestionError as refused:
            return JSONResponse({"detail": str(refused)}, status_code=400)

    async def _list_products(self, request: Request) -> Response:
        if request.method == "POST":
            asked = (await _json(request)).get("dataset_ids")
        else:
            asked = request.query_params.getlist("dataset_ids")
        names = [str(name) for name in asked] if isinstance(asked, list) else str(asked or "").split(",")
        return JSONResponse(await self._answer(lambda index: mission.list_products(index.listing, names)))

    async def _column_list(self, request: Request) -> Response:
        if request.query_params.get("mission") != "jwst":
            raise HTTPException(404, "only the mission jwst is here")
        return JSONResponse(mission_column_list())

    async def _path_lookup(self, request: Request) -> Response:
        def look_up(index: Index) -> dict[str, dict[str, Any]]:
            found = {}
            for uri in request.query_params.getlist("uri"):
                file = index.files.get(uri.removeprefix(URI_PREFIX)) if uri.startswith(URI_PREFIX) else None
                found[uri] = {"status_code": 200 if file else 404, "path": _mirror_path(file.name) if file else None}
            return found

        return JSONResponse(await self._answer(look_up))

    async def _whoami(self, request: Request) -> Response:
        known = self._authorized(request)
        names = {"display_name": "holder of the token"} if known else {}
        return JSONResponse({"anon": not known, "eppn": "", "ezid": "", "attrib": names})

    async def _programs(self, request: Request) -> Response:
        def list_programs(index: Index) -> dict[str, dict[str, Any]]:
            return {key: asdict(state) for key, state in index.listing.programs.items()}

        return JSONResponse(await self._answer(list_programs))

    async def _skipped(self, request: Request) -> Response:
        return JSONResponse(await self._answer(lambda index: [asdict(item) for item in index.skipped]))

    async def _download(self, request: Request) -> Response:
        uri = request.query_params.get("uri", "")
        if not uri.startswith(URI_PREFIX):
            raise HTTPException(404, f"no such URI; they begin with {URI_PREFIX}")
        return await self._send_file(request, uri.removeprefix(URI_PREFIX))

    async def _retrieve(self, request: Request) -> Response:
        return await self._send_file(request, request.query_params.get("product_name", "").split("/")[-1])

    async def _send_file(self, request: Request, name: str) -> Response:
        """Send a file by its name in the index; no path is ever made of what was asked."""
        file = await self._answer(lambda index: index.files.get(name))
        if file is None:
            raise HTTPException(404, "no such file")
        if file.exclusive and not self._authorized(request):
            raise HTTPException(401, "exclusive access", headers={"WWW-Authenticate": "token"})
        if not self.folder.is_inside(file.path):
            raise HTTPException(404, "no such file")
        try:
            state = file.path.stat()
        except OSError as problem:
            raise HTTPException(404, "no such file") from problem
        etag = f'"{state.st_size:x}-{state.st_mtime_ns:x}"'
        headers = {"ETag": etag, "Vary": "Authorization"}
        if "sha-256" in request.headers.get("want-repr-digest", ""):
            headers["Repr-Digest"] = f"sha-256=:{await run_in_threadpool(self._digest, file, etag)}:"
        return _WholeFile(
            file.path, headers=headers, media_type="application/fits", filename=file.name, stat_result=state
        )

    def _digest(self, file: ArchivedFile, etag: str) -> str:
        """Return the SHA-256 of a file, base64; read once for each state of the file."""
        known_etag, digest = self._digests.get(file.name, ("", ""))
        if known_etag != etag:
            with file.path.open("rb") as stream:
                digest = base64.b64encode(hashlib.file_digest(stream, "sha256").digest()).decode()
            self._digests[file.name] = (etag, digest)
        return digest

    def _authorized(self, request: Request) -> bool:
        """Tell whether a request carries the token, as a header or as astroquery's cookie."""
        given = request.headers.get("authorization", "").removeprefix("token ") or request.cookies.get("mast_token", "")
        return bool(self._token) and hmac.compare_digest(given.encode(), (self._token or "").encode())


def _listen(host: str, port: int) -> socket.socket:
    """Bind before serving, so that the address is known at once."""
    try:
        return socket.create_server((host, port), backlog=128)
    except (OSError, OverflowError) as problem:
        raise BackendAbsentError(
            f"address {host}:{port}", f"cannot be listened at ({problem})", "name another port, or 0 for any free one"
        ) from problem


class _WholeFile(FileResponse):
    """A file sent in pieces that keep the disk and the network busy; each piece costs a change of thread."""

    chunk_size = 1024 * 1024


async def _folder_gone(request: Request, problem: Exception) -> Response:
    return JSONResponse({"detail": f"the archive's folder cannot be read ({problem})"}, status_code=503)


async def _body(request: Request) -> bytes:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > LONGEST_QUESTION:
            raise HTTPException(413, f"the request exceeds {LONGEST_QUESTION} bytes")
    return body


async def _form(request: Request) -> dict[str, str]:
    """Return the form fields of a request; of a GET request its query."""
    text = (await _body(request)).decode("utf-8", "replace") or request.url.query
    return {name: values[-1] for name, values in parse_qs(text).items()}


async def _json(request: Request) -> dict[str, Any]:
    try:
        value = json.loads(await _body(request))
    except (ValueError, RecursionError) as problem:  # JSON within JSON, thousands deep
        raise HTTPException(400, "the request is not JSON") from problem
    if not isinstance(value, dict):
        raise HTTPException(400, "the request is not a JSON object")
    return value


def _mirror_path(name: str) -> str:
    """Return where a file lies in MAST's public mirror: by program and visit, stage 3 by association."""
    parsed = parse_name(name)
    if parsed is None:
        return f"/jwst/public/{name}"
    program = f"/jwst/public/jw{parsed.program}"
    if parsed.stage == "stage3":
        return f"{program}/L3/t/{parsed.ac_id}/{name}"
    return f"{program}/jw{parsed.program}{parsed.observation}{parsed.visit}/{name}"
