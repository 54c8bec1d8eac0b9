"""What the integration tests share: a sample archive, one `hwosim dev` session, a browser."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest
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
