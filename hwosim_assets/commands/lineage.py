"""``hwosim lineage``: where a delivered file or a product came from."""

from __future__ import annotations

import click

from hwosim_assets.console import json_option, print_json, print_table

__all__ = ["lineage"]


@click.command(epilog="Example:  hwosim lineage jw01093012001_03102_00001_nis_cal.fits --scenario nominal_l2")
@click.argument("name")
@click.option("--scenario", default="", help="Only the dataset of this scenario; all by default.")
@json_option
def lineage(name: str, scenario: str, as_json: bool) -> None:
    """Print the chain from a delivered file back to the archive: each row, its code version and its run.

    NAME is a product's file name, its archive URI, a SHA-256, or the path that a claim check on a topic points at.
    """
    from hwosim_assets.lake.tables import Tables
    from hwosim_assets.quality.lineage import lineage as follow
    from hwosim_assets.settings import Settings

    steps = follow(Tables.from_settings(Settings()), name, scenario)
    if as_json:
        print_json([step.as_document() for step in steps])
        return
    for step in steps:
        said = {**step.facts, **{f"last {key}" if key == "when" else key: value for key, value in step.made_by.items()}}
        rows = [[fact, value] for fact, value in said.items() if value is not None]
        print_table(f"{step.asset}: {step.name} (table {step.table})", ["", ""], rows)
