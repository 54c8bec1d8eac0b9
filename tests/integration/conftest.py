"""What the integration tests share: a sample archive, one `hwosim dev` session, a browser, an S3 store."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import s3mock
import screens
from dev_session import FIRST, DevSession
from programs import tool


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    """Print a figure past pytest's capture."""

    def print_now(text: str) -> None:
        with capsys.disabled():
            click.echo(f"\n    {text}")

    return print_now


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a generated archive: three programs, every kind of product."""
    from hwosim_assets.archive.sample import write_sample

    root = tmp_path_factory.mktemp("sample")
    write_sample(root)
    return root


@pytest.fixture(scope="session")
def dev(sample: Path) -> Iterator[DevSession]:
    """Yield a running `hwosim dev`; sensors on, as they are by default.

    Its archive holds a part of the sample; all of it where the pictures of the documentation are made.
    """
    # The folder's name is seen on the pages.
    with tempfile.TemporaryDirectory(prefix="hwosim-") as folder:
        session = DevSession(Path(folder))
        for name in FIRST if screens.FOLDER is None else sorted(path.name for path in sample.rglob("*.fits")):
            session.drop(sample, name)
        try:
            session.start()
            yield session
        finally:
            session.kill()


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Yield Chromium, headless, talking to nobody of its own accord."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = tool("chromium")
    options = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=program, args=[*options.split(), "--disable-component-update", "--disable-sync"]
        )
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield the address of a running S3 store."""
    with s3mock.serving(tmp_path_factory.mktemp("s3mock")) as address:
        yield address


@pytest.fixture
def bucket(s3_server: str, state: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Point the AWS environment at the S3 store and return the URI of a bucket of its own."""
    for name, value in {
        "AWS_ENDPOINT_URL": s3_server,
        "AWS_ACCESS_KEY_ID": "hwosim",
        "AWS_SECRET_ACCESS_KEY": "not-a-secret",
        "AWS_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    import boto3

    name = f"hwosim-{uuid.uuid4().hex[:12]}"
    boto3.client("s3").create_bucket(Bucket=name)
    return f"s3://{name}"
