"""Publications: the row, the receipt, nothing twice, a broker that forgot."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest
import yaml
from click.testing import CliRunner
from stream_data import FAULTY, PROGRAM, files, manifest, scenario

from hwosim_assets.errors import BackendAbsentError, BadInputError
from hwosim_assets.lake.store import Lake
from hwosim_assets.lake.tables import Tables
from hwosim_assets.perturb.dataset import PERTURBED, TRUTH
from hwosim_assets.perturb.scenario import Scenario
from hwosim_assets.settings import Settings
from hwosim_streaming import broker, delivery, sink
from hwosim_streaming.cli import stream as stream_command
from hwosim_streaming.clients import client_config, low_offsets, read_between
from hwosim_streaming.publication import PUBLICATIONS, prove_again, publish_program
from hwosim_streaming.topics import existing_topics

WINDY = {"version": 1, "seed": 11, "schedule": {"mode": "constant", "rate_per_s": 1e6}, "transport": FAULTY}


class Program:
    """A program whose perturbed products stand in the tables."""

    def __init__(self, settings: Settings, named: Scenario) -> None:
        self.settings, self.scenario = settings, named
        self.lake, self.tables = Lake.from_settings(settings), Tables.from_settings(settings)
        self.fill(files())

    def fill(self, contents: dict[str, bytes]) -> None:
        rows = manifest(self.lake, contents, self.scenario.id).to_pylist()
        more = {"seed": 1, "scale": "2026.1", "engine": "1", "changed": False, "snr_loss": None, "created_at": None}
        scope = {"program": PROGRAM, "scenario": self.scenario.id}
        perturbed = pa.Table.from_pylist([{**row, **more} for row in rows], schema=PERTURBED.schema)
        labels = [{**row, "record_json": "{}", "side_key": None} for row in rows]
        self.tables.replace(PERTURBED, scope, perturbed)
        self.tables.replace(TRUTH, scope, pa.Table.from_pylist(labels, schema=TRUTH.schema))

    def publish(self, settings: Settings | None = None) -> Any:
        return publish_program(PROGRAM, self.scenario, self.lake, self.tables, settings or self.settings)

    def on_topics(self) -> int:
        config = client_config(self.settings, self.settings.kafka_bootstrap_servers)
        topics = existing_topics(config, self.settings.topic_prefix)
        return len(list(read_between(config, low_offsets(config, topics.places("frame", "product", "truth")), None)))


@pytest.fixture
def program(stream_settings: Settings) -> Program:
    return Program(stream_settings, Scenario.from_mapping("windy", WINDY))


def test_a_publication_is_proved_and_comes_once(program: Program) -> None:
    first = program.publish()
    row = first.row
    assert not first.already
    assert row["verified"]
    assert row["planned"] - row["lost"] + row["duplicated"] == row["published"] == row["consumed"]
    assert (row["products"], row["truths"], row["resumed"], row["discrepancies"]) == (5, 5, 0, 0)
    assert row["lost"] > 0
    lying = program.on_topics()
    assert lying == row["consumed"] + row["truths"]
    second = program.publish()
    assert second.already
    assert program.on_topics() == lying
    assert {name: second.row[name] for name in ("run_id", "receipt_key", "consumed")} == {
        name: row[name] for name in ("run_id", "receipt_key", "consumed")
    }
    stored = program.tables.scan(PUBLICATIONS, {"program": PROGRAM}).to_pylist()
    assert [each["plan_sha256"] for each in stored] == [row["plan_sha256"]]
    assert sum(each["messages"] for each in json.loads(row["offsets_json"])) == lying


def test_a_receipt_that_was_lost_is_written_anew_and_nothing_is_published(program: Program) -> None:
    first = program.publish()
    lying = program.on_topics()
    program.tables.replace(PUBLICATIONS, {"program": PROGRAM, "scenario": "windy"}, PUBLICATIONS.schema.empty_table())
    again = program.publish()
    assert (again.already, again.row["verified"]) == (False, True)
    assert again.row["resumed"] == again.row["published"] + again.row["truths"]
    assert program.on_topics() == lying
    assert again.row["receipt_key"] != first.row["receipt_key"]


def test_what_no_longer_lies_there_was_not_resumed(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the broker dropped a message for its age: it is expected, is not sent again and is not found."""
    program.publish()
    program.tables.replace(PUBLICATIONS, {"program": PROGRAM, "scenario": "windy"}, PUBLICATIONS.schema.empty_table())
    prove = delivery._prove

    def prove_without_the_first(*what: Any) -> Any:
        proof = prove(*what)
        del proof.found[0]
        return proof

    monkeypatch.setattr(delivery, "_prove", prove_without_the_first)
    row = program.publish().row
    assert row["resumed"] == row["published"] + row["truths"] - 1


def test_a_publication_whose_proof_failed_is_published_anew_as_a_run_of_its_own(
    program: Program, intruder: list[str]
) -> None:
    first = program.publish().row
    assert (first["verified"], first["attempt"], first["discrepancies"]) == (False, 1, 1)
    assert intruder == [first["run_id"]]
    lying = program.on_topics()
    second = program.publish()
    assert (second.already, second.row["verified"], second.row["attempt"], second.row["resumed"]) == (False, True, 2, 0)
    assert second.row["plan_sha256"] == first["plan_sha256"]
    assert second.row["run_id"] != first["run_id"]
    assert program.on_topics() == 2 * lying - 1
    assert program.publish().already
    (stored,) = program.tables.scan(PUBLICATIONS, {"program": PROGRAM}).to_pylist()
    assert (stored["run_id"], stored["verified"]) == (second.row["run_id"], True)
    proofs = prove_again(PROGRAM, "windy", program.lake, program.tables, program.settings)
    assert proofs[first["plan_sha256"]].verified


def test_new_products_make_a_new_plan_and_the_old_row_stays(program: Program) -> None:
    first = program.publish()
    program.fill(dict(list(files().items())[:3]))
    second = program.publish()
    assert not second.already
    assert second.row["run_id"] != first.row["run_id"]
    assert second.row["products"] == 3
    stored = program.tables.scan(PUBLICATIONS, {"program": PROGRAM}).to_pylist()
    assert {each["plan_sha256"] for each in stored} == {first.row["plan_sha256"], second.row["plan_sha256"]}


def test_a_proof_can_be_asked_for_again(program: Program) -> None:
    row = program.publish().row
    proofs = prove_again(PROGRAM, "windy", program.lake, program.tables, program.settings)
    assert list(proofs) == [row["plan_sha256"]]
    proof = proofs[row["plan_sha256"]]
    assert proof.verified
    assert (proof.planned, proof.lost, proof.duplicated) == (row["planned"], row["lost"], row["duplicated"])
    with pytest.raises(BadInputError, match="no publication on this broker"):
        prove_again(PROGRAM, "calm", program.lake, program.tables, program.settings)


def test_a_program_without_products_is_said(program: Program) -> None:
    with pytest.raises(BadInputError, match="has no perturbed products"):
        publish_program("00002", program.scenario, program.lake, program.tables, program.settings)


def test_a_broker_that_was_restarted_gets_the_messages_again(state: Path) -> None:
    settings = Settings()
    own = Program(settings, scenario())
    try:
        first = own.publish()
        assert own.publish().already
        assert broker.stop(settings.home)
        second = own.publish()
        assert not second.already
        assert second.row["verified"]
        assert second.row["broker_id"] != first.row["broker_id"]
        assert second.row["run_id"] == first.row["run_id"]
    finally:
        broker.stop(settings.home)


def test_a_broker_that_dies_meanwhile_is_said_and_the_next_attempt_succeeds(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sink, "MESSAGE_SECONDS", 2)
    settings = Settings()
    own = Program(settings, scenario())

    def kill(number: int, _total: int) -> None:
        if number == 10:
            found = broker.running(settings.home)
            assert found is not None
            os.kill(found.pid, signal.SIGKILL)

    try:
        with pytest.raises(BackendAbsentError):
            publish_program(PROGRAM, own.scenario, own.lake, own.tables, settings, on_message=kill)
        assert own.tables.scan(PUBLICATIONS, {"program": PROGRAM}).num_rows == 0
        assert own.publish().row["verified"]
    finally:
        broker.stop(settings.home)


def test_a_topic_that_was_made_anew_gets_the_messages_again(program: Program) -> None:
    from confluent_kafka.admin import AdminClient

    program.publish()
    config = client_config(program.settings, program.settings.kafka_bootstrap_servers)
    names = list(existing_topics(config, program.settings.topic_prefix).names.values())
    admin = AdminClient(config)
    for future in admin.delete_topics([name for name in names if "control" not in name]).values():
        future.result()
    again = program.publish()
    assert (again.already, again.row["verified"], again.row["resumed"]) == (False, True, 0)


def test_no_broker_is_said_in_bounded_time(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HWOSIM_KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1")
    began = time.monotonic()
    with pytest.raises(BackendAbsentError, match=r"127\.0\.0\.1:1: does not answer"):
        program.publish(Settings())
    assert time.monotonic() - began < 10
    assert program.tables.scan(PUBLICATIONS, {"program": PROGRAM}).num_rows == 0


TWICE = """
import sys
sys.path.insert(0, "tests/streaming")
from test_stream_publication import Program, Scenario, Settings, WINDY, publish_program, PROGRAM, Lake, Tables
settings = Settings()
lake, tables = Lake.from_settings(settings), Tables.from_settings(settings)
done = publish_program(PROGRAM, Scenario.from_mapping("windy", WINDY), lake, tables, settings)
print(done.already)
"""


def test_two_processes_that_publish_at_once_publish_once(program: Program) -> None:
    both = [subprocess.Popen([sys.executable, "-c", TWICE], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = sorted(each.communicate(timeout=60)[0].strip() for each in both)
    assert said == ["False", "True"]
    proofs = prove_again(PROGRAM, "windy", program.lake, program.tables, program.settings)
    assert all(proof.verified for proof in proofs.values())


def test_commands(program: Program, tmp_path: Path) -> None:
    file = tmp_path / "windy.yaml"
    file.write_text(yaml.safe_dump(WINDY))
    runner = CliRunner()

    def said(*arguments: str) -> Any:
        done = runner.invoke(stream_command, [*arguments, "--json"], catch_exceptions=False)
        assert done.exit_code == 0
        return json.loads(done.stdout)

    what = ("--program", "1093", "--scenario", str(file))
    planned = said("plan", *what, "--output", str(tmp_path / "plan.parquet"))
    assert planned["planned"] == pa.parquet.read_table(tmp_path / "plan.parquet").num_rows
    published = said("publish", *what)
    assert published["plan_sha256"] == planned["plan_sha256"]
    assert (published["published_now"], published["verified"]) == (True, True)
    assert not said("publish", *what)["published_now"]
    verified = said("verify", *what)
    assert verified["discrepancies"] == []
    assert verified["publications"][0]["consumed"] == published["consumed"]


def test_broker_commands(state: Path) -> None:
    runner = CliRunner()
    assert isinstance(runner.invoke(stream_command, ["broker", "status"]).exception, Exception)
    try:
        started = json.loads(runner.invoke(stream_command, ["broker", "start", "--json"]).stdout)
        found = json.loads(runner.invoke(stream_command, ["broker", "status", "--json"]).stdout)
        assert started == found
    finally:
        stopped = runner.invoke(stream_command, ["broker", "stop"])
    assert stopped.exit_code == 0
    assert broker.running(state) is None
