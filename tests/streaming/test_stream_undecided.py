"""What is undecided on the topics before a run goes on: ended once or twice where it is the run's own, then told."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from typing import Any

import pytest

from hwosim_assets.settings import Settings
from hwosim_streaming import delivery, undecided
from hwosim_streaming.clients import Place, client_config
from hwosim_streaming.refusals import BrokerRefusesError
from hwosim_streaming.sink import KafkaSink, Outgoing
from hwosim_streaming.topics import ensure_topics
from hwosim_streaming.undecided import UndecidedError, end_what_is_undecided

HERE, THERE = ("frames", 0), ("truth", 0)


class Partitions:
    """Two partitions, the first of which ends at 9 and shows nothing behind offset 4 until so many voids came."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, run: str, needs: float) -> None:
        self.run, self.needs = run, needs
        self.voids: list[list[Place]] = []
        self.asked: list[tuple[Place, int]] = []
        monkeypatch.setattr(undecided, "SETTLE_SECONDS", 1.0)
        monkeypatch.setattr(undecided, "_ends", self._ends)
        monkeypatch.setattr(undecided, "_run_at", self._run_at)

    def _ends(self, _admin: Any, places: Iterable[Place], *, committed: bool) -> dict[Place, int]:
        held = committed and len(self.voids) < self.needs
        return {place: 4 if held and place == HERE else 9 for place in places}

    def _run_at(self, _config: Any, place: Place, offset: int) -> str:
        self.asked.append((place, offset))
        return self.run

    def void(self, records: Iterable[Outgoing]) -> None:
        self.voids.append([(record.topic, record.partition) for record in records])

    def end(self) -> None:
        sink: Any = self
        end_what_is_undecided(sink, {"bootstrap.servers": "127.0.0.1:1"}, "own", [HERE, THERE])


@pytest.mark.parametrize("needs", [0, 1, 2])
def test_what_the_run_left_is_ended(monkeypatch: pytest.MonkeyPatch, needs: int) -> None:
    there = Partitions(monkeypatch, "own", needs)
    there.end()
    assert there.voids == [[HERE]] * needs


@pytest.mark.parametrize(
    ("run", "voids", "mend"),
    [
        # The broker forgot the id that it belongs to: what we begin is another producer's.
        (
            "own",
            [[HERE]] * 2,
            r"which has no end.*end the transaction by kafka-transactions\.sh .*, then publish again$",
        ),
        ("abc", [], r"publish that run again, or end the transaction by kafka-transactions\.sh"),
        ("", [], r"of another producer in .*end the transaction by kafka-transactions\.sh .*, then publish again$"),
    ],
)
def test_what_cannot_be_ended_is_told_with_what_helps(
    monkeypatch: pytest.MonkeyPatch, run: str, voids: list[list[Place]], mend: str
) -> None:
    there = Partitions(monkeypatch, run, float("inf"))
    with pytest.raises(UndecidedError, match=mend) as told:
        there.end()
    assert "frames [0] at offset 4" in str(told.value)
    assert there.voids == voids
    assert there.asked == [(HERE, 4)], "whose it is does not change"
    assert ("publish that run again" in str(told.value)) == (run == "abc")


def test_what_was_waited_for_is_not_waited_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    attempts = []

    def attempt(*_: Any) -> Any:
        attempts.append(1)
        raise UndecidedError("broker", "shows nothing", "end the transaction")

    monkeypatch.setattr(delivery, "_attempt", attempt)
    nothing: Any = None
    with pytest.raises(UndecidedError):
        delivery.deliver(nothing, [], nothing, {}, nothing)
    assert attempts == [1]


def test_a_transaction_to_be_aborted_is_not_left_open_by_a_refusal(stream_settings: Settings) -> None:
    config = client_config(stream_settings, stream_settings.kafka_bootstrap_servers)
    frames = ensure_topics(config, stream_settings.topic_prefix, 2).names["frame"]
    with closing(KafkaSink(config, "voids")) as sink:
        records = [Outgoing(frames, 0, b"", value, (), None) for value in (b"small", bytes(20_000_000))]
        with pytest.raises(BrokerRefusesError):
            sink.void(records)
        assert not sink._open
