"""The checks of the second code location.

Holds: the proof of a publication (``stream/<scenario>``), whether the reports hold together, and whether a
number wandered with time (``report/data_quality``). Keep out the reconciliation itself
(``hwosim_streaming.verify``), the statistics (``hwosim_assets.quality.drift``) and the adapter
(``hwosim_assets.checks``).
"""

import warnings
from collections.abc import Iterable

import dagster as dg

from hwosim_assets.checks import gx_checks
from hwosim_assets.lake.store import Lake
from hwosim_assets.lake.tables import Tables
from hwosim_assets.metadata import records
from hwosim_assets.partitions import jwst_program
from hwosim_assets.perturb.scenario import Scenario
from hwosim_assets.quality.inputs_delivery import SuiteInput, stream_input
from hwosim_assets.resources import LakeResource
from hwosim_assets.settings import Settings
from hwosim_streaming.assets import REPORT_KEY, stream_key

__all__ = ["default_checks"]


def default_checks(scenarios: Iterable[Scenario]) -> list[dg.AssetChecksDefinition]:
    """Return the checks of the second code location."""
    reports = gx_checks(REPORT_KEY, "report", jwst_program)
    return [*(_stream_checks(scenario.name) for scenario in scenarios), reports, _drift_check()]


def _stream_checks(scenario: str) -> dg.AssetChecksDefinition:
    def publications(program: str, _lake: Lake, tables: Tables, data_version: str | None) -> SuiteInput:
        from hwosim_streaming.publication import PUBLICATIONS

        # The version of the asset is the hash of the plan that it published.
        return stream_input(tables.scan(PUBLICATIONS, {"program": program, "scenario": scenario}), data_version)

    return gx_checks(stream_key(scenario), "stream", jwst_program, load=publications)


def _drift_check() -> dg.AssetChecksDefinition:
    """Return the check ``quality_drift``; it blocks nothing, since a level that moved makes no product wrong."""
    with warnings.catch_warnings():  # partitioned checks are in preview: pinned, and tested here
        warnings.simplefilter("ignore", dg.PreviewWarning)
        spec = dg.AssetCheckSpec(
            "quality_drift",
            asset=REPORT_KEY,
            description="No number that is followed over time left its level with this program: findings per product "
            "and PHOTMJSR by detector, shares that break a rule by rule (CUSUM over 8 standard deviations). (warning)",
            partitions_def=jwst_program,
            metadata={"severity": "warning"},
        )

    @dg.multi_asset_check(name="check_quality_drift", specs=[spec])
    def quality_drift(context: dg.AssetCheckExecutionContext, lake: LakeResource) -> dg.AssetCheckResult:
        from hwosim_assets.quality.drift import followed

        program = context.partition_key
        series = followed(lake.tables(), program)
        moved = [one.as_record(alarm) for one in series for alarm in one.alarms_of(program)]
        said = f"{len(moved)} of {len(series)} numbers left their level with program {program}."
        return dg.AssetCheckResult(
            asset_key=REPORT_KEY,
            check_name=spec.name,
            passed=not moved,
            severity=dg.AssetCheckSeverity.WARN,
            description=said,
            metadata={
                "summary": said,
                "series": len(series),
                "values": sum(one.series.values.size for one in series),
                "alarms": len(moved),
                "drift": dg.MetadataValue.url(f"{Settings().report_url}/drift"),
                **({"moved": records(moved)} if moved else {}),
            },
        )

    return quality_drift
