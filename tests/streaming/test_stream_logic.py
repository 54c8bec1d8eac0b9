"""Pacing, counting, resuming and proving, without a broker: a virtual clock and lists."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaError
from hypothesis import given, settings
from hypothesis import strategies as st

from hwosim_assets.errors import BackendAbsentError, BadInputError
from hwosim_assets.settings import Settings
from hwosim_streaming import delivery
from hwosim_streaming.arrivals import Arrival
from hwosim_streaming.clients import client_config
from hwosim_streaming.publisher import CHECKPOINT_MESSAGES, Delivery, Publisher, VirtualClock
from hwosim_streaming.refusals import BrokerRefusesError, refusal
from hwosim_streaming.sink import Done, Outgoing, PublishFailedError
from hwosim_streaming.topics import KEYS, partition_of, topic_name
from hwosim_streaming.verify import Expected, reconcile

PLACE = ("frames", 0)
TOO_LARGE = BackendAbsentError("topic frames", "is too large for it", "make it smaller")
FINAL = refusal("topic late", KafkaError(KafkaError.INVALID_TIMESTAMP))
DROPPED = refusal("topic frames", KafkaError(KafkaError._PURGE_QUEUE))


class ListSink:
    """Keeps records in a list and confirms them when served; an atomic one lets them be seen at each commit."""

    def __init__(self, refuse: set[int] | None = None, *, atomic: bool = False) -> None:
        self.atomic = atomic
        self.seen: list[int] = []
        self.records: list[Outgoing] = []
        self.waiting: list[Callable[[], None]] = []
        self.refuse = refuse or set()

    def send(self, record: Outgoing, done: Done) -> None:
        number = len(self.records)
        self.records.append(record)
        self.waiting.append(lambda: done(None, TOO_LARGE) if number in self.refuse else done(number, None))

    def serve(self) -> None:
        waiting, self.waiting = self.waiting, []
        for each in waiting:
            each()

    def flush(self) -> None:
        self.serve()

    def commit(self) -> None:
        if self.atomic:
            assert not self.waiting, "a commit waits for every delivery report first"
            self.seen.append(len(self.records))

    def abandon(self) -> None:
        self.serve()
        self.records.clear()


def outgoing(due_wall: int) -> Outgoing:
    return Outgoing("frames", 0, b"k", str(due_wall).encode(), (), None)


def test_records_leave_at_their_due_times() -> None:
    clock, sink = VirtualClock(), ListSink()
    publisher = Publisher(sink, clock)
    due = [0, 10, 3_600_000_000_000, 3_600_000_000_001]
    publisher.run([(at, outgoing) for at in due])
    assert [delivery.due_ns for delivery in publisher.deliveries] == due
    assert all(0 <= delivery.sent_ns - delivery.due_ns < 1000 for delivery in publisher.deliveries)
    walls = [int(record.value) for record in sink.records]
    assert [wall - walls[0] for wall in walls] == due
    assert publisher.certain == 4


def test_a_slow_record_makes_the_next_late_and_none_after_the_backlog() -> None:
    clock, sink = VirtualClock(), ListSink()

    def slow(due_wall: int) -> Outgoing:
        clock.sleep(0.5)
        return outgoing(due_wall)

    publisher = Publisher(sink, clock)
    publisher.run([(0, slow), (100_000_000, outgoing), (2_000_000_000, outgoing)])
    late = [delivery.sent_ns - delivery.due_ns for delivery in publisher.deliveries]
    assert late[0] == 500_000_000
    assert late[1] == 400_000_000
    assert late[2] < 1000


def test_what_is_left_out_is_not_made_and_the_rest_is_certain() -> None:
    clock, sink, said = VirtualClock(), ListSink(), list[int]()

    def slow(due_wall: int) -> Outgoing:
        clock.sleep(0.5)
        return outgoing(due_wall)

    def broken(_due_wall: int) -> Outgoing:
        raise AssertionError("was left out and made all the same")

    publisher = Publisher(sink, clock, on_checkpoint=said.append, leaves_out=lambda _number, late: late > 200_000_000)
    publisher.run([(0, slow), (100_000_000, broken), (200_000_000, broken), (400_000_000, outgoing)])
    assert [delivery.left_out for delivery in publisher.deliveries] == [False, True, True, False]
    assert len(sink.records) == 2
    assert publisher.certain == 4
    late = [delivery.sent_ns - delivery.due_ns for delivery in publisher.deliveries]
    assert late[1:3] == [400_000_000, 300_000_000]


def test_what_is_made_again_before_the_first_record_makes_none_late() -> None:
    """As where a run goes on: what lies there already is made for its checksums, which may take minutes."""
    clock, sink = VirtualClock(), ListSink()

    def records() -> Iterator[tuple[int, Callable[[int], Outgoing]]]:
        clock.sleep(60)
        yield 0, outgoing
        yield 1_000_000_000, outgoing

    publisher = Publisher(sink, clock, leaves_out=lambda _number, late: late > 200_000_000)
    publisher.run(records())
    assert len(sink.records) == 2
    assert [each.sent_ns - each.due_ns for each in publisher.deliveries] == [0, 0]


def test_checkpoints_say_what_is_certain() -> None:
    said: list[int] = []
    publisher = Publisher(ListSink(), VirtualClock(), on_checkpoint=said.append)
    publisher.run([(0, outgoing)] * (3 * CHECKPOINT_MESSAGES + 5))
    assert len(said) == 3
    assert all(0 < later - earlier <= CHECKPOINT_MESSAGES for earlier, later in pairwise(said))


def test_a_checkpoint_does_not_look_at_what_was_certain_before() -> None:
    """An hour of 1 kHz has 3600 checkpoints: each would take longer than the one before."""
    looked: list[int] = []

    class Deliveries(list[Delivery]):
        def __iter__(self) -> Iterator[Delivery]:
            for number, each in enumerate(super().__iter__()):
                looked.append(number)
                yield each

        def __getitem__(self, where: Any) -> Any:
            looked.extend(range(*where.indices(len(self))) if isinstance(where, slice) else [where])
            return super().__getitem__(where)

    publisher = Publisher(ListSink(atomic=True), VirtualClock(), deliveries=Deliveries())
    publisher.run([(number * 1_000_000_000, outgoing) for number in range(100)])
    assert publisher.certain == 100
    assert len(looked) <= 300


def test_an_atomic_sink_commits_with_each_checkpoint_and_all_of_it_is_certain() -> None:
    sink, said = ListSink(atomic=True), list[tuple[int, int]]()
    publisher = Publisher(sink, VirtualClock(), on_checkpoint=lambda certain: said.append((certain, len(sink.records))))
    publisher.run([(0, outgoing)] * (2 * CHECKPOINT_MESSAGES + 5))
    assert all(certain == sent for certain, sent in said)
    assert sink.seen == [sent for _certain, sent in said]


def test_what_was_sent_is_not_held_back_while_the_next_is_long_in_coming() -> None:
    sink, clock = ListSink(atomic=True), VirtualClock()
    seen_at: list[float] = []
    publisher = Publisher(sink, clock, on_checkpoint=lambda _certain: seen_at.append(clock.now_ns() / 1e9))
    publisher.run([(0, outgoing), (100_000_000_000, outgoing)])
    assert sink.seen[0] == 1
    assert 1 <= seen_at[0] < 1.2


def test_a_refused_record_fails_the_run_and_names_itself() -> None:
    publisher = Publisher(ListSink(refuse={2}), VirtualClock())
    with pytest.raises(PublishFailedError, match=r"message 2 of the run.*too large"):
        publisher.run([(0, outgoing)] * 5)
    assert publisher.certain == 2


class FailingSink(ListSink):
    """Takes no more once a record was refused, and hands over why only when served, as a transactional producer."""

    def send(self, record: Outgoing, done: Done) -> None:
        if len(self.records) > 2:
            raise BackendAbsentError("topic frames", "is in an erroneous state", "publish again")
        super().send(record, done)


def test_a_run_that_fails_says_what_was_refused_and_not_what_came_of_it() -> None:
    publisher = Publisher(FailingSink(refuse={1, 2}), VirtualClock())
    with pytest.raises(PublishFailedError, match=r"message 1 of the run.*too large.*2 in all"):
        publisher.run([(0, outgoing)] * 5)


class SpoiltSink(ListSink):
    """A transaction that a refused record spoils: what is queued is dropped, which is told before the refusal."""

    def __init__(self, *, raises: bool, tells: bool = True) -> None:
        super().__init__(atomic=True)
        self.raises, self.tells = raises, tells

    def send(self, record: Outgoing, done: Done) -> None:
        number = len(self.records)
        self.records.append(record)
        if number == 2 and self.tells:
            self.waiting.append(lambda: done(None, FINAL))
        elif number == 3:
            done(None, DROPPED)
            if self.raises:
                raise BackendAbsentError("broker", "is in an erroneous state", "publish again")
        else:
            self.waiting.insert(0, lambda: done(None, DROPPED))

    def flush(self) -> None:
        raise AssertionError("waits for records that the spoilt transaction never sends")


@pytest.mark.parametrize("raises", [False, True])
def test_the_message_that_was_refused_is_named_and_not_those_that_were_dropped_for_it(raises: bool) -> None:
    publisher = Publisher(SpoiltSink(raises=raises), VirtualClock())
    with pytest.raises(BrokerRefusesError, match=r"message 2 of the run.*takes no such record.*1 in all"):
        publisher.run([(0, outgoing)] * 6)


def test_a_request_that_timed_out_does_not_say_that_the_disk_is_full() -> None:
    said = str(refusal("Kafka broker 127.0.0.1:9092", KafkaError(KafkaError._TIMED_OUT)))
    assert said.endswith(
        "see whether it runs, and its log; if its disk is full, make room and start it anew, then try again"
    )


class ClientRefusesSink(ListSink):
    """A client that refuses a record itself, of a broker that went away under those before it."""

    def send(self, record: Outgoing, done: Done) -> None:
        if len(self.records) == 2:
            raise FINAL
        self.records.append(record)
        self.waiting.append(lambda: done(None, refusal("topic frames", KafkaError(KafkaError._MSG_TIMED_OUT))))


def test_what_is_final_is_told_before_what_may_pass() -> None:
    with pytest.raises(BrokerRefusesError, match="takes no such record"):
        Publisher(ClientRefusesSink(), VirtualClock()).run([(0, outgoing)] * 6)


def test_where_only_dropped_messages_are_told_the_failure_itself_is() -> None:
    with pytest.raises(BackendAbsentError, match="erroneous state"):
        Publisher(SpoiltSink(raises=True, tells=False), VirtualClock()).run([(0, outgoing)] * 6)
    with pytest.raises(BackendAbsentError, match="Purged in queue"):
        Publisher(SpoiltSink(raises=False, tells=False), VirtualClock()).run([(0, outgoing)] * 6)


class ErroneousSink(ListSink):
    """A transaction whose only record is refused, by which the commit fails in words that do not say why."""

    def __init__(self, why: BackendAbsentError, *, at_flush: bool) -> None:
        super().__init__(atomic=True)
        self.why, self.at_flush = why, at_flush

    def send(self, record: Outgoing, done: Done) -> None:
        self.records.append(record)
        self.waiting.append(lambda: done(None, self.why))

    def flush(self) -> None:
        if self.at_flush:
            self.commit()
        self.serve()

    def commit(self) -> None:
        raise BackendAbsentError("broker", "is in an erroneous state", "publish again")


@pytest.mark.parametrize("at_flush", [False, True])
def test_a_state_that_was_refused_is_told_and_not_what_came_of_it(at_flush: bool) -> None:
    sink = ErroneousSink(FINAL, at_flush=at_flush)
    with pytest.raises(BrokerRefusesError, match="takes no such record"):
        delivery._confirm(sink, outgoing(0))  # type: ignore[arg-type]
    assert sink.records == [], "the transaction is not left open"


@pytest.mark.parametrize("at_flush", [False, True])
def test_a_state_that_was_dropped_says_the_failure_itself(at_flush: bool) -> None:
    with pytest.raises(BackendAbsentError, match="erroneous state"):
        delivery._confirm(ErroneousSink(DROPPED, at_flush=at_flush), outgoing(0))  # type: ignore[arg-type]


class InterruptedSink(ErroneousSink):
    """A commit during which something else comes to an end: a right that was taken away, a person's Ctrl-C."""

    def __init__(self, ending: BaseException) -> None:
        super().__init__(refusal("topic control", KafkaError(KafkaError._MSG_TIMED_OUT)), at_flush=True)
        self.ending = ending

    def commit(self) -> None:
        raise self.ending


@pytest.mark.parametrize("ending", [FINAL, KeyboardInterrupt()])
def test_a_final_failure_is_told_before_a_passing_one_and_nothing_is_left_open(ending: BaseException) -> None:
    sink = InterruptedSink(ending)
    with pytest.raises(type(ending)) as told:
        delivery._confirm(sink, outgoing(0))  # type: ignore[arg-type]
    assert told.value is ending
    assert sink.records == []


def test_what_is_queued_is_dropped_when_a_record_cannot_be_made() -> None:
    sink = ListSink()

    def broken(_due_wall: int) -> Outgoing:
        raise OSError("no such file")

    with pytest.raises(OSError, match="no such file"):
        Publisher(sink, VirtualClock()).run([(0, outgoing), (1, broken)])
    assert sink.records == []


def expected(number: int, **changes: object) -> Expected:
    return replace(Expected(f"m{number}", "frame", PLACE, number, 100 + number, 100 + number), **changes)


def arrival(number: int, offset: int | None = None, **changes: object) -> Arrival:
    crc = 100 + number
    plain = Arrival(PLACE, number if offset is None else offset, f"m{number}", str(number), f"{crc:08x}", crc, 10)
    return replace(plain, **changes)


def kinds(sends: list[Expected], found: list[Arrival], lost: frozenset[str] = frozenset()) -> list[str]:
    proof = reconcile(sends, lost, found, "truth")
    assert proof.verified == (not proof.discrepancies)
    return sorted(each.kind for each in proof.discrepancies)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 2), min_size=1, max_size=30))
def test_planned_minus_lost_plus_duplicated_is_consumed(copies: list[int]) -> None:
    sends = [expected(number) for number, times in enumerate(copies) for _copy in range(times)]
    found = [arrival(int(send.message_id[1:]), offset) for offset, send in enumerate(sends)]
    lost = frozenset(f"m{number}" for number, times in enumerate(copies) if times == 0)
    proof = reconcile(sends, lost, found, "truth")
    assert proof.verified
    assert (proof.planned, proof.lost, proof.duplicated) == (len(copies), copies.count(0), copies.count(2))
    assert proof.planned - proof.lost + proof.duplicated == proof.consumed == len(found)
    if found:
        assert not reconcile(sends, lost, found[1:], "truth").verified
        assert not reconcile(sends, lost, [*found, replace(found[0], offset=99)], "truth").verified


def test_each_discrepancy_has_its_name() -> None:
    sends = [expected(0), expected(1), expected(2)]
    good = [arrival(0), arrival(1), arrival(2)]
    assert kinds(sends, good) == []
    assert kinds(sends, good[:2]) == ["missing"]
    assert kinds(sends, [*good, arrival(2, 3)]) == ["extra"]
    assert kinds(sends, [*good, arrival(7)]) == ["unplanned"]
    assert kinds(sends, [*good, arrival(7)], frozenset({"m7"})) == ["lost_but_there"]
    assert kinds(sends, [arrival(0, crc=5, stated_crc=f"{5:08x}"), *good[1:]]) == ["altered"]
    assert kinds(sends, [arrival(0, stated_crc=""), *good[1:]]) == ["header"]
    assert kinds(sends, [arrival(0, sequence="9"), *good[1:]]) == ["sequence"]
    assert kinds(sends, [arrival(0, place=("frames", 1)), *good[1:]]) == ["misplaced"]
    assert kinds(sends, [good[1], good[0], good[2]]) == ["out_of_order"]


def test_detectors_have_partitions_of_their_own() -> None:
    assert len({partition_of(key, len(KEYS)) for key in KEYS}) == len(KEYS)
    assert {partition_of(key, 4) for key in ("NRCA1", "NRCA2", "NRCA3", "NRCA4")} == {0, 1, 2, 3}
    assert 0 <= partition_of("a model's name", 12) < 12
    assert topic_name("frame", "dev.") == "dev.hwosim.frames.v1"


def test_a_password_does_not_leave_the_machine_in_the_clear(state: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HWOSIM_KAFKA_SECURITY_PROTOCOL", "SASL_PLAINTEXT")
    assert client_config(Settings(), "127.0.0.1:9092")["security.protocol"] == "SASL_PLAINTEXT"
    for servers in (
        "kafka.example:9092",
        "127.0.0.1:9092,kafka.example:9092",
        "localhost.example:9092",
        "127.evil.example:1",
    ):
        with pytest.raises(BadInputError, match="unencrypted"):
            client_config(Settings(), servers)


def test_secrets_of_a_token_do_not_cross_the_network_in_the_clear(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "HWOSIM_KAFKA_SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL"
    for url in ("http://login.example.org/token", "http://user@login.example.org:8080/token"):
        monkeypatch.setenv(name, url)
        with pytest.raises(BadInputError, match="client secret unencrypted"):
            client_config(Settings(), "127.0.0.1:9092")
    for url in ("https://login.example.org/token", "http://127.0.0.1:8080/token", "http://localhost/token"):
        monkeypatch.setenv(name, url)
        assert client_config(Settings(), "127.0.0.1:9092")["sasl.oauthbearer.token.endpoint.url"] == url
