"""How fast the quality pages open as the archive grows, asked of the report server over HTTP.

Holds: the reports and check results of a generated archive as the commits' own upkeep leaves them (merged, but for
as many small files as it lets gather), and the timing of pages: first, again, after one more report, and once all
is merged. It prints and asserts nothing. Everything is written below a temporary folder, which is removed.

    python -m benchmarks.reports [--programs 1000]
"""

from __future__ import annotations

import argparse
import datetime as dt
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa

from hwosim_assets.lake.datafile import bucket_of, write_rows
from hwosim_assets.lake.spec import TableSpec
from hwosim_assets.lake.store import Lake
from hwosim_assets.lake.tables import Tables
from hwosim_assets.lake.upkeep import CROWDED
from hwosim_assets.quality.history import CHECK_RESULTS, Evaluation, record_results
from hwosim_assets.quality.report import QUALITY_REPORTS, write_report
from hwosim_assets.quality.run import RuleResult, SuiteResult
from hwosim_streaming.live import LiveMessage
from hwosim_streaming.report_server import ReportServer

ASSETS = (
    *("mast/observations", "mast/products", "raw/fits_files"),
    *("catalog/header_cards", "catalog/products", "catalog/quarantine"),
    *(f"{stage}/{name}" for stage in ("perturbed", "stream") for name in ("clean", "nominal_l2", "bad_day")),
)
RULES = tuple(f"rule_{number}" for number in range(12))
NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


def main() -> int:
    """Fill the tables, open the pages, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reports", description=__doc__)
    parser.add_argument("--programs", type=int, default=1000)
    programs = parser.parse_args().programs
    with tempfile.TemporaryDirectory(prefix="hwosim-bench-") as folder:
        tables = Tables(f"sqlite:///{folder}/catalog.db", (Path(folder) / "tables").as_uri())
        lake = Lake((Path(folder) / "lake").as_uri())
        began = time.perf_counter()
        young = min(CROWDED // len(ASSETS), programs - 1)
        for spec, rows in ((QUALITY_REPORTS, _reports), (CHECK_RESULTS, _results)):
            _fill(tables, spec, range(programs - young), rows)
            tables.compact(spec.name)
            _fill(tables, spec, range(programs - young, programs), rows)
        print(
            f"# {programs} programs of {len(ASSETS)} assets written in {time.perf_counter() - began:.0f} s", flush=True
        )
        print(f"{'page':<24}{'state':<28}{'seconds':>9}{'kB':>9}")
        with ReportServer(lake, tables, _silent, 0) as server:
            _open(server, f"{young * len(ASSETS)} small files, first")
            _open(server, "again")
            _one_more(lake, tables)
            _open(server, "after one more report")
            for spec in (QUALITY_REPORTS, CHECK_RESULTS):
                tables.compact(spec.name)
            _open(server, "all merged, first")
            _open(server, "again")
    return 0


def _open(server: ReportServer, state: str) -> None:
    for path in ("/", "/?verdict=failed", "/programs.json", "/program/00000", "/drift"):
        began = time.perf_counter()
        reply = httpx.get(server.url + path, timeout=600, trust_env=False).raise_for_status()
        print(f"{path:<24}{state:<28}{time.perf_counter() - began:>9.2f}{len(reply.content) / 1e3:>9.0f}", flush=True)


def _fill(tables: Tables, spec: TableSpec, programs: range, rows: Any) -> None:
    """Write one data file for each asset and program, a hundred programs in a commit."""
    tables.ensure(spec)
    table = tables.open(spec.name)
    for start in range(0, len(programs), 100):
        with table.transaction() as transaction, transaction.update_snapshot().merge_append() as change:
            for number in programs[start : start + 100]:
                program = f"{number:05d}"
                for asset in ASSETS:
                    for file in write_rows(table, bucket_of(table, program), rows(program, asset, f"run-{program}")):
                        change.append_data_file(file)


def _reports(program: str, asset: str, run: str) -> pa.Table:
    number = int(program)
    broken = ("failed" if number % 100 == 0 else "warned") if asset == "catalog/products" and not number % 10 else ""
    row = {
        "program": program,
        "asset": asset,
        "suite": "products",
        "verdict": broken or "passed",
        "rows": 100,
        "rules": len(RULES),
        "broken": int(bool(broken)),
        "broken_critical": int(broken == "failed"),
        "broken_warning": int(broken == "warned"),
        "broken_rules": RULES[number % 7] if broken else "",
        "html_key": f"reports/{asset}/jw{program}/{number:064x}.html",
        "json_key": f"reports/{asset}/jw{program}/{number:064x}.json",
        "written_at": NOW,
    }
    return pa.Table.from_pylist([row], schema=QUALITY_REPORTS.schema)


def _results(program: str, asset: str, run: str) -> pa.Table:
    number = int(program)
    said = {"program": program, "asset": asset, "run_id": run, "suite": "products", "severity": "warning", "rows": 100}
    when = NOW + dt.timedelta(minutes=number)
    rows = [
        {
            **said,
            "rule": rule,
            "passed": bool(number % 10),
            "checked": 100,
            "unexpected": 0 if number % 10 else 3,
            "share": 0.0 if number % 10 else 0.03,
            "data_version": f"{number:064x}",
            "report_key": f"reports/{asset}/jw{program}/{number:064x}.html",
            "evaluated_at": when,
        }
        for rule in RULES
    ]
    return pa.Table.from_pylist(rows, schema=CHECK_RESULTS.schema)


def _one_more(lake: Lake, tables: Tables) -> None:
    """Write a report and its results as a run does."""
    rule = RuleResult("counts_reconcile", "critical", True, 1, 0, (), "All there.", {"files": 3.0})
    result = SuiteResult("products", 3, (rule,))
    written = write_report(lake, tables, "catalog/products", "00001", result)
    record_results(tables, "catalog/products", "00001", result, Evaluation("one-more", "v"), written.key)


def _silent(stop: threading.Event) -> Iterator[LiveMessage]:
    stop.wait()
    yield from ()


if __name__ == "__main__":
    raise SystemExit(main())
