"""The pages about one program: a report of one asset, and all stages together.

Holds: how they look, and where a page leads to (:class:`Paths`). Keep out the elements (``quality.markup``),
the pages over all programs (``quality.fleet_pages``), what a report says and where it lies (``quality.report``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote

from hwosim_assets.quality.history import runs_of
from hwosim_assets.quality.markup import Markup, block, document, facts, joined, link, table, verdict
from hwosim_assets.quality.plots import trend

__all__ = ["LAYOUT_VERSION", "Paths", "asset_page", "navigation", "program_page", "when", "worst"]

#: Part of a report's identity, so that a new look is stored as a new object.
LAYOUT_VERSION = 3
#: Runs that a page lists; its plots show as many.
RUNS = 20


@dataclass(frozen=True)
class Paths:
    """Where a page leads to.

    Attributes
    ----------
    root : str
        What stands before every path: ``/`` on the report server, its URL in a page that lies in the lake,
        ``../`` in a file.
    ending : str
        What stands behind a path that is no report: ``.html`` in files.
    """

    root: str = "/"
    ending: str = ""

    def home(self) -> str:
        """Return the page over all programs."""
        return f"{self.root}index.html" if self.ending else self.root

    def program(self, program: str) -> str:
        """Return the page of a program."""
        return f"{self.root}program/{quote(program, safe='')}{self.ending}"

    def report(self, key: str) -> str:
        """Return the page of a report, given its key in the lake."""
        return self.root + quote(key, safe="/")

    def drift(self) -> str:
        """Return the page of numbers over time."""
        return f"{self.root}drift{self.ending}"

    def product(self, name: object) -> object:
        """Return a link to where a product came from; files have no such page, and there it is the name alone."""
        if self.ending or not name:
            return name
        return link(f"{self.root}lineage/{quote(str(name), safe='')}", name)


def asset_page(report: Mapping[str, Any], history: Sequence[Mapping[str, Any]] = (), paths: Paths | None = None) -> str:
    """Return the page of one asset and program.

    Parameters
    ----------
    report : mapping
        A report's JSON document.
    history : sequence of mapping
        Rows of ``check_results`` of this asset and program, the oldest run first; what no run before said
        is not on the page.
    paths : Paths, optional
        Where links lead to; the report server's by default.
    """
    paths = paths or Paths()
    asset, program = report["asset"], report["program"]
    runs = runs_of(history)
    rules = sorted(report["rules"], key=lambda rule: (rule["passed"], _SEVERITIES.index(rule["severity"])))
    broken = sum(1 for rule in rules if not rule["passed"])
    return document(
        f"{asset} {program}: {report['verdict']}",
        navigation(paths, program),
        block("h1", asset, " · program ", program, " · ", verdict(report["verdict"])),
        block(
            "p",
            "A critical rule that fails stops what lies downstream, a warning does not, a remark asks for nothing.",
        ),
        facts({"rows": report["rows"], "rules that hold": f"{len(rules) - broken} of {len(rules)}", **_latest(runs)}),
        *(_offenders(rule, paths) for rule in rules),
        *([block("h2", "All rules")] if broken else []),
        table(
            ("", "rule", "severity", "what should hold", "expected", "found", "over runs"),
            [_rule_row(rule, _said(history, rule["name"])) for rule in rules],
        ),
        *(_runs(runs, paths) if runs else ()),
    )


_SEVERITIES = ("critical", "warning", "info")


def _latest(runs: Sequence[Mapping[str, Any]]) -> dict[str, object]:
    if not runs:
        return {}
    last = runs[-1]
    return {
        "last checked": f"{when(last['when'])}, run {last['run_id']}",
        "data version": last["data_version"],
        "code version": last["code_version"],
    }


def _said(history: Sequence[Mapping[str, Any]], rule: str) -> list[Mapping[str, Any]]:
    return [row for row in history if row["rule"] == rule][-RUNS:]


#: What a broken rule of a severity is called.
_FAILED = {"critical": "failed", "warning": "warned", "info": "remark"}


def _rule_row(rule: Mapping[str, Any], said: Sequence[Mapping[str, Any]]) -> list[object]:
    return [
        verdict("passed" if rule["passed"] else _FAILED[rule["severity"]]),
        block("code", rule["name"]),
        rule["severity"],
        rule["doc"],
        rule.get("expected"),
        _found(rule),
        _over_runs(rule["name"], said),
    ]


def _found(rule: Mapping[str, Any]) -> str:
    if rule["found"]:
        return ", ".join(f"{name.replace('_', ' ')}: {value:g}" for name, value in rule["found"].items())
    share = f" ({rule['unexpected'] / rule['checked']:.2%})" if rule["unexpected"] and rule["checked"] else ""
    return f"{rule['unexpected']} of {rule['checked']} values break it{share}"


def _offenders(rule: Mapping[str, Any], paths: Paths) -> Markup:
    """Return the values that break a rule, with a link to where each product came from."""
    if not rule["examples"] or rule["found"]:
        return Markup()
    names = sorted(rule["examples"][0], key=lambda name: (name in ("column", "value"), name))
    rows = [
        [paths.product(example.get(name)) if name == "product_name" else example.get(name) for name in names]
        for example in rule["examples"]
    ]
    head = block("h2", verdict(_FAILED[rule["severity"]]), " ", block("code", rule["name"]))
    said = f"{rule['doc']} Expected: {rule.get('expected')}. Found: {_found(rule)}; {len(rows)} shown."
    return block("section", head, block("p", said), table(names, rows))


def _over_runs(rule: str, said: Sequence[Mapping[str, Any]]) -> object:
    """Return the share that broke a rule over the last runs, and since when it does not hold."""
    if not said:
        return None
    # A rule over counts looks at one set of counts: it holds or it does not.
    values = [row["share"] if row["share"] is not None else float(not row["passed"]) for row in said]
    off = [not row["passed"] for row in said]
    plot = trend(values, off, f"{rule}: share of values that break it, last {len(said)} runs")
    if not off[-1]:
        return plot
    first = next((number for number in range(len(off) - 1, -1, -1) if not off[number]), -1) + 1
    return joined(plot, f"since {when(said[first]['evaluated_at'])} ({len(off) - first} of {len(off)} runs)")


def _runs(runs: Sequence[Mapping[str, Any]], paths: Paths) -> tuple[Markup, Markup]:
    rows = [
        (
            verdict(run["verdict"]),
            link(paths.report(run["report_key"]), when(run["when"])),
            run["rows"],
            f"{run['rules'] - len(run['broken'])} of {run['rules']}",
            ", ".join(run["broken"]),
            block("code", run["run_id"]),
            block("code", (run["data_version"] or "")[:16]),
        )
        for run in reversed(runs[-RUNS:])
    ]
    columns = ("", "checked", "rows", "rules that hold", "rules that do not", "run", "data version")
    return block("h2", f"Runs: {len(runs)}"), table(columns, rows)


def program_page(
    program: str,
    stages: Sequence[Mapping[str, Any]],
    refused: Sequence[Mapping[str, Any]],
    history: Sequence[Mapping[str, Any]] = (),
    paths: Paths | None = None,
) -> str:
    """Return the page of one program over all stages.

    Parameters
    ----------
    program : str
        Five digits.
    stages : sequence of mapping
        Rows of the table ``quality_reports``, in the order of the chain.
    refused : sequence of mapping
        Rows of the table ``quarantine``.
    history : sequence of mapping
        Rows of ``check_results`` of this program, the oldest run first.
    paths : Paths, optional
        Where links lead to; the report server's by default.
    """
    paths = paths or Paths()
    rows = [_stage_row(stage, [row for row in history if row["asset"] == stage["asset"]], paths) for stage in stages]
    files = [
        (paths.product(item["product_name"]), item["stage"], block("code", item["rule"]), item["reason"])
        for item in refused
    ]
    columns = ("", "asset", "rows", "rules that hold", "rules that do not", "broken over runs", "as of")
    return document(
        f"Program {program}: {worst(stages)}",
        navigation(paths),
        block("h1", "Program ", program, " · ", verdict(worst(stages))),
        block("p", "Data quality over all stages, from the archive to the stream."),
        table(columns, rows),
        block("h2", f"Files refused: {len(files)}"),
        table(("file", "stage", "rule", "reason"), files) if files else block("p", "None."),
    )


def _stage_row(stage: Mapping[str, Any], history: Sequence[Mapping[str, Any]], paths: Paths) -> list[object]:
    runs = runs_of(history)[-RUNS:]
    counts = [float(len(run["broken"])) for run in runs]
    off = [run["verdict"] != "passed" for run in runs]
    plot = trend(counts, off, f"{stage['asset']}: rules broken, last {len(runs)} runs") if runs else None
    return [
        verdict(stage["verdict"]),
        link(paths.report(stage["html_key"]), stage["asset"]),
        stage["rows"],
        f"{stage['rules'] - stage['broken']} of {stage['rules']}",
        stage["broken_rules"].replace(",", ", "),
        plot,
        when(stage["written_at"]),
    ]


def navigation(paths: Paths, program: str = "") -> Markup:
    """Return the links at the head of a page."""
    own = [link(paths.program(program), f"All stages of program {program}")] if program else []
    running = (("live", "The live stream"), ("operations", "Operations"))
    live = [] if paths.ending else [link(f"{paths.root}{page}", text) for page, text in running]
    return block("nav", *own, link(paths.home(), "All programs"), link(paths.drift(), "Numbers over time"), *live)


def when(moment: datetime) -> str:
    """Return a moment as pages write it."""
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def worst(stages: Iterable[Mapping[str, Any]]) -> str:
    """Return the worst verdict of some stages; ``passed`` where there is none."""
    order = ("passed", "warned", "failed")
    return max((str(stage["verdict"]) for stage in stages), key=order.index, default="passed")
