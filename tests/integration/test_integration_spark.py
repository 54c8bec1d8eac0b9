"""The Structured Streaming job: Spark reads Apache Kafka into Iceberg, is killed, and each frame is there once."""

from __future__ import annotations

import logging
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import servers
import yaml
from kafka_program import BULK, SCENARIO, SCENARIO_FILE, Installation, assert_proved, bulk_program

from hwosim_assets.lake.store import Lake
from hwosim_assets.lake.tables import Tables
from hwosim_assets.settings import Settings
from hwosim_streaming import connect
from hwosim_streaming.envelope import Frame

pytestmark = [pytest.mark.integration, pytest.mark.timeout(3600)]

#: Seconds for one run of the job; on an idle machine it takes about fifteen, most of them Spark's start.
JOB_SECONDS = 900.0
WINDOW = 600
#: A job that dies between its two commits, with all its processes.
DIES_BETWEEN = """
import os, signal, sys
from hwosim_streaming import spark
spark.update_statistics = lambda *_anything: os.killpg(0, signal.SIGKILL)
from hwosim_assets.cli import main
sys.argv = ["hwosim", "stream", "spark", "--once"]
main()
"""
#: Whether Spark starts here with what it needs from Maven Central.
STARTS = """
from hwosim_assets.settings import Settings
from hwosim_streaming.spark import session
print("started", session(Settings(), "local[1]").version)
"""


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Kafka]:
    broker = servers.Kafka(tmp_path_factory.mktemp("kafka"))
    with broker.started():
        yield broker


@pytest.fixture
def installation(kafka: servers.Kafka, state: Path, monkeypatch: pytest.MonkeyPatch) -> Installation:
    (state / "scenarios").mkdir(parents=True)
    (state / "scenarios" / f"{SCENARIO}.yaml").write_text(yaml.safe_dump(SCENARIO_FILE))
    monkeypatch.setenv("HWOSIM_SCENARIO_PATH", str(state / "scenarios"))
    monkeypatch.setenv("HWOSIM_KAFKA_BOOTSTRAP_SERVERS", kafka.servers)
    settings = Settings()
    bulk_program(Lake.from_settings(settings), Tables.from_settings(settings))
    return Installation(settings)


@pytest.fixture(scope="module")
def spark_starts(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Skip, by name, where Spark, Java or the jars of Maven Central cannot be had."""
    pytest.importorskip("pyspark", reason="pyspark is not installed (extra spark)")
    every_jar = {"DAGSTER_HOME": str(tmp_path_factory.mktemp("home")), "HWOSIM_LAKE_URI": "s3://lake/hwosim"}
    command, env = [sys.executable, "-c", STARTS], {**os.environ, **every_jar}
    done = subprocess.run(command, capture_output=True, text=True, timeout=JOB_SECONDS, env=env)
    if "unresolved dependency" in done.stderr:
        pytest.skip("Maven Central does not answer, which Spark's connectors come from")
    if "Java: is not installed" in done.stderr:
        pytest.skip("no java (Debian: apt-get install default-jre-headless)")
    assert "started 4.1" in done.stdout, done.stderr[-3000:]


class Job:
    """`hwosim stream spark` as a process with processes of its own."""

    def __init__(self, log: Path, *arguments: str) -> None:
        self.log = log
        with log.open("ab") as output:
            self.process = subprocess.Popen(list(arguments), stdout=output, stderr=output, start_new_session=True)

    def kill(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def wait(self) -> int:
        try:
            return self.process.wait(JOB_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            pytest.fail(self.said)

    @property
    def said(self) -> str:
        return self.log.read_text(errors="replace")[-5000:]


def hwosim(*arguments: str) -> tuple[str, ...]:
    program = Path(sys.executable).with_name("hwosim")
    return str(program), "stream", "spark", "--window", str(WINDOW), *arguments


def rows(installation: Installation, table: str) -> list[dict[str, Any]]:
    found = installation.tables.look(table, lambda each: each.scan().to_arrow().to_pylist())
    return found or []


def frames_read(topic: str = "hwosim.frames.v1") -> list[Frame]:
    with connect(topic, idle=2.0) as stream:
        return list(stream)


def by_numpy(frames: list[Frame]) -> dict[tuple[Any, ...], tuple[Any, ...]]:
    """Return the statistics of each window and detector, from the pixels of what was consumed."""
    pixels: dict[tuple[Any, ...], list[Any]] = defaultdict(list)
    for frame in frames:
        if frame.kind == "image":
            assert frame.exposed_mjd is not None
            at = round((frame.exposed_mjd - 40587.0) * 86_400_000) / 1000
            key = (frame.run_id, frame.product_type, frame.detector, frame.extname, at // WINDOW * WINDOW)
            pixels[key].append(frame.data.ravel())
    found = {}
    for key, arrays in pixels.items():
        every = np.concatenate(arrays).astype(np.float64)
        finite = every[np.isfinite(every)]
        counts = (len(arrays), finite.size, every.size - finite.size)
        found[key] = (*counts, finite.mean(), finite.std(), finite.min(), finite.max())
    return found


def by_spark(installation: Installation) -> dict[tuple[Any, ...], tuple[Any, ...]]:
    names = ("frames", "pixels", "invalid", "mean", "stddev", "minimum", "maximum")
    keys = ("run_id", "product_type", "detector", "extname")
    found = rows(installation, "stream_statistics")
    made = {
        (*(row[key] for key in keys), row["window_start"].timestamp()): tuple(row[n] for n in names) for row in found
    }
    assert len(made) == len(found)
    return made


def assert_each_frame_once(installation: Installation) -> None:
    consumed = frames_read()
    stored = rows(installation, "stream_frames")
    ids = sorted((frame.run_id, frame.message_id) for frame in consumed)
    assert sorted((row["run_id"], row["message_id"]) for row in stored) == ids
    assert len(set(ids)) == len(ids) > 1000
    means = {row["message_id"]: row["mean"] for row in stored}
    for frame in consumed[::50]:
        assert means[frame.message_id] == pytest.approx(np.nanmean(frame.data.astype(np.float64)), rel=1e-9)
    expected, made = by_numpy(consumed), by_spark(installation)
    assert made.keys() == expected.keys()
    for key, values in expected.items():
        assert made[key][:3] == values[:3]
        assert all(
            math.isclose(one, two, rel_tol=1e-9, abs_tol=1e-12) for one, two in zip(made[key], values, strict=True)
        )


def wait_for_a_batch_begun(job: Job, checkpoint: Path, batch: int) -> None:
    """Wait until a batch's offsets are written down and it is not done."""
    until = time.monotonic() + JOB_SECONDS
    while time.monotonic() < until and job.process.poll() is None:
        if (checkpoint / "offsets" / str(batch)).exists():
            assert not (checkpoint / "commits" / str(batch)).exists()
            return
        time.sleep(0.005)
    pytest.fail(job.said)


@pytest.mark.usefixtures("spark_starts")
def test_each_frame_is_there_once_whenever_the_job_dies(installation: Installation, tmp_path: Path, say: Any) -> None:
    row = installation.publish(BULK).row
    assert_proved(row)
    assert row["duplicated"] > 0
    log, kept = tmp_path / "log", tmp_path / "checkpoint"
    # Between its two commits: the frames are in, their statistics are not.
    killed = Job(log, sys.executable, "-c", DIES_BETWEEN)
    assert killed.wait() == -signal.SIGKILL, killed.said
    assert rows(installation, "stream_frames")
    assert not rows(installation, "stream_statistics")
    # Another checkpoint, as if that one had been lost; and dead in the middle of its first batch.
    again = Job(log, *hwosim("--every", "0.5", "--checkpoint", str(kept)))
    wait_for_a_batch_begun(again, kept, 0)
    again.kill()
    began = time.monotonic()
    last = Job(log, *hwosim("--once", "--json", "--checkpoint", str(kept)))
    assert last.wait() == 0, last.said
    seconds = time.monotonic() - began
    assert_each_frame_once(installation)
    say(f"Spark: {row['consumed']} messages, the job {seconds:.0f} s with Spark's start")
    # All of it once more: nothing is added, nothing changes.
    before = (rows(installation, "stream_frames"), by_spark(installation))
    shutil.rmtree(kept)
    more = Job(log, *hwosim("--once", "--checkpoint", str(kept)))
    assert more.wait() == 0, more.said
    after = (rows(installation, "stream_frames"), by_spark(installation))
    assert sorted(map(str, after[0])) == sorted(map(str, before[0]))
    assert after[1] == before[1]


@pytest.fixture
def on_servers(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> Iterator[Installation]:
    """The same program where the lake is an S3 store and the catalog a PostgreSQL."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    store = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    store.start()
    try:
        with servers.postgres() as database:
            host, port = store.get_host_and_port()
            monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
            monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
            monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
            monkeypatch.setenv("HWOSIM_LAKE_URI", "s3://lake/hwosim")
            monkeypatch.setenv("HWOSIM_CATALOG_URI", database.uri(database.create("spark")))
            monkeypatch.setenv("HWOSIM_TOPIC_PREFIX", "servers.")
            make_bucket(f"http://{host}:{port}")
            settings = Settings()
            bulk_program(Lake.from_settings(settings), Tables.from_settings(settings))
            yield Installation(settings)
    finally:
        store.stop()


def make_bucket(endpoint: str) -> None:
    import boto3

    boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1").create_bucket(Bucket="lake")


@pytest.mark.usefixtures("spark_starts")
def test_the_same_on_an_s3_store_and_postgresql(on_servers: Installation, tmp_path: Path) -> None:
    assert_proved(on_servers.publish(BULK).row)
    job = Job(tmp_path / "log", *hwosim("--once"))
    assert job.wait() == 0, job.said
    assert_each_frame_once(on_servers)
    lies = {str(file["file_path"]) for file in on_servers.tables.open("stream_frames").inspect.files().to_pylist()}
    assert lies
    assert all(path.startswith("s3://lake/hwosim/tables/") for path in lies)
