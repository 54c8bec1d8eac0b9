"""``hwosim dev``: Dagster's UI with both code locations, and the services a laptop needs beside it.

Holds: starting the local archive, the embedded broker, the report pages and Dagster's services, and
stopping them together. Keep out what each of them does.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import chain
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import click

from hwosim_assets.console import say
from hwosim_assets.errors import BackendAbsentError, BadInputError, HwosimError

if TYPE_CHECKING:
    import dagster as dg

    from hwosim_assets.archive.folder import Folder
    from hwosim_assets.settings import Settings
    from hwosim_streaming.dagster_services import DagsterServices
    from hwosim_streaming.news import News

__all__ = ["dev", "endings_as_interrupt"]

#: What ends a server: Ctrl-C, a service manager, a terminal that was closed.
ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
#: Seconds between two looks at what happened.
LOOK_SECONDS = 1.0


@click.command()
@click.option(
    "--archive", "root", type=click.Path(path_type=Path), help="A folder of FITS files to serve as the archive."
)
@click.option(
    "--port", type=click.IntRange(1, 65535), default=3000, show_default=True, help="Port of Dagster's UI on 127.0.0.1."
)
def dev(root: Path | None, port: int) -> None:
    """Open Dagster's UI with both code locations, embedded services started, until Ctrl-C.

    Without --archive and without HWOSIM_ARCHIVE_URL the sample archive of the demo is served. A file
    dropped into the archive's folder goes through the whole graph; a line says when it is on the topic.

    \b
    Example:
      hwosim dev
      hwosim dev --archive ~/jwst-files --port 3001
    """
    from hwosim_assets.runner import instance_at
    from hwosim_assets.settings import Settings

    settings = Settings()
    _refuse_taken(port)
    with endings_as_interrupt(), instance_at(settings.home) as instance, _alone(settings.home):
        try:
            with ExitStack() as services:
                _run(services, instance, settings, root, port)
        except KeyboardInterrupt:
            say("stopped")


def _run(services: ExitStack, instance: dg.DagsterInstance, settings: Settings, root: Path | None, port: int) -> None:
    """Start everything, say where it is, and tell what happens until somebody ends it."""
    from hwosim_assets.archive.server import LocalArchive
    from hwosim_assets.lake.store import Lake
    from hwosim_assets.lake.tables import Tables
    from hwosim_assets.perturb.scenario import find_scenarios
    from hwosim_assets.settings import redacted
    from hwosim_streaming.dagster_services import DagsterServices, settle_lost_runs
    from hwosim_streaming.news import News
    from hwosim_streaming.reports_service import report_pages

    folder = _archive_folder(root, settings.home)
    served: Folder | None = None
    if folder is not None:
        archive = services.enter_context(LocalArchive(folder))
        os.environ["HWOSIM_ARCHIVE_URL"], served = archive.url, archive.folder
        say(f"archive   {archive.url}  (drop FITS files into {folder})")
        say(f"          for commands in another terminal: export HWOSIM_ARCHIVE_URL={archive.url}")
    else:
        say(f"archive   {redacted(settings.archive_url)}")
    say(f"broker    {services.enter_context(_broker(settings))}")
    reports = services.enter_context(report_pages(settings, instance))
    say(f"reports   {reports.url}, the live stream at {reports.url}/live")
    for broken in find_scenarios(settings.scenario_folders()).broken:
        say(f"left out  scenario {broken.name}: {broken.reason}")
    log = settings.home / "dagster.log"
    # Before the first start: of a session that was killed. After the last end: of this one.
    lost = settle_lost_runs(instance)
    if lost:
        say(f"          {len(lost)} runs were cut short when their session ended; what they did is tried again")
    services.callback(settle_lost_runs, instance)
    dagster = services.enter_context(DagsterServices(port, _workspace(), log, os.environ))
    say(f"Dagster   {dagster.url} is starting; what it logs goes to {log}")
    dagster.wait_until_answering()
    for name, trouble in dagster.locations().items():
        say(f"          code location {name} {'did not load: ' + trouble if trouble else 'is loaded'}")
    say(f"ready     open {dagster.url}/asset-groups; Ctrl-C stops everything")
    _tell(dagster, instance, News(Lake.from_settings(settings), Tables.from_settings(settings), served))


def _tell(dagster: DagsterServices, instance: dg.DagsterInstance, news: News) -> None:
    """Say what happens, until Dagster leaves or we are interrupted."""
    trouble = ""
    while True:
        dagster.check()
        try:
            for line in chain(news.lines(), dagster.failed_runs(instance)):
                say(line)
            trouble = ""
        except HwosimError as error:
            # The news are not what runs here: a store that is away for a while is said once, and Dagster goes on.
            if str(error) != trouble:
                trouble = str(error)
                say(f"trouble   {trouble}")
        time.sleep(LOOK_SECONDS)


@contextmanager
def endings_as_interrupt() -> Iterator[None]:
    """Raise KeyboardInterrupt at the first signal that ends a server; the shutdown itself is not interrupted."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        for number in ENDINGS:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in ENDINGS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _alone(home: Path) -> Iterator[None]:
    """Refuse a second session on the same state folder: two daemons would do everything twice."""
    from filelock import FileLock, Timeout

    lock = FileLock(home / "dev.lock", timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise BadInputError(
            str(home), "another `hwosim dev` runs on this state folder", "stop it, or set DAGSTER_HOME to another one"
        ) from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _broker(settings: Settings) -> Iterator[str]:
    """Yield the servers of a broker that answers; an embedded one that we started is stopped with us."""
    from hwosim_streaming.broker import bootstrap_servers, running, stop

    started_here = not settings.kafka_bootstrap_servers.strip() and running(settings.home) is None
    try:
        yield bootstrap_servers(settings)
    finally:
        if started_here:
            stop(settings.home)


def _refuse_taken(port: int) -> None:
    """Raise a BackendAbsentError if somebody listens at the port: Dagster would say it after half a minute."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise BackendAbsentError(
                f"port {port} of 127.0.0.1", f"cannot be listened at ({error.strerror})", "name another with --port"
            ) from error


def _archive_folder(root: Path | None, home: Path) -> Path | None:
    """Return the folder to serve, or None where an archive is configured already."""
    if root is not None:
        if not root.is_dir():
            raise BadInputError(str(root), "it is no folder", "name a folder of FITS files")
        return root
    if os.environ.get("HWOSIM_ARCHIVE_URL"):
        return None
    sample = home / "sample-archive"
    if not (sample / "truth").is_dir():
        from hwosim_assets.archive.sample import write_sample

        say(f"writing a sample archive to {sample}")
        write_sample(sample)
    return sample


def _workspace() -> list[str]:
    """Return how ``dagster dev`` is told of both code locations."""
    checkout = Path(__file__).parents[1] / "workspace.yaml"
    if checkout.is_file():
        return ["-w", str(checkout)]
    return ["-m", "hwosim_assets.definitions", "-m", "hwosim_streaming.definitions"]
