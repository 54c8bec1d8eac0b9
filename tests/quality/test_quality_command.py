import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from hwosim_assets.commands.report import report
from hwosim_assets.errors import BackendAbsentError, BadInputError
from hwosim_assets.lake.store import Lake
from hwosim_assets.lake.tables import Tables
from hwosim_assets.quality.report import write_report
from hwosim_assets.quality.run import RuleResult, SuiteResult
from hwosim_assets.settings import Settings


@pytest.fixture(autouse=True)
def checked(state: Path) -> None:
    settings = Settings()
    lake, tables = Lake.from_settings(settings), Tables.from_settings(settings)
    rule = RuleResult("coordinates_in_range", "warning", False, 2, 1, (), "On the sky.", {})
    for program in ("01093", "02739"):
        write_report(lake, tables, "catalog/products", program, SuiteResult("products", 2, (rule,)))


def run(*arguments: str) -> str:
    done = CliRunner().invoke(report, arguments, catch_exceptions=False, standalone_mode=False)
    if done.exception:
        raise done.exception
    return done.stdout


def test_it_prints_what_does_not_hold(capsys: pytest.CaptureFixture[str]) -> None:
    report.main(["--program", "1093"], standalone_mode=False)
    printed = capsys.readouterr().out
    assert "coordinates_in_range" in printed
    assert "warned" in printed
    assert "02739" not in printed


def test_json_names_the_page_of_every_asset() -> None:
    rows = json.loads(run("--json"))
    assert [(row["program"], row["asset"]) for row in rows] == [
        ("01093", "catalog/products"),
        ("02739", "catalog/products"),
    ]
    assert all(row["url"].startswith("http://127.0.0.1:3080/reports/catalog/products/jw0") for row in rows)


def test_a_program_that_was_never_checked_is_named() -> None:
    with pytest.raises(BadInputError, match="program 09999: has no quality report yet; materialize it"):
        run("--program", "9999")
    with pytest.raises(BadInputError):
        run("--program", "../x")


def test_opening_without_a_server_says_how_to_start_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HWOSIM_REPORT_URL", "http://127.0.0.1:9")
    with pytest.raises(BackendAbsentError, match="does not answer"):
        run("--program", "1093", "--open")
