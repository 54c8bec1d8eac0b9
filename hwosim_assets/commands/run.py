"""``hwosim run``: materialize from the shell what the UI would."""

from typing import TYPE_CHECKING

import click

from hwosim_assets.console import json_option, print_json, progress
from hwosim_assets.errors import HwosimError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import dagster as dg

    from hwosim_assets.runner import Outcome

__all__ = ["run", "take_through"]


@click.command()
@click.option("--program", "programs", multiple=True, required=True, help="JWST program; may be given again.")
@click.option("--scenario", "scenarios", multiple=True, help="This scenario instead of the automated ones; repeat.")
@click.option(
    "--stage",
    type=click.Choice(["mast", "raw", "catalog", "perturbed", "stream", "report"]),
    help="Stop after this stage.",
)
@json_option
def run(programs: tuple[str, ...], scenarios: tuple[str, ...], stage: str | None, as_json: bool) -> None:
    """Take programs through the graph in this process; the UI shows the same runs.

    \b
    Example:
      hwosim run --program 1345 --scenario nominal_l2
      hwosim run --program 1345 --stage catalog
      HWOSIM_PERTURB_WORKERS=4 hwosim run --program 1345
    """
    from hwosim_assets.fits.names import program_key
    from hwosim_assets.partitions import register_programs
    from hwosim_assets.runner import check_scenarios, instance_at
    from hwosim_assets.settings import Settings

    settings = Settings()
    # Every scenario that ships would be a dozen copies of a program; those that sensors take are what one expects.
    scenarios = scenarios or tuple(settings.automated())
    check_scenarios(settings, scenarios)
    with instance_at(settings.home) as instance:
        register_programs(instance, programs)
        keys = [program_key(program) for program in programs]
        outcomes = take_through(instance, settings.home, keys, scenarios=scenarios, stage=stage)
    if as_json:
        print_json([vars(outcome) for outcome in outcomes])
    else:
        for outcome in outcomes:
            click.echo(f"{outcome.program}: {_in_words(outcome)}")
    unfinished = [outcome.program for outcome in outcomes if not outcome.succeeded]
    if unfinished:
        raise HwosimError(
            f"program {', '.join(unfinished)}",
            "did not go all the way",
            "read the reasons above; the runs are in the UI (make dev)",
        )


def take_through(
    instance: "dg.DagsterInstance",
    home: "Path",
    programs: "Sequence[str]",
    *,
    scenarios: "Sequence[str]" = (),
    stage: str | None = None,
) -> "list[Outcome]":
    """Run programs through the graph with a bar that names the steps under way."""
    from hwosim_assets.runner import materialize_programs

    with progress() as bars:
        task = bars.add_task("programs", total=len(programs))

        def show(done: int, doing: str) -> None:
            bars.update(task, completed=done, description=doing or "programs")

        outcomes = materialize_programs(instance, home, programs, scenarios=scenarios, stage=stage, on_progress=show)
        bars.update(task, completed=len(programs), description="programs")
    return outcomes


def _in_words(outcome: "Outcome") -> str:
    if outcome.failures:
        return f"failed: {'; '.join(outcome.failures)}"
    if outcome.stopped_by:
        return f"stopped by the checks {', '.join(outcome.stopped_by)}"
    return "done"
