"""The page of one file: where it came from, step by step.

Holds: how it looks. Keep out finding the steps (``quality.lineage``).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from hwosim_assets.quality.markup import Markup, block, document, facts, joined, link, verdict
from hwosim_assets.quality.pages import Paths, navigation, when

if TYPE_CHECKING:
    from hwosim_assets.quality.lineage import Step

__all__ = ["lineage_page"]


def lineage_page(name: str, steps: Sequence[Step], paths: Paths | None = None) -> str:
    """Return the page of one file.

    Parameters
    ----------
    name : str
        What was asked for.
    steps : sequence of Step
        What was delivered first, the archive last.
    paths : Paths, optional
        Where links lead to; the report server's by default.
    """
    paths = paths or Paths()
    return document(
        f"Where {name} came from",
        navigation(paths),
        block("h1", "Where ", name, " came from"),
        block(
            "p", "What was delivered first, what the archive said last; of each step the row, and the asset's last run."
        ),
        *(_step(step, paths) for step in steps),
    )


def _step(step: Step, paths: Paths) -> Markup:
    made = step.made_by
    by: dict[str, object] = (
        {}
        if not made
        else {
            "code version": made["code_version"],
            "data version": made["data_version"],
            "run": made["run_id"],
            "checked": joined(
                verdict(made["verdict"]), " ", link(paths.report(made["report_key"]), f"report of {when(made['when'])}")
            ),
        }
    )
    said = {name: when(value) if isinstance(value, datetime) else value for name, value in step.facts.items()}
    return block(
        "section",
        block("h2", step.asset, " · ", step.name),
        facts({"table": step.table, **said, **by}),
    )
