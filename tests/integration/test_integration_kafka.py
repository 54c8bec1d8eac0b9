"""The chain's stream on Apache Kafka (KRaft), by the same variables a user sets."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
import servers
import yaml
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic
from kafka_program import BULK, SCENARIO, SCENARIO_FILE, Installation, assert_proved, bulk_program, planned_ids

from hwosim_assets.archive.client import ArchiveClient
from hwosim_assets.archive.sample import write_sample
from hwosim_assets.archive.server import LocalArchive
from hwosim_assets.catalog.build import catalog_program
from hwosim_assets.errors import BackendAbsentError, BadInputError
from hwosim_assets.lake.ingest import ingest_program
from hwosim_assets.lake.store import Lake
from hwosim_assets.lake.tables import Tables
from hwosim_assets.perturb.dataset import perturb_program
from hwosim_assets.perturb.scenario import load_scenario
from hwosim_assets.settings import Settings
from hwosim_streaming import connect
from hwosim_streaming.clients import low_offsets
from hwosim_streaming.delivery import DATA_FAMILIES
from hwosim_streaming.envelope import FAMILIES, Frame
from hwosim_streaming.lag import lags
from hwosim_streaming.live import LiveStream
from hwosim_streaming.live_feed import kafka_feed
from hwosim_streaming.publication import PublicationResult
from hwosim_streaming.topics import ensure_topics

pytestmark = pytest.mark.integration

NUMBER = count()


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Kafka]:
    broker = servers.Kafka(tmp_path_factory.mktemp("kafka"))
    with broker.started():
        yield broker


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state folder in which a sample program and a bulk program stand perturbed, and the scenario's file."""
    folder = tmp_path_factory.mktemp("state")
    (folder / "scenarios").mkdir()
    (folder / "scenarios" / f"{SCENARIO}.yaml").write_text(yaml.safe_dump(SCENARIO_FILE))
    settings = Settings(DAGSTER_HOME=folder, lake_uri="", catalog_uri="")  # type: ignore[arg-type, call-arg]
    lake, tables = Lake.from_settings(settings), Tables.from_settings(settings)
    sample_program(folder, lake, tables)
    bulk_program(lake, tables)
    return folder


def sample_program(folder: Path, lake: Lake, tables: Tables) -> str:
    """Take a generated program from an archive to its perturbed products; return its number."""
    write_sample(folder / "archive", programs=1)
    with LocalArchive(folder / "archive") as served, ArchiveClient(served.url) as client:
        (program,) = client.programs()
        products = client.products(client.observations(program=program))
        raw = ingest_program(program, products, client, lake, tables, home=folder)
    catalog_program(program, raw.rows, lake, tables)
    perturb_program(program, load_scenario(SCENARIO, [folder / "scenarios"]), lake, tables)
    return str(program)


@pytest.fixture
def installation(kafka: servers.Kafka, home: Path, state: Path, monkeypatch: pytest.MonkeyPatch) -> Installation:
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    monkeypatch.setenv("HWOSIM_SCENARIO_PATH", str(home / "scenarios"))
    monkeypatch.setenv("HWOSIM_KAFKA_BOOTSTRAP_SERVERS", kafka.servers)
    monkeypatch.setenv("HWOSIM_TOPIC_PREFIX", f"t{next(NUMBER)}.")
    return Installation(Settings())


def test_a_sample_program_reconciles_and_comes_once(installation: Installation) -> None:
    first = installation.publish(installation.sample)
    assert_proved(first.row)
    assert not first.already
    assert first.row["products"] == first.row["truths"] > 10
    lies = installation.ids()
    assert lies == planned_ids(installation.plan(installation.sample))
    second = installation.publish(installation.sample)
    assert second.already
    assert second.row["receipt_key"] == first.row["receipt_key"]
    assert installation.ids() == lies


def test_an_exposure_of_years_to_come_is_taken(installation: Installation) -> None:
    """A record carries the time of exposure; Kafka 4 refuses what is an hour ahead unless a topic says otherwise."""
    topics = ensure_topics(installation.config, f"{installation.settings.topic_prefix}later.", 1)
    producer, refused = Producer(installation.config), []
    in_2044 = round(datetime(2044, 1, 1, tzinfo=UTC).timestamp() * 1000)
    for family in DATA_FAMILIES:
        name = topics.names[family]
        producer.produce(name, b"x", timestamp=in_2044, on_delivery=lambda error, _: error and refused.append(error))
    assert producer.flush(60) == 0
    assert not refused


def test_a_large_program_reconciles_at_speed(installation: Installation, capsys: pytest.CaptureFixture[str]) -> None:
    began = time.monotonic()
    row = installation.publish(BULK).row
    assert_proved(row)
    assert row["lost"] > 0
    assert row["duplicated"] > 0
    rate, volume = row["published"] / row["seconds"], row["bytes"] / row["seconds"] / 1e6
    said = f"{row['published']} messages, {row['bytes'] / 1e6:.0f} MB: {rate:.0f} per s, {volume:.0f} MB/s"
    with capsys.disabled():
        sys.stdout.write(f"\nKafka: {said}; with plan, proof and receipt {time.monotonic() - began:.2f} s\n")


@pytest.mark.skipif(shutil.which("kcat") is None, reason="no kcat (Debian: apt-get install kcat)")
def test_kcat_and_any_avro_reader_get_a_product(installation: Installation, tmp_path: Path) -> None:
    installation.publish(installation.sample)
    (commands,) = re.findall(r"```sh\n(.*?)```", (servers.ROOT / "docs" / "stream.md").read_text(), re.DOTALL)
    for said, here in {
        "localhost:9092": installation.settings.kafka_bootstrap_servers,
        "hwosim.products.v1": installation.topics.names["product"],
        "hwosim_streaming/schemas": str(servers.ROOT / "hwosim_streaming" / "schemas"),
    }.items():
        commands = commands.replace(said, here)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"},
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    *listed, record = done.stdout.splitlines()
    assert len(listed) == len(installation.plan(installation.sample).products)
    assert all("ce_hworun=" in line and line.endswith(" bytes") for line in listed)
    assert re.search(r"'product': '[^']+\.fits'", record)
    assert "'sha256': '" in record


def test_records_of_old_exposures_outlive_retention_by_age(installation: Installation) -> None:
    installation.publish(installation.sample)
    lies = installation.ids()
    time.sleep(4)  # the broker looks after its retention every second
    assert installation.ids() == lies


KILLED = """
import os, signal, sys
from hwosim_assets.lake.store import Lake
from hwosim_assets.lake.tables import Tables
from hwosim_assets.perturb.scenario import load_scenario
from hwosim_assets.settings import Settings
from hwosim_streaming import publisher
from hwosim_streaming.publication import publish_program

publisher.CHECKPOINT_MESSAGES = 500  # a quick machine sends all of them before the first second is over

def kill(number, total):
    if number == int(sys.argv[1]):
        os.kill(os.getpid(), signal.SIGKILL)

settings = Settings()
lake, tables = Lake.from_settings(settings), Tables.from_settings(settings)
scenario = load_scenario("integration", settings.scenario_folders())
publish_program("01093", scenario, lake, tables, settings, on_message=kill)
"""


def test_killed_publishers_lose_nothing_and_repeat_nothing(installation: Installation) -> None:
    plan = planned_ids(installation.plan(BULK))
    lay = 0
    for number in (2, plan.total() // 3, 1050):  # a transaction holds 500 messages
        done = subprocess.run([sys.executable, "-c", KILLED, str(number)], capture_output=True, text=True, timeout=60)
        assert done.returncode == -signal.SIGKILL, done.stderr
        lies = installation.ids()
        assert lay <= lies.total() < plan.total()
        assert not lies - plan  # nothing unplanned, nothing once too often
        lay = lies.total()
    assert lay > plan.total() // 3
    row = installation.publish(BULK).row
    assert_proved(row)
    assert row["resumed"] >= lay
    assert installation.ids() == plan


def test_a_broker_that_is_killed_and_comes_back_is_waited_for(
    installation: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = servers.Kafka(tmp_path)
    monkeypatch.setenv("HWOSIM_KAFKA_BOOTSTRAP_SERVERS", own.servers)
    installation = Installation(Settings())
    plan = planned_ids(installation.plan(BULK))
    found: list[PublicationResult] = []
    with own.started() as process:

        def kill(number: int, _total: int) -> None:
            if number == plan.total() // 2:
                process.kill()
                process.wait()

        publishing = Thread(target=lambda: found.append(installation.publish(BULK, on_message=kill)))
        publishing.start()
        process.wait(60)
    with own.started():
        publishing.join(60)
        assert len(found) == 1
        assert_proved(found[0].row)
        assert installation.ids() == plan
    with own.started():  # it kept the messages, so the receipt holds
        assert installation.publish(BULK).already


def test_a_group_reads_every_frame_once_and_goes_on_where_it_stopped(installation: Installation) -> None:
    plan = installation.plan(BULK)
    installation.publish(BULK)
    frames = {row["message_id"] for row in plan.rows if row["family"] == "frame" and row["copies"]}
    read: Counter[tuple[str, int, Any]] = Counter()
    with connect("hwosim.frames.v1", group="model", idle=3) as stream:
        for number, frame in enumerate(stream):
            assert isinstance(frame, Frame)
            assert np.isfinite(frame.data).any()
            read[str(frame.message_id)] += 1
            if number == 99:
                break
    assert stream.duplicates + len(read) >= 100
    with connect("hwosim.frames.v1", group="model", idle=3) as stream:
        later = [frame.message_id for frame in stream]
    # The one in hand when the reader left comes again, and a copy of one that was read before may.
    assert set(read) | set(later) == frames
    assert len(set(read) & set(later)) <= 1 + sum(row["copies"] - 1 for row in plan.rows if row["copies"] > 1)
    assert len(later) == len(set(later))
    with connect("hwosim.frames.v1", group="model", idle=1) as stream:
        assert list(stream) == []
    assert {each.behind for each in lags(installation.config, installation.topics, "model")} == {0}


def test_a_broker_that_asks_for_a_password(
    kafka: servers.Kafka, installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "BOOTSTRAP_SERVERS": kafka.guarded,
        "SECURITY_PROTOCOL": "SASL_PLAINTEXT",
        "SASL_MECHANISMS": "PLAIN",
        "SASL_USERNAME": "hwosim",
        "SASL_PASSWORD": kafka.password,
    }.items():
        monkeypatch.setenv(f"HWOSIM_KAFKA_{name}", value)
    installation = Installation(Settings())
    assert_proved(installation.publish(installation.sample).row)
    monkeypatch.setenv("HWOSIM_KAFKA_SASL_PASSWORD", "not-the-password")
    began = time.monotonic()
    with pytest.raises(BackendAbsentError, match=r"refuses these credentials .*uthentication failed") as caught:
        Installation(Settings()).publish(installation.sample)
    assert time.monotonic() - began < 15
    assert "not-the-password" not in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    monkeypatch.setenv("HWOSIM_KAFKA_NO_SUCH_THING", "1")
    with pytest.raises(BadInputError, match=r"no\.such\.thing"):
        Installation(Settings()).publish(installation.sample)


def test_topics_have_their_partitions_and_detectors_theirs(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HWOSIM_TOPIC_PARTITIONS", "7")
    installation = Installation(Settings())
    installation.publish(BULK)
    assert installation.topics.partitions == {"frame": 7, "product": 7, "truth": 7, "prediction": 7, "control": 1}
    records = installation.records("frame")
    where = {(record.key().decode(), record.partition()) for record in records}
    assert where == {("NRCA1", 0), ("NIS", 5)}  # the first and the 13th of the table, over seven partitions
    for topic, partition in installation.topics.places("frame"):
        offsets = [each.offset() for each in records if (each.topic(), each.partition()) == (topic, partition)]
        assert offsets == sorted(set(offsets))  # the end of a transaction takes an offset, too


def test_topics_are_there_when_they_have_been_made(installation: Installation) -> None:
    for number in range(10):
        made = ensure_topics(installation.config, f"{installation.settings.topic_prefix}{number}.", 12)
        assert set(made.names) == set(FAMILIES)
        assert low_offsets(installation.config, made.places(*FAMILIES))


def test_the_live_feed_goes_on_with_a_topic_that_was_made_anew_while_it_was_read(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here only: of the embedded broker, librdkafka may end a process that reads a topic while it is deleted."""
    monkeypatch.setattr("hwosim_streaming.live.PAUSE_S", 0.1)
    topic = ensure_topics(installation.config, installation.settings.topic_prefix, 3).names["frame"]
    live, admin = LiveStream(kafka_feed(installation.settings)), AdminClient(installation.config)

    def until(count: int, key: bytes) -> None:
        deadline = time.monotonic() + 60
        while live.snapshot()["by_key"].get(key.decode(), 0) < count:
            assert time.monotonic() < deadline, live.snapshot()
            producer = Producer(installation.config)
            producer.produce(topic, b"something", key=key, partition=0)
            producer.flush(10)
            time.sleep(0.2)

    live.start()
    try:
        until(3, b"before")
        admin.delete_topics([topic])[topic].result()
        deadline = time.monotonic() + 60
        while topic in admin.list_topics(timeout=10).topics:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        admin.create_topics([NewTopic(topic, 3, 1)])[topic].result()
        until(1, b"after")
    finally:
        live.close()


def test_the_demo_runs_on_kafka(installation: Installation, state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(state))
    monkeypatch.delenv("HWOSIM_SCENARIO_PATH")
    began = time.monotonic()
    command = [sys.executable, "-m", "hwosim_assets", "demo", "--fast", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, env=dict(os.environ), cwd=state)
    assert done.returncode == 0, done.stderr[-3000:]
    rows = json.loads(done.stdout)["outcome"]
    assert rows
    assert {row["verified"] for row in rows} <= {True, "yes"}
    assert time.monotonic() - began < 180
    assert not (state / "broker").exists(), "the embedded broker was started beside the configured one"
    assert installation.ids().total() > 0
