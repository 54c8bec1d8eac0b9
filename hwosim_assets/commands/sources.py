"""``hwosim lake backfill`` and ``hwosim lake watch``: catalogue objects where they lie."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from hwosim_assets.console import json_option, print_json, progress, say
from hwosim_assets.errors import BadInputError

if TYPE_CHECKING:
    from hwosim_assets.catalog.watch import Outcome, Watcher

__all__ = ["backfill", "watch"]

#: Seconds between two looks, and between two listings of a bucket that has a queue.
_PAUSE = 5
_RECONCILE = 3600


@click.command(epilog="Example:  hwosim lake backfill s3://bucket/prefix --template '{mission}/{year}'")
@click.argument("uri")
@click.option("--template", default="", help="What the folders mean, from the top: {mission}/{year}.")
@json_option
def backfill(uri: str, template: str, as_json: bool) -> None:
    """Catalogue the headers of the FITS files of a bucket or folder; no object is copied or written.

    Run again after an interruption: what is catalogued already is not read again.
    """
    watcher = _watcher(uri, template)
    with progress() as bars:
        task = bars.add_task("objects", total=None)
        outcome = watcher.reconcile(on_object=lambda number: bars.advance(task, number))
    _tell(outcome, as_json)


@click.command(epilog="Example:  HWOSIM_WATCH_URI=s3://bucket hwosim lake watch --once")
@click.option("--once", is_flag=True, help="Look once and end.")
@click.option("--reconcile", is_flag=True, help="List the place even if there is a queue.")
@click.option(
    "--subscribe", metavar="ARN", help="First make the bucket notify this queue; its other notifications stay."
)
@json_option
def watch(once: bool, reconcile: bool, subscribe: str | None, as_json: bool) -> None:
    """Catalogue what appears, changes or vanishes in HWOSIM_WATCH_URI.

    With HWOSIM_WATCH_QUEUE_URL by the bucket's event notifications, and by listing once an hour for
    events that were missed; without, by listing.
    """
    from hwosim_assets.catalog.queue import Queue
    from hwosim_assets.catalog.queue import subscribe as subscribe_queue
    from hwosim_assets.settings import Settings

    settings = Settings()
    if not settings.watch_uri:
        raise BadInputError("HWOSIM_WATCH_URI", "is not set", "set it to file:///folder or s3://bucket/prefix")
    watcher = _watcher(settings.watch_uri, settings.watch_template)
    if subscribe:
        said = "notifies the queue now" if subscribe_queue(watcher.lake.place, subscribe) else "notified it already"
        say(f"{watcher.lake.uri} {said}")
    queue = Queue(settings.watch_queue_url) if settings.watch_queue_url else None
    listed = None if reconcile or not once else time.monotonic()
    while True:
        if queue is not None:
            _tell(watcher.drain(queue), as_json)
        if queue is None or listed is None or time.monotonic() - listed > _RECONCILE:
            _tell(watcher.reconcile(), as_json)
            listed = time.monotonic()
        if once:
            return
        time.sleep(_PAUSE)


def _watcher(uri: str, template: str) -> Watcher:
    from hwosim_assets.catalog.watch import Watcher
    from hwosim_assets.lake.store import Lake
    from hwosim_assets.lake.tables import Tables
    from hwosim_assets.settings import Settings

    settings = Settings()
    return Watcher(Lake(uri), Tables.from_settings(settings), settings.home, template)


def _tell(outcome: Outcome, as_json: bool) -> None:
    if as_json:
        print_json(asdict(outcome))
        return
    cost = f", {outcome.requests} requests, {outcome.fetched_bytes / 1e6:.1f} MB" if outcome.requests else ""
    say(
        f"{outcome.catalogued} catalogued, {outcome.rejected} refused, {outcome.deleted} gone, "
        f"{outcome.kept} unchanged{cost}"
    )
    for reason in outcome.later:
        say(f"left for the next pass: {reason}")
