"""Quality reports as HTML: one file each, no script, nothing fetched from elsewhere, light and dark.

Holds: how a report looks. Everything that is not written here is escaped, since file names, header
values and reasons come from outside. Keep out what a report says and where it lies
(``quality.report``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

__all__ = [
    "LAYOUT_VERSION",
    "Markup",
    "asset_page",
    "document",
    "link",
    "program_page",
    "programs_page",
    "table",
    "verdict",
]

#: Part of a report's identity, so that a new look is stored as a new object.
LAYOUT_VERSION = 1

_STYLE = """
:root { color-scheme: light dark; --ink: #1c2127; --soft: #5c6570; --line: #d5dae0; --page: #ffffff;
  --good: #0b6b37; --warn: #8a5a00; --bad: #b3261e; --block: #f4f6f8; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ed; --soft: #9aa5b1; --line: #39424d; --page: #14181d;
  --good: #59c98b; --warn: #e0b050; --bad: #ff8a80; --block: #1d232a; } }
body { margin: 2rem auto; max-width: 72rem; padding: 0 1rem; color: var(--ink); background: var(--page);
  font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.4rem; margin: 0 0 .25rem; } h2 { font-size: 1.05rem; margin: 2rem 0 .5rem; }
p { color: var(--soft); margin: .25rem 0 1rem; max-width: 60rem; }
a { color: inherit; } code, td.number { font-family: ui-monospace, monospace; font-size: .9em; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .4rem .75rem .4rem 0; border-bottom: 1px solid var(--line); }
th { color: var(--soft); font-weight: 600; } td { overflow-wrap: anywhere; } td.number { text-align: right; }
.passed { color: var(--good); } .warned { color: var(--warn); } .failed { color: var(--bad); }
.passed, .warned, .failed, .remark { font-weight: 600; white-space: nowrap; } .remark { color: var(--soft); }
details { background: var(--block); padding: .25rem .6rem; border-radius: .3rem; margin-top: .3rem; }
"""

_MARKS = {"passed": "✓ passed", "warned": "! warning", "failed": "✗ failed", "remark": "i remark"}


class Markup(str):
    """HTML that was made here; any other text is escaped when it goes into a page."""

    __slots__ = ()


def _html(value: object) -> str:
    if isinstance(value, Markup):
        return str(value)
    return "" if value is None else escape(str(value))


def document(title: str, *blocks: Markup, script: str = "") -> str:
    """Return a whole HTML document; ``script`` is a path for the live page, never for a stored report."""
    tail = f'<script src="{escape(script)}"></script>' if script else ""
    return (
        "<!doctype html>\n"
        f'<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{_STYLE}</style></head><body>{''.join(blocks)}{tail}</body></html>\n"
    )


def block(tag: str, *content: object, **attributes: str) -> Markup:
    """Return an element; its content is escaped unless it is markup."""
    given = "".join(f' {name.rstrip("_")}="{escape(value)}"' for name, value in attributes.items())
    return Markup(f"<{tag}{given}>{''.join(_html(part) for part in content)}</{tag}>")


def link(path: str, text: str) -> Markup:
    """Return a link to a path on the report server."""
    return block("a", text, href=path)


def verdict(word: str) -> Markup:
    """Return a verdict as a word with a sign and a colour, so that it does not rest on colour."""
    return block("span", _MARKS[word], class_=word)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Markup:
    """Return a table; numbers stand to the right."""
    head = Markup("".join(block("th", column, scope="col") for column in columns))
    lines = []
    for row in rows:
        cells = (block("td", cell, class_="number") if _is_number(cell) else block("td", cell) for cell in row)
        lines.append(block("tr", Markup("".join(cells))))
    body = block("tbody", Markup("".join(lines)))
    return block("div", block("table", block("thead", block("tr", head)), body), class_="scroll")


def asset_page(report: Mapping[str, Any]) -> str:
    """Return the page of one asset and program.

    Parameters
    ----------
    report : mapping
        A report's JSON document.
    """
    asset, program = report["asset"], report["program"]
    return document(
        f"{asset} {program}: {report['verdict']}",
        block("h1", asset, " · program ", program, " · ", verdict(report["verdict"])),
        block(
            "p",
            f"{report['rows']} rows. A critical rule that fails stops what lies downstream, a warning does not, "
            "a remark asks for nothing. ",
            link(f"/program/{program}", f"All stages of program {program}"),
        ),
        table(("", "rule", "severity", "what should hold", "found"), [_rule_row(rule) for rule in report["rules"]]),
    )


def _rule_row(rule: Mapping[str, Any]) -> list[object]:
    failed = {"critical": "failed", "warning": "warned", "info": "remark"}[rule["severity"]]
    found: list[object] = [_found(rule)]
    if rule["examples"] and not rule["found"]:
        names = list(rule["examples"][0])
        shown = table(names, [[example.get(name) for name in names] for example in rule["examples"]])
        more = f"{len(rule['examples'])} of {rule['unexpected']} shown"
        found.append(block("details", block("summary", more), shown))
    return [
        verdict("passed" if rule["passed"] else failed),
        block("code", rule["name"]),
        rule["severity"],
        rule["doc"],
        Markup("".join(_html(part) for part in found)),
    ]


def _found(rule: Mapping[str, Any]) -> str:
    if rule["found"]:
        return ", ".join(f"{name.replace('_', ' ')}: {value:g}" for name, value in rule["found"].items())
    return f"{rule['unexpected']} of {rule['checked']} values break it"


def program_page(program: str, stages: Sequence[Mapping[str, Any]], refused: Sequence[Mapping[str, Any]]) -> str:
    """Return the page of one program over all stages.

    Parameters
    ----------
    program : str
        Five digits.
    stages : sequence of mapping
        Rows of the table ``quality_reports``, in the order of the chain.
    refused : sequence of mapping
        Rows of the table ``quarantine``.
    """
    rows = [
        (
            verdict(stage["verdict"]),
            link(f"/{stage['html_key']}", stage["asset"]),
            stage["rows"],
            f"{stage['rules'] - stage['broken']} of {stage['rules']}",
            stage["broken_rules"].replace(",", ", "),
            f"{stage['written_at']:%Y-%m-%d %H:%M:%S} UTC",
        )
        for stage in stages
    ]
    files = [(item["product_name"], item["stage"], block("code", item["rule"]), item["reason"]) for item in refused]
    return document(
        f"Program {program}",
        block("h1", "Program ", program, " · ", verdict(worst(stages))),
        block("p", "Data quality over all stages, from the archive to the stream. ", link("/", "All programs")),
        table(("", "asset", "rows", "rules that hold", "rules that do not", "as of"), rows),
        block("h2", f"Files refused: {len(files)}"),
        table(("file", "stage", "rule", "reason"), files) if files else block("p", "None."),
    )


def programs_page(programs: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """Return the page of all programs.

    Parameters
    ----------
    programs : mapping of str to sequence of mapping
        Rows of the table ``quality_reports`` by program.
    """
    rows = [
        (
            verdict(worst(stages)),
            link(f"/program/{program}", program),
            len(stages),
            ", ".join(stage["asset"] for stage in stages if stage["verdict"] != "passed"),
        )
        for program, stages in sorted(programs.items(), key=lambda item: item[0])
    ]
    return document(
        "Data quality",
        block("h1", "Data quality"),
        block("p", f"{len(rows)} programs. ", link("/live", "The live stream")),
        table(("", "program", "assets checked", "assets with findings"), rows)
        if rows
        else block("p", "No report yet."),
    )


def worst(stages: Iterable[Mapping[str, Any]]) -> str:
    """Return the worst verdict of some stages; ``passed`` where there is none."""
    order = ("passed", "warned", "failed")
    return max((str(stage["verdict"]) for stage in stages), key=order.index, default="passed")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
