"""HTML that is safe to put together: whatever was not made here is escaped.

Holds: the few elements of our pages, their look (light and dark, no script, nothing fetched from elsewhere).
File names, header values and reasons come from outside; they reach a page only through :func:`block` and
:func:`table`, which escape them. Keep out what a page says (``quality.pages``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape

__all__ = ["Markup", "block", "document", "facts", "joined", "link", "table", "verdict"]

_STYLE = """
:root { color-scheme: light dark; --ink: #1c2127; --soft: #5c6570; --line: #d5dae0; --page: #ffffff;
  --good: #0b6b37; --warn: #8a5a00; --bad: #b3261e; --block: #f4f6f8; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ed; --soft: #9aa5b1; --line: #39424d; --page: #14181d;
  --good: #59c98b; --warn: #e0b050; --bad: #ff8a80; --block: #1d232a; } }
body { margin: 2rem auto; max-width: 84rem; padding: 0 1rem; color: var(--ink); background: var(--page);
  font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.4rem; margin: 0 0 .25rem; } h2 { font-size: 1.05rem; margin: 2rem 0 .5rem; }
p { color: var(--soft); margin: .25rem 0 1rem; max-width: 60rem; }
a { color: inherit; } code, td.number { font-family: ui-monospace, monospace; font-size: .9em; }
td > code { white-space: nowrap; } .scroll { overflow-x: auto; } table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .4rem .75rem .4rem 0; border-bottom: 1px solid var(--line); }
th { color: var(--soft); font-weight: 600; } td { overflow-wrap: anywhere; } td.number, th.number { text-align: right; }
.passed { color: var(--good); } .warned { color: var(--warn); } .failed { color: var(--bad); }
.passed, .warned, .failed, .remark { font-weight: 600; white-space: nowrap; } .remark { color: var(--soft); }
svg { display: block; max-width: 100%; } svg .line { fill: none; stroke: var(--soft); stroke-width: 1.25; }
svg .dot { fill: var(--soft); } svg .off { fill: var(--bad); } svg .mark { stroke: var(--bad); stroke-dasharray: 3 2; }
svg .dots { fill: none; stroke: var(--soft); stroke-width: 3; stroke-linecap: round; }
svg .level { fill: none; stroke: var(--good); stroke-width: 1; }
nav a { margin-right: 1.25rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1.25rem; margin: .5rem 0 1rem; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
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
    # A live page has no picture of its own for the browser's tab, and says so, or the browser asks for one in vain.
    icon = '<link rel="icon" href="data:,">' if script else ""
    return (
        "<!doctype html>\n"
        f'<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"{icon}<style>{_STYLE}</style></head><body>{''.join(blocks)}{tail}</body></html>\n"
    )


def block(tag: str, *content: object, **attributes: str) -> Markup:
    """Return an element; its content is escaped unless it is markup."""
    given = "".join(f' {name.rstrip("_")}="{escape(value)}"' for name, value in attributes.items())
    return Markup(f"<{tag}{given}>{''.join(_html(part) for part in content)}</{tag}>")


def link(path: str, text: object) -> Markup:
    """Return a link; paths are made by ``quality.pages`` out of checked names."""
    return block("a", text, href=path)


def verdict(word: str) -> Markup:
    """Return a verdict as a word with a sign and a colour, so that it does not rest on colour."""
    return block("span", _MARKS[word], class_=word)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Markup:
    """Return a table; numbers stand to the right, and so do the names of their columns."""
    rows = list(rows)
    numbers = {place for row in rows for place, cell in enumerate(row) if _is_number(cell)}
    kinds = [{"class_": "number"} if place in numbers else {} for place in range(len(columns))]
    head = Markup(
        "".join(block("th", column, scope="col", **kind) for column, kind in zip(columns, kinds, strict=True))
    )
    lines = []
    for row in rows:
        cells = (block("td", cell, class_="number") if _is_number(cell) else block("td", cell) for cell in row)
        lines.append(block("tr", Markup("".join(cells))))
    body = block("tbody", Markup("".join(lines)))
    return block("div", block("table", block("thead", block("tr", head)), body), class_="scroll")


def facts(said: Mapping[str, object]) -> Markup:
    """Return names and values as a list; what is ``None`` or empty is left out."""
    shown = {name: value for name, value in said.items() if value not in (None, "")}
    return block("dl", *(part for name, value in shown.items() for part in (block("dt", name), block("dd", value))))


def joined(*parts: object) -> Markup:
    """Return parts one after the other, each escaped unless it is markup."""
    return Markup("".join(_html(part) for part in parts))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
