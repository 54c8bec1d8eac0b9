"""``hwosim dev``: Dagster's UI with both code locations, and the services a laptop needs beside it.

Holds: starting the local archive, the embedded broker, the report pages and ``dagster dev``, and
stopping them together. Keep out what each of them does.
"""

import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import click

from hwosim_assets.console import say
from hwosim_assets.errors import BadInputError

__all__ = ["dev"]


@click.command()
@click.option(
    "--archive", "root", type=click.Path(path_type=Path), help="A folder of FITS files to serve as the archive."
)
@click.option("--port", default=3000, show_default=True, help="Port of Dagster's UI on 127.0.0.1.")
def dev(root: Path | None, port: int) -> None:
    """Open Dagster's UI with both code locations, embedded services started, until Ctrl-C.

    Without --archive and without HWOSIM_ARCHIVE_URL the sample archive of the demo is served.

    \b
    Example:
      hwosim dev
      hwosim dev --archive ~/jwst-files --port 3001
    """
    from hwosim_assets.archive.server import LocalArchive
    from hwosim_assets.runner import instance_at
    from hwosim_assets.settings import Settings
    from hwosim_streaming.broker import bootstrap_servers
    from hwosim_streaming.report_server import ReportServer

    settings = Settings()
    with instance_at(settings.home), ExitStack() as services:
        folder = _archive_folder(root, settings.home)
        if folder is not None:
            archive = services.enter_context(LocalArchive(folder))
            os.environ["HWOSIM_ARCHIVE_URL"] = archive.url
            say(f"archive   {archive.url}  (drop FITS files into {folder})")
        say(f"broker    {bootstrap_servers(settings)}")
        reports = services.enter_context(ReportServer.from_settings(Settings()))
        say(f"reports   {reports.url}")
        say(f"Dagster   http://127.0.0.1:{port}")
        workspace = _workspace()
        command = [sys.executable, "-m", "dagster", "dev", "-h", "127.0.0.1", "-p", str(port), *workspace]
        os.environ.setdefault("DAGSTER_HOME", str(settings.home))
        finished = subprocess.run(command, check=False)  # noqa: S603  # our own interpreter, our own arguments
    sys.exit(finished.returncode)


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
