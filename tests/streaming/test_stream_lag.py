"""Asking how far readers are behind: it is asked every few seconds, and so must cost next to nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import confluent_kafka
import pytest
from stream_data import manifest
from test_stream_round_trip import Bench

from hwosim_assets.lake.store import Lake
from hwosim_assets.settings import Settings
from hwosim_streaming.clients import end_offsets, read_between
from hwosim_streaming.lag import COUNTED, OFFSETS, lags
from hwosim_streaming.topics import Topics, ensure_topics


def test_asking_for_lag_reads_few_messages_and_asks_no_more_of_groups_that_read_elsewhere(
    stream_settings: Settings, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(stream_settings, lake, manifest(lake))
    bench.deliver()
    others = ensure_topics(bench.config, f"others-{stream_settings.topic_prefix}", 1).names["frame"]
    ends = end_offsets(bench.config, bench.topics.places("frame"))
    place, end = max(ends.items(), key=lambda each: each[1])
    mine = f"mine-{stream_settings.topic_prefix}"
    consumers: list[str] = []
    read: list[Any] = []

    class Counted(confluent_kafka.Consumer):
        def __init__(self, properties: dict[str, Any]) -> None:
            consumers.append(properties["group.id"])
            super().__init__(properties)

    def counted(*asked: Any) -> Iterator[Any]:
        for message in read_between(*asked):
            read.append(message)
            yield message

    def commit(group: str, *at: confluent_kafka.TopicPartition) -> None:
        with closing(confluent_kafka.Consumer({**bench.config, "group.id": group})) as consumer:
            consumer.commit(offsets=list(at), asynchronous=False)

    monkeypatch.setattr("hwosim_streaming.lag.OFFSETS", end - 1)
    commit(mine, confluent_kafka.TopicPartition(*place, 0))
    monkeypatch.setattr("hwosim_streaming.lag.read_between", counted)
    monkeypatch.setattr("confluent_kafka.Consumer", Counted)
    assert {each.behind for each in lags(bench.config, bench.topics) if (each.topic, each.partition) == place} == {end}
    assert read == [], "where there are many, the offsets say it"
    asked = len(consumers)
    monkeypatch.setattr("confluent_kafka.Consumer", Counted.__base__)
    for number in range(3):
        commit(f"elsewhere-{number}-{mine}", confluent_kafka.TopicPartition(others, 0, 0))
        commit(f"{mine}-{number}", confluent_kafka.TopicPartition(*place, end - 2))
    monkeypatch.setattr("confluent_kafka.Consumer", Counted)
    read.clear()
    consumers.clear()
    found = {each.group: each.behind for each in lags(bench.config, bench.topics) if mine in each.group}
    assert {found[f"{mine}-{number}"] for number in range(3)} == {2}
    assert not [group for group in found if group.startswith("elsewhere")]
    assert len(read) == 2, "the same two messages are counted once for all groups that wait for them"
    assert len(consumers) == asked + 1


def test_ends_of_transactions_and_aborted_messages_are_not_waited_for(
    stream_settings: Settings, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(stream_settings, lake, manifest(lake))
    bench.deliver()
    ends = end_offsets(bench.config, bench.topics.places("frame"))
    place, end = max(ends.items(), key=lambda each: each[1])
    group, read = f"mine-{stream_settings.topic_prefix}", list[Any]()

    def behind(before: int, shown: Callable[[int], bool]) -> int:
        """Return how far a group is behind that stands so many offsets before the end, of which these are messages."""

        def between(*asked: Any) -> Iterator[Any]:
            for message in read_between(*asked):
                if shown(message.offset()):
                    read.append((message.topic(), message.partition()))
                    yield message

        with closing(confluent_kafka.Consumer({**bench.config, "group.id": group})) as consumer:
            consumer.commit(offsets=[confluent_kafka.TopicPartition(*place, end - before)], asynchronous=False)
        monkeypatch.setattr("hwosim_streaming.lag.read_between", between)
        read.clear()
        found = lags(bench.config, bench.topics, group)
        return next(each.behind for each in found if (each.topic, each.partition) == place)

    assert behind(12, lambda offset: offset % 2 == 0) == 6
    assert behind(OFFSETS, lambda offset: False) == 0
    assert behind(OFFSETS, lambda offset: True) == OFFSETS
    assert read.count(place) == COUNTED


def test_a_broker_without_our_topics_has_nobody_behind(stream_settings: Settings, lake: Lake) -> None:
    config = Bench(stream_settings, lake, manifest(lake)).config
    assert lags(config, Topics({}, {}), "model") == []
