"""Environments with the same settings otherwise share nothing: lake, tables, topics."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from hwosim_assets.lake.awaited import AWAITED
from hwosim_assets.lake.store import Lake
from hwosim_assets.lake.tables import Tables
from hwosim_assets.settings import Settings

ENVIRONMENTS = ("dev", "test", "shadow", "ops")


@pytest.fixture
def settings(state: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Settings]:
    monkeypatch.setenv("HWOSIM_LAKE_URI", (state / "one lake").as_uri() + "/")
    monkeypatch.setenv("HWOSIM_TOPIC_PREFIX", "team.")
    found = {}
    for name in ENVIRONMENTS:
        monkeypatch.setenv("HWOSIM_ENVIRONMENT", name)
        found[name] = Settings()
    return found


def test_development_is_named_as_nothing_was_before(settings: dict[str, Settings], state: Path) -> None:
    dev = settings["dev"]
    assert (dev.lake_uri, dev.namespace, dev.topic_prefix) == ((state / "one lake").as_uri(), "hwosim", "team.")
    ops = settings["ops"]
    assert (ops.lake_uri, ops.namespace, ops.topic_prefix) == (f"{dev.lake_uri}/ops", "hwosim_ops", "ops.team.")


def test_no_two_share_rows_objects_or_topics(settings: dict[str, Settings]) -> None:
    def row(name: str) -> dict[str, Any]:
        return dict.fromkeys(AWAITED.schema.names, name) | {"program": "01345"}

    for name, each in settings.items():
        Lake.from_settings(each).write_new("raw/one", name.encode())
        rows = pa.Table.from_pylist([row(name)], schema=AWAITED.schema)
        assert Tables.from_settings(each).replace(AWAITED, {"program": "01345"}, rows).changed
    for name, each in settings.items():
        lake, tables = Lake.from_settings(each), Tables.from_settings(each)
        assert lake.read("raw/one") == name.encode()
        assert [stored.key for stored in lake.list("raw")] == ["raw/one"]
        assert tables.scan(AWAITED).to_pylist() == [row(name)]
        assert tables.names() == ["awaited"]
    for one, other in combinations(settings.values(), 2):
        assert one.topic_prefix != other.topic_prefix
        assert one.namespace != other.namespace
