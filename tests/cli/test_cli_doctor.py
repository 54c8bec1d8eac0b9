"""`hwosim doctor` tells what is ill, how to mend it, and no secret."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hwosim_assets.cli import main

SECRETS = {
    "MAST_API_TOKEN": "mast-secret",
    "AWS_SECRET_ACCESS_KEY": "aws-secret",
    "HWOSIM_KAFKA_SASL_PASSWORD": "kafka-secret",
    "HWOSIM_ARCHIVE_URL": "http://me:archive-secret@127.0.0.1:9",
    "HWOSIM_CATALOG_URI": "postgresql+psycopg2://me:catalog-secret@127.0.0.1:9/db",
}


def diagnose(capsys: pytest.CaptureFixture[str]) -> tuple[int, list[dict[str, object]], str]:
    """Return the exit status, the findings, and all that was said."""
    with pytest.raises(SystemExit) as leaving:
        main(["doctor", "--json"])
    said = capsys.readouterr()
    return int(leaving.value.code or 0), json.loads(said.out), said.out + said.err


def test_what_is_absent_is_named_and_no_secret_is_shown(
    state: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    status, findings, said = diagnose(capsys)
    well = {str(finding["thing"]): finding["is_well"] for finding in findings}
    assert status == 1
    assert {thing for thing, is_well in well.items() if not is_well} == {"archive", "table catalog"}
    assert well["lake"] is True
    assert all(finding["mend"] for finding in findings if not finding["is_well"])
    assert "secret" not in said
    assert "hwosim: archive, table catalog: cannot be used; see the mend beside it" in said


@pytest.mark.parametrize(
    "uri",
    ["nonsense", "me:catalog-secret@host/db", "postgresql://me:catalog-secret@127.0.0.1:port/db", "ftp://me:secret@h/"],
)
def test_an_address_that_is_none_is_one_finding_of_many(
    state: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], uri: str
) -> None:
    for name in ("HWOSIM_CATALOG_URI", "HWOSIM_ARCHIVE_URL"):
        monkeypatch.setenv(name, uri)
    status, findings, said = diagnose(capsys)
    ill = {str(finding["thing"]): str(finding["mend"]) for finding in findings if not finding["is_well"]}
    assert status == 1
    assert ill.keys() == {"archive", "table catalog"}
    assert "set HWOSIM_CATALOG_URI to sqlite:///" in ill["table catalog"]
    assert "HWOSIM_ARCHIVE_URL" in ill["archive"]
    assert "secret" not in said


def test_an_archive_that_has_no_http_address_is_named_without_its_password(
    state: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HWOSIM_ARCHIVE_URL", "ftp://me:secret@host/mast")
    with pytest.raises(SystemExit):
        main(["search", "--source", "archive", "--program", "1345"])
    said = capsys.readouterr().err
    assert said.startswith("hwosim: archive 'ftp://me:***@host/mast': is not an HTTP URL; set HWOSIM_ARCHIVE_URL")


def test_a_rest_catalog_that_does_not_answer_is_not_taken_for_the_lake(
    state: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HWOSIM_CATALOG_URI", "http://127.0.0.1:9")
    with pytest.raises(SystemExit):
        main(["search"])
    said = capsys.readouterr().err
    assert said.startswith("hwosim: table catalog http://127.0.0.1:9: cannot be used: ")
    assert "HWOSIM_CATALOG_URI" in said
