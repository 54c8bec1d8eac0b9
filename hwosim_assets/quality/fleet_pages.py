"""The pages over all programs: which are good, which rules break most, which numbers moved with time.

Holds: how they look. They stay readable at a thousand programs: the worst first, what is common counted
above, a list that a link narrows down. Keep out the pages about one program (``quality.pages``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from hwosim_assets.quality.drift import Followed
from hwosim_assets.quality.markup import Markup, block, document, joined, link, table, verdict
from hwosim_assets.quality.pages import Paths, navigation, when, worst
from hwosim_assets.quality.plots import series_plot

__all__ = ["REPORT_COLUMNS", "VERDICTS", "drift_page", "programs_page", "programs_rows"]

#: What the list of programs can be narrowed to, the worst first.
VERDICTS = ("failed", "warned", "passed")
#: Columns of the table ``quality_reports`` that the page over all programs is made of.
REPORT_COLUMNS = ("program", "asset", "verdict", "broken_critical", "broken_warning", "broken_rules", "written_at")
#: Rules that are counted above the list, and series that are drawn: those with the most to say.
_MOST_RULES, _MOST_SERIES = 15, 60
#: Modified Julian Date of 1970-01-01, and seconds of a day.
_MJD_1970, _DAY = 40587.0, 86400.0


def programs_rows(reports: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return one row for each program, the worst first.

    Parameters
    ----------
    reports : sequence of mapping
        Rows of the table ``quality_reports`` of all programs.

    Returns
    -------
    list of dict
        program, verdict, assets (checked), findings (assets that did not pass), broken_critical, broken_warning
        (rules), as_of.
    """
    by_program: dict[str, list[Mapping[str, Any]]] = {}
    for row in reports:
        by_program.setdefault(row["program"], []).append(row)
    found = [
        {
            "program": program,
            "verdict": worst(stages),
            "assets": len(stages),
            "findings": sorted(stage["asset"] for stage in stages if stage["verdict"] != "passed"),
            "broken_critical": sum(stage["broken_critical"] for stage in stages),
            "broken_warning": sum(stage["broken_warning"] for stage in stages),
            "as_of": max(stage["written_at"] for stage in stages),
        }
        for program, stages in by_program.items()
    ]
    return sorted(found, key=_worst_first)


def _worst_first(row: Mapping[str, Any]) -> tuple[int, int, int, str]:
    return VERDICTS.index(row["verdict"]), -row["broken_critical"], -row["broken_warning"], row["program"]


def programs_page(reports: Sequence[Mapping[str, Any]], only: str = "", paths: Paths | None = None) -> str:
    """Return the page of all programs.

    Parameters
    ----------
    reports : sequence of mapping
        Rows of the table ``quality_reports`` of all programs.
    only : {"", "failed", "warned", "passed"}
        Which programs are listed; all by default. What is counted above is counted over all.
    paths : Paths, optional
        Where links lead to; the report server's by default.
    """
    paths = paths or Paths()
    rows = programs_rows(reports)
    counted = Counter(row["verdict"] for row in rows)
    lines = [_program_row(row, paths) for row in rows if only in ("", row["verdict"])]
    return document(
        "Data quality",
        navigation(paths),
        block("h1", "Data quality"),
        block("p", joined(f"{len(rows)} programs: ", *_tallies(counted, only, paths))),
        *(_broken_most(reports) if rows else ()),
        block("h2", f"Programs: {len(lines)}"),
        table(("", "program", "assets checked", "critical", "warnings", "assets with findings", "as of"), lines)
        if lines
        else block("p", "None." if rows else "No report yet."),
    )


def _tallies(counted: Mapping[str, int], only: str, paths: Paths) -> list[Markup]:
    """Return how many programs there are of each verdict; on the server each leads to their list."""
    said: list[Markup] = []
    for word in VERDICTS:
        text = f"{counted.get(word, 0)} {word}"
        narrowed = block("strong", text) if word == only else link(f"{paths.home()}?verdict={word}", text)
        said.append(joined(text if paths.ending else narrowed, " · " if word != VERDICTS[-1] else ""))
    return [*said, joined(" · ", link(paths.home(), "all"))] if only else said


def _broken_most(reports: Sequence[Mapping[str, Any]]) -> tuple[Markup, Markup]:
    broken = Counter((row["asset"], rule) for row in reports for rule in row["broken_rules"].split(",") if rule)
    rows = [(block("code", rule), asset, count) for (asset, rule), count in broken.most_common(_MOST_RULES)]
    head = block("h2", "Rules that do not hold, by programs")
    return head, table(("rule", "asset", "programs"), rows) if rows else block("p", "All rules hold everywhere.")


def _program_row(row: Mapping[str, Any], paths: Paths) -> list[object]:
    return [
        verdict(row["verdict"]),
        link(paths.program(row["program"]), row["program"]),
        row["assets"],
        row["broken_critical"],
        row["broken_warning"],
        ", ".join(row["findings"]),
        when(row["as_of"]),
    ]


def drift_page(series: Sequence[Followed], paths: Paths | None = None) -> str:
    """Return the page of the numbers that are followed over time.

    Parameters
    ----------
    series : sequence of Followed
        Those with an alarm first.
    paths : Paths, optional
        Where links lead to; the report server's by default.
    """
    paths = paths or Paths()
    moved = sum(1 for one in series if one.drift.alarms)
    return document(
        "Numbers over time",
        navigation(paths),
        block("h1", "Numbers over time · ", verdict("warned" if moved else "passed")),
        block(
            "p",
            f"{moved} of {len(series)} numbers left their level. Each value is compared with the mean and the standard "
            "deviation of those before it; a CUSUM of more than 8 standard deviations is an alarm, and the dashed line "
            "stands where it says the change began. Dots are values, the line is their running mean.",
        ),
        *(_series_block(one, paths) for one in series[:_MOST_SERIES]),
        *(
            [block("p", f"{len(series) - _MOST_SERIES} more are not drawn; the JSON has all.")]
            if len(series) > _MOST_SERIES
            else []
        ),
    )


def _series_block(one: Followed, paths: Paths) -> Markup:
    series, drift = one.series, one.drift
    title = f"{series.measure}, {series.group}: {series.values.size} values in order of {series.clock}"
    plot = series_plot(series.values.tolist(), drift.mean.tolist(), [alarm.since for alarm in drift.alarms], title)
    rows = []
    for alarm in drift.alarms:
        said, program = one.as_record(alarm), series.programs[alarm.since]
        since = joined(_day(said["since_mjd"]), ", ", link(paths.program(program), program), ", ", said["since"])
        rows.append((since, said["noticed"], _short(alarm.before), _short(alarm.after), _short(said["cusum"])))
    columns = ("since", "noticed with", "mean before", "mean from there", "CUSUM")
    alarms = [table(columns, rows)] if rows else []
    return block("section", block("h2", series.measure, " · ", series.group), block("p", title), plot, *alarms)


def _day(mjd: float) -> str:
    return f"{datetime.fromtimestamp((mjd - _MJD_1970) * _DAY, UTC):%Y-%m-%d}"


def _short(number: float) -> str:
    return f"{number:.4g}"
