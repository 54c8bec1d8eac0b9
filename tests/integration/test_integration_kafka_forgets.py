"""Apache Kafka that forgot the end of a transaction, or messages that it had confirmed.

A broker that is fenced while the end of a transaction is being written may hold the transaction for complete without it
(KAFKA-20734, open in 4.3.1): the partition then shows nothing behind its first message, and the end of the next
transaction of the same producer ends it, too. Messages that a commit was confirmed for are lost with a
machine's power where a single broker keeps them.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import kafka_program
import pytest
import servers
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient
from kafka_log import Batch, batches, forget_from
from kafka_program import BULK, assert_proved, installed, planned_ids

from hwosim_assets.errors import BackendAbsentError
from hwosim_streaming import publisher, undecided
from hwosim_streaming.envelope import Header
from hwosim_streaming.publication import prove_again
from hwosim_streaming.sink import KafkaSink, Outgoing
from hwosim_streaming.topics import ensure_topics

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]


class StoppedError(Exception):
    """Raised in the middle of a publication."""


def stop_behind(folder: Path) -> Callable[[int, int], None]:
    """Return what stops a publication once messages of an open transaction lie behind committed ones."""

    def stop(number: int, _total: int) -> None:
        if number < 250:
            return
        until = time.monotonic() + 60
        while batches(folder)[-1].ends:
            assert time.monotonic() < until, "nothing of the open transaction came to the broker"
            time.sleep(0.1)
        raise StoppedError

    return stop


def last_end(there: list[Batch], ends: str) -> int:
    return max(number for number, batch in enumerate(there) if batch.ends == ends)


#: Which batch of the frames is the first that the broker forgot.
FORGOTTEN = {
    "the end of an aborted transaction": lambda there: last_end(there, "abort"),
    "the end of a committed transaction": lambda there: last_end(there, "commit"),
    "messages of a committed transaction": lambda there: last_end(there, "commit") - 1,
    "a committed transaction": lambda there: last_end(there[: last_end(there, "commit")], "commit") + 1,
}


@pytest.mark.parametrize("what", FORGOTTEN)
def test_a_broker_that_forgot_gets_what_is_missing_and_nothing_twice(
    what: str, tmp_path: Path, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker = servers.Kafka(tmp_path)
    here = installed(state, broker, monkeypatch)
    monkeypatch.setattr(publisher, "CHECKPOINT_MESSAGES", 100)
    frames = tmp_path / "data" / "hwosim.frames.v1-0"
    with broker.started(), pytest.raises(StoppedError):
        here.publish(BULK, on_message=stop_behind(frames))
    there = batches(frames)
    forget_from(tmp_path / "data", there[FORGOTTEN[what](there)])
    with broker.started():
        assert_proved(here.publish(BULK).row)
        assert here.ids() == planned_ids(here.plan(BULK))


def test_frames_that_were_lost_are_not_taken_for_left_out(
    tmp_path: Path, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    schedule = {"mode": "constant", "rate_per_s": 1_000_000, "overload": "skip", "skip_late_s": 3600}
    monkeypatch.setattr(kafka_program, "SCENARIO_FILE", {**kafka_program.SCENARIO_FILE, "schedule": schedule})
    broker = servers.Kafka(tmp_path)
    here = installed(state, broker, monkeypatch)
    monkeypatch.setattr(publisher, "CHECKPOINT_MESSAGES", 100)
    frames = tmp_path / "data" / "hwosim.frames.v1-0"
    with broker.started(), pytest.raises(StoppedError):
        here.publish(BULK, on_message=stop_behind(frames))
    there = batches(frames)
    forget_from(tmp_path / "data", there[last_end(there, "commit")])
    with broker.started():
        row = here.publish(BULK).row
        assert_proved(row)
        assert row["skipped"] == 0
        assert here.ids() == planned_ids(here.plan(BULK))


def test_what_was_dropped_for_its_age_is_told_and_not_put_behind_what_follows_it(
    tmp_path: Path, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker = servers.Kafka(tmp_path)
    here = installed(state, broker, monkeypatch)
    monkeypatch.setattr(publisher, "CHECKPOINT_MESSAGES", 100)
    frames = tmp_path / "data" / "hwosim.frames.v1-0"
    with broker.started():
        with pytest.raises(StoppedError):
            here.publish(BULK, on_message=stop_behind(frames))
        place = (here.topics.names["frame"], 0)
        admin = AdminClient(here.config)
        for answer in admin.delete_records([TopicPartition(*place, 10)]).values():
            assert answer.result().low_watermark == 10
        row = here.publish(BULK).row
        assert not row["verified"]
        assert row["examples_json"].count("missing: ") == row["examples_json"].count(": not in ")
        assert not here.ids() - planned_ids(here.plan(BULK)), "nothing twice"
        again = here.publish(BULK).row
        assert_proved(again)
        assert again["attempt"] == 2
        for answer in admin.delete_records([TopicPartition(*place, last_offset(again, place))]).values():
            answer.result()
        (proof,) = prove_again(BULK, here.scenario.id, here.lake, here.tables, here.settings).values()
        assert {each.kind for each in proof.discrepancies} == {"missing"}


def last_offset(row: dict[str, Any], place: tuple[str, int]) -> int:
    lies = {(each["topic"], each["partition"]): each["last"] for each in json.loads(row["offsets_json"])}
    return int(lies[place])


@pytest.mark.parametrize("family", ["control", "frame"])
def test_a_transaction_of_another_run_is_waited_for_and_then_named(
    family: str, tmp_path: Path, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker = servers.Kafka(tmp_path)
    here = installed(state, broker, monkeypatch)
    sent: list[int] = []
    with broker.started():
        name = ensure_topics(here.config, "", here.settings.topic_partitions).names[family]
        with closing(KafkaSink(here.config, "another")) as other:
            other.send(Outgoing(name, 0, b"", b"", [(Header.RUN, "abc")], None), lambda *_: None)
            other.flush()
            with monkeypatch.context() as hurried:
                hurried.setattr(undecided, "SETTLE_SECONDS", 1.0)
                with pytest.raises(BackendAbsentError, match=rf"a transaction of run abc in {name} \[0\] at offset 0"):
                    here.publish(BULK, on_message=lambda number, _total: sent.append(number))
            assert sent == []
            other.commit()
        assert_proved(here.publish(BULK).row)
