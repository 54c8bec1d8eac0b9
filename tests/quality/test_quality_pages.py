"""What the pages show: expected against found, since when, plots; a thousand programs; nothing from outside runs."""

from __future__ import annotations

import datetime as dt
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest

from hwosim_assets.quality.drift import Followed, Series, follow
from hwosim_assets.quality.fleet_pages import drift_page, programs_page, programs_rows
from hwosim_assets.quality.history import runs_of
from hwosim_assets.quality.markup import Markup, block, facts, link, table
from hwosim_assets.quality.pages import Paths, asset_page, program_page
from hwosim_assets.quality.plots import series_plot, trend

EVIL = "\"><script>alert('x')</script><img src=x onerror=alert(1)>"
DOT = re.compile(r"M([0-9.-]+) ([0-9.-]+)h0")
START = dt.datetime(2026, 1, 1, 12, tzinfo=dt.UTC)


class Elements(HTMLParser):
    """Gathers the elements of a page, and complains of those that could run or fetch something."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.tags: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        assert tag not in ("script", "img", "iframe", "object", "link", "base", "form"), tag
        for name, value in attrs:
            assert not name.startswith("on"), (tag, name)
            if name == "href":
                self.links.append(value or "")
                assert (value or "").startswith(("/", "http://127.0.0.1", "../", "index.html", "drift", "program/"))


def rule(name: str = "coordinates_in_range", **changed: Any) -> dict[str, Any]:
    return {
        "name": name,
        "severity": "warning",
        "passed": False,
        "checked": 40,
        "unexpected": 2,
        "examples": [{"product_name": "jw01093_a_cal.fits", "column": "s_ra", "value": "400.0"}],
        "doc": "On the sky.",
        "expected": "s_ra >= 0 and < 360",
        "found": {},
        **changed,
    }


def report(*rules: dict[str, Any]) -> dict[str, Any]:
    names = {"asset": "catalog/products", "program": "01093", "suite": "products"}
    return {**names, "verdict": "warned", "rows": 20, "rules": list(rules)}


def row(run: int, passed: bool, **changed: Any) -> dict[str, Any]:
    return {
        "run_id": f"run{run}",
        "asset": "catalog/products",
        "rule": "coordinates_in_range",
        "severity": "warning",
        "passed": passed,
        "share": 0.0 if passed else 0.05,
        "rows": 20,
        "data_version": "d" * 64,
        "code_version": "3",
        "report_key": f"reports/catalog/products/jw01093/{run:064x}.html",
        "evaluated_at": START + dt.timedelta(days=run),
        **changed,
    }


def stage(**changed: Any) -> dict[str, Any]:
    return {
        "program": "01093",
        "asset": "catalog/products",
        "suite": "products",
        "verdict": "passed",
        "rows": 20,
        "rules": 12,
        "broken": 0,
        "broken_critical": 0,
        "broken_warning": 0,
        "broken_rules": "",
        "html_key": f"reports/catalog/products/jw01093/{'a' * 64}.html",
        "json_key": f"reports/catalog/products/jw01093/{'a' * 64}.json",
        "written_at": START,
        **changed,
    }


def test_a_report_sets_what_is_expected_against_what_was_found_and_links_the_worst() -> None:
    good = rule("obsid_unique", passed=True, unexpected=0, examples=[])
    page = asset_page(report(good, rule()))
    assert "s_ra &gt;= 0 and &lt; 360" in page
    assert "2 of 40 values break it (5.00%)" in page
    assert "/lineage/jw01093_a_cal.fits" in Elements(page).links
    assert page.index("coordinates_in_range") < page.index("obsid_unique"), "what does not hold comes first"
    assert "1 of 2" in page


def test_the_values_that_break_a_rule_come_before_all_rules() -> None:
    page = asset_page(
        report(rule("coordinates_in_range"), rule("obsid_unique", passed=True, unexpected=0, examples=[]))
    )
    assert page.index("jw01093_a_cal.fits") < page.index("All rules") < page.index("obsid_unique")
    assert page.index('scope="col">product_name') < page.index('scope="col">column') < page.index('scope="col">value')


def test_history_says_since_when_a_rule_does_not_hold_and_links_each_run() -> None:
    said = [row(number, passed) for number, passed in enumerate([True, False, True, False, False])]
    page = asset_page(report(rule()), said)
    assert "since 2026-01-04 12:00:00 UTC (2 of 5 runs)" in page
    assert "Runs: 5" in page
    assert {f"/{one['report_key']}" for one in said} <= set(Elements(page).links)
    assert Elements(page).tags.count("svg") == 1
    assert "never" not in page
    always = asset_page(report(rule()), said[3:])
    assert "since 2026-01-04 12:00:00 UTC (2 of 2 runs)" in always
    assert "since" not in asset_page(report(rule(passed=True)), said[:1])


def test_runs_are_told_by_their_worst_rule() -> None:
    rows = [row(0, True), row(0, False, rule="b", severity="info"), row(1, False), row(1, False, severity="critical")]
    assert [run["verdict"] for run in runs_of(rows)] == ["passed", "failed"]
    assert [run["rules"] for run in runs_of(rows)] == [2, 2]


def test_a_program_shows_every_stage_with_its_history_and_its_refused_files() -> None:
    refused = [{"product_name": "bad.fits", "stage": "raw", "rule": "fits_structure", "reason": "it ends early"}]
    page = program_page("01093", [stage(), stage(asset="raw/fits_files")], refused, [row(0, True), row(1, False)])
    elements = Elements(page)
    assert elements.tags.count("svg") == 1
    assert "/lineage/bad.fits" in elements.links
    assert "Files refused: 1" in page


def test_nothing_from_outside_becomes_markup() -> None:
    """File names, values, reasons, rule names, run ids: whatever a header or an archive can put into a row."""
    hostile = rule(EVIL, doc=EVIL, expected=EVIL, examples=[{"product_name": EVIL, EVIL: EVIL}])
    counted = rule(found={EVIL: 3.0})
    history = [row(0, False, rule=EVIL, run_id=EVIL, data_version=EVIL, report_key=EVIL)]
    refused = [{"product_name": EVIL, "stage": EVIL, "rule": EVIL, "reason": EVIL}]
    hostile_stage = stage(asset=EVIL, broken_rules=EVIL, html_key=EVIL, verdict="failed", program=EVIL)
    times = np.arange(20.0) + 60000
    series = Series(EVIL, EVIL, EVIL, times, np.repeat([0.0, 1.0], 10), (EVIL,) * 20, (EVIL,) * 20)
    pages = [
        asset_page({**report(hostile, counted), "asset": EVIL, "program": EVIL}, history),
        program_page(EVIL, [hostile_stage], refused, [{**history[0], "asset": EVIL}]),
        programs_page([hostile_stage]),
        drift_page([Followed(series, follow(series.values))]),
    ]
    for page in pages:
        Elements(page)
        assert "<script" not in page
        assert "<img" not in page
        assert "&lt;script&gt;" in page


def test_markup_escapes_everything_but_itself() -> None:
    assert block("p", "<b>", Markup("<i>")) == "<p>&lt;b&gt;<i></p>"
    assert link('"x"', "<y>") == '<a href="&quot;x&quot;">&lt;y&gt;</a>'
    assert "&lt;td&gt;" in table(["<td>"], [["<td>"]])
    assert facts({"<a>": "<b>", "absent": None, "empty": ""}) == "<dl><dt>&lt;a&gt;</dt><dd>&lt;b&gt;</dd></dl>"


def fleet(programs: int) -> list[dict[str, Any]]:
    """Make the reports of a large archive: every tenth program warned, every hundredth failed."""
    assets = ["mast/observations", "mast/products", "raw/fits_files", "catalog/header_cards", "catalog/products"]
    assets += ["catalog/quarantine", *(f"{part}/s{number}" for part in ("perturbed", "stream") for number in range(4))]
    rows = []
    for number in range(programs):
        bad = number % 100 == 0
        warned = number % 10 == 0
        for asset in assets:
            hit = asset == "catalog/products" and warned
            broken = "coordinates_in_range" if hit else ""
            verdict = ("failed" if bad else "warned") if hit else "passed"
            counts = {"broken_critical": int(hit and bad), "broken_warning": int(hit and not bad)}
            made = stage(program=f"{number:05}", asset=asset, verdict=verdict, broken_rules=broken, **counts)
            rows.append({**made, "broken": int(hit)})
    return rows


def test_a_thousand_programs_stay_readable_the_worst_first() -> None:
    reports = fleet(1000)
    page = programs_page(reports)
    assert len(page) < 1_000_000
    rows = programs_rows(reports)
    assert [one["verdict"] for one in rows[:101]] == ["failed"] * 10 + ["warned"] * 90 + ["passed"]
    for said in ("1000 programs", "10 failed", "90 warned", "900 passed", "Programs: 1000"):
        assert said in page, said
    assert page.index("/program/00000") < page.index("/program/00010") < page.index("/program/00001")
    narrowed = programs_page(reports, "failed")
    assert len([path for path in Elements(narrowed).links if path.startswith("/program/")]) == 10
    assert "Programs: 10" in narrowed
    assert "900 passed" in narrowed


def test_files_lead_to_files_and_to_nothing_that_only_a_server_has() -> None:
    files = Paths(root="../", ending=".html")
    page = program_page(
        "01093", [stage()], [{"product_name": "a", "stage": "raw", "rule": "r", "reason": "x y"}], (), files
    )
    assert set(Elements(page).links) == {"../index.html", "../drift.html", f"../{stage()['html_key']}"}
    home = programs_page([stage()], paths=Paths(root="", ending=".html"))
    assert set(Elements(home).links) == {"index.html", "drift.html", "program/01093.html"}


@pytest.mark.parametrize("values", [[], [1.0], [2.0, 2.0], list(np.linspace(-1e9, 1e9, 5000))], ids=len)
def test_plots_are_small_valid_and_inside_their_frame(values: list[float]) -> None:
    marks = [len(values) - 1] if values else []
    level = [float("nan"), *values[:-1]] if values else []
    for plot in (trend(values, [False] * len(values), EVIL), series_plot(values, level, marks, EVIL)):
        tree = ET.fromstring(plot)  # noqa: S314  # our own
        width, height = (float(tree.get(name) or 0) for name in ("width", "height"))
        for circle in tree.iter("circle"):
            assert 0 <= float(circle.get("cx") or -1) <= width
            assert 0 <= float(circle.get("cy") or -1) <= height
        for x, y in DOT.findall("".join(path.get("d", "") for path in tree.iter("path"))):
            assert 0 <= float(x) <= width
            assert 0 <= float(y) <= height
    assert len(DOT.findall(series_plot(values[:500], level[:500], marks[:0], "x"))) == min(len(values), 500)
    assert len(series_plot(values, level, marks, "x")) < 80_000
