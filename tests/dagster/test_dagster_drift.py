"""The check `quality_drift`: one record per program, blaming only the programs with which a number moved."""

from __future__ import annotations

from pathlib import Path

import dagster as dg

from hwosim_assets.partitions import jwst_program
from hwosim_assets.quality.history import Evaluation, record_results
from hwosim_assets.quality.run import RuleResult, SuiteResult
from hwosim_assets.resources import LakeResource
from hwosim_streaming.assets import REPORT_KEY
from hwosim_streaming.checks import default_checks

BEFORE, AFTER = [f"{number:05}" for number in range(1, 15)], [f"{number:05}" for number in range(50, 54)]


def _checked(program: str, unexpected: int) -> None:
    rule = RuleResult("coordinates_in_range", "warning", not unexpected, 50, unexpected, (), "On the sky.", {})
    result = SuiteResult("products", 50, (rule,))
    record_results(LakeResource().tables(), "catalog/products", program, result, Evaluation(f"r{program}", "v"), "k")


def _evaluation(program: str) -> dg.AssetCheckEvaluation:
    @dg.asset(key=REPORT_KEY, partitions_def=jwst_program)
    def report() -> None: ...

    instance = dg.DagsterInstance.ephemeral()
    instance.add_dynamic_partitions("jwst_program", [program])
    result = dg.materialize(
        [report, default_checks([])[-1]], instance=instance, partition_key=program, resources={"lake": LakeResource()}
    )
    assert result.success
    [evaluation] = result.get_asset_check_evaluations()
    return evaluation


def test_a_step_warns_for_the_programs_it_came_with_and_for_no_other(state: Path) -> None:
    for program in BEFORE:
        _checked(program, 1)
    for program in AFTER:
        _checked(program, 30)
    good, bad = _evaluation(BEFORE[3]), _evaluation(AFTER[-1])
    assert good.passed
    assert good.partition == BEFORE[3]
    assert (good.metadata["series"].value, good.metadata["values"].value, good.metadata["alarms"].value) == (1, 18, 0)
    assert not bad.passed
    assert bad.severity is dg.AssetCheckSeverity.WARN
    assert not bad.blocking
    assert bad.metadata["alarms"].value == 1
    moved = bad.metadata["moved"]
    assert isinstance(moved, dg.TableMetadataValue)
    assert moved.records[0].data["of"] == "catalog/products coordinates_in_range"
    assert moved.records[0].data["since"] == f"r{AFTER[0]}"
    assert bad.metadata["drift"].value == "http://127.0.0.1:3080/drift"


def test_a_program_that_nothing_is_known_of_passes_and_says_so(state: Path) -> None:
    evaluation = _evaluation("01093")
    assert evaluation.passed
    assert evaluation.metadata["series"].value == 0
