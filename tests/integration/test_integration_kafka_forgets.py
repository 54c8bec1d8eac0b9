"""Apache Kafka that forgot the end of a transaction, or messages that it had confirmed.

A broker that is fenced while the end of a transaction is being written may hold the transaction for complete without it
(KAFKA-20734, open in 4.3.1): the partition then shows nothing behind its first message, and the end of the next
transaction of the same producer ends it, too. Messages that a commit was confirmed for are lost with a
machine's power where a single broker keeps them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import servers
from kafka_log import Batch, batches, forget_from
from kafka_program import BULK, assert_proved, installed, planned_ids

from hwosim_assets.errors import BackendAbsentError
from hwosim_streaming import delivery, publisher, undecided
from hwosim_streaming.envelope import Header
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


def test_a_transaction_of_another_run_is_waited_for_and_then_named(
    tmp_path: Path, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker = servers.Kafka(tmp_path)
    here = installed(state, broker, monkeypatch)
    monkeypatch.setattr(undecided, "SETTLE_SECONDS", 1.0)
    monkeypatch.setattr(delivery, "ATTEMPTS", 1)
    with broker.started():
        control = ensure_topics(here.config, "", here.settings.topic_partitions).names["control"]
        with closing(KafkaSink(here.config, "another")) as other:
            other.send(Outgoing(control, 0, b"", b"", [(Header.RUN, "abc")], None), lambda *_: None)
            other.flush()
            with pytest.raises(BackendAbsentError, match=r"a transaction of run abc in .*control.* \[0\] at offset 0"):
                here.publish(BULK)
            other.commit()
        assert_proved(here.publish(BULK).row)
