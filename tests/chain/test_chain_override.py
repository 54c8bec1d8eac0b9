"""The job behind the launchpad: a run's own numbers get an identity of their own, the named scenario's rows stay."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import dagster as dg
import pytest
from chain_tools import FIELD, ROUGH, Installation, locations

from hwosim_assets import runner
from hwosim_assets.lake.rejections import QUARANTINE, Rejection
from hwosim_assets.perturb import dataset
from hwosim_assets.perturb.dataset import PERTURBED, TRUTH
from hwosim_streaming import publication
from hwosim_streaming.publication import PUBLICATIONS

TABLES = (PERTURBED, TRUTH, PUBLICATIONS)


def launch(installation: Installation, **config: Any) -> dg.ExecuteInProcessResult:
    with installation.here(), runner.instance_at(installation.home) as instance:
        return (
            locations()[1]
            .resolve_job_def("try_scenario_job")
            .execute_in_process(
                instance=instance,
                partition_key=FIELD,
                raise_on_error=False,
                run_config={**runner.QUIET, "ops": {"try_scenario": {"config": config}}},
            )
        )


def rows(installation: Installation) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """Return the rows of each scenario in each table."""
    found: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for spec in TABLES:
        for row in installation.tables().scan(spec, {"program": FIELD}).to_pylist():
            found.setdefault(row["scenario"], {}).setdefault(spec.name, []).append(row)
    return found


def severities(truth: list[dict[str, Any]]) -> set[float | None]:
    return {effect["severity"] for row in truth for effect in json.loads(row["record_json"])["effects"]}


@pytest.fixture(scope="module")
def tried(taken: Installation) -> tuple[dict[str, Any], dict[str, Any], str]:
    """Return the rows before and after a run with overrides, and its identity."""
    before = rows(taken)
    versions = taken.versions(FIELD)
    assert launch(taken, scenario=ROUGH, severity=4, seed=77, rate_per_s=40, time_scale=50).success
    after = rows(taken)
    (derived,) = set(after) - set(before)
    assert {name: version for name, version in taken.versions(FIELD).items() if name in versions} == versions
    return before, after, derived


def test_what_was_tried_stands_under_its_own_name(tried: tuple[Any, Any, str]) -> None:
    before, after, derived = tried
    assert re.fullmatch(rf"{ROUGH}--[0-9a-f]{{8}}", derived)
    assert {name: after[name] for name in before} == before, "the named scenario's rows are as they were"
    new = after[derived]
    assert {name: len(new[name]) for name in new} == {"perturbed": 4, "truth": 4, "publications": 1}


def test_severity_seed_and_rate_are_those_of_the_run(tried: tuple[Any, Any, str]) -> None:
    before, after, derived = tried
    assert {row["seed"] for row in after[derived]["perturbed"]} == {77}
    assert {row["seed"] for row in before[ROUGH]["perturbed"]} == {5}
    hashes = {
        name: {row["product_name"]: row["out_sha256"] for row in after[name]["perturbed"]} for name in (ROUGH, derived)
    }
    assert all(hashes[derived][name] != hashes[ROUGH][name] for name in hashes[ROUGH])
    assert severities(after[derived]["truth"]) == {4}
    assert severities(after[ROUGH]["truth"]) == {2}
    (row,) = after[derived]["publications"]
    assert row["verified"]
    assert row["planned_seconds"] == pytest.approx((row["planned"] - 1) / 40, rel=0.3)


def test_what_was_tried_is_recorded_for_the_partition(taken: Installation, tried: tuple[Any, Any, str]) -> None:
    derived = tried[2]
    found = taken.materialized(FIELD)
    assert {f"perturbed/{derived}", f"stream/{derived}"} <= set(found)
    said = found[f"perturbed/{derived}"].metadata
    assert said["dagster/partition_row_count"].value == 4
    assert "data:image/png;base64," in str(said["before and after"].value)
    assert found[f"stream/{derived}"].metadata["verified"].value is True


def test_what_could_not_be_perturbed_is_quarantined_by_name(
    taken: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = dataset.deliver_row

    def refuse_uncal(product: dict[str, Any], **rest: Any) -> Any:
        name = product["product_name"]
        return Rejection(name, "perturbed", "no_pixels", "has no pixels") if "uncal" in name else made(product, **rest)

    monkeypatch.setattr(dataset, "deliver_row", refuse_uncal)
    assert launch(taken, scenario=ROUGH, seed=78).success
    tables = taken.tables()
    found = {stage: row for row in tables.scan(QUARANTINE, {"program": FIELD}).to_pylist() if (stage := row["stage"])}
    ((stage, row),) = found.items()
    derived = stage.removeprefix("perturbed/")
    assert re.fullmatch(rf"{ROUGH}--[0-9a-f]{{8}}", derived)
    assert row["product_name"].endswith("_uncal.fits")
    assert tables.scan(PERTURBED, {"program": FIELD, "scenario": derived}).num_rows == 3
    assert taken.materialized(FIELD)[stage].metadata["files rejected"].value == 1
    tables.replace(QUARANTINE, {"program": FIELD, "stage": stage}, QUARANTINE.schema.empty_table())


def test_a_stream_that_did_not_arrive_fails_the_run(taken: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    published = publication.publish_program

    def unproved(*arguments: Any) -> publication.PublicationResult:
        result = published(*arguments)
        return replace(result, row={**result.row, "verified": False, "discrepancies": 3})

    monkeypatch.setattr(publication, "publish_program", unproved)
    assert "did not arrive as planned (3 discrepancies)" in failure(launch(taken, scenario=ROUGH, seed=79))


def failure(result: dg.ExecuteInProcessResult) -> str:
    assert not result.success
    (event,) = [event for event in result.all_events if event.event_type == dg.DagsterEventType.STEP_FAILURE]
    error = event.step_failure_data.error
    assert error is not None
    return error.to_string()


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"scenario": ROUGH}, "nothing differs from the scenario file"),
        ({"scenario": ROUGH, "seed": 5}, "nothing differs from the scenario file"),
        ({"scenario": "no_such_scenario", "seed": 1}, "no such scenario"),
        ({"scenario": ROUGH, "severity": 6}, "less than or equal to 5"),
    ],
)
def test_what_cannot_be_tried_is_refused(taken: Installation, config: dict[str, Any], reason: str) -> None:
    before = rows(taken)
    assert reason in failure(launch(taken, **config))
    assert rows(taken) == before
