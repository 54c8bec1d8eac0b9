"""``hwosim programs``: the partitions of the graph. Dagster's own command line cannot add dynamic ones."""

import click

from hwosim_assets.console import json_option, print_json, print_table

__all__ = ["programs"]


@click.group()
def programs() -> None:
    """List or register the JWST programs that the graph knows.

    \b
    Example:
      hwosim programs register 1345 2565
      hwosim programs list
    """


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
