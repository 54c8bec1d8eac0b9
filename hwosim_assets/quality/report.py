"""The quality reports in the lake: one page per asset and program, and the page over all stages.

Holds: writing a report (HTML and JSON), the table ``quality_reports`` that says which report is the
latest, the summary of a program, and reading a report back as a page with its history. Keep out how a page
looks (``quality.pages``) and serving it (``hwosim_streaming.report_server``).

An object of the lake is never overwritten, so a report lies under the hash of what it says: the same
findings are the same object, and the link that Dagster kept with an old check still shows the old
report. The path of a page on the report server is its key in the lake; what the server shows there
has the history over runs besides, which the object cannot have.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from hwosim_assets.lake.layout import report_key
from hwosim_assets.lake.rejections import QUARANTINE
from hwosim_assets.lake.spec import TableSpec
from hwosim_assets.quality import pages
from hwosim_assets.quality.expected import in_words
from hwosim_assets.quality.history import history
from hwosim_assets.quality.suites import suite_named
from hwosim_assets.settings import Settings

if TYPE_CHECKING:
    from hwosim_assets.lake.store import Lake
    from hwosim_assets.lake.tables import Tables
    from hwosim_assets.quality.run import SuiteResult

__all__ = [
    "QUALITY_REPORTS",
    "ReportRef",
    "refused_files",
    "report_page",
    "summary",
    "summary_page",
    "write_report",
    "write_summary",
]

_TEXT, _COUNT = pa.string(), pa.int64()

QUALITY_REPORTS = TableSpec(
    name="quality_reports",
    schema=pa.schema(
        [
            pa.field("program", _TEXT, nullable=False),
            pa.field("asset", _TEXT, nullable=False),
            pa.field("suite", _TEXT, nullable=False),
            pa.field("verdict", _TEXT, nullable=False),
            pa.field("rows", _COUNT, nullable=False),
            pa.field("rules", _COUNT, nullable=False),
            pa.field("broken", _COUNT, nullable=False),
            pa.field("broken_critical", _COUNT, nullable=False),
            pa.field("broken_warning", _COUNT, nullable=False),
            pa.field("broken_rules", _TEXT, nullable=False),
            pa.field("html_key", _TEXT, nullable=False),
            pa.field("json_key", _TEXT, nullable=False),
            pa.field("written_at", pa.timestamp("us", "UTC"), nullable=False),
        ]
    ),
    scope=("program", "asset"),
    key=("suite",),
    volatile=("written_at",),
    doc="One row for each asset and program: the latest quality report, its verdict and where it lies.",
)

#: The order of the chain, by the first part of an asset's name.
_STAGES = ("mast", "raw", "catalog", "perturbed", "truth", "stream", "report")
#: Most refused files on a program's page; the table ``quarantine`` has all.
_MOST_REFUSED = 1000


@dataclass(frozen=True)
class ReportRef:
    """Where a report lies.

    Attributes
    ----------
    key : str
        Key of the HTML in the lake.
    uri : str
        Its URI in the lake.
    url : str
        Where the report server shows it.
    sha256 : str
        Hash of what the report says, whatever its look.
    """

    key: str
    uri: str
    url: str
    sha256: str


def write_report(lake: Lake, tables: Tables, asset: str, program: str, result: SuiteResult) -> ReportRef:
    """Write the report of one asset and program, and make it the latest.

    Parameters
    ----------
    lake : Lake
        Where the page and the JSON go.
    tables : Tables
        Where the row of ``quality_reports`` goes.
    asset : str
        The asset's name with slashes, for example ``catalog/products``.
    program : str
        Five digits.
    result : SuiteResult
        What the suite found.

    Returns
    -------
    ReportRef
    """
    expected = {rule.name: in_words(rule) for rule in suite_named(result.suite).rules}
    report: dict[str, Any] = {
        "asset": asset,
        "program": program,
        "suite": result.suite,
        "verdict": result.verdict,
        "rows": result.rows,
        "rules": [{**asdict(rule), "expected": expected.get(rule.name, "")} for rule in result.rules],
    }
    written = _store(lake, asset, program, report, pages.asset_page(report, paths=_from_the_lake()))
    broken = [rule for severity in ("critical", "warning", "info") for rule in result.broken(severity)]
    row = {
        "program": program,
        "asset": asset,
        "suite": result.suite,
        "verdict": result.verdict,
        "rows": result.rows,
        "rules": len(result.rules),
        "broken": len(broken),
        "broken_critical": len(result.broken("critical")),
        "broken_warning": len(result.broken("warning")),
        "broken_rules": ",".join(rule.name for rule in broken),
        "html_key": written.key,
        "json_key": written.key.removesuffix(".html") + ".json",
        "written_at": datetime.now(UTC),
    }
    scope = {"program": program, "asset": asset}
    tables.replace(QUALITY_REPORTS, scope, pa.Table.from_pylist([row], schema=QUALITY_REPORTS.schema))
    return written


def summary(tables: Tables, program: str) -> list[dict[str, Any]]:
    """Return the latest report of every asset of a program, in the order of the chain.

    Parameters
    ----------
    tables : Tables
        The lake's tables.
    program : str
        Five digits.

    Returns
    -------
    list of dict
        Rows of ``quality_reports``; empty where the program was never checked.
    """
    rows: list[dict[str, Any]] = tables.scan(QUALITY_REPORTS, {"program": program}).to_pylist()
    return sorted(rows, key=_place_in_chain)


def summary_page(tables: Tables, program: str, paths: pages.Paths | None = None) -> str:
    """Return the page of one program over all stages with its history, as of now."""
    refused = refused_files(tables, program)
    return pages.program_page(program, summary(tables, program), refused, history(tables, program), paths)


def report_page(lake: Lake, tables: Tables, key: str, paths: pages.Paths | None = None) -> str:
    """Return a stored report as a page, with what the checks said over all runs.

    Parameters
    ----------
    lake, tables
        Where the report and the history lie.
    key : str
        Key of a report's HTML.
    paths : Paths, optional
        Where links lead to; the report server's by default.

    Raises
    ------
    NotStoredError
        If there is no such report.
    """
    report: dict[str, Any] = json.loads(lake.read(key.removesuffix(".html") + ".json"))
    if "rules" not in report:  # the summary of a program as it was
        return lake.read(key).decode()
    return pages.asset_page(report, history(tables, report["program"], report["asset"]), paths)


def write_summary(lake: Lake, tables: Tables, program: str) -> ReportRef:
    """Write the page of one program over all stages.

    Returns
    -------
    ReportRef
        Its ``url`` is the program's page on the report server, which is always the latest; its
        ``sha256`` changes only when a verdict, a count or a refused file does.
    """
    stages, refused = summary(tables, program), refused_files(tables, program)
    # Not its own verdict, which is reached afterwards: the same findings are to be the same report.
    judged = [stage for stage in stages if not stage["asset"].startswith("report/")]
    said = [{name: value for name, value in stage.items() if name != "written_at"} for stage in judged]
    report = {"program": program, "verdict": pages.worst(judged), "stages": said, "refused": refused}
    html = pages.program_page(program, stages, refused, paths=_from_the_lake())
    written = _store(lake, "report/data_quality", program, report, html)
    url = f"{Settings().report_url}/program/{program}"
    return ReportRef(written.key, written.uri, url, written.sha256)


def refused_files(tables: Tables, program: str) -> list[dict[str, Any]]:
    """Return the files of a program that a stage refused, a thousand at most, in the order of stage and name."""
    rows: list[dict[str, Any]] = tables.scan(QUARANTINE, {"program": program}).to_pylist()
    return sorted(rows, key=lambda row: (row["stage"], row["product_name"], row["rule"]))[:_MOST_REFUSED]


def _from_the_lake() -> pages.Paths:
    """Return where the links of a page lead to that is opened out of the lake: to the report server."""
    return pages.Paths(root=f"{Settings().report_url}/")


def _store(lake: Lake, asset: str, program: str, report: dict[str, Any], html: str) -> ReportRef:
    from hwosim_assets.lake.store import AlreadyStoredError

    text = json.dumps(report, indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False).encode()
    sha256 = hashlib.sha256(text).hexdigest()
    report_id = hashlib.sha256(f"{sha256} {pages.LAYOUT_VERSION}".encode()).hexdigest()
    for suffix, content in (("json", text), ("html", html.encode())):
        try:
            lake.write_new(report_key(asset, program, report_id, suffix), content)
        except AlreadyStoredError:
            continue  # the same findings, written before
    key = report_key(asset, program, report_id, "html")
    return ReportRef(key, lake.uri_of(key), f"{Settings().report_url}/{key}", sha256)


def _place_in_chain(row: dict[str, Any]) -> tuple[int, str]:
    stage = str(row["asset"]).split("/", 1)[0]
    return (_STAGES.index(stage) if stage in _STAGES else len(_STAGES), str(row["asset"]))
