"""``hwosim sample``: write the sample archive.

Holds: the command. Keep out the simulation; that is ``hwosim_assets.archive.sample``.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from hwosim_assets.console import json_option, print_json, print_table, progress, say

__all__ = ["sample"]


@click.command(epilog="Example:  hwosim sample ./archive --programs 3")
@click.argument("directory", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
@click.option("--programs", default=3, show_default=True, type=click.IntRange(1, 999), help="How many programs.")
@click.option(
    "--size",
    default="small",
    show_default=True,
    type=click.Choice(["small", "full"]),
    help="Subarrays, about 17 MB for three programs, or whole detectors, about 1.6 GB.",
)
@click.option("--seed", default=1, show_default=True, type=click.IntRange(min=0), help="Same seed, same bytes.")
@json_option
def sample(directory: Path, programs: int, size: str, seed: int, as_json: bool) -> None:
    """Write generated JWST-format products of every kind into DIR, with known truth."""
    from hwosim_assets.archive.sample import SampleFile, write_sample

    with progress() as bars:
        task = bars.add_task("writing products", total=None)

        def written(file: SampleFile) -> None:
            bars.update(task, advance=1, description=file.path.name)

        summary = write_sample(directory, programs=programs, size=size, seed=seed, on_file=written)
        bars.update(task, total=len(summary.files), description="products written")
    if as_json:
        print_json({**asdict(summary), "size_bytes": summary.size_bytes})
        return
    rows = [
        (file.program, file.instrument, file.product_type, file.path.name, f"{file.size_bytes:,}")
        for file in summary.files
    ]
    print_table("", ("program", "instrument", "type", "file", "bytes"), rows)
    say(f"{len(summary.files)} files, {summary.size_bytes / 1e6:.1f} MB; truth in {summary.root / 'truth'}")
    say(f"Serve them:  hwosim archive serve --root {summary.root}")
