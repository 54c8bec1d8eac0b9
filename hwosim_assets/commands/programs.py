"""``hwosim programs``: the partitions of the graph. Dagster's own command line cannot add dynamic ones."""

import click

from hwosim_assets.commands.promotion import promote, take_back
from hwosim_assets.console import json_option, print_json, print_table, say

__all__ = ["programs"]


@click.group()
def programs() -> None:
    """List, register or promote the JWST programs that the graph knows, and say what is left of them.

    \b
    Example:
      hwosim programs register 1345 2565
      hwosim programs list
    """


for command in (promote, take_back):
    programs.add_command(command)


@programs.command("list")
@json_option
def list_programs(as_json: bool) -> None:
    """List the registered programs.

    \b
    Example:
      hwosim programs list --json
    """
    from hwosim_assets.partitions import registered_programs
    from hwosim_assets.runner import instance_at
    from hwosim_assets.settings import Settings

    with instance_at(Settings().home) as instance:
        found = registered_programs(instance)
    if as_json:
        print_json(found)
    else:
        print_table("", ["program"], [[program] for program in found])


@programs.command(epilog="Example:  hwosim programs left --state failed")
@click.option("--state", type=click.Choice(["failed", "under way", "missing", "stale"]), help="Only these.")
@json_option
def left(state: str | None, as_json: bool) -> None:
    """Say what is left to do, program by program: what failed and why, what was never made, what is out of date.

    The automated scenarios are what is expected of a program. Programs that are all made and current are not listed.
    """
    from hwosim_assets import backlog
    from hwosim_assets.runner import code_locations, instance_at
    from hwosim_assets.settings import Settings

    settings = Settings()
    with instance_at(settings.home) as instance:
        where = backlog.standing(instance, code_locations(), settings.automated())
        found = [one for one in backlog.left(instance, where) if state in (None, one.state)]
    if as_json:
        print_json([vars(one) for one in found])
        return
    rows = [
        [one.program, one.state, *(len(one.assets.get(each, ())) for each in backlog.STATES), "; ".join(one.reasons)]
        for one in found
    ]
    print_table("", ["program", "is", *backlog.STATES, "because"], rows)
    say(f"{len(found)} of {len(where.programs)} programs")


@programs.command()
@click.argument("program", nargs=-1, required=True)
@json_option
def register(program: tuple[str, ...], as_json: bool) -> None:
    """Register programs by proposal number, padded or not.

    \b
    Example:
      hwosim programs register 1345 02565
    """
    from hwosim_assets.partitions import register_programs
    from hwosim_assets.runner import instance_at
    from hwosim_assets.settings import Settings

    with instance_at(Settings().home) as instance:
        new = register_programs(instance, program)
    if as_json:
        print_json(new)
    else:
        click.echo(f"registered {', '.join(new)}" if new else "all of them were registered already")
