"""What commands print can be read by machines."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from hwosim_assets.console import print_json


def test_json_has_no_word_that_json_does_not_know(capsys: pytest.CaptureFixture[str]) -> None:
    value = {
        "s_ra": float("nan"),
        "rows": [{"t_exptime": float("inf")}, (1.5, -float("inf"))],
        "path": Path("a/b.fits"),
        "at": datetime(2026, 1, 1, tzinfo=UTC),
        "name": "tëst",
        "well": True,
    }
    print_json(value)

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is not JSON")

    assert json.loads(capsys.readouterr().out, parse_constant=refuse) == {
        "s_ra": None,
        "rows": [{"t_exptime": None}, [1.5, None]],
        "path": "a/b.fits",
        "at": "2026-01-01 00:00:00+00:00",
        "name": "tëst",
        "well": True,
    }
