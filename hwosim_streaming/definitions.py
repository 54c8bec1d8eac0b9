"""Code location 2: what goes onto Kafka, the proof of what arrived, the report.

Holds: :func:`build_defs` and nothing else. It connects to no broker and reads no data. It stands
apart from the first location, so that a broker that is down never takes the lake's assets along;
lineage joins at the asset keys.
"""

import gc
from collections.abc import Mapping
from typing import Any

import dagster as dg

from hwosim_assets.lineage import described
from hwosim_assets.perturb.scenario import find_scenarios
from hwosim_assets.resources import LakeResource
from hwosim_assets.settings import Settings
from hwosim_streaming.assets import STREAM_COLUMNS, report_asset, stream_asset, topic_assets
from hwosim_streaming.checks import default_checks
from hwosim_streaming.jobs import program_job, try_scenario_job
from hwosim_streaming.sensors import publish_sensor

__all__ = ["build_defs", "defs"]


def build_defs(*, resources: Mapping[str, Any] | None = None, settings: Settings | None = None) -> dg.Definitions:
    """Assemble this location.

    Parameters
    ----------
    resources : mapping, optional
        Replacements by resource name (``lake``).
    settings : Settings, optional
        The environment's by default.

    Returns
    -------
    dagster.Definitions
    """
    settings = settings or Settings()
    found = find_scenarios(settings.scenario_folders()).found
    scenarios = list(found.values())
    automated = [scenario for scenario in scenarios if scenario.name in settings.automated()]
    return dg.Definitions(
        assets=described(
            [
                *(stream_asset(scenario) for scenario in scenarios),
                report_asset(scenarios),
                *topic_assets(scenarios, settings),
            ],
            STREAM_COLUMNS,
        ),
        asset_checks=default_checks(scenarios),
        jobs=[program_job, try_scenario_job(found)],
        sensors=[publish_sensor(automated, program_job)],
        resources={"lake": LakeResource(), **(resources or {})},
        executor=dg.in_process_executor,
    )


defs = build_defs()
gc.freeze()  # what is loaded by now stays as long as the process: the collector need not look through it again
