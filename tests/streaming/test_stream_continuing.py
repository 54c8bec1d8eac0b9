"""Where a run goes on: what is due again, and what was dropped for its age or left out for being late."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
from confluent_kafka.admin import AdminClient
from test_stream_publication import WINDY, Program

from hwosim_assets.perturb.scenario import Scenario
from hwosim_assets.perturb.schedule import Schedule
from hwosim_assets.settings import Settings
from hwosim_streaming import checkpoint, clients, continuing
from hwosim_streaming.checkpoint import RunState, begin, still_holds
from hwosim_streaming.clients import Place, client_config
from hwosim_streaming.envelope import Header
from hwosim_streaming.publication import _valid_receipt
from hwosim_streaming.skipping import Skipping
from hwosim_streaming.topics import existing_topics

HERE, OTHER = ("frames", 0), ("frames", 1)


@dataclass(frozen=True)
class Sent:
    """What is looked at of a send."""

    message_id: str
    place: Place = HERE
    family: str = "frame"


SIX = [Sent(name) for name in "012345"]


@dataclass
class Topics:
    """Topics of one run that hold these messages and end there."""

    lies: Mapping[Place, Sequence[str]]
    ends: dict[Place, int]
    lows: dict[Place, int] = field(default_factory=dict)
    told: dict[str, int] = field(default_factory=dict)

    def go_on(
        self, monkeypatch: pytest.MonkeyPatch, state: RunState, sends: Sequence[Sent], overload: Any = "slip"
    ) -> tuple[RunState, list[int], set[int]]:
        """Return the state, what is due and what counts as left out."""
        there = [SimpleNamespace(message_id=name) for names in self.lies.values() for name in names]
        monkeypatch.setattr(checkpoint, "arrivals", lambda *_: there)
        monkeypatch.setattr(continuing, "end_offsets", lambda *_: self.ends)
        monkeypatch.setattr(
            continuing, "low_offsets", lambda _config, places: {**dict.fromkeys(places, 0), **self.lows}
        )
        monkeypatch.setattr(continuing, "skips_told", lambda *_: self.told)
        topics: Any = SimpleNamespace(places=lambda *_: list(self.ends))
        plan: Any = SimpleNamespace(run_id="run", program="01093", plan_sha256="plan")
        skipping = Skipping(Schedule(overload=overload))
        found, todo = continuing.where_to_continue({}, topics, plan, state, sends, skipping)
        assert still_holds(found, self.ends)
        assert found.position <= min(todo, default=len(sends))
        return found, todo, set(skipping.left_out)


def at(position: int, ahead: dict[Place, int], sends: Sequence[Sent] = SIX) -> RunState:
    """Return the state of a run that began on empty topics."""
    zero = dict.fromkeys(ahead, 0)
    return replace(begin(zero, "run", "01093", "plan", len(sends)), position=position, next=ahead)


@pytest.mark.parametrize(
    ("position", "reached", "lies", "todo"),
    [
        # The first attempt died behind X without a state; the second found X there, sent Y and Z, and died.
        (3, (0, 2), ("X", "YZ"), [3, 4]),
        # The second attempt wrote a state behind X and W, sent the copy, and died.
        (4, (1, 3), ("XX", "YZW"), []),
    ],
)
def test_a_copy_is_told_from_the_message_that_it_copies(
    monkeypatch: pytest.MonkeyPatch, position: int, reached: tuple[int, int], lies: tuple[str, str], todo: list[int]
) -> None:
    """Sends X, Y, Z, W and X again, X to one partition and the others to another."""
    sends = [Sent(name, HERE if name == "X" else OTHER) for name in "XYZWX"]
    state = at(position, {HERE: reached[0], OTHER: reached[1]}, sends)
    topics = Topics({HERE: lies[0], OTHER: lies[1]}, {HERE: len(lies[0]), OTHER: len(lies[1])})
    assert topics.go_on(monkeypatch, state, sends) == (state, todo, set())


@pytest.mark.parametrize(
    ("lies", "end", "low", "due"),
    [
        ("012", 8, 0, [3, 4, 5]),  # an aborted transaction held the fourth and fifth, of which it is certain they were
        ("0", 1, 0, [1, 2, 3, 4, 5]),  # the topic ends before the state: it lost its tail
        ("", 0, 0, [0, 1, 2, 3, 4, 5]),  # or was made anew
        ("34", 5, 3, [5]),  # the broker dropped what was old
        ("", 5, 5, [5]),  # all of it
        ("12", 8, 1, [3, 4, 5]),  # the broker dropped what was old, and an aborted transaction held the rest
        ("1", 2, 1, [2, 3, 4, 5]),  # or it lost the rest: what it dropped is not put behind what follows it
    ],
)
@pytest.mark.parametrize("overload", ["slip", "skip"])
def test_what_was_certain_and_was_lost_is_due_again(
    monkeypatch: pytest.MonkeyPatch, lies: str, end: int, low: int, due: list[int], overload: str
) -> None:
    topics = Topics({HERE: lies}, {HERE: end}, {HERE: low})
    _state, todo, left_out = topics.go_on(monkeypatch, at(5, {HERE: 5}), SIX, overload)
    assert (todo, left_out) == (due, set())


def test_of_copies_of_which_one_was_dropped_none_is_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    sends = [Sent(name) for name in "XYZXWX"]
    topics = Topics({HERE: "ZXW"}, {HERE: 5}, {HERE: 2})
    assert topics.go_on(monkeypatch, at(5, {HERE: 5}, sends), sends)[1] == [5]


@pytest.mark.parametrize(
    ("told", "due", "left_out"),
    [
        ({}, [4, 5], {1, 2}),  # something lies behind them, and nothing behind the others
        (dict.fromkeys("012345", 0) | {"1": 1, "2": 1, "4": 1}, [5], {1, 2, 4}),
    ],
)
def test_what_was_left_out_is_told_by_a_truth_and_else_lies_before_something(
    monkeypatch: pytest.MonkeyPatch, told: dict[str, int], due: list[int], left_out: set[int]
) -> None:
    topics = Topics({HERE: "03"}, {HERE: 2}, told=told)
    state = at(6, {HERE: 2})
    assert topics.go_on(monkeypatch, state, SIX, "skip")[1:] == (due, left_out)


def test_partitions_that_a_run_had_not_are_looked_at_from_their_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    topics = Topics({HERE: "0"}, {HERE: 1, OTHER: 7})
    for reached in (5, 1):  # a topic that was made anew, and one that only grew
        state, _todo, _left_out = topics.go_on(monkeypatch, at(1, {HERE: reached}), SIX)
        assert (state.first, state.next) == ({HERE: 0, OTHER: 7}, {HERE: 1, OTHER: 7})


@pytest.mark.parametrize(("plan", "sends"), [("other", 6), ("plan", 5)])
def test_a_state_of_other_truths_says_where_and_not_how_far(
    monkeypatch: pytest.MonkeyPatch, plan: str, sends: int
) -> None:
    state = replace(at(5, {HERE: 4}), plan_sha256=plan, sends=sends)
    found, todo, _ = Topics({HERE: "0123"}, {HERE: 4}).go_on(monkeypatch, state, SIX)
    assert todo == [4, 5]
    assert (found.plan_sha256, found.sends, found.first) == ("plan", 6, {HERE: 0})


@pytest.mark.parametrize(
    ("places", "ends", "lows", "runs", "still"),
    [
        ([HERE, OTHER], (9, 9), (0, 0), {HERE: "run", OTHER: "run"}, True),
        ([HERE, OTHER], (9, 5), (0, 0), {HERE: "run"}, False),
        ([HERE, OTHER], (9, 9), (0, 0), {HERE: "run", OTHER: "other"}, False),
        ([HERE, OTHER], (9, 9), (0, 8), {HERE: "run"}, True),
        ([HERE], (9, 9), (0, 0), {HERE: "run", OTHER: "run"}, False),
    ],
    ids=["there", "made anew", "made anew and filled by another", "dropped for its age", "with fewer partitions"],
)
def test_a_receipt_holds_while_the_last_messages_are_its_runs(
    monkeypatch: pytest.MonkeyPatch,
    places: list[Place],
    ends: tuple[int, int],
    lows: tuple[int, int],
    runs: dict[Place, str],
    still: bool,
) -> None:
    class Message(NamedTuple):
        at: Place
        offset: int

        def topic(self) -> str:
            return self.at[0]

        def partition(self) -> int:
            return self.at[1]

        def headers(self) -> list[tuple[str, bytes]]:
            return [(Header.RUN, runs[self.at].encode())]

    def read(_config: object, starts: dict[Place, int], upto: dict[Place, int]) -> Iterator[Message]:
        for place, start in starts.items():
            assert (start, upto[place]) == (5, 6)
            yield Message(place, start)

    monkeypatch.setattr(clients, "end_offsets", lambda *_: dict(zip([HERE, OTHER], ends, strict=True)))
    monkeypatch.setattr(clients, "low_offsets", lambda *_: dict(zip([HERE, OTHER], lows, strict=True)))
    monkeypatch.setattr(clients, "read_between", read)
    offsets = [{"topic": topic, "partition": partition, "last": 5} for topic, partition in (HERE, OTHER)]
    row = {"run_id": "run", "verified": True, "offsets_json": json.dumps(offsets)}
    topics: Any = SimpleNamespace(places=lambda *_: places)
    assert (_valid_receipt([row], {}, topics) is row) is still


def delete_topics(settings: Settings, *kept: str) -> None:
    config = client_config(settings, settings.kafka_bootstrap_servers)
    names = existing_topics(config, settings.topic_prefix).names
    gone = [name for family, name in names.items() if family not in kept]
    admin = AdminClient(config)
    for future in admin.delete_topics(gone).values():
        future.result()


def test_topics_made_anew_with_more_partitions_are_filled_and_proved(
    stream_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = Program(stream_settings, Scenario.from_mapping("windy", WINDY))
    first = program.publish().row
    delete_topics(stream_settings, "control")
    monkeypatch.setenv("HWOSIM_TOPIC_PARTITIONS", "5")
    again = program.publish(Settings()).row
    assert (again["verified"], again["resumed"], again["consumed"]) == (True, 0, first["consumed"])


@pytest.mark.parametrize("kept", [["control"], ["control", "truth"]])
def test_frames_that_are_gone_are_not_taken_for_left_out(stream_settings: Settings, kept: list[str]) -> None:
    schedule = {"mode": "constant", "rate_per_s": 1e6, "overload": "skip", "skip_late_s": 60}
    program = Program(stream_settings, Scenario.from_mapping("windy", {**WINDY, "schedule": schedule}))
    first = program.publish().row
    delete_topics(stream_settings, *kept)
    again = program.publish().row
    assert (first["verified"], again["verified"], again["skipped"]) == (True, True, 0)
    assert again["consumed"] == first["consumed"]
