"""A schema registry in this process: the part of Confluent's protocol that ours uses, with real compatibility rules.

None that could be installed without a container was found in the package registries. What is compatible is decided by
Apache's own Avro library, not by the code under test.
"""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

import avro.compatibility
import avro.schema

FIRST_ID = 1


def understands(reader: dict[str, Any], writer: dict[str, Any]) -> bool:
    """Whether Apache's library says that a reader's schema reads what a writer's wrote."""
    read, written = (avro.schema.parse(json.dumps(each)) for each in (reader, writer))
    result = avro.compatibility.ReaderWriterCompatibilityChecker().get_compatibility(read, written)
    return result.compatibility is avro.compatibility.SchemaCompatibilityType.compatible


class RegistryServer:
    """What it was told: schemas by number, versions and level by subject, and what was asked."""

    def __init__(self, password: str = "") -> None:
        self.password = password
        self.schemas: dict[int, str] = {}
        self.subjects: dict[str, list[int]] = {}
        self.levels: dict[str, str] = {}
        self.asked: list[str] = []
        self.url = ""

    def add(self, subject: str, text: str) -> int:
        """Register a schema without asking whether it fits."""
        number = next((each for each, known in self.schemas.items() if known == text), FIRST_ID + len(self.schemas))
        self.schemas[number] = text
        self.subjects.setdefault(subject, []).append(number)
        return number

    def fits(self, subject: str, text: str) -> bool:
        before = [json.loads(self.schemas[number]) for number in self.subjects.get(subject, [])]
        new = json.loads(text)
        if self.levels.get(subject) == "FULL_TRANSITIVE":
            return all(understands(new, old) and understands(old, new) for old in before)
        return not before or understands(new, before[-1])  # BACKWARD, a registry's own default

    def answer(self, method: str, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        self.asked.append(f"{method} {path}")
        if found := re.fullmatch(r"/schemas/ids/(\d+)", path):
            text = self.schemas.get(int(found[1]))
            return (404, error(40403)) if text is None else (200, {"schema": text})
        if path == "/subjects":
            return 200, list(self.subjects)
        if found := re.fullmatch(r"/config/(.+)", path):
            self.levels[unquote(found[1])] = body["compatibility"]
            return 200, body
        found = re.fullmatch(r"/subjects/([^/]+)(/versions)?", path)
        assert found is not None, path
        subject, text = unquote(found[1]), body["schema"]
        numbers = self.subjects.get(subject, [])
        there = next((number for number in numbers if self.schemas[number] == text), None)
        if there is None and found[2] is None:
            return 404, error(40403 if numbers else 40401)
        if there is None and not self.fits(subject, text):
            return 409, {"error_code": 409, "message": f"Schema being registered is incompatible: {subject}"}
        number = there or self.add(subject, text)
        return 200, {
            "subject": subject,
            "id": number,
            "version": 1 + self.subjects[subject].index(number),
            "schema": text,
        }


def error(code: int) -> dict[str, Any]:
    return {"error_code": code, "message": "not found"}


@contextmanager
def registry_server(password: str = "") -> Iterator[RegistryServer]:
    """Serve a registry on a port of this machine while the block runs; a password is that of the user ``hwosim``."""
    state = RegistryServer(password)

    class Handler(BaseHTTPRequestHandler):
        def _reply(self) -> None:
            size = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(size)) if size else {}
            wanted = "Basic " + base64.b64encode(f"hwosim:{state.password}".encode()).decode()
            if state.password and self.headers.get("Authorization") != wanted:
                status, said = 401, {"error_code": 401, "message": "Unauthorized"}
            else:
                status, said = state.answer(self.command, urlsplit(self.path).path, body)
            content = json.dumps(said).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = _reply  # noqa: N815 - names of the library

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
