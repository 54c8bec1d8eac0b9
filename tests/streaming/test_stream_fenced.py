"""A producer that another of the same transactional id has taken over from: told as our error, whatever it is doing."""

from __future__ import annotations

import pytest
from stream_data import send_after_another_took_over

from hwosim_assets.settings import Settings
from hwosim_streaming.clients import client_config
from hwosim_streaming.topics import ensure_topics


@pytest.mark.parametrize("messages", [30, 3000])
def test_whoever_was_taken_over_is_told(stream_settings: Settings, messages: int) -> None:
    config = client_config(stream_settings, stream_settings.kafka_bootstrap_servers)
    topics = ensure_topics(config, stream_settings.topic_prefix, 2)
    told, keys = send_after_another_took_over(config, topics, messages)
    assert "\n" not in told
    assert b"new" in keys, "what was aborted this broker shows too"
