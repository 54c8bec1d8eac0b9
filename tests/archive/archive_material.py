"""Small JWST-like files, and servers that misbehave in known ways."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import numpy as np
from astropy.io import fits


def write_product(folder: Path, name: str, **cards: object) -> Path:
    """Write a small JWST-like file; cards of the primary header may be given, `s_region` goes to SCI."""
    primary = fits.PrimaryHDU()
    header: dict[str, object] = {
        "TELESCOP": "JWST",
        "INSTRUME": "NIRCAM",
        "DETECTOR": "NRCA1",
        "EXP_TYPE": "NRC_IMAGE",
        "FILTER": "F150W",
        "PUPIL": "CLEAR",
        "TARGNAME": "M-4",
        "TARGPROP": "M-4",
        "TARG_RA": 245.93,
        "TARG_DEC": -26.45,
        "TARGTYPE": "FIXED",
        "PI_NAME": "Bedin, Luigi R.",
        "TITLE": "White dwarfs",
        "CATEGORY": "GO",
        "CAL_VER": "1.18.0",
        "DATE-OBS": "2023-04-09",
        "TIME-OBS": "20:36:40.864",
        "EXPSTART": 60043.85,
        "EXPEND": 60043.86,
        "EFFEXPTM": 515.365,
        "DURATION": 515.365,
    }
    header.update({key.replace("_", "-") if key == "DATE_OBS" else key: value for key, value in cards.items()})
    region = header.pop("s_region", "POLYGON ICRS 245.96 -26.42 245.92 -26.40 245.90 -26.44 245.94 -26.45")
    primary.header.update(header)
    image = fits.ImageHDU(np.arange(600, dtype=np.float32).reshape(20, 30), name="SCI")
    image.header["BUNIT"] = "MJy/sr"
    image.header["S_REGION"] = region
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    fits.HDUList([primary, image]).writeto(path)
    return path


@contextmanager
def bare_server(talk: Callable[[socket.socket, int], None]) -> Iterator[tuple[str, list[int]]]:
    """Serve with raw sockets: `talk` gets each connection and its number; yields URL and the numbers seen."""
    listener = socket.create_server(("127.0.0.1", 0))
    seen: list[int] = []

    def handle(connection: socket.socket, number: int) -> None:
        with closing(connection):
            try:
                talk(connection, number)
            except OSError:
                return  # the client hung up, which is what most of these tests are about

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            seen.append(len(seen))
            threading.Thread(target=handle, args=(connection, seen[-1]), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", seen
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)


def read_request(connection: socket.socket) -> bytes:
    """Read a request to the end of its headers, and its body where its length is told."""
    data = b""
    while b"\r\n\r\n" not in data:
        chunk = connection.recv(65536)
        if not chunk:
            return data
        data += chunk
    head, _, body = data.partition(b"\r\n\r\n")
    length = next(
        (int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")), 0
    )
    while len(body) < length:
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


def drip(connection: socket.socket, seconds: float, every: float = 0.05) -> None:
    """Send a byte now and then."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        connection.sendall(b" ")
        time.sleep(every)


@contextmanager
def recorded_mast(answers: Callable[[str, dict[str, Any]], object]) -> Iterator[str]:
    """Serve replies to portal and mission requests: `answers(path, request)` returns JSON, or None for 404."""

    class Handler(BaseHTTPRequestHandler):
        def _send(self, asked: dict[str, Any]) -> None:
            answer = answers(self.path.split("?")[0], asked)
            body = b"<html>not here</html>" if answer is None else json.dumps(answer).encode()
            self.send_response(404 if answer is None else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self) -> None:
            self._send({})

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            if body.startswith("{"):
                self._send(json.loads(body))
                return
            form = {name: values[0] for name, values in parse_qs(body).items()}
            self._send(json.loads(form["request"]) if "request" in form else form)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
