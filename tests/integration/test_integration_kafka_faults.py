"""Exactly once on Apache Kafka, whatever dies: publishers, brokers, the line, consumers.

Publishing is transactional here, so a ``read_committed`` reader (every reader of ours) must find
each planned message as often as planned: nothing lost, nothing extra. With HWOSIM_TEST_FAULTS=full everything dies
as often as was promised (50 kills, 20 restarts, 20 cuts, 20 kills of a reader); otherwise a few times.
"""

from __future__ import annotations

import os
import random
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
import servers
import yaml
from kafka_program import BULK, SCENARIO, SCENARIO_FILE, Installation, assert_proved, bulk_program, planned_ids
from stream_data import send_after_another_took_over

from hwosim_assets.lake.store import Lake
from hwosim_assets.lake.tables import Tables
from hwosim_assets.settings import Settings
from hwosim_streaming.publisher import MonotonicClock, Publisher
from hwosim_streaming.refusals import BrokerRefusesError
from hwosim_streaming.sink import KafkaSink, Outgoing
from hwosim_streaming.topics import ensure_topic, ensure_topics

FULL = os.environ.get("HWOSIM_TEST_FAULTS") == "full"
KILLS, RESTARTS, CUTS, CONSUMER_KILLS = (50, 20, 20, 20) if FULL else (8, 3, 4, 3)
pytestmark = [pytest.mark.integration, pytest.mark.timeout(3600 if FULL else 600)]
#: The same messages, spread over as long as that takes.
PACED = {"leisurely": 9.0 if FULL else 30.0, "brisk": 30.0 if FULL else 100.0}


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Kafka]:
    broker = servers.Kafka(tmp_path_factory.mktemp("kafka"))
    with broker.started():
        yield broker


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state folder in which the bulk program stands perturbed under three schedules."""
    folder = tmp_path_factory.mktemp("state")
    (folder / "scenarios").mkdir()
    settings = Settings(DAGSTER_HOME=folder, lake_uri="", catalog_uri="")  # type: ignore[arg-type, call-arg]
    lake, tables = Lake.from_settings(settings), Tables.from_settings(settings)
    for name, rate in {SCENARIO: 1_000_000.0, **PACED}.items():
        content = {**SCENARIO_FILE, "schedule": {"mode": "constant", "rate_per_s": rate}}
        (folder / "scenarios" / f"{name}.yaml").write_text(yaml.safe_dump(content))
        bulk_program(lake, tables, name)
    return folder


@pytest.fixture
def at(home: Path, state: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Installation]:
    """Return what makes an installation at a broker, under a scenario, with topics of its own."""
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    monkeypatch.setenv("HWOSIM_SCENARIO_PATH", str(home / "scenarios"))

    def make(broker: str, scenario: str = SCENARIO, topics: str = "") -> Installation:
        monkeypatch.setenv("HWOSIM_KAFKA_BOOTSTRAP_SERVERS", broker)
        monkeypatch.setenv("HWOSIM_TOPIC_PREFIX", topics or f"{state.name}.")
        return Installation(Settings(), scenario)

    return make


# ---------------------------------------------------------------------- killed publishers

PUBLISHERS = """
# Publishes in a child process for each line read: the topics' prefix, and after how many messages, and how many
# seconds more, to kill it.
import os, signal, sys, time
from hwosim_assets.lake.store import Lake
from hwosim_assets.lake.tables import Tables
from hwosim_assets.perturb.scenario import load_scenario
from hwosim_assets.settings import Settings
from hwosim_streaming import delivery, publication, publisher
publisher.CHECKPOINT_MESSAGES = 40  # many small transactions: a kill hits one or its commit

def publish(prefix, begun):
    def tell(_number, _total):
        os.write(begun, b"x")

    os.environ["HWOSIM_TOPIC_PREFIX"] = prefix
    settings = Settings()
    scenario = load_scenario("integration", settings.scenario_folders())
    lake, tables = Lake.from_settings(settings), Tables.from_settings(settings)
    publication.publish_program("01093", scenario, lake, tables, settings, on_message=tell)

for line in sys.stdin:
    prefix, messages, seconds = line.split()
    seen, begun = os.pipe()
    child = os.fork()
    if not child:
        publish(prefix, begun)
        os._exit(0)
    os.close(begun)
    left = int(messages)
    while left > 0 and (told := os.read(seen, left)):  # or its end
        left -= len(told)
    until = time.monotonic() + float(seconds)
    ended = 0
    while not ended and time.monotonic() < until:
        time.sleep(0.005)
        ended, status = os.waitpid(child, os.WNOHANG)
    if not ended:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        print("killed", flush=True)
    else:
        print("finished" if status == 0 else f"failed {status}", flush=True)
    os.close(seen)
"""


def test_kills_of_the_publisher_lose_nothing_and_add_nothing(
    kafka: servers.Kafka, at: Callable[..., Installation], say: Callable[[str], None]
) -> None:
    moments = random.Random(20261)
    kills, runs, partial = 0, 0, 0
    prefix = f"killed{runs}."
    here = at(kafka.servers, topics=prefix)
    plan = planned_ids(here.plan(BULK))
    with subprocess.Popen(
        [sys.executable, "-c", PUBLISHERS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as killer:
        assert killer.stdin is not None
        assert killer.stdout is not None
        while kills < KILLS:
            killer.stdin.write(f"{prefix} {moments.randint(1, 500)} {moments.uniform(0.0, 0.1):.3f}\n")
            killer.stdin.flush()
            said = killer.stdout.readline().strip()
            lies = here.ids() if here.topics.names else None
            if said == "killed":
                kills += 1
                assert lies is None or not lies - plan, "something is there that was not planned, or once too often"
                partial += lies is not None and 0 < lies.total() < plan.total()
            else:
                assert said == "finished"
                assert lies == plan
                runs += 1
                prefix = f"killed{runs}."
                here = at(kafka.servers, topics=prefix)
        killer.stdin.close()
    assert_proved(here.publish(BULK).row)
    assert here.ids() == plan
    assert partial, "no kill hit a run half-way: the moments are chosen badly"
    say(f"{kills} kills, {partial} of them half-way through a run, {runs + 1} runs finished: 0 lost, 0 extra")


@pytest.mark.parametrize("messages", [30, 3000])
def test_a_publisher_that_was_taken_over_is_told_and_commits_nothing(kafka: servers.Kafka, messages: int) -> None:
    config = {"bootstrap.servers": kafka.servers, "log_level": 2}
    topics = ensure_topics(config, f"taken-over-{messages}.", 2)
    told, keys = send_after_another_took_over(config, topics, messages)
    assert "\n" not in told
    assert keys == {b"new"}


@pytest.mark.parametrize("others", [0, 300])
def test_a_time_that_a_topic_does_not_take_is_named(kafka: servers.Kafka, others: int) -> None:
    """Kafka 4 refuses a record of tomorrow, and the transaction every message after it and many before it."""
    config = {"bootstrap.servers": kafka.servers, "log_level": 2}
    for topic in ("before", "late", "behind"):
        ensure_topic(config, f"{topic}-{others}")
    tomorrow = round((time.time() + 86_400) * 1000)

    def to(topic: str, size: int, timestamp: int | None) -> tuple[int, Callable[[int], Outgoing]]:
        return 0, lambda _due_wall: Outgoing(f"{topic}-{others}", 0, b"k", b"x" * size, (), timestamp)

    many = [to("late", 1, tomorrow)] * (1 if others else 20_000)
    records = [to("before", 200_000, None)] * others + many + [to("behind", 200_000, None)] * others
    sink = KafkaSink(config, f"of-tomorrow-{others}", linger_ms=0)
    named = rf"message {others} of the run.*message\.timestamp\.after\.max"
    with closing(sink), pytest.raises(BrokerRefusesError, match=named):
        Publisher(sink, MonotonicClock()).run(records)


# ---------------------------------------------------------------------- a broker that goes away


def published_meanwhile(
    here: Installation, disturb: Callable[[threading.Event, threading.Event, threading.Event], int]
) -> tuple[dict[str, Any], int]:
    """Publish in a thread while something disturbs it; return the row and how often it was disturbed.

    ``disturb`` sets the first event when the broker is there (one that is absent from the beginning is an
    error, and should be); the others tell that the first message is out, and the end.
    """
    rows: list[dict[str, Any]] = []
    up, begun, over = threading.Event(), threading.Event(), threading.Event()

    def publish() -> None:
        try:
            up.wait(180)
            rows.append(here.publish(BULK, on_message=lambda _number, _total: begun.set()).row)
        finally:
            begun.set()
            over.set()

    publishing = threading.Thread(target=publish)
    publishing.start()
    disturbed = disturb(up, begun, over)
    publishing.join(300)
    assert len(rows) == 1, "the publication failed"
    return rows[0], disturbed


def test_restarts_of_the_broker_are_ridden_through(
    tmp_path: Path, at: Callable[..., Installation], say: Callable[[str], None]
) -> None:
    own = servers.Kafka(tmp_path)
    here = at(own.servers, "leisurely")

    def disturb(up: threading.Event, begun: threading.Event, over: threading.Event) -> int:
        """Let it work for a second or two, then kill it or stop it in order, and start it again."""
        done = 0
        while not over.is_set() and done < RESTARTS:
            with own.started() as process:
                up.set()
                assert begun.wait(180)
                over.wait(1.0 + (done % 3) / 2)
                if done % 2:
                    process.send_signal(signal.SIGKILL)
                    process.wait()
            done += 1
        with own.started():
            assert over.wait(240)
            proof.append(here.ids())
        return done

    proof: list[Any] = []
    with own.started():
        plan = planned_ids(here.plan(BULK))
    row, restarts = published_meanwhile(here, disturb)
    assert_proved(row)
    assert proof == [plan]
    assert restarts == RESTARTS, f"the publication was over after {restarts} restarts"
    say(f"{restarts} restarts of the broker, every second one a SIGKILL: 0 lost, 0 extra, {row['resumed']} resumed")


# ---------------------------------------------------------------------- a line that is cut


class Line:
    """A TCP line to a port: it can be cut, which ends every connection, or fall silent, which tells nobody."""

    def __init__(self, port: int, target: int) -> None:
        self._target = ("127.0.0.1", target)
        self._listener = socket.create_server(("127.0.0.1", port), backlog=50)
        self._sockets: set[socket.socket] = set()
        self._cut = False
        self._carrying = threading.Event()
        self._carrying.set()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                if self._cut:
                    client.close()
                    continue
                with suppress(OSError):
                    server = socket.create_connection(self._target)
                    self._sockets |= {client, server}
                    for source, sink in ((client, server), (server, client)):
                        threading.Thread(target=self._carry, args=(source, sink), daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                self._carrying.wait()
                sink.sendall(data)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def silence(self, seconds: float) -> None:
        """Carry nothing for so long; no end of the line is told."""
        self._carrying.clear()
        time.sleep(seconds)
        self._carrying.set()

    def cut(self, seconds: float) -> None:
        """End every connection and let nobody through for so long."""
        self._cut = True
        for each in list(self._sockets):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        self._sockets.clear()
        time.sleep(seconds)
        self._cut = False

    def close(self) -> None:
        """Let nobody in any more."""
        self._listener.close()


def test_cuts_of_the_line_are_ridden_through(
    kafka: servers.Kafka, at: Callable[..., Installation], say: Callable[[str], None]
) -> None:
    moments = random.Random(7)
    with closing(Line(kafka.line_port, kafka.behind_line_port)) as line:
        here = at(f"127.0.0.1:{kafka.line_port}", "brisk")

        def disturb(up: threading.Event, begun: threading.Event, over: threading.Event) -> int:
            cuts = 0
            up.set()
            assert begun.wait(180)
            while cuts < CUTS and not over.wait(moments.uniform(0.5, 1.5)):
                (line.silence if cuts % 2 else line.cut)(moments.uniform(0.05, 1.5))
                cuts += 1
            return cuts

        row, cuts = published_meanwhile(here, disturb)
        assert_proved(row)
        assert here.ids() == planned_ids(here.plan(BULK))
    assert cuts == CUTS
    say(f"{cuts} cuts of the line, every second one a silence: 0 lost, 0 extra, {row['resumed']} resumed")


# ---------------------------------------------------------------------- killed consumers

CONSUMER = """
# Keeps the id of every frame in a database, where one that comes again changes nothing.
import sqlite3, sys
from hwosim_streaming import connect
kept = sqlite3.connect(sys.argv[1])
with connect("hwosim.frames.v1", group="keeper", idle=4) as stream:
    for frame in stream:
        with kept:
            kept.execute("INSERT OR IGNORE INTO frames VALUES (?, ?)", (frame.run_id, frame.message_id))
            kept.execute("INSERT INTO handled VALUES (?)", (frame.message_id,))
"""


def test_killed_consumers_lose_nothing_and_keep_nothing_twice(
    kafka: servers.Kafka, at: Callable[..., Installation], tmp_path: Path, say: Callable[[str], None]
) -> None:
    here = at(kafka.servers, topics="consumed.")
    here.publish(BULK)
    frames = {row["message_id"] for row in here.plan(BULK).rows if row["family"] == "frame" and row["copies"]}
    moments, database = random.Random(3), tmp_path / "kept.db"
    with closing(sqlite3.connect(database)) as kept:
        kept.execute("CREATE TABLE frames (run_id, message_id, PRIMARY KEY (run_id, message_id))")
        kept.execute("CREATE TABLE handled (message_id)")
        kept.commit()
        command = [sys.executable, "-c", CONSUMER, str(database)]
        kills = 0
        while kills < CONSUMER_KILLS:
            consumer = subprocess.Popen(command, env=dict(os.environ))
            with suppress(subprocess.TimeoutExpired):
                consumer.wait(moments.uniform(1.0, 4.0))
            if consumer.poll() is None:
                consumer.kill()
                kills += 1
            consumer.wait()
        subprocess.run(command, check=True, timeout=120)
        found = [row[0] for row in kept.execute("SELECT message_id FROM frames")]
        (handled,) = kept.execute("SELECT count(*) FROM handled").fetchone()
    assert sorted(found) == sorted(frames)
    say(f"{kills} kills of the consumer: {len(found)} of {len(frames)} frames kept, each once ({handled} handled)")
