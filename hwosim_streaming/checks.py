"""The proof of a publication, as asset checks.

Holds: the checks of ``stream/<scenario>``. Keep out the reconciliation itself
(``hwosim_streaming.verify``) and the adapter (``hwosim_assets.checks``).
"""

from collections.abc import Iterable

import dagster as dg

from hwosim_assets.checks import gx_checks
from hwosim_assets.lake.store import Lake
from hwosim_assets.lake.tables import Tables
from hwosim_assets.partitions import jwst_program
from hwosim_assets.perturb.scenario import Scenario
from hwosim_assets.quality.inputs import SuiteInput, stream_input
from hwosim_streaming.assets import stream_key

__all__ = ["default_checks"]


def default_checks(scenarios: Iterable[Scenario]) -> list[dg.AssetChecksDefinition]:
    """Return the checks of the second code location."""
    return [_stream_checks(scenario.name) for scenario in scenarios]


def _stream_checks(scenario: str) -> dg.AssetChecksDefinition:
    def publications(program: str, _lake: Lake, tables: Tables) -> SuiteInput:
        from hwosim_streaming.publication import PUBLICATIONS

        return stream_input(tables.scan(PUBLICATIONS, {"program": program, "scenario": scenario}))

    return gx_checks(stream_key(scenario), "stream", jwst_program, load=publications)
