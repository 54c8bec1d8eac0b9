"""What became of a program, counted from the lake and from Dagster's record.

Holds: the rows of the table that ends ``hwosim demo``. Keep out how they are printed.
"""

from collections.abc import Sequence
from typing import Any

import dagster as dg

from hwosim_assets.archive.schema import ARCHIVE_PRODUCTS
from hwosim_assets.catalog.products import PRODUCTS
from hwosim_assets.lake.ingest import RAW_FILES
from hwosim_assets.lake.rejections import QUARANTINE
from hwosim_assets.lake.tables import Tables
from hwosim_assets.perturb.dataset import PERTURBED
from hwosim_assets.perturb.scenario import find_scenarios
from hwosim_assets.settings import Settings

__all__ = ["outcome_rows", "refused_rows"]


def _published(instance: dg.DagsterInstance, program: str, scenario: str) -> dict[str, Any]:
    """Return the metadata of the scenario's latest publication, empty where there is none."""
    found = instance.fetch_materializations(
        dg.AssetRecordsFilter(dg.AssetKey(["stream", scenario]), asset_partitions=[program]), limit=1
    )
    if not found.records or found.records[0].asset_materialization is None:
        return {}
    return {name: value.value for name, value in found.records[0].asset_materialization.metadata.items()}


def outcome_rows(
    instance: dg.DagsterInstance, programs: Sequence[str], scenarios: Sequence[str]
) -> list[dict[str, Any]]:
    """Return one row per program and scenario.

    Parameters
    ----------
    instance : dagster.DagsterInstance
        Where publications are recorded.
    programs, scenarios : sequence of str
        Which ones; no scenario means all that are known.

    Returns
    -------
    list of dict
        Columns program, listed, ingested, validated, quarantined (files), scenario, perturbed (files),
        published, consumed (messages), verified (bool, None where nothing was published).
    """
    settings = Settings()
    tables = Tables.from_settings(settings)
    names = list(scenarios) or sorted(find_scenarios(settings.scenario_folders()).found)
    rows = []
    for program in programs:
        scope = {"program": program}
        refused = tables.scan(QUARANTINE, scope, ["stage", "product_name"]).to_pylist()
        counted = {
            "listed": tables.scan(ARCHIVE_PRODUCTS, scope, ["dataURI"]).num_rows,
            "ingested": tables.scan(RAW_FILES, scope, ["data_uri"]).num_rows,
            "validated": tables.scan(PRODUCTS, scope, ["product_name"]).num_rows,
            "quarantined": len({row["product_name"] for row in refused if row["stage"] in ("raw", "catalog")}),
        }
        for scenario in names:
            made = tables.scan(PERTURBED, {**scope, "scenario": scenario}, ["product_name"]).num_rows
            publication = _published(instance, program, scenario)
            rows.append(
                {
                    "program": program,
                    **counted,
                    "scenario": scenario,
                    "perturbed": made,
                    "published": publication.get("published"),
                    "consumed": publication.get("consumed"),
                    "verified": publication.get("verified"),
                }
            )
    return rows


def refused_rows(programs: Sequence[str]) -> list[dict[str, Any]]:
    """Return the files of these programs that a stage refused, with program, stage, file, rule and reason."""
    tables = Tables.from_settings(Settings())
    columns = ["program", "stage", "product_name", "rule", "reason"]
    return [row for program in programs for row in tables.scan(QUARANTINE, {"program": program}, columns).to_pylist()]
