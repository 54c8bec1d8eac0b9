"""The quality reports in the lake: one page per asset and program, and the page over all stages.

Holds: writing a report (HTML and JSON), the table ``quality_reports`` that says which report is the
latest, and the summary of a program. Keep out how a page looks (``quality.pages``) and serving it
(``hwosim_streaming.report_server``).

An object of the lake is never overwritten, so a report lies under the hash of what it says: the same
findings are the same object, and the link that Dagster kept with an old check still shows the old
report. The path of a page on the report server is its key in the lake.
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
from hwosim_assets.settings import Settings

if TYPE_CHECKING:
    from hwosim_assets.lake.store import Lake
    from hwosim_assets.lake.tables import Tables
    from hwosim_assets.quality.run import SuiteResult

__all__ = ["QUALITY_REPORTS", "ReportRef", "summary", "summary_page", "write_report", "write_summary"]

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
    report: dict[str, Any] = {
        "asset": asset,
        "program": program,
        "suite": result.suite,
        "verdict": result.verdict,
        "rows": result.rows,
        "rules": [asdict(rule) for rule in result.rules],
    }
    written = _store(lake, asset, program, report, pages.asset_page(report))
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


def summary_page(tables: Tables, program: str) -> str:
    """Return the page of one program over all stages, as of now."""
    return pages.program_page(program, summary(tables, program), _refused(tables, program))


def write_summary(lake: Lake, tables: Tables, program: str) -> ReportRef:
    """Write the page of one program over all stages.

    Returns
    -------
    ReportRef
        Its ``url`` is the program's page on the report server, which is always the latest; its
        ``sha256`` changes only when a verdict, a count or a refused file does.
    """
    stages, refused = summary(tables, program), _refused(tables, program)
    said = [{name: value for name, value in stage.items() if name != "written_at"} for stage in stages]
    report = {"program": program, "verdict": pages.worst(stages), "stages": said, "refused": refused}
    written = _store(lake, "report/data_quality", program, report, pages.program_page(program, stages, refused))
    url = f"{Settings().report_url}/program/{program}"
    return ReportRef(written.key, written.uri, url, written.sha256)


def _refused(tables: Tables, program: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = tables.scan(QUARANTINE, {"program": program}).to_pylist()
    return sorted(rows, key=lambda row: (row["stage"], row["product_name"], row["rule"]))[:_MOST_REFUSED]


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
