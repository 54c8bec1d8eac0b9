"""``hwosim archive``: serve a folder of FITS files as MAST would."""

from __future__ import annotations

import os
from pathlib import Path

import click

from hwosim_assets.console import progress, say

__all__ = ["archive"]


@click.group()
def archive() -> None:
    """Serve a local archive that astroquery takes for MAST."""


@archive.command(
    epilog="Example:  hwosim archive serve --root ./fits --port 8080, then HWOSIM_ARCHIVE_URL=http://127.0.0.1:8080"
)
@click.option(
    "--root",
    required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of FITS files; folders in it are looked into.",
)
@click.option("--port", default=0, show_default="any free one", type=click.IntRange(0, 65535), help="TCP port.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at.")
@click.option(
    "--exclusive",
    multiple=True,
    metavar="PATTERN",
    help="File names that need MAST_API_TOKEN, for example 'jw01234*'; may be repeated.",
)
@click.option(
    "--hostile",
    metavar="FAULT=SHARE,...",
    help="Make it fail as real archives do: latency=SECONDS and shares of error, busy, reset, stall, slow, truncate, "
    "short, corrupt, drop, duplicate, wrong_size, forbidden, missing.",
)
@click.option("--seed", default=0, show_default=True, help="Seed of what goes wrong when.")
def serve(root: Path, port: int, host: str, exclusive: tuple[str, ...], hostile: str | None, seed: int) -> None:
    """Answer astroquery and downloads over a folder of FITS files until Ctrl-C.

    Files dropped into the folder appear by themselves; what cannot be read is listed with its reason.
    The first line on standard output is the URL.

    With --hostile it is a test of who reads from it: requests meet status 500, status 429 with Retry-After,
    resets, silence, a trickle, an early end, a wrong length, a wrong byte; product rows are left out,
    repeated, given a wrong size; some files are always refused or not there.
    """
    from hwosim_assets.archive.folder import Folder
    from hwosim_assets.archive.hostile import Faults
    from hwosim_assets.archive.server import LocalArchive

    faults = Faults.parse(hostile, seed) if hostile else None
    with progress() as bars:
        task = bars.add_task("reading headers", total=None)
        folder = Folder(
            root, exclusive=exclusive, on_file=lambda done, total: bars.update(task, completed=done, total=total)
        )
        index = folder.index()
    token = os.environ.get("MAST_API_TOKEN") or None
    with LocalArchive(root, port, host=host, token=token, folder=folder, faults=faults) as served:
        click.echo(served.url)
        programs = len(index.listing.programs)
        say(f"{len(index.files)} files of {programs} programs from {folder.root}; stop with Ctrl-C")
        for item in index.skipped:
            say(f"skipped {item.path}: {item.reason}")
        served.serve_forever()
