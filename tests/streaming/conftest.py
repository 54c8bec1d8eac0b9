"""One embedded broker for all tests of the stream; each test gets topics of its own by a prefix."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from hwosim_assets.lake.store import Lake
from hwosim_assets.settings import Settings
from hwosim_streaming import broker

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
