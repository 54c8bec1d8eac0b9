"""``hwosim demo``: the whole chain on this machine, ending in a table of what became of every product."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hwosim_assets.commands.run import take_through
from hwosim_assets.console import json_option, print_json, print_table, say
from hwosim_assets.errors import BadInputError, HwosimError

if TYPE_CHECKING:
    from hwosim_assets.runner import Outcome

__all__ = ["demo"]

#: What ``--fast`` keeps of the chain: one program under one scenario shows every stage once.
FAST_SCENARIO = "nominal_l2"


@click.command()
@click.option("--archive", metavar="DIR_OR_URL", help="A folder of FITS files, or an archive that speaks MAST's API.")
@click.option("--program", "programs", multiple=True, help="Only this program; may be given again.")
@click.option("--scenario", "scenarios", multiple=True, help="This scenario instead of the automated ones; repeat.")
@click.option("--fast", is_flag=True, help="One program under one scenario.")
@json_option
def demo(archive: str | None, programs: tuple[str, ...], scenarios: tuple[str, ...], fast: bool, as_json: bool) -> None:
    """Run the whole chain: archive, lake, catalog, perturbed datasets, Kafka stream, proof.

    Without --archive a sample archive is generated: JWST-format products of all five instruments.

    \b
    Example:
      hwosim demo
      hwosim demo --archive ~/jwst-files --scenario nominal_l2
    """
    from hwosim_assets.outcome import outcome_rows, refused_rows
    from hwosim_assets.partitions import register_programs
    from hwosim_assets.runner import check_scenarios, instance_at
    from hwosim_assets.settings import Settings

    os.environ.setdefault("HWOSIM_TOPIC_PARTITIONS", "1")
    if not scenarios:
        scenarios = (FAST_SCENARIO,) if fast else tuple(Settings().automated())
    check_scenarios(Settings(), scenarios)
    with _archive(archive, Settings().home) as url, instance_at(Settings().home) as instance:
        os.environ["HWOSIM_ARCHIVE_URL"] = url
        chosen = _programs(programs)[: 1 if fast else None]
        register_programs(instance, chosen)
        outcomes = take_through(instance, Settings().home, chosen, scenarios=scenarios)
        rows = outcome_rows(instance, chosen, scenarios)
        refused = refused_rows(chosen)
    if as_json:
        print_json({"outcome": rows, "quarantine": refused})
    else:
        _show(rows, refused, outcomes)
    _conclude(rows, outcomes, quiet=as_json)


def _show(rows: "list[dict[str, Any]]", refused: "list[dict[str, Any]]", outcomes: "list[Outcome]") -> None:
    if refused:
        print_table("Quarantined, and why", list(refused[0]), [list(row.values()) for row in refused])
    stopped = {outcome.program for outcome in outcomes if outcome.stopped_by}
    for row in rows:
        proved = {True: "yes", False: "NO", None: "stopped" if row["program"] in stopped else "NO"}
        row["verified"] = proved[row["verified"]]
    print_table("What became of every product", list(rows[0]) if rows else [], [list(row.values()) for row in rows])


def _conclude(rows: "list[dict[str, Any]]", outcomes: "list[Outcome]", *, quiet: bool) -> None:
    """Say what stopped and what failed; raise where a program that was free to go on did not arrive whole."""
    from hwosim_assets.settings import Settings

    for outcome in outcomes:
        if outcome.stopped_by:
            say(f"stopped  {outcome.program}: by the checks {', '.join(outcome.stopped_by)}")
        for line in outcome.failures:
            say(f"failed   {outcome.program}: {line}")
    stopped = {outcome.program for outcome in outcomes if outcome.stopped_by}
    unproved = {row["program"] for row in rows if row["verified"] not in (True, "yes")} - stopped
    failed = unproved | {outcome.program for outcome in outcomes if outcome.failures}
    if failed:
        raise HwosimError(
            f"program {', '.join(sorted(failed))}",
            "did not go all the way",
            "read the lines above; the runs are in the UI",
        )
    if not quiet:
        say("Every published message was reconciled. Open the UI with `make dev` and look at Lineage.")
        if not Settings().kafka_bootstrap_servers:
            say("The embedded broker keeps running for you; stop it with `hwosim stream broker stop`.")


@contextmanager
def _archive(named: str | None, home: Path) -> Iterator[str]:
    """Yield the URL of the archive that was named, serving it here where it is a folder."""
    from hwosim_assets.archive.server import LocalArchive

    if named is not None and named.startswith(("http://", "https://")):
        yield named
        return
    if named is None:
        root = home / "sample-archive"
        if not (root / "truth").is_dir():
            from hwosim_assets.archive.sample import write_sample

            say(f"writing a sample archive to {root}")
            write_sample(root)
    else:
        root = Path(named)
        if not root.is_dir():
            raise BadInputError(named, "it is neither a folder nor an http(s) URL", "name a folder of FITS files")
    with LocalArchive(root) as served:
        for skipped in served.folder.index().skipped:
            say(f"left out  {skipped.path}: {skipped.reason}")
        yield served.url


def _programs(named: tuple[str, ...]) -> list[str]:
    """Return the programs to take through: those named, else all that the archive lists."""
    from hwosim_assets.archive.client import ArchiveClient
    from hwosim_assets.fits.names import program_key
    from hwosim_assets.settings import Settings

    if named:
        return [program_key(program) for program in named]
    found = sorted(ArchiveClient.from_settings(Settings()).programs())
    if not found:
        raise BadInputError(
            "the archive", "it lists no program", "name one with --program, or a folder that holds FITS files"
        )
    return found
