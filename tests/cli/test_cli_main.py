"""The one place where a command's end becomes an exit status and its error one line."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator

import click
import pytest

from hwosim_assets import cli
from hwosim_assets.errors import HwosimError


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Return a function that runs a callback as the command ``try`` and gives the exit status."""

    def run_as_command(callback: Callable[[], None], *arguments: str) -> int:
        command = click.Command("try", callback=callback)
        monkeypatch.setattr(cli._EntryPointGroup, "get_command", lambda *_: command)
        with pytest.raises(SystemExit) as leaving:
            cli.main(["try", *arguments])
        code = leaving.value.code
        return 0 if code is None else int(code)

    return run_as_command


def _raising(error: BaseException) -> Callable[[], None]:
    def callback() -> None:
        raise error

    return callback


@pytest.mark.parametrize("status", [0, 1, 2, 3])
def test_the_status_that_a_command_exits_with_is_the_process_s(run: Callable[..., int], status: int) -> None:
    assert run(lambda: click.get_current_context().exit(status)) == status


def test_a_command_that_ends_is_done(run: Callable[..., int]) -> None:
    assert run(lambda: None) == 0


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (HwosimError("x.fits", "is empty", "fetch it again"), 1, "hwosim: x.fits: is empty; fetch it again\n"),
        (click.UsageError("no such thing"), 2, "no such thing"),
        (click.Abort(), 1, "hwosim: stopped\n"),
        (KeyboardInterrupt(), 1, "hwosim: stopped\n"),
        (ZeroDivisionError("one\nby nothing"), 1, "hwosim: ZeroDivisionError: one by nothing; see the traceback"),
        (ZeroDivisionError(), 1, "hwosim: ZeroDivisionError: no further word; see the traceback"),
    ],
)
def test_an_error_is_one_line_and_a_status(
    run: Callable[..., int], capsys: pytest.CaptureFixture[str], error: BaseException, status: int, said: str
) -> None:
    assert run(_raising(error)) == status
    output = capsys.readouterr()
    assert output.out == ""
    assert said in output.err
    assert "Traceback" not in output.err


def test_debug_shows_where_it_happened(monkeypatch: pytest.MonkeyPatch) -> None:
    command = click.Command("try", callback=_raising(HwosimError("x.fits", "is empty", "fetch it again")))
    monkeypatch.setattr(cli._EntryPointGroup, "get_command", lambda *_: command)
    with pytest.raises(HwosimError, match="is empty"):
        cli.main(["try", "--debug"])


@pytest.mark.parametrize(("arguments", "status"), [(["--help"], 0), (["--version"], 0), ([], 2), (["nonsense"], 2)])
def test_usage(arguments: list[str], status: int) -> None:
    with pytest.raises(SystemExit) as leaving:
        cli.main(arguments)
    assert leaving.value.code == status


def test_every_command_shows_an_example() -> None:
    context = click.Context(cli.hwosim)
    for name in cli.hwosim.list_commands(context):
        command = cli.hwosim.get_command(context, name)
        assert command is not None
        for leaf in _leaves(command):
            assert "Example" in leaf.get_help(click.Context(leaf, info_name=leaf.name)), f"{name} {leaf.name}"


def _leaves(command: click.Command) -> Iterator[click.Command]:
    if not isinstance(command, click.Group):
        yield command
        return
    for member in command.commands.values():
        yield from _leaves(member)


def test_a_reader_that_hangs_up_gets_no_traceback() -> None:
    code = "import click\nfor _ in range(10**5): click.echo('line')"
    script = (
        "import click\nfrom hwosim_assets import cli\n"
        f"command = click.Command('try', callback=lambda: exec({code!r}))\n"
        "cli._EntryPointGroup.get_command = lambda *_: command\ncli.main(['try'])"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stderr
        assert process.stdout.readline() == b"line\n"
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(timeout=30) == 1
