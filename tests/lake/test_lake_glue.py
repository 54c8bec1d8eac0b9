"""AWS Glue as table catalog, named by ``HWOSIM_CATALOG_URI`` alone; an emulator on loopback answers."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from hwosim_assets.errors import BackendAbsentError
from hwosim_assets.lake.rejections import QUARANTINE, Rejection, rejection_rows
from hwosim_assets.lake.tables import Tables
from hwosim_assets.settings import Settings


@pytest.fixture
def versions_checked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Make the emulator refuse an update of another version than the present one, as Glue does; note the refusals."""
    import threading

    from moto.glue.exceptions import JsonRESTError
    from moto.glue.responses import GlueResponse

    update, lock, refused = GlueResponse.update_table, threading.Lock(), []

    def checked(self: GlueResponse) -> Any:
        with lock:
            asked = self.parameters.get("VersionId")
            name = self.parameters["TableInput"]["Name"]
            held = self.glue_backend.get_table(self.parameters["DatabaseName"], name).as_dict()["VersionId"]
            if asked is not None and asked != held:
                refused.append(str(asked))
                raise JsonRESTError("ConcurrentModificationException", f"version {asked} is not {held}")
            return update(self)

    monkeypatch.setattr(GlueResponse, "update_table", checked)
    return refused


@pytest.fixture
def glue(s3_uri: str, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("HWOSIM_LAKE_URI", s3_uri)
    monkeypatch.setenv("HWOSIM_CATALOG_URI", "glue://us-east-1")
    import boto3

    client = boto3.client("glue", region_name="us-east-1")
    for database in client.get_databases()["DatabaseList"]:  # the emulator is one for all tests
        client.delete_database(Name=database["Name"])
    return Settings()


def rows(program: str, count: int, said: str = "reason") -> Any:
    return rejection_rows(program, [Rejection(f"f{n}", "raw", "rule", said) for n in range(count)])


def test_rows_go_in_and_come_back(glue: Settings) -> None:
    tables = Tables.from_settings(glue)
    for program in ("00001", "00002"):
        assert tables.replace(QUARANTINE, {"program": program, "stage": "raw"}, rows(program, 3)).changed
    assert not tables.replace(QUARANTINE, {"program": "00001", "stage": "raw"}, rows("00001", 3)).changed
    assert Tables.from_settings(glue).scan(QUARANTINE).num_rows == 6
    assert tables.names() == ["quarantine"]
    tables.compact("quarantine")
    assert tables.scan(QUARANTINE).num_rows == 6


def test_writers_at_once_lose_nothing(glue: Settings, versions_checked: list[str]) -> None:
    programs = [f"{number:05d}" for number in range(8)]

    def write(part: list[str]) -> None:
        tables = Tables.from_settings(glue)
        for program in [*part, "00099"]:
            said = part[0] if program == "00099" else "reason"
            tables.replace(QUARANTINE, {"program": program, "stage": "raw"}, rows(program, 2, said))

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(write, [programs[:3], programs[3:6], programs[6:]]))
    found = Tables.from_settings(glue).scan(QUARANTINE)
    assert found.column("program").to_pylist() == [one for one in [*programs, "00099"] for _ in range(2)]
    assert len(set(found.slice(16).column("reason").to_pylist())) == 1
    assert versions_checked  # they did meet


def test_without_credentials_the_mend_is_named(glue: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    tables = Tables("glue://us-east-1", "file:///nowhere/tables")
    with pytest.raises(BackendAbsentError, match="AWS_ACCESS_KEY_ID"):
        tables.scan(QUARANTINE)
