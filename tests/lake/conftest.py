"""A lake on either store: a folder, and S3 served by moto inside the test process."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from hwosim_assets.lake.store import Lake
from hwosim_assets.lake.tables import Tables


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """Serve S3 on loopback; memory only, any credentials accepted."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3_uri(s3_endpoint: str, state: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Point the AWS environment at the server and return the URI of a fresh bucket."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "hwosim")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-a-secret")
    import boto3

    bucket = f"hwosim-{uuid.uuid4().hex[:12]}"
    boto3.client("s3", region_name="us-east-1").create_bucket(Bucket=bucket)
    return f"s3://{bucket}/lake"


@pytest.fixture(params=["file", "s3"])
def lake_uri(request: pytest.FixtureRequest, state: Path) -> str:
    """Return the root of an empty lake, once a folder with an awkward name, once a bucket."""
    if request.param == "s3":
        return str(request.getfixturevalue("s3_uri"))
    return (state / "the lake %20").as_uri()


@pytest.fixture
def lake(lake_uri: str) -> Lake:
    return Lake(lake_uri)


@pytest.fixture
def tables(lake_uri: str, state: Path) -> Tables:
    return Tables(f"sqlite:///{state / 'catalog.db'}", lake_uri + "/tables")
