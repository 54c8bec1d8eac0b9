"""How commands speak: tables and JSON on standard output, progress and errors on standard error.

Holds: the one progress bar, the one table printer, the options that several commands have. Keep out
what a command says; that stands in ``hwosim_assets.commands``.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

__all__ = ["json_option", "print_json", "print_table", "progress", "say", "severity_option", "track"]

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

#: Columns of a table that nobody's terminal limits; the table of the demo takes 107.
PIPE_WIDTH = 140

#: Numbers, tables and JSON: what a pipe should receive.
out = Console(highlight=False, width=None if sys.stdout.isatty() else PIPE_WIDTH)
#: Progress, remarks and errors: what a person reads meanwhile.
err = Console(stderr=True, highlight=False)


def json_option(command: F) -> F:
    """Add ``--json`` to a command; it arrives as the argument ``as_json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")(command)


def _severity(
    ctx: click.Context, param: click.Parameter, value: str | tuple[str, ...] | None
) -> float | tuple[float, ...] | None:
    """Return the number, or the numbers, that were given or that words stand for."""
    from hwosim_assets.perturb.parameters import parse_severity

    try:
        if isinstance(value, tuple):
            return tuple(parse_severity(each) for each in value)
        return None if value is None else parse_severity(value)
    except ValueError as wrong:
        raise click.BadParameter(f"it {wrong}") from None


def severity_option(what: str, *, several: bool = False) -> Callable[[F], F]:
    """Return the decorator that adds ``--severity``, whose help is ``what`` and the numbers and words for it.

    With ``several`` it may be repeated, and arrives as a tuple under ``severities``.
    """
    said = f"{what}: 0 to 5, none, low, medium, high."
    names = ("--severity", "severities") if several else ("--severity",)
    return click.option(*names, callback=_severity, multiple=several, metavar="0-5|WORD", help=said)


def print_json(value: object) -> None:
    """Print a value as JSON on standard output (paths, dates and bytes become text, numbers that are none null)."""
    click.echo(json.dumps(_finite(value), default=str, indent=2, ensure_ascii=False, allow_nan=False))


def _finite(value: object) -> object:
    """Return a value without NaN and infinities, for which JSON has no word."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list | tuple) else value


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows as a table on standard output; ``None`` becomes an empty cell."""
    listed = [list(row) for row in rows]
    table = Table(title=title or None, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for place, column in enumerate(columns):
        numbers = all(isinstance(row[place], int | float) and not isinstance(row[place], bool) for row in listed)
        table.add_column(column, overflow="fold", justify="right" if numbers and listed else "left")
    for row in listed:
        table.add_row(*("" if cell is None else escape(str(cell)) for cell in row))
    out.print(table)


def say(text: str) -> None:
    """Print a remark for the person at the terminal."""
    err.print(text, soft_wrap=True, markup=False)


@contextmanager
def progress() -> Iterator[Progress]:
    """Show progress bars on standard error; nothing at all when it is not a terminal."""
    with Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=err,
        transient=False,
        disable=not err.is_terminal,
    ) as bars:
        yield bars


def track(items: Sequence[T], description: str) -> Iterator[T]:
    """Iterate with a progress bar."""
    with progress() as bars:
        yield from bars.track(items, description=description)
