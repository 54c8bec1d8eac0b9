"""What the suites of delivery read: perturbed datasets, publications and the reports themselves.

Holds: :class:`SuiteInput` and the functions for ``perturbed``, ``stream`` and ``report``; the few helpers
that every reader of a suite's input shares. Keep out how two products are compared
(``quality.comparison``) and the readers of archive, lake and catalog (``inputs``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from hwosim_assets.lake.rejections import QUARANTINE

if TYPE_CHECKING:
    from hwosim_assets.lake.store import Lake
    from hwosim_assets.lake.tables import Tables

__all__ = ["SuiteInput", "perturbed_input", "refused", "report_input", "share", "stream_input", "with_columns"]

#: The stages of the chain, as the first part of an asset's name.
_STAGES = ("mast", "raw", "catalog", "perturbed", "stream")
#: Seconds beyond twice the planned time that a publication may take: topics, proof and receipt.
_SLACK_S = 30.0


@dataclass(frozen=True)
class SuiteInput:
    """What a suite is evaluated over.

    Attributes
    ----------
    rows : pyarrow.Table
        The asset's rows, with the columns that the suite's rules over rows read.
    counts : mapping of str to float
        Counts and shares about the whole program, for the rules over counts.
    """

    rows: pa.Table
    counts: Mapping[str, float]


def with_columns(rows: pa.Table, columns: Mapping[str, Any]) -> pa.Table:
    """Return rows with further columns."""
    for name, column in columns.items():
        rows = rows.append_column(name, column)
    return rows


def refused(tables: Tables, program: str, stage: str, column: str) -> list[str]:
    """Return a column of the quarantine of one stage."""
    names: list[str] = tables.scan(QUARANTINE, {"program": program, "stage": stage}, [column])[column].to_pylist()
    return names


def share(part: int, whole: int) -> float:
    """Return a share; 0 of nothing is 0."""
    return part / whole if whole else 0.0


def stream_input(publications: pa.Table, plan_sha256: str | None = None) -> SuiteInput:
    """Return what the suite ``stream`` reads.

    Parameters
    ----------
    publications : pyarrow.Table
        Rows of the table ``publications`` for one program and scenario; it keeps those of other plans, which no new
        publication could mend.
    plan_sha256 : str, optional
        The plan whose publication is judged; the latest where none is named. When products go back to what they were,
        the publication that stands for them is an earlier one.

    Returns
    -------
    SuiteInput
        With the columns ``expected`` (planned - lost + duplicated), ``lost_share``, ``out_of_order`` (messages
        that the proof names so) and ``longest_seconds`` (twice the planned time and half a minute).
    """
    if plan_sha256 is not None:
        publications = publications.filter(pc.equal(publications["plan_sha256"], plan_sha256))
    rows = publications.sort_by([("published_at", "descending")]).slice(0, 1)
    planned = pc.cast(rows["planned"], pa.float64())
    examples = [json.loads(text) if text else [] for text in rows["examples_json"].to_pylist()]
    columns = {
        "expected": pc.add(pc.subtract(rows["planned"], rows["lost"]), rows["duplicated"]),
        "lost_share": pc.divide(pc.cast(rows["lost"], pa.float64()), pc.if_else(pc.equal(planned, 0.0), 1.0, planned)),
        "out_of_order": pa.array([sum(said.startswith("out_of_order") for said in each) for each in examples]),
        "longest_seconds": pc.add(pc.multiply(rows["planned_seconds"], 2.0), _SLACK_S),
    }
    return SuiteInput(with_columns(rows, columns), {"publications": publications.num_rows})


def perturbed_input(program: str, lake: Lake, tables: Tables, scenario: str) -> SuiteInput:
    """Return what the suite ``perturbed`` reads; some products are compared with their input, pixel by pixel."""
    from hwosim_assets.catalog.products import PRODUCTS
    from hwosim_assets.perturb.dataset import PERTURBED, TRUTH
    from hwosim_assets.quality.comparison import compared

    scope = {"program": program, "scenario": scenario}
    rows = tables.scan(PERTURBED, scope)
    catalog = {row["product_name"]: row for row in tables.scan(PRODUCTS, {"program": program}).to_pylist()}
    named = ["product_name", "in_sha256", "out_sha256", "plan_sha256"]
    truths = {tuple(row[name] for name in named): row for row in tables.scan(TRUTH, scope).to_pylist()}
    made = [tuple(row.values()) for row in rows.select(named).to_pylist()]
    found = compared(rows.to_pylist(), [truths.get(key) for key in made], list(catalog.values()), lake)
    names = rows["product_name"].to_pylist()
    gone = set(refused(tables, program, f"perturbed/{scenario}", "product_name"))
    effects = [json.loads(truths[key]["record_json"])["effects"] if key in truths else None for key in made]
    idle = [
        "its plan has no effect" if changed and each == [] else None
        for changed, each in zip(rows["changed"].to_pylist(), effects, strict=True)
    ]
    columns = {
        "catalog_sha256": pa.array([catalog.get(name, {}).get("sha256") for name in names], pa.string()),
        "catalog_time": pa.array([catalog.get(name, {}).get("stream_time_mjd") for name in names], pa.float64()),
        "scope_scenario": pa.array([scenario] * len(names), pa.string()),
        "bytes_differ": pc.not_equal(rows["in_sha256"], rows["out_sha256"]),
        "key_folder": pa.array([key and key.rpartition("/")[0] for key in rows["key"].to_pylist()], pa.string()),
        "hash_folder": pa.array([f"delivered/{sha[:2]}/{sha}" for sha in rows["out_sha256"].to_pylist()], pa.string()),
        "changed_by_nothing": pa.array(idle, pa.string()),
        **{
            column: pa.array([getattr(found[name], column) if name in found else None for name in names], pa.string())
            for column in ("unaccounted", "inconsistent", "off_plan")
        },
    }
    counts = {
        "perturbed": len(set(names)),
        "usable": len(catalog),
        "accounted": len(catalog.keys() & (set(names) | gone)),
        "without_truth": len(set(made) - truths.keys()),
        "changed_products": int(pc.sum(pc.cast(rows["changed"], pa.int64())).as_py() or 0),
        "objects_absent": sum(not _stored(lake, row) for row in rows.select(["key", "size_bytes"]).to_pylist()),
        "compared": len(found),
    }
    return SuiteInput(with_columns(rows, columns), counts)


def _stored(lake: Lake, row: Mapping[str, Any]) -> bool:
    """Say whether a stored file lies in the lake with its size; one that is made on the fly need not."""
    if row["key"] is None:
        return True
    stored = lake.head(row["key"])
    return stored is not None and stored.size == row["size_bytes"]


def report_input(program: str, lake: Lake, tables: Tables, scenario: str) -> SuiteInput:
    """Return what the suite ``report`` reads: the latest report of every other asset of the program."""
    from hwosim_assets.quality.report import QUALITY_REPORTS
    from hwosim_assets.quality.suites import SUITES

    rows = tables.scan(QUALITY_REPORTS, {"program": program})
    rows = rows.filter(pc.invert(pc.starts_with(rows["asset"], "report/")))
    reports = rows.to_pylist()
    named = [[name for name in report["broken_rules"].split(",") if name] for report in reports]
    known = [{rule.name for rule in SUITES[row["suite"]].rules} if row["suite"] in SUITES else None for row in reports]
    unknown = [
        None if rules is None or set(names) <= rules else ", ".join(sorted(set(names) - rules))
        for names, rules in zip(named, known, strict=True)
    ]
    folders = [f"reports/{row['asset']}/jw{program}/" for row in reports]
    misplaced = [
        None if row["html_key"].startswith(folder) and row["json_key"].startswith(folder) else row["html_key"]
        for row, folder in zip(reports, folders, strict=True)
    ]
    stages = {row["asset"].partition("/")[0] for row in reports}
    columns = {
        "due_verdict": pa.array([_verdict(row) for row in reports], pa.string()),
        "named_broken": pa.array([len(names) for names in named], pa.int64()),
        "unknown_rules": pa.array(unknown, pa.string()),
        "misplaced": pa.array(misplaced, pa.string()),
    }
    counts = {
        "reports": len(reports),
        "stages_without_report": len(set(_STAGES) - stages),
        "pages_absent": sum(lake.head(row[key]) is None for row in reports for key in ("html_key", "json_key")),
        "failed_stages": sum(row["verdict"] == "failed" for row in reports),
    }
    return SuiteInput(with_columns(rows, columns), counts)


def _verdict(report: Mapping[str, Any]) -> str:
    if report["broken_critical"]:
        return "failed"
    return "warned" if report["broken_warning"] else "passed"
