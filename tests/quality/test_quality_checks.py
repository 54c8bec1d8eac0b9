import datetime as dt
import warnings
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pytest

from hwosim_assets.checks import gx_checks
from hwosim_assets.lake.store import Lake
from hwosim_assets.lake.tables import Tables
from hwosim_assets.quality.history import history
from hwosim_assets.quality.inputs_delivery import SuiteInput, stream_input
from hwosim_assets.quality.suites import suite_named
from hwosim_assets.resources import LakeResource

KEY = dg.AssetKey(["stream", "clean"])
PROGRAMS = dg.DynamicPartitionsDefinition(name="jwst_program")
GOOD = {
    "run_id": "r1",
    "plan_sha256": "a" * 64,
    "planned": 100,
    "lost": 0,
    "duplicated": 0,
    "published": 100,
    "consumed": 100,
    "verified": True,
    "bytes": 1000,
    "seconds": 1.5,
    "planned_seconds": 1.0,
    "late_p99_ms": 3.0,
    "waited_p95_ms": 8.0,
    "discrepancies": 0,
    "examples_json": "[]",
    "truths": 4,
    "products": 4,
    "first_offset": 0,
    "last_offset": 100,
    "plan_key": "plans/clean/jw01093/a.parquet",
    "receipt_key": "receipts/clean/jw01093/a/1.parquet",
    "published_at": dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
}


@dg.asset(key=KEY, partitions_def=PROGRAMS, code_version="7")
def published() -> dg.MaterializeResult:
    return dg.MaterializeResult(data_version=dg.DataVersion("v1"))


@dg.asset(deps=[KEY], partitions_def=PROGRAMS)
def downstream() -> None: ...


def run(
    state: Path,
    *,
    raise_on_error: bool = False,
    drop: str = "",
    selection: dg.AssetSelection | None = None,
    **changed: object,
) -> dg.ExecuteInProcessResult:
    rows = pa.Table.from_pylist([{**GOOD, **changed}])

    def load(program: str, lake: Lake, tables: Tables, data_version: str | None) -> SuiteInput:
        assert (program, data_version) == ("01093", "v1")
        read = stream_input(rows)
        return SuiteInput(read.rows.drop_columns([drop]) if drop else read.rows, read.counts)

    checks = gx_checks(KEY, "stream", PROGRAMS, load=load)
    instance = dg.DagsterInstance.ephemeral()
    instance.add_dynamic_partitions("jwst_program", ["01093", "01094"])
    return dg.materialize(
        [published, downstream, checks],
        instance=instance,
        partition_key="01093",
        resources={"lake": LakeResource()},
        raise_on_error=raise_on_error,
        selection=selection,
    )


def evaluations(result: dg.ExecuteInProcessResult) -> dict[str, dg.AssetCheckEvaluation]:
    return {evaluation.check_name: evaluation for evaluation in result.get_asset_check_evaluations()}


def materialized(result: dg.ExecuteInProcessResult) -> set[str]:
    return {event.asset_key.to_user_string() for event in result.get_asset_materialization_events()}


def test_every_rule_is_recorded_for_its_program_with_numbers_and_a_report(state: Path) -> None:
    result = run(state)
    assert result.success
    found = evaluations(result)
    assert list(found) == [rule.name for rule in suite_named("stream").rules]
    assert all(evaluation.passed for evaluation in found.values())
    assert all(evaluation.partition == "01093" for evaluation in found.values())
    metadata = found["publication_recorded"].metadata
    assert metadata["publications"].value == 1
    url = str(metadata["report"].value)
    assert url.startswith("http://127.0.0.1:3080/reports/stream/clean/jw01093/")
    assert "published" not in url
    page = LakeResource().lake().read(url.removeprefix("http://127.0.0.1:3080/")).decode()
    assert "every_message_reconciled" in page
    rows = history(LakeResource().tables(), "01093", "stream/clean")
    assert {row["rule"] for row in rows} == set(found)
    assert {row["run_id"] for row in rows} == {result.run_id}
    assert {row["report_key"] for row in rows} == {url.removeprefix("http://127.0.0.1:3080/")}
    assert all(row["data_version"] == "v1" and row["code_version"] == "7" for row in rows)


def test_a_broken_critical_rule_stops_what_lies_downstream(state: Path) -> None:
    result = run(state, consumed=99)
    found = evaluations(result)
    assert not result.success
    assert not found["counts_reconcile"].passed
    assert found["counts_reconcile"].severity is dg.AssetCheckSeverity.ERROR
    assert found["counts_reconcile"].blocking
    assert found["plan_published"].passed
    assert len(found) == len(suite_named("stream").rules)  # the others are recorded all the same
    assert materialized(result) == {"stream/clean"}
    failures = found["counts_reconcile"].metadata["failures"]
    assert isinstance(failures, dg.TableMetadataValue)
    assert failures.records[0].data == {"run_id": "r1", "column": "expected, consumed", "value": "100, 99"}
    assert "1 of 1 values break it" in str(found["counts_reconcile"].metadata["summary"].value)


def test_a_broken_warning_stops_nothing(state: Path) -> None:
    result = run(state, lost=60, published=40, consumed=40)
    found = evaluations(result)
    assert result.success
    assert not found["lost_share_small"].passed
    assert found["lost_share_small"].severity is dg.AssetCheckSeverity.WARN
    assert not found["lost_share_small"].blocking
    assert materialized(result) == {"stream/clean", "downstream"}


def test_a_remark_passes_and_says_what_it_found(state: Path) -> None:
    result = run(state, lost=1, published=99, consumed=99)
    remark = evaluations(result)["nothing_lost"]
    assert result.success
    assert remark.passed
    assert remark.metadata["unexpected"].value == 1
    assert isinstance(remark.metadata["failures"], dg.TableMetadataValue)


def test_a_suite_that_cannot_run_is_an_error_and_no_failed_check(state: Path) -> None:
    result = run(state, drop="bytes")
    assert not result.success
    assert evaluations(result) == {}
    assert materialized(result) == {"stream/clean"}
    with pytest.raises(Exception, match="it reads bytes, which it was not given"):
        run(state, drop="bytes", raise_on_error=True)


def test_one_check_can_be_run_alone(state: Path) -> None:
    one = dg.AssetSelection.checks(dg.AssetCheckKey(KEY, "counts_reconcile"))
    result = run(state, selection=dg.AssetSelection.assets(KEY).without_checks() | one, consumed=99)
    assert set(evaluations(result)) == {"counts_reconcile"}
    assert not result.success


def test_declaring_partitioned_checks_warns_of_nothing() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", dg.PreviewWarning)
        gx_checks(KEY, "stream", PROGRAMS)


def test_severity_decides_which_checks_block() -> None:
    checks = gx_checks(dg.AssetKey(["catalog", "products"]), "products", PROGRAMS)
    by_name = {spec.name: spec for spec in checks.check_specs}
    for rule in suite_named("products").rules:
        assert by_name[rule.name].blocking is (rule.severity == "critical")
        assert by_name[rule.name].partitions_def == PROGRAMS
        assert rule.doc in (by_name[rule.name].description or "")
    assert "lake" in checks.required_resource_keys
