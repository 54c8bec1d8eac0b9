import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from confluent_kafka import Producer

from hwosim_assets.errors import BackendAbsentError
from hwosim_assets.settings import Settings
from hwosim_streaming import broker
from hwosim_streaming.clients import client_config
from hwosim_streaming.envelope import Header
from hwosim_streaming.live_feed import kafka_feed
from hwosim_streaming.topics import ensure_topics


@pytest.fixture
def settings(state: Path) -> Iterator[Settings]:
    yield Settings(topic_partitions=2)
    broker.stop(state)


def publish(settings: Settings, topic: str, *identities: str) -> None:
    producer = Producer(client_config(settings, broker.bootstrap_servers(settings)))
    for identity in identities:
        headers = {Header.ID: identity, Header.SUBJECT: "jw01093_cal.fits"}
        producer.produce(topic, value=b"x" * 100, key=b"NRCA1", headers=headers)
    assert producer.flush(20) == 0


@contextmanager
def publishing(settings: Settings, topic: str) -> Iterator[None]:
    """Publish new-0, new-1, … half a second apart, since nobody knows when the feed took its first look."""
    done = threading.Event()

    def run() -> None:
        for number in range(100):
            if done.wait(0.5):
                return
            publish(settings, topic, f"new-{number}")

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def test_the_feed_shows_what_comes_after_the_first_look_and_no_truth(settings: Settings) -> None:
    ensure_topics(client_config(settings, broker.bootstrap_servers(settings)), "", 2)
    publish(settings, "hwosim.frames.v1", "old")
    stop = threading.Event()
    messages = iter(kafka_feed(settings)(stop))
    publish(settings, "hwosim.truth.v1", "secret")
    with publishing(settings, "hwosim.frames.v1"):
        found = [next(messages), next(messages)]
    stop.set()
    numbers = [int(message.message_id.removeprefix("new-")) for message in found]
    assert numbers[1] == numbers[0] + 1
    assert (found[0].topic, found[0].key, found[0].size) == ("hwosim.frames.v1", "NRCA1", 100)
    assert found[0].subject == "jw01093_cal.fits"


def test_after_a_restart_it_goes_on_with_the_first_message(settings: Settings, state: Path) -> None:
    ensure_topics(client_config(settings, broker.bootstrap_servers(settings)), "", 2)
    stop = threading.Event()
    feed = kafka_feed(settings)
    with publishing(settings, "hwosim.frames.v1"):
        assert next(iter(feed(stop))).message_id.startswith("new-")
    broker.stop(state)
    ensure_topics(client_config(settings, broker.bootstrap_servers(settings)), "", 2)
    publish(settings, "hwosim.products.v1", "again")
    assert next(iter(feed(stop))).message_id == "again"


def test_it_starts_no_broker_for_its_own_sake(settings: Settings, state: Path) -> None:
    with pytest.raises(BackendAbsentError, match="does not run"):
        next(iter(kafka_feed(settings)(threading.Event())))
    assert broker.running(state) is None
