"""``hwosim programs promote`` and ``take-back``: a program from one environment to this one, and back."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from hwosim_assets.console import json_option, print_json, print_table, progress
from hwosim_assets.errors import BadInputError, HwosimError

if TYPE_CHECKING:
    from hwosim_assets.promotion import Promotion, Side
    from hwosim_assets.runner import Outcome

__all__ = ["promote", "take_back"]


@click.command(epilog="Example:  HWOSIM_ENVIRONMENT=ops hwosim programs promote 1345 --from shadow")
@click.argument("program", nargs=-1, required=True)
@click.option("--from", "source", type=click.Choice(["dev", "test", "shadow"]), default="shadow", show_default=True)
@json_option
def promote(program: tuple[str, ...], source: str, as_json: bool) -> None:
    """Make what another environment has of programs what this environment has.

    Rows are replaced and objects copied; then the checks of this environment judge them, and its sensors publish
    what passed. What was there before is kept for `take-back`. Both environments have the same HWOSIM_LAKE_URI and
    HWOSIM_CATALOG_URI; DAGSTER_HOME is this one's.
    """
    from hwosim_assets.promotion import Side
    from hwosim_assets.promotion import promote as promote_program
    from hwosim_assets.settings import Settings

    here = Settings()
    if here.environment == source:
        raise BadInputError(f"environment {source}", "is where it would come from and go to", "set HWOSIM_ENVIRONMENT")
    # read from the same variables, all but one
    there = Settings(environment=source)
    with progress() as bars:
        task = bars.add_task("objects", total=None)

        def work(one: str, target: Side) -> Promotion:
            return promote_program(one, Side.of(there), target, on_object=lambda _: bars.advance(task))

        _each(program, work, as_json)


@click.command("take-back", epilog="Example:  HWOSIM_ENVIRONMENT=ops hwosim programs take-back 1345")
@click.argument("program", nargs=-1, required=True)
@json_option
def take_back(program: tuple[str, ...], as_json: bool) -> None:
    """Put the rows back that stood in this environment before the last promotion of programs."""
    from hwosim_assets.promotion import take_back as take_program_back

    _each(program, take_program_back, as_json)


def _each(programs: tuple[str, ...], work: Callable[[str, Side], Promotion], as_json: bool) -> None:
    """Do it for each program, have the graph adopt it, say what became of it."""
    from hwosim_assets.definitions import build_defs
    from hwosim_assets.fits.names import program_key
    from hwosim_assets.promoted import adopt, only_promotion, refuse_busy
    from hwosim_assets.promotion import Side
    from hwosim_assets.runner import instance_at
    from hwosim_assets.settings import Settings

    settings = Settings()
    target, definitions, rows = Side.of(settings), build_defs(), []
    with instance_at(settings.home) as instance:
        for program in [program_key(one) for one in programs]:
            with only_promotion(settings.home, program):
                refuse_busy(instance, program)
                done = work(program, target)
                rows.append(_row(done, adopt(instance, definitions, target.tables, done)))
    if as_json:
        print_json(rows)
    else:
        print_table("", list(rows[0]), [list(row.values()) for row in rows])
    unfit = [str(row["program"]) for row in rows if row["judged"] not in ("passed", "nothing to judge")]
    if unfit:
        raise HwosimError(
            f"program {', '.join(unfit)}",
            f"does not pass the checks of {settings.environment}; nothing of it is published",
            f"hwosim programs take-back {' '.join(unfit)}",
        )


def _row(done: Promotion, outcome: Outcome) -> dict[str, object]:
    said = "; ".join((*outcome.stopped_by, *outcome.failures))
    return {
        "program": done.program,
        "promotion": done.promotion,
        "source": done.source,
        "scenarios": ", ".join(done.scenarios),
        "rows": sum(done.tables.values()),
        "objects copied": done.objects,
        "bytes copied": done.bytes,
        "judged": said or ("passed" if outcome.run_ids else "nothing to judge"),
    }
