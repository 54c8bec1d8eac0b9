from pathlib import Path

import pytest

from hwosim_assets.lake.sql import query
from hwosim_assets.lake.tables import Tables
from hwosim_assets.quality.history import CHECK_RESULTS, Evaluation, history, record_results
from hwosim_assets.quality.run import RuleResult, SuiteResult
from hwosim_assets.settings import Settings

KEY = f"reports/catalog/products/jw01093/{'a' * 64}.html"


def result(unexpected: int = 0) -> SuiteResult:
    return SuiteResult(
        "products",
        3,
        (
            RuleResult("counts_reconcile", "critical", True, 0, 0, (), "All there.", {"files": 3, "accounted": 3}),
            RuleResult("coordinates_in_range", "warning", not unexpected, 6, unexpected, (), "On the sky.", {}),
        ),
    )


@pytest.fixture
def tables(state: Path) -> Tables:
    return Tables.from_settings(Settings())


def record(tables: Tables, run: str, unexpected: int = 0, asset: str = "catalog/products") -> None:
    record_results(tables, asset, "01093", result(unexpected), Evaluation(run, "d" * 64, "3"), KEY)


def test_every_rule_of_every_run_is_kept_in_order_of_time(tables: Tables) -> None:
    for run, unexpected in (("r1", 0), ("r2", 3), ("r0", 0)):
        record(tables, run, unexpected)
    record(tables, "r2", asset="mast/products")
    rows = history(tables, "01093", "catalog/products")
    assert [row["run_id"] for row in rows] == ["r1", "r1", "r2", "r2", "r0", "r0"]
    broken = [row for row in rows if not row["passed"]]
    assert [(row["run_id"], row["rule"], row["share"]) for row in broken] == [("r2", "coordinates_in_range", 0.5)]
    counted = next(row for row in rows if row["rule"] == "counts_reconcile")
    assert counted["share"] is None
    assert counted["found_json"] == '{"accounted": 3, "files": 3}'
    assert (counted["data_version"], counted["code_version"], counted["report_key"]) == ("d" * 64, "3", KEY)
    assert len(history(tables, "01093")) == 8
    assert history(tables, "02739") == []


def test_the_same_run_writes_its_results_once_and_a_step_done_again_replaces_them(tables: Tables) -> None:
    record(tables, "r1")
    before = history(tables, "01093")
    snapshot = tables.open(CHECK_RESULTS.name).current_snapshot()
    record(tables, "r1")
    assert history(tables, "01093") == before
    assert tables.open(CHECK_RESULTS.name).current_snapshot() == snapshot
    record(tables, "r1", 2)
    rows = history(tables, "01093")
    assert [(row["rule"], row["unexpected"]) for row in rows] == [("coordinates_in_range", 2), ("counts_reconcile", 0)]


def test_sql_tells_since_when_a_rule_does_not_hold(tables: Tables) -> None:
    for run, unexpected in (("r1", 0), ("r2", 3), ("r3", 3)):
        record(tables, run, unexpected)
    asked = (
        "SELECT rule, min(evaluated_at) AS since, count(*) AS runs FROM check_results WHERE NOT passed GROUP BY rule"
    )
    [row] = query(tables, asked).to_pylist()
    second = next(row for row in history(tables, "01093") if row["run_id"] == "r2")
    assert (row["rule"], row["runs"]) == ("coordinates_in_range", 2)
    assert row["since"] == second["evaluated_at"]
