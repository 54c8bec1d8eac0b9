"""One sample archive for all tests of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from hwosim_assets.archive.sample import SampleSummary, write_sample


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> SampleSummary:
    """Return the default sample, written once."""
    return write_sample(Path(tmp_path_factory.mktemp("sample")))
