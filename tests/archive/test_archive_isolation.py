"""Nothing but the configured archive is contacted, and astroquery elsewhere is left as it was."""

from __future__ import annotations

import ssl
import subprocess
import sys
from pathlib import Path

import pytest

from hwosim_assets.archive.server import LocalArchive
from hwosim_assets.archive.wire import trusted

GUARDED = """
import os, socket, sys
allowed = int(sys.argv[1].rpartition(":")[2])
connect = socket.socket.connect
def guarded(self, address):
    if self.family != socket.AF_UNIX and tuple(address[:2]) != ("127.0.0.1", allowed):
        raise AssertionError(f"contacts {address}")
    return connect(self, address)
socket.socket.connect = guarded
def no_names(host, *more, **named):
    if host != "127.0.0.1":
        raise AssertionError(f"resolves {host}")
    return resolve(host, *more, **named)
resolve, socket.getaddrinfo = socket.getaddrinfo, no_names

from hwosim_assets.archive.client import ArchiveClient
assert "astroquery" not in sys.modules and "astropy" not in sys.modules
from astroquery.mast import Observations, conf
before = (conf.server, Observations._portal_api_connection.MAST_REQUEST_URL)
with ArchiveClient(sys.argv[1], timeout=20) as client:
    rows = client.observations(program=2107, cone=(49.93, -19.40, 0.1))
    assert len(rows) == 2
    products = client.products(rows)
    assert len(client.mission_search(program=2107)) == 2
    with client.open(products[0]["dataURI"]) as stream:
        assert sum(map(len, stream.chunks)) == products[0]["size"]
assert (conf.server, Observations._portal_api_connection.MAST_REQUEST_URL) == before == (
    "https://mast.stsci.edu", "https://mast.stsci.edu/api/v0/invoke")
assert Observations._portal_api_connection._column_configs == {}
for name in ("http_proxy", "https_proxy", "all_proxy"):
    del os.environ[name]
try:
    Observations.query_criteria(obs_collection="JWST")
except Exception as error:
    assert "resolves mast.stsci.edu" in str(error), error
else:
    raise SystemExit("the guard does not guard")
print("alone")
"""


def test_only_the_archive_is_contacted(archive: LocalArchive) -> None:
    """In a process of its own, where every other connection and name look-up raises; proxies are not used either."""
    environment = {
        "http_proxy": "http://127.0.0.1:9",
        "https_proxy": "http://127.0.0.1:9",
        "all_proxy": "http://127.0.0.1:9",
    }
    command = [sys.executable, "-W", "ignore", "-c", GUARDED, archive.url]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "alone"


def test_two_archives_do_not_mix(archive: LocalArchive) -> None:
    from archive_material import recorded_mast

    from hwosim_assets.archive.client import ArchiveClient

    def other(path: str, asked: dict[str, object]) -> object:
        if path.endswith("columnsconfig"):
            return {name: {"vot.datatype": "char"} for name in ("obs_collection", "proposal_id")}
        fields = [{"name": "obsid", "type": "string"}, {"name": "obs_id", "type": "string"}]
        return {"status": "COMPLETE", "data": [{"obsid": 7, "obs_id": "other"}], "fields": fields}

    with recorded_mast(other) as url, ArchiveClient(url) as there, ArchiveClient(archive.url) as here:
        for _ in range(2):
            assert [row["obs_id"] for row in there.observations(program=2107)] == ["other"]
            assert len(here.observations(program=2107, calib_level=1)) == 1


@pytest.mark.parametrize("named", ["", "SSL_CERT_DIR", "SSL_CERT_FILE"])
def test_the_certificates_that_are_believed(
    certificate: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, named: str
) -> None:
    for name in ("SSL_CERT_DIR", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)
    if named:
        (tmp_path / "folder").mkdir()
        monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "folder"))
    if named == "SSL_CERT_FILE":
        monkeypatch.setenv(named, str(certificate))
    context = trusted()
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    # those of a folder are read when one is asked for
    many = context.cert_store_stats()["x509"]
    assert many > 50 if not named else many == (1 if named == "SSL_CERT_FILE" else 0)


def test_a_second_client_is_not_imported_for_an_archive_with_tls() -> None:
    code = (
        "import sys; from hwosim_assets.archive.transport import Transport; Transport('https://mast.example').close();"
        "print([name for name in ('httpx', 'requests') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
