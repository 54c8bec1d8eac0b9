"""What every test may use: an empty state folder, the real data where it is present."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REAL_DATA = Path(os.environ.get("HWOSIM_REAL_DATA") or Path(__file__).parents[1] / ".." / "shared" / "data").resolve()


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Point every setting at a fresh folder, so that a test finds nothing of another."""
    for name in [name for name in os.environ if name.startswith(("HWOSIM_", "AWS_"))]:
        monkeypatch.delenv(name)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    return home


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Return the folder of real files, or skip: it may be absent on a user's machine."""
    if not REAL_DATA.is_dir():
        pytest.skip(f"no real files at {REAL_DATA} (set HWOSIM_REAL_DATA)")
    return REAL_DATA
