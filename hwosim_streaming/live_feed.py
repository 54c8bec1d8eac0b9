"""The live page's messages, read from Kafka without joining any group.

Holds: :func:`kafka_feed`, and :func:`group_lags` beside it. The feed looks at keys, headers and sizes
only, on the data topics only, commits nothing and so disturbs no reader. Keep out what is shown
(``hwosim_streaming.live``) and reading for a model (``hwosim_streaming.reader``).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

from hwosim_assets.settings import Settings
from hwosim_streaming.broker import bootstrap_servers, broker_id
from hwosim_streaming.clients import Place, client_config, end_offsets, low_offsets, read_between
from hwosim_streaming.envelope import Header
from hwosim_streaming.lag import Lag, lags
from hwosim_streaming.live import Feed, LiveMessage
from hwosim_streaming.topics import existing_topics

__all__ = ["group_lags", "kafka_feed"]

#: Seconds between two looks at the topics.
LOOK_S = 1.0


def kafka_feed(settings: Settings) -> Feed:
    """Return a feed of the data topics, beginning with what arrives after the first look.

    When the broker was restarted, or topics are new, it goes on with their first message.

    Parameters
    ----------
    settings : Settings
        Which broker; the embedded one is not started for the page's sake.
    """
    reached: dict[Place, int] = {}
    brokers: list[str] = []

    def feed(stop: threading.Event) -> Iterator[LiveMessage]:
        servers = bootstrap_servers(settings, start=False)
        config = client_config(settings, servers)
        broker = broker_id(settings, servers)
        if not brokers:
            reached.update(end_offsets(config, _places(config, settings)))
        elif brokers[-1] != broker:
            reached.clear()
        brokers[:] = [broker]
        while not stop.is_set():
            new = [place for place in _places(config, settings) if place not in reached]
            reached.update(low_offsets(config, new))
            for message in read_between(config, dict(reached), None, reached=reached):
                yield _shown(message)
                if stop.is_set():
                    return
            stop.wait(LOOK_S)

    return feed


def group_lags(settings: Settings) -> list[Lag]:
    """Return how far every consumer group is behind.

    Raises
    ------
    BackendAbsentError
        If no broker answers.
    """
    config = client_config(settings, bootstrap_servers(settings, start=False))
    return lags(config, existing_topics(config, settings.topic_prefix))


def _places(config: dict[str, Any], settings: Settings) -> list[Place]:
    topics = existing_topics(config, settings.topic_prefix)
    return topics.places(*(family for family in ("frame", "product") if family in topics.names))


def _shown(message: Any) -> LiveMessage:
    headers = {name: (value or b"").decode("utf-8", "replace") for name, value in message.headers() or []}
    return LiveMessage(
        topic=message.topic(),
        key=(message.key() or b"").decode("utf-8", "replace"),
        message_id=headers.get(Header.ID, ""),
        subject=headers.get(Header.SUBJECT, ""),
        size=len(message.value() or b""),
    )
