"""What cannot be asked is wrong usage (2), what is not there is a failure (1)."""

from __future__ import annotations

from pathlib import Path

import pytest

from hwosim_assets.cli import main


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """Return exit status and what was said on standard error."""
    with pytest.raises(SystemExit) as leaving:
        main(list(arguments))
    return int(leaving.value.code or 0), capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["search", "--program", "abc"], "program 'abc': is not a JWST program number"),
        (["search", "--cone", "400", "5", "0.1"], "is no cone on the sky"),
        (["search", "--cone", "40", "95", "0.1"], "is no cone on the sky"),
        (["search", "--cone", "40", "5", "-0.1"], "is no cone on the sky"),
        (["search", "--cone", "nan", "nan", "nan"], "is no cone on the sky"),
        (["search", "--between", "2023-01-01", "2022-01-01"], "ends before it starts"),
        (["search", "--between", "2023-01-01", "then"], "'then' is neither an MJD nor an ISO date"),
        (["search", "--level", "0"], "0 is not in the range"),
        (["search", "--source", "archve"], "'archve' is not one of"),
        (["headers"], "Missing argument"),
        (["sample", "x", "--programs", "0"], "0 is not in the range"),
        (["archive", "serve", "--root", "/nowhere-at-all"], "does not exist"),
        (["programs", "register"], "Missing argument"),
    ],
)
def test_wrong_usage(state: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str) -> None:
    status, error = run(capsys, *arguments)
    assert status == 2
    assert said in error


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["headers", "none.fits"], "hwosim: none.fits: cannot be opened (No such file or directory)"),
        (["headers", "ftp://elsewhere/x.fits"], "has the scheme ftp"),
        (["report", "--program", "1"], "hwosim: program 00001: has no quality report yet"),
        (["programs", "register", "12345678"], "is not a JWST program number"),
    ],
)
def test_what_is_not_there(state: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str) -> None:
    status, error = run(capsys, *arguments)
    assert status == 1
    assert said in error
    assert error.count("\n") == 1


def test_an_empty_installation_is_no_failure(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "search") == (0, "0 found in the catalog\n")
    status, said = run(capsys, "report")
    assert (status, said.startswith("No program has a quality report yet")) == (0, True)
