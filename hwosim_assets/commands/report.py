"""``hwosim report``: is a program good, over all stages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from hwosim_assets.console import json_option, print_json, print_table, say

if TYPE_CHECKING:
    from hwosim_assets.lake.tables import Tables

__all__ = ["report"]


@click.command(epilog="Example:  hwosim report --program 1345 --open")
@click.option("--program", multiple=True, help="A JWST program, padded or not; all by default. May be repeated.")
@click.option("--open", "in_browser", is_flag=True, help="Open the page in the browser (needs the report server).")
@json_option
def report(program: tuple[str, ...], in_browser: bool, as_json: bool) -> None:
    """Print the latest quality report of every asset of a program, and where its page is.

    The pages themselves are served by hwosim dev.
    """
    from hwosim_assets.fits.names import program_key
    from hwosim_assets.lake.tables import Tables
    from hwosim_assets.settings import Settings

    settings = Settings()
    asked = [program_key(one) for one in program]
    rows = _rows(Tables.from_settings(settings), asked)
    for row in rows:
        row["url"] = f"{settings.report_url}/{row['html_key']}"
    start = f"{settings.report_url}/program/{asked[0]}" if len(asked) == 1 else settings.report_url
    if as_json:
        print_json(rows)
    elif not rows:
        say("No program has a quality report yet; materialize one: hwosim run --program P")
    else:
        cells = [
            [row["program"], row["asset"], row["verdict"], row["rows"], row["broken_rules"].replace(",", ", ")]
            for row in rows
        ]
        print_table("", ["program", "asset", "verdict", "rows", "rules that do not hold"], cells)
        say(f"Pages: {start}  (served by: hwosim dev)")
    if in_browser:
        _open(start)


def _rows(tables: Tables, programs: list[str]) -> list[dict[str, Any]]:
    """Return the latest reports of these programs, or of all.

    Raises
    ------
    BadInputError
        If a program was never checked.
    """
    from hwosim_assets.errors import BadInputError
    from hwosim_assets.quality.report import QUALITY_REPORTS, summary

    if not programs:
        programs = sorted(set(tables.scan(QUALITY_REPORTS, columns=["program"])["program"].to_pylist()))
    found = {program: summary(tables, program) for program in programs}
    for program, rows in found.items():
        if not rows:
            raise BadInputError(
                f"program {program}", "has no quality report yet", f"materialize it: hwosim run --program {program}"
            )
    return [row for rows in found.values() for row in rows]


def _open(url: str) -> None:
    """Open a page in the browser.

    Raises
    ------
    BackendAbsentError
        If nobody serves it, or there is no browser.
    """
    import webbrowser

    import httpx

    from hwosim_assets.errors import BackendAbsentError

    try:
        httpx.get(url, timeout=5).raise_for_status()
    except httpx.HTTPError as error:
        raise BackendAbsentError(
            f"report server {url}", f"does not answer ({error})", "start it with: hwosim reports"
        ) from error
    if not webbrowser.open(url):
        raise BackendAbsentError("browser", "none was found on this machine", f"open {url} where there is one")
