"""One embedded broker for all tests of the stream; each test gets topics of its own by a prefix."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from hwosim_assets.lake.store import Lake
from hwosim_assets.settings import Settings
from hwosim_streaming import broker, delivery
from hwosim_streaming.clients import client_config

NUMBER = count()


@pytest.fixture(scope="session")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[broker.BrokerState]:
    home = tmp_path_factory.mktemp("broker-home")
    state = broker.launch(home)
    yield state
    broker.stop(home)


@pytest.fixture
def stream_settings(state: Path, embedded: broker.BrokerState, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("HWOSIM_KAFKA_BOOTSTRAP_SERVERS", embedded.servers)
    monkeypatch.setenv("HWOSIM_TOPIC_PREFIX", f"t{os.getpid()}-{next(NUMBER)}.")
    monkeypatch.setenv("HWOSIM_TOPIC_PARTITIONS", "3")
    return Settings()


@pytest.fixture
def lake(stream_settings: Settings) -> Lake:
    return Lake.from_settings(stream_settings)


def intrude(settings: Settings, run_id: str) -> None:
    """Put a record on the frames' topic that says it is of a run and is not: a proof cannot pass."""
    from confluent_kafka import Producer

    config = client_config(settings, settings.kafka_bootstrap_servers)
    producer = Producer(config)
    headers = [("ce_hworun", run_id.encode()), ("ce_id", b"nobody's"), ("ce_hwoseq", b"0")]
    producer.produce(f"{settings.topic_prefix}hwosim.frames.v1", b"?", partition=0, headers=headers)  # type: ignore[arg-type]
    assert producer.flush(10) == 0


@pytest.fixture
def intruder(stream_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Somebody else's record in the first run that is published; the list takes the run's id."""
    hit: list[str] = []
    prove = delivery._prove

    def prove_after_intrusion(plan: Any, *rest: Any) -> Any:
        if not hit:
            hit.append(plan.run_id)
            intrude(stream_settings, plan.run_id)
        return prove(plan, *rest)

    monkeypatch.setattr(delivery, "_prove", prove_after_intrusion)
    return hit
