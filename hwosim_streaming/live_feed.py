"""The live page's messages, read from Kafka without joining any group.

Holds: :func:`kafka_feed`, and :func:`group_lags` beside it. The feed reads the data topics only, draws at most one
frame a second, commits nothing and so disturbs no reader. Keep out what is shown
(``hwosim_streaming.live``) and reading for a model (``hwosim_streaming.reader``).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any

from hwosim_assets.errors import BadInputError
from hwosim_assets.quality.pictures import image_png
from hwosim_assets.settings import Settings
from hwosim_streaming.arrivals import text_headers
from hwosim_streaming.broker import bootstrap_servers, broker_id
from hwosim_streaming.clients import Place, client_config, end_offsets, low_offsets, read_between
from hwosim_streaming.envelope import Frame, Header, decode
from hwosim_streaming.lag import Lag, lags
from hwosim_streaming.live import Feed, LiveMessage, LivePicture
from hwosim_streaming.registry import Registry
from hwosim_streaming.tally import DAMAGED, Tally
from hwosim_streaming.topics import existing_topics, topic_ids
from hwosim_streaming.watch import describe_frame

__all__ = ["group_lags", "kafka_feed"]

#: Seconds between two looks at the topics, and between two pictures.
LOOK_S = 1.0


def kafka_feed(settings: Settings) -> Feed:
    """Return a feed of the data topics, beginning with what arrives after the first look.

    When the broker was restarted, or topics are new or were made anew, it goes on with their first message.

    Parameters
    ----------
    settings : Settings
        Which broker; the embedded one is not started for the page's sake.
    """
    reached: dict[Place, int] = {}
    ids: dict[str, str] = {}
    brokers: list[str] = []
    tally = Tally()

    def feed(stop: threading.Event) -> Iterator[LiveMessage | LivePicture]:
        servers = bootstrap_servers(settings, start=False)
        config = client_config(settings, servers)
        broker, registry = broker_id(settings, servers), Registry.configured(settings)
        places = _places(config, settings)
        if not brokers:
            reached.update(end_offsets(config, places))
        elif brokers[-1] != broker:
            reached.clear()
        else:
            _forget_what_is_gone(reached, config, places)
        brokers[:] = [broker]
        while not stop.is_set():
            places = _places(config, settings)
            _forget_other_topics(reached, ids, topic_ids(config, {topic for topic, _partition in places}))
            new = [place for place in places if place not in reached]
            reached.update(low_offsets(config, new))
            for found in _looked(read_between(config, dict(reached), None, reached=reached), tally, registry):
                yield found
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


def _forget_what_is_gone(reached: dict[Place, int], config: dict[str, Any], places: list[Place]) -> None:
    """Drop where we were on partitions that no longer have it: deleted, made anew, or trimmed meanwhile."""
    lows, ends = low_offsets(config, places), end_offsets(config, places)
    for place, offset in list(reached.items()):
        if place not in ends or not lows[place] <= offset <= ends[place]:
            del reached[place]


def _forget_other_topics(reached: dict[Place, int], ids: dict[str, str], now: dict[str, str]) -> None:
    """Drop where we were on topics that are others by now, which may be longer than those of the same name were."""
    for topic, partition in list(reached):
        if topic in now and ids.get(topic, now[topic]) != now[topic]:
            del reached[topic, partition]
    ids.update(now)


def _places(config: dict[str, Any], settings: Settings) -> list[Place]:
    topics = existing_topics(config, settings.topic_prefix)
    return topics.places(*(family for family in ("frame", "product") if family in topics.names))


def _looked(messages: Iterable[Any], tally: Tally, registry: Registry | None) -> Iterator[LiveMessage | LivePicture]:
    """Yield the messages, and the newest frame that can be drawn: at the end, and every second until then."""
    newest, drawn = None, time.monotonic()
    for message in messages:
        shown = _shown(message, tally)
        yield shown
        newest = newest if shown.fault == DAMAGED else message
        if newest is not None and time.monotonic() - drawn > LOOK_S:
            yield from _drawn(newest, registry)
            newest, drawn = None, time.monotonic()
    if newest is not None:
        yield from _drawn(newest, registry)


def _drawn(message: Any, registry: Registry | None) -> Iterator[LivePicture]:
    """Yield the picture of a message, if it is a frame with an image."""
    try:
        decoded = decode(message.value(), registry)
        if decoded.family == "frame":
            frame = Frame.from_record(decoded.record)
            yield LivePicture(image_png(frame.product, frame.data), describe_frame(frame))
    except BadInputError:
        return  # not ours, or no image


def _shown(message: Any, tally: Tally) -> LiveMessage:
    headers = text_headers(message)
    return LiveMessage(
        fault=tally.note(message),
        missing=tally.missing,
        topic=message.topic(),
        key=(message.key() or b"").decode("utf-8", "replace"),
        message_id=headers.get(Header.ID, ""),
        subject=headers.get(Header.SUBJECT, ""),
        size=len(message.value() or b""),
    )
