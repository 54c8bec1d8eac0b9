"""What everybody shares (the archive, the lake, the broker) is asked by a few runs at once, by the shipped settings."""

from __future__ import annotations

import shutil
from pathlib import Path

import dagster as dg
import pytest
import yaml

from hwosim_assets.definitions import build_defs as assets
from hwosim_streaming.definitions import build_defs as streaming

ROOT = Path(__file__).parents[2]
LAKE = dict.fromkeys(("catalog", "perturbed", "truth"), "lake")
POOLS = {"mast": "archive", "raw": "archive", **LAKE, "stream": "kafka"}
SHIPPED = ["dagster.yaml", "docker/dagster.yaml", "docker/kubernetes/dagster.yaml", "docker/aws/dagster.yaml"]


def test_every_asset_is_in_the_pool_of_what_it_asks(state: Path) -> None:
    found: dict[str, set[str]] = {}
    for definitions in (assets(), streaming()):
        graph = definitions.resolve_asset_graph()
        for key in graph.materializable_asset_keys:
            found.setdefault(key.path[0], set()).update(graph.get(key).pools or {""})
    assert {group: {pool} for group, pool in POOLS.items()} | {"report": {""}} == found


@pytest.mark.parametrize("shipped", SHIPPED)
def test_shipped_settings_limit_every_pool_below_the_runs(shipped: str) -> None:
    """A pool has no limit until one is set: the default is what holds."""
    concurrency = yaml.safe_load((ROOT / shipped).read_text())["concurrency"]
    assert concurrency["pools"]["granularity"] == "run"
    assert 0 < concurrency["pools"]["default_limit"] <= concurrency["runs"]["max_concurrent_runs"]


def test_dagster_takes_the_limit_of_the_shipped_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copyfile(ROOT / "dagster.yaml", tmp_path / "dagster.yaml")
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    with dg.DagsterInstance.get() as instance:
        pools = instance.get_concurrency_config().pool_config
        assert pools.default_pool_limit == 2
        assert str(pools.pool_granularity) == "PoolGranularity.RUN"
