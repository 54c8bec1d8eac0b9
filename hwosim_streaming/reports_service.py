"""``hwosim reports``: the report pages by themselves, for a deployment in which nobody runs ``hwosim dev``.

Holds: the command, and putting together what the pages are served from. Keep out the pages (``report_server``) and
what the page of operations says (``operations``).
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import click

from hwosim_assets.console import say

if TYPE_CHECKING:
    import dagster as dg

    from hwosim_assets.settings import Settings
    from hwosim_streaming.report_server import ReportServer

__all__ = ["report_pages", "reports"]


def report_pages(settings: Settings, instance: dg.DagsterInstance, host: str = "127.0.0.1") -> ReportServer:
    """Serve the pages, that of operations among them; close what is returned.

    Parameters
    ----------
    settings : Settings
        Where lake, tables and stream are, and at which port the pages stand.
    instance : dagster.DagsterInstance
        Whose runs the page of operations is about.
    host : str
        Address to listen at.

    Raises
    ------
    BackendAbsentError
        If the port is taken, or lake or tables cannot be used.
    """
    from hwosim_assets.lake.tables import Tables
    from hwosim_assets.runner import code_locations
    from hwosim_streaming.operations import operations
    from hwosim_streaming.report_server import ReportServer

    tables = Tables.from_settings(settings)
    how_it_runs = partial(operations, instance, code_locations(), settings.automated(), tables)
    return ReportServer.from_settings(settings, operations=how_it_runs, host=host)


@click.command(epilog="Example:  HWOSIM_REPORT_URL=http://127.0.0.1:3081 hwosim reports")
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen at; another one only where a container's port is published on loopback.",
)
def reports(host: str) -> None:
    """Serve the report pages at the port of HWOSIM_REPORT_URL until Ctrl-C; `hwosim dev` does so by itself.

    Quality of all programs, numbers over time, lineage, how the platform runs, the live stream, metrics.
    """
    from hwosim_assets.runner import instance_at
    from hwosim_assets.settings import Settings
    from hwosim_streaming.dev import endings_as_interrupt

    settings = Settings()
    with endings_as_interrupt(), instance_at(settings.home) as instance:
        try:
            with report_pages(settings, instance, host) as server:
                say(f"reports   port {server.port} of {host}, the live stream under /live; Ctrl-C stops it")
                server.wait()
        except KeyboardInterrupt:
            say("stopped")
