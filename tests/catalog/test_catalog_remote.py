"""Headers of remote objects: what travels is counted where it travels, at the store's own door."""

from __future__ import annotations

import gzip
import io
import logging
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st
from werkzeug.wrappers import Request

from hwosim_assets.catalog.remote import opened, opened_object
from hwosim_assets.errors import BadInputError, HwosimError
from hwosim_assets.fits.cards import read_cards
from hwosim_assets.fits.ranged import Part, RangedFile
from hwosim_assets.lake.store import Lake
from hwosim_assets.settings import Settings


@pytest.fixture(scope="module")
def s3() -> Iterator[tuple[str, list[tuple[str, str, int]]]]:
    """Serve S3 on loopback; note method, path and answered bytes of every request."""
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    seen: list[tuple[str, str, int]] = []
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    door = pytest.MonkeyPatch()
    answered = DomainDispatcherApplication.__call__

    def counted(self: Any, environ: dict[str, Any], start_response: Any) -> Any:
        answer = b"".join(answered(self, environ, start_response))
        request = Request(environ)
        seen.append((request.method, request.path, len(answer)))
        return [answer]

    door.setattr(DomainDispatcherApplication, "__call__", counted)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}", seen
    server.stop()
    door.undo()


@pytest.fixture
def bucket(s3: tuple[str, Any], state: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    import boto3

    for name, value in {
        "AWS_ENDPOINT_URL": s3[0],
        "AWS_ACCESS_KEY_ID": "hwosim",
        "AWS_SECRET_ACCESS_KEY": "not-a-secret",
        "AWS_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    boto3.client("s3", region_name="us-east-1").create_bucket(Bucket="flight")
    return "s3://flight"


def exposure(planes: int, side: int, cards: int) -> bytes:
    """Return a file with a primary header of many cards and some planes of ``side`` × ``side`` float32."""
    primary = fits.PrimaryHDU()
    for number in range(cards):
        primary.header[f"KEY{number:05}"] = (number, "a card")
    buffer = io.BytesIO()
    images = [fits.ImageHDU(np.zeros((side, side), np.float32), name=f"P{n}") for n in range(planes)]
    fits.HDUList([primary, *images]).writeto(buffer)
    return buffer.getvalue()


@pytest.mark.parametrize(("planes", "side", "cards"), [(5, 1100, 400), (9, 800, 350), (30, 450, 300)])
def test_little_travels_from_a_large_object(
    bucket: str, s3: tuple[str, list[tuple[str, str, int]]], planes: int, side: int, cards: int
) -> None:
    content = exposure(planes, side, cards)
    assert len(content) > 20e6
    lake = Lake(bucket)
    key = f"large-{planes}.fits"
    lake.write_new(key, content)
    s3[1].clear()
    file = opened_object(lake, key)
    found = list(read_cards(file.stream, key))
    assert found == list(read_cards(content, key))
    asked = [size for method, path, size in s3[1] if path.endswith(key)]
    assert len(asked) <= planes + 1 + 2
    assert sum(asked) <= 0.02 * len(content)
    assert file.cost == {"requests": len(asked), "bytes": sum(asked), "size": len(content)}


def test_a_gzip_object_is_streamed(bucket: str) -> None:
    content = gzip.compress(exposure(3, 300, 40), compresslevel=1)
    lake = Lake(bucket)
    lake.write_new("x.fits.gz", content)
    with opened(f"{bucket}/x.fits.gz", Settings()) as file:
        assert list(read_cards(file.stream, "x")) == list(read_cards(content, "x"))


def test_an_object_that_is_empty_or_absent_is_told(bucket: str) -> None:
    Lake(bucket).write_new("empty.fits", b"")
    with pytest.raises(HwosimError, match="is empty"), opened(f"{bucket}/empty.fits", Settings()) as file:
        list(read_cards(file.stream, "empty"))
    with pytest.raises(HwosimError, match=r"none\.fits"), opened(f"{bucket}/none.fits", Settings()):
        pass


def test_an_object_that_changes_while_it_is_read_is_told(bucket: str, s3: tuple[str, Any]) -> None:
    import boto3

    lake = Lake(bucket)
    lake.write_new("moving.fits", exposure(3, 300, 40))
    file = opened_object(lake, "moving.fits")
    client = boto3.client("s3", region_name="us-east-1")
    client.put_object(Bucket="flight", Key="moving.fits", Body=exposure(4, 300, 40))
    with pytest.raises(HwosimError, match="changed while it was read"):
        list(read_cards(file.stream, "moving.fits"))


@pytest.mark.parametrize(
    "address",
    ["http://me:hidden@127.0.0.1:99999/x.fits", "http://me:hid/den@h:1/x.fits", "https://me:hidden@[::1/x.fits"],
)
def test_an_address_that_is_no_url_is_told_without_its_password(address: str, state: Path) -> None:
    with pytest.raises(BadInputError, match="is not a URL; give") as told, opened(address, Settings()):
        pass
    assert "hid" not in "".join(traceback.format_exception(told.value))


def test_the_archive_gives_headers_by_range(tmp_path: Path, state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from hwosim_assets.archive.server import LocalArchive

    name = "jw01093012001_03102_00001_nis_cal.fits"
    root = tmp_path / "archive"
    root.mkdir()
    content = exposure(4, 400, 40)
    (root / name).write_bytes(content)
    with LocalArchive(root) as archive:
        monkeypatch.setenv("HWOSIM_ARCHIVE_URL", archive.url)
        address = f"mast:JWST/product/{name}"
        for given_address in (address, f"{archive.url}/api/v0.1/Download/file?uri={address}"):
            with opened(given_address, Settings()) as file:
                assert list(read_cards(file.stream, name)) == list(read_cards(content, name))
                assert file.cost["requests"] is not None
                assert file.cost["requests"] <= 7
                assert file.cost["bytes"] is not None
                assert file.cost["bytes"] < len(content) / 10


@settings(max_examples=60, deadline=None)
@given(
    st.binary(max_size=400_000).map(lambda seed: (seed * 40)[:1_000_000]),
    st.lists(st.tuples(st.integers(0, 1_000_000), st.integers(0, 200_000)), max_size=12),
)
def test_a_ranged_file_reads_like_a_file(content: bytes, reads: list[tuple[int, int]]) -> None:
    ranged = RangedFile("x", lambda start, length, _: Part(content[start : start + length], len(content), "e"))
    plain = io.BytesIO(content)
    for position, length in reads:
        assert ranged.seek(position) == plain.seek(position)
        assert ranged.read(length) == plain.read(length)
        assert ranged.read(100) == plain.read(100)
    assert ranged.seek(-1, io.SEEK_END) == max(0, len(content) - 1)
