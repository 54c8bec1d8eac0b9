"""What every check said, run after run: the table ``check_results``.

Holds: the table, one row for each rule of each asset of a program in each run, writing the rows of one
run and reading them back in order of time. Keep out the latest report and its page
(``quality.report``) and judging a development over time (``quality.drift``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from hwosim_assets.lake.spec import TableSpec

if TYPE_CHECKING:
    from hwosim_assets.lake.tables import Tables
    from hwosim_assets.quality.run import SuiteResult

__all__ = ["CHECK_RESULTS", "Evaluation", "history", "record_results", "runs_of"]

_TEXT, _COUNT = pa.string(), pa.int64()

CHECK_RESULTS = TableSpec(
    name="check_results",
    schema=pa.schema(
        [
            pa.field("program", _TEXT, nullable=False),
            pa.field("asset", _TEXT, nullable=False),
            pa.field("run_id", _TEXT, nullable=False),
            pa.field("rule", _TEXT, nullable=False),
            pa.field("suite", _TEXT, nullable=False),
            pa.field("severity", _TEXT, nullable=False),
            pa.field("passed", pa.bool_(), nullable=False),
            pa.field("checked", _COUNT, nullable=False),
            pa.field("unexpected", _COUNT, nullable=False),
            pa.field("share", pa.float64()),
            pa.field("rows", _COUNT, nullable=False),
            pa.field("found_json", _TEXT),
            pa.field("data_version", _TEXT),
            pa.field("code_version", _TEXT),
            pa.field("report_key", _TEXT, nullable=False),
            pa.field("evaluated_at", pa.timestamp("us", "UTC"), nullable=False),
        ]
    ),
    scope=("program", "asset", "run_id"),
    key=("rule",),
    volatile=("evaluated_at",),
    doc="One row for each rule of an asset of a program in each run: whether it held, over how many values, of which "
    "data and code version; share is unexpected / checked, found_json the counts that a rule over counts looked at.",
)


@dataclass(frozen=True)
class Evaluation:
    """Which run looked at what.

    Attributes
    ----------
    run_id : str
        The run, as Dagster's pages know it.
    data_version, code_version : str or None
        Of the materialization that was looked at; ``None`` where none is recorded.
    """

    run_id: str
    data_version: str | None = None
    code_version: str | None = None


def record_results(
    tables: Tables, asset: str, program: str, result: SuiteResult, evaluation: Evaluation, report_key: str
) -> None:
    """Write what the rules of one asset and program said in one run; the same again changes nothing.

    Parameters
    ----------
    tables : Tables
        The lake's tables.
    asset : str
        The asset's name with slashes.
    program : str
        Five digits.
    result : SuiteResult
        What the suite found.
    evaluation : Evaluation
        The run, and the versions it looked at.
    report_key : str
        Where the report of this run lies in the lake.
    """
    now = datetime.now(UTC)
    scope = {"program": program, "asset": asset, "run_id": evaluation.run_id}
    rows = [
        {
            **scope,
            "rule": rule.name,
            "suite": result.suite,
            "severity": rule.severity,
            "passed": rule.passed,
            "checked": rule.checked,
            "unexpected": rule.unexpected,
            "share": rule.unexpected / rule.checked if rule.checked else None,
            "rows": result.rows,
            "found_json": json.dumps(dict(rule.found), sort_keys=True) if rule.found else None,
            "data_version": evaluation.data_version,
            "code_version": evaluation.code_version,
            "report_key": report_key,
            "evaluated_at": now,
        }
        for rule in result.rules
    ]
    tables.replace(CHECK_RESULTS, scope, pa.Table.from_pylist(rows, schema=CHECK_RESULTS.schema))


def history(tables: Tables, program: str, asset: str | None = None) -> list[dict[str, Any]]:
    """Return what the checks of a program said, the oldest run first.

    Parameters
    ----------
    tables : Tables
        The lake's tables.
    program : str
        Five digits.
    asset : str, optional
        One asset's name with slashes; all by default.

    Returns
    -------
    list of dict
        Rows of ``check_results``; those of one run and asset stand together, by name of their rules.
    """
    where = {"program": program} if asset is None else {"program": program, "asset": asset}
    rows: list[dict[str, Any]] = tables.scan(CHECK_RESULTS, where).to_pylist()
    began: dict[tuple[str, str], datetime] = {}
    for row in rows:  # a step done again leaves the time of the rules that said the same
        of = row["asset"], row["run_id"]
        began[of] = min(began.get(of, row["evaluated_at"]), row["evaluated_at"])
    return sorted(rows, key=lambda row: (began[row["asset"], row["run_id"]], row["asset"], row["run_id"], row["rule"]))


def runs_of(history: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the runs in rows of ``check_results`` of one asset, the oldest first.

    Returns
    -------
    list of dict
        run_id, when, rows, rules, broken (names), verdict, report_key, data_version, code_version.
    """
    runs: dict[str, dict[str, Any]] = {}
    for row in history:
        run = runs.setdefault(row["run_id"], {"when": row["evaluated_at"], "rules": 0, "broken": [], "worst": []})
        run.update({name: row[name] for name in ("run_id", "rows", "report_key", "data_version", "code_version")})
        run["rules"] += 1
        if not row["passed"]:
            run["broken"].append(row["rule"])
            run["worst"].append(row["severity"])
    for run in runs.values():
        found = run.pop("worst")
        run["verdict"] = "failed" if "critical" in found else "warned" if "warning" in found else "passed"
    return list(runs.values())
