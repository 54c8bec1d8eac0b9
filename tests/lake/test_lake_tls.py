"""A store with a certificate of its own: every way to it believes what SSL_CERT_FILE names."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from hwosim_assets.errors import BackendAbsentError
from hwosim_assets.lake.store import Lake

NO_UPLOADS = b'<ListMultipartUploadsResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"/>'


class _Store(BaseHTTPRequestHandler):
    """A store with no uploads, in which every object is empty."""

    def do_HEAD(self) -> None:
        self._answer(b"")

    def do_GET(self) -> None:
        self._answer(NO_UPLOADS)

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Last-Modified", "Sat, 21 Nov 2026 22:00:00 GMT")
        self.send_header("ETag", '"a"')
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_given: object) -> None:
        """Say nothing."""


@pytest.fixture
def secure_lake(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lake]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with ThreadingHTTPServer(("127.0.0.1", 0), _Store) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"https://localhost:{server.server_port}")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "hwosim")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-a-secret")
        monkeypatch.delenv("AWS_CA_BUNDLE", raising=False)
        yield Lake("s3://bucket/lake")
        server.shutdown()
        thread.join()


def test_a_certificate_that_ssl_cert_file_names_is_believed(
    secure_lake: Lake, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    stored = secure_lake.head("a")  # through obstore
    assert stored is not None
    assert secure_lake.sweep() == 0  # through boto3


def test_a_certificate_that_nobody_vouches_for_is_not(secure_lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    for ask in (lambda: secure_lake.head("a"), secure_lake.sweep):
        with pytest.raises(BackendAbsentError, match="certificate"):
            ask()
