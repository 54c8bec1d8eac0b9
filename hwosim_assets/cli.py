"""The ``hwosim`` command: finds its subcommands through the entry-point group ``hwosim.commands``.

Holds: the group, lazy loading, and the one place where errors become one line and an exit status
(0 done, 1 failed, 2 wrong usage). A command itself stands in a module under
``hwosim_assets.commands`` or, for the stream, in ``hwosim_streaming.cli``; it imports heavy
libraries inside its function, so that ``hwosim --help`` stays quick.
"""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint, entry_points, version

import click

from hwosim_assets.errors import HwosimError

__all__ = ["main"]


class _EntryPointGroup(click.Group):
    """A click group whose commands are the entry points of ``hwosim.commands``."""

    def _found(self) -> dict[str, EntryPoint]:
        return {point.name: point for point in entry_points(group="hwosim.commands")}

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(self._found())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        point = self._found().get(cmd_name)
        if point is None:
            return None
        command: click.Command = point.load()
        return command


@click.group(
    cls=_EntryPointGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Turn archived JWST observations into an imperfect live stream whose truth is known.",
    epilog="Start with:  hwosim demo",
)
@click.version_option(version("hwosim-platform"), prog_name="hwosim")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def hwosim(debug: bool) -> None:
    """Gather the subcommands; ``--debug`` is taken by :func:`main` wherever it stands."""


def main(argv: list[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 1 failed, 2 wrong usage."""
    arguments = sys.argv[1:] if argv is None else argv
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    try:
        # Click hands over the status of ctx.exit(n) as its result here, it raises nothing.
        status = hwosim.main(args=arguments, prog_name="hwosim", standalone_mode=False)
    except click.ClickException as mistake:
        mistake.show()
        sys.exit(mistake.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("hwosim: stopped", err=True)
        sys.exit(1)
    except HwosimError as error:
        if debug:
            raise
        click.echo(f"hwosim: {error}", err=True)
        sys.exit(1)
    except Exception as error:
        if debug:
            raise
        reason = " ".join(str(error).split()) or "no further word"
        click.echo(f"hwosim: {type(error).__name__}: {reason}; see the traceback with --debug", err=True)
        sys.exit(1)
    sys.exit(status if isinstance(status, int) else 0)
