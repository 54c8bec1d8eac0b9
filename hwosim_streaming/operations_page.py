"""The page of operations: alerts first, then what is behind them.

Holds: how it looks. Keep out what it says (``operations``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hwosim_assets.quality.markup import Markup, block, document, facts, link, table
from hwosim_assets.quality.pages import Paths, navigation

__all__ = ["operations_page"]

#: Most programs that a table of the page lists; the JSON has all.
_MOST = 200
_FIRING, _QUIET = block("span", "✗ firing", class_="failed"), block("span", "✓ quiet", class_="passed")
_TABLES = (
    ("Backlog, programs by asset", "backlog"),
    ("Seconds after the archive's answer, by stage", "latency"),
    ("Volume", "volume"),
    ("Sensors", "ticks"),
    ("Daemons", "daemons"),
)


def operations_page(found: Mapping[str, Any]) -> str:
    """Return the page.

    Parameters
    ----------
    found : mapping
        As :func:`hwosim_streaming.operations.operations` returns it.
    """
    firing = sum(1 for alert in found["alerts"] if alert["firing"])
    lines = [
        (
            _FIRING if alert["firing"] else _QUIET,
            alert["name"],
            "never" if alert["value"] is None else _cell(alert["value"]),
            _cell(alert["limit"]),
            alert["mend"] if alert["firing"] else "",
        )
        for alert in found["alerts"]
    ]
    paths = Paths()
    failures = [
        (link(paths.program(row["program"]), row["program"]), "; ".join(row["reasons"]))
        for row in found["failures"][:_MOST]
    ]
    return document(
        "Operations",
        navigation(paths),
        block("h1", "Operations · ", block("span", f"{firing} alerts", class_="failed" if firing else "passed")),
        block("p", f"{found['programs']} programs, as of {found['as_of']}. ", _json()),
        table(("", "alert", "is", "at most", "mend"), lines),
        block("h2", "Runs"),
        facts({name: _cell(value) for name, value in found["runs"].items()}),
        block("h2", f"Programs that failed: {len(found['failures'])}"),
        table(("program", "because"), failures) if failures else block("p", "None."),
        *_waiting(found["freshness"]["waiting"], paths),
        *(part for title, name in _TABLES for part in _table(title, found[name])),
    )


def _waiting(rows: Sequence[Mapping[str, Any]], paths: Paths) -> tuple[Markup, Markup]:
    """Return the programs whose last change is not published yet."""
    head = block("h2", f"Programs whose last change is not published: {len(rows)}")
    if not rows:
        return head, block("p", "None.")
    lines = [
        (link(paths.program(row["program"]), row["program"]), _cell(row["for, s"]), ", ".join(row["assets"]))
        for row in rows[:_MOST]
    ]
    return head, table(("program", "for, s", "waits for"), lines)


def _json() -> Markup:
    return link("/operations.json", "All of it as JSON")


def _table(title: str, rows: Sequence[Mapping[str, Any]]) -> tuple[Markup, Markup]:
    head = block("h2", title)
    if not rows:
        return head, block("p", "None.")
    columns = list(dict.fromkeys(name for row in rows for name in row))
    return head, table(columns, [[_cell(row.get(name)) for name in columns] for row in rows])


def _cell(value: Any) -> Any:
    """Return a value as the page writes it: three digits of what was measured."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        value = float(f"{value:.3g}")
        return int(value) if value.is_integer() else value
    return value
