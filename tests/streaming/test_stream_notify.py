"""A topic as the target of a subscription: what a plain consumer finds there, also after a kill."""

from __future__ import annotations

import json
from typing import Any

import pytest

from hwosim_assets.catalog.targets import target_of
from hwosim_assets.errors import BackendAbsentError
from hwosim_assets.settings import Settings
from hwosim_streaming.clients import client_config, low_offsets, read_between
from hwosim_streaming.notify import TopicTarget


def event(number: int) -> dict[str, Any]:
    return {"id": f"event-{number}", "subject": f"{number}_cal.fits", "data": {"program": "01093"}}


def messages(settings: Settings) -> list[Any]:
    config = client_config(settings, settings.kafka_bootstrap_servers)
    return list(read_between(config, low_offsets(config, [(f"{settings.topic_prefix}events", 0)]), None))


def test_events_arrive_once_in_order_with_their_ids(stream_settings: Settings) -> None:
    target = target_of("kafka:events", stream_settings)
    assert isinstance(target, TopicTarget)
    target.send([event(number) for number in range(50)])
    target.send([event(50)])
    found = messages(stream_settings)
    assert [json.loads(message.value()) for message in found] == [event(number) for number in range(51)]
    assert [dict(message.headers())["ce_id"].decode() for message in found] == [f"event-{n}" for n in range(51)]
    assert {message.key() for message in found} == {b"01093"}


def test_a_topic_says_what_arrived_before_a_kill(stream_settings: Settings) -> None:
    target = TopicTarget("kafka:events", stream_settings)
    assert target.has({"event-1"}) == set()
    target.send([event(1), event(2)])
    assert target.has({"event-2", "event-3"}) == {"event-2"}


def test_a_broker_that_is_not_there_is_said(state: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BackendAbsentError, match="does not run"):
        TopicTarget("kafka:events", Settings()).send([event(1)])
