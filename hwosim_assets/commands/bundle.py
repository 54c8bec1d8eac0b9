"""``hwosim bundle``: hand out what a search found."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hwosim_assets.commands.question import question_of, search_options
from hwosim_assets.console import progress, say
from hwosim_assets.errors import HwosimError

if TYPE_CHECKING:
    import pyarrow as pa

    from hwosim_assets.catalog.bundle import Entry
    from hwosim_assets.lake.tables import Tables
    from hwosim_assets.settings import Settings

__all__ = ["bundle"]


@click.command()
@search_options
@click.option(
    "--format", "kind", type=click.Choice(["zip", "curl", "manifest"]), default="zip", show_default=True,
    help="A ZIP of the files, a script that downloads them, or a list with checksums.",
)  # fmt: skip
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="Write here; else to standard output.")
@click.option("--basket", metavar="NAME", help="What this saved search found when it was run last, in those versions.")
@click.option("--run", "run", type=click.IntRange(min=1), help="Of the basket: what this run found.")
def bundle(kind: str, output: Path | None, basket: str | None, run: int | None, **asked: Any) -> None:
    """Hand out validated products of the catalog; takes the options of search, or a basket.

    Products that are not public are named and not handed out, unless MAST_API_TOKEN is set and the
    archive says that it may have them.

    \b
    Example:
      hwosim bundle --program 1345 --product-type cal --output cals.zip
      hwosim bundle --cone 83.83 -5.41 0.05 --format curl > download.sh
      hwosim bundle --instrument MIRI --format manifest
      hwosim bundle --basket miri-images --run 1 --output as-it-was.zip
    """
    import json

    from hwosim_assets.catalog.bundle import curl_script, entries, manifest, write_zip
    from hwosim_assets.lake.store import Lake
    from hwosim_assets.lake.tables import Tables
    from hwosim_assets.settings import Settings

    if kind == "zip" and output is None:
        raise click.UsageError("--format zip needs --output FILE.zip")
    settings = Settings()
    tables = Tables.from_settings(settings)
    found = entries(_rows(basket, run, asked, settings, tables), tables)
    given, withheld = _shared_out(found, settings)
    if kind == "zip" and output is not None:
        with progress() as bars:
            task = bars.add_task("bundle", total=len(given))
            write_zip(output, given, withheld, Lake.from_settings(settings), on_file=lambda _: bars.advance(task))
        _report(given, withheld, output)
        return
    text = (
        curl_script(given, settings.archive_url) if kind == "curl" else json.dumps(manifest(given, withheld), indent=2)
    )
    if output is None:
        click.echo(text)
    else:
        _write(output, text)
    _report(given, withheld, output)


def _rows(basket: str | None, run: int | None, asked: dict[str, Any], settings: Settings, tables: Tables) -> pa.Table:
    """Return what a search finds now, or what a basket found."""
    from hwosim_assets.catalog.baskets import found_by, history, run_numbered
    from hwosim_assets.catalog.bundle import COLUMNS
    from hwosim_assets.catalog.search import Question, find
    from hwosim_assets.lake.store import Lake

    question = question_of(asked)
    if basket is None:
        if run is not None:
            raise click.UsageError("--run is for --basket NAME")
        return find(tables, question, columns=COLUMNS).rows
    if question != Question():
        raise click.UsageError("give --basket NAME or the options of a search, not both")
    return found_by(run_numbered(history(tables, basket), run), Lake.from_settings(settings))


def _shared_out(found: list[Entry], settings: Settings) -> tuple[list[Entry], list[Entry]]:
    """Return what may be handed out to whoever holds the token in the environment, and what may not."""
    from hwosim_assets.archive.client import ArchiveClient

    given = [entry for entry in found if entry.is_public]
    closed = [entry for entry in found if not entry.is_public]
    if not closed or settings.mast_api_token is None:
        return given, closed
    allowed = set()
    with ArchiveClient.from_settings(settings) as client:
        for entry in closed:
            try:
                client.facts(entry.data_uri)
            except HwosimError as error:
                say(f"{entry.path}: {error.reason}")
            else:
                allowed.add(entry.path)
    return [entry for entry in found if entry.is_public or entry.path in allowed], [
        entry for entry in closed if entry.path not in allowed
    ]


def _report(given: list[Entry], withheld: list[Entry], output: Path | None) -> None:
    size = sum(entry.size for entry in given) / 1e6
    say(f"{len(given)} products, {size:.1f} MB{f', in {output}' if output else ''}")
    if withheld:
        say(f"{len(withheld)} are not public and were left out (MAST_API_TOKEN may open them):")
        for entry in withheld:
            say(f"  {entry.path} ({entry.rights})")


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise HwosimError(f"file {path}", f"cannot be written ({error.strerror})", "choose another place") from error
