"""``hwosim doctor``: what is configured and reachable, and the mend for what is not."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import click

from hwosim_assets.console import json_option, print_json, print_table
from hwosim_assets.errors import HwosimError

if TYPE_CHECKING:
    from hwosim_assets.lake.tables import Tables
    from hwosim_assets.settings import Settings

__all__ = ["doctor"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes
    ----------
    thing, value : str
        Its name and how it is configured, secrets redacted.
    is_well : bool
        Whether it can be used.
    mend : str
        What to do if it cannot.
    """

    thing: str
    value: str
    is_well: bool
    mend: str = ""


@click.command()
@json_option
def doctor(as_json: bool) -> None:
    """Say what is configured and reachable, secrets redacted, and the mend for each thing that is not.

    \b
    Example:
      hwosim doctor
      HWOSIM_LAKE_URI=s3://bucket hwosim doctor --json
    """
    findings = _findings()
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        print_table(
            "",
            ["thing", "configured", "well", "mend"],
            [[f.thing, f.value, "yes" if f.is_well else "NO", f.mend] for f in findings],
        )
    ill = [finding.thing for finding in findings if not finding.is_well]
    if ill:
        raise HwosimError(", ".join(ill), "cannot be used", "see the mend beside it")


def _findings() -> list[Finding]:
    from importlib.metadata import entry_points

    from hwosim_assets.lake.store import Lake
    from hwosim_assets.lake.tables import Tables
    from hwosim_assets.perturb.scenario import find_scenarios
    from hwosim_assets.settings import Settings, redacted

    settings = Settings()
    findings = [
        Finding("state folder", str(settings.home), True),
        _tried("archive", redacted(settings.archive_url), lambda: _ask_archive(settings)),
        Finding("MAST token", "set" if settings.mast_api_token else "not set (public data only)", True),
        _tried("lake", redacted(settings.lake_uri), lambda: Lake.from_settings(settings).check()),
        _tried(
            "table catalog",
            redacted(settings.catalog_uri.get_secret_value()),
            lambda: Tables.from_settings(settings).check(),
        ),
    ]
    if findings[-1].is_well:
        where = redacted(settings.lake_uri) + "/tables"
        findings.append(_tried("tables", where, lambda: _find_tables(Tables.from_settings(settings))))
    known = find_scenarios(settings.scenario_folders())
    findings.append(Finding("scenarios", ", ".join(sorted(known.found)), True))
    findings += [Finding(f"scenario {item.name}", str(item.path), False, item.reason) for item in known.broken]
    # The streaming package brings its own questions (the broker): this one knows nothing of Kafka.
    for point in sorted(entry_points(group="hwosim.diagnoses"), key=lambda point: point.name):
        name, value, check = point.load()(settings)
        findings.append(_tried(name, value, check))
    return findings


def _find_tables(tables: "Tables") -> None:
    """Look whether every table lies where the catalog says.

    Raises
    ------
    HwosimError
        If some do not; tells a lake that was moved from one that is lost.
    """
    from hwosim_assets.lake.moved import whereabouts

    places = whereabouts(tables)
    named = {state: sorted(name for name, place in places.items() if place == state) for state in ("moved", "lost")}
    if named["moved"]:
        raise HwosimError("tables", "the lake was moved, the catalog names the old place", "hwosim lake moved --mend")
    if named["lost"]:
        reason = f"{', '.join(named['lost'])}: lost, here and where the catalog says"
        raise HwosimError("tables", reason, "restore the lake's folder tables/ from a copy")


def _ask_archive(settings: "Settings") -> None:
    """Ask the archive for its programs; one that answers without listing them all (MAST) is well, too."""
    from hwosim_assets.archive.client import ArchiveClient
    from hwosim_assets.archive.errors import ProgramsNotListedError

    with ArchiveClient.from_settings(settings) as client, suppress(ProgramsNotListedError):
        client.programs()


def _tried(thing: str, value: str, check: Callable[[], object]) -> Finding:
    try:
        check()
    except HwosimError as error:
        return Finding(thing, value, False, f"{error.reason}; {error.mend}")
    return Finding(thing, value, True)
