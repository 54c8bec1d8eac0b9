"""A program on Apache Kafka: what the Kafka tests publish, and how they look at what lies there."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import servers
import yaml

from hwosim_assets.lake.store import Lake
from hwosim_assets.lake.tables import Tables
from hwosim_assets.perturb.dataset import PERTURBED, TRUTH
from hwosim_assets.perturb.scenario import load_scenario
from hwosim_assets.settings import Settings
from hwosim_streaming.arrivals import text_headers
from hwosim_streaming.clients import client_config, low_offsets, read_between
from hwosim_streaming.envelope import Header
from hwosim_streaming.plan import StreamPlan
from hwosim_streaming.publication import PublicationResult, plan_program, publish_program
from hwosim_streaming.topics import Topics, existing_topics

STREAMING = Path(__file__).parent.parent / "streaming"
if str(STREAMING) not in sys.path:
    sys.path.insert(0, str(STREAMING))

import stream_data  # noqa: E402 - what the tests of the stream build their manifests with

SCENARIO = "integration"
EFFECTS = [{"throughput": {"severity": 2}}, {"read_noise": {"severity": 2}}, {"packet_loss": {"severity": 2}}]
SCENARIO_FILE = {
    "version": 1,
    "description": "Everything the stream can do to a product, as fast as the broker takes it.",
    "seed": 5,
    "effects": EFFECTS,
    "schedule": {"mode": "constant", "rate_per_s": 1_000_000},
    "transport": stream_data.FAULTY,
}
#: A program of many messages, small and large, that only the stream sees.
BULK = stream_data.PROGRAM


def bulk_program(lake: Lake, tables: Tables, scenario: str = SCENARIO) -> None:
    """Fill the tables with 1200 frames of 12 KB and 60 of 800 KB, of three detectors."""
    shapes = {"00001_nrca1": (400, 32), "00002_nrca1": (30, 256), "00001_nis": (400, 32), "00003_nis": (400, 32)}
    contents = {
        f"jw01093001001_03101_{name}_calints.fits": stream_data.calints(number, *shape)
        for number, (name, shape) in enumerate(shapes.items())
    }
    contents["jw01093001001_03101_00002_nis_calints.fits"] = stream_data.calints(9, 30, 256)
    rows = stream_data.manifest(lake, contents, scenario).to_pylist()
    more = {"seed": 1, "scale": "2026.1", "engine": "1", "changed": False, "snr_loss": None, "created_at": None}
    scope = {"program": BULK, "scenario": scenario}
    tables.replace(PERTURBED, scope, pa.Table.from_pylist([{**row, **more} for row in rows], schema=PERTURBED.schema))
    labels = [{**row, **stream_data.PART} for row in rows]
    tables.replace(TRUTH, scope, pa.Table.from_pylist(labels, schema=TRUTH.schema))


class Installation:
    """One installation on Kafka, with topics of its own."""

    def __init__(self, settings: Settings, scenario: str = SCENARIO) -> None:
        self.settings = settings
        self.lake, self.tables = Lake.from_settings(settings), Tables.from_settings(settings)
        self.scenario = load_scenario(scenario, settings.scenario_folders())

    @property
    def sample(self) -> str:
        """The generated program."""
        (found,) = set(self.tables.scan(PERTURBED).column("program").to_pylist()) - {BULK}
        return str(found)

    def plan(self, program: str) -> StreamPlan:
        return plan_program(program, self.scenario, self.tables)

    def publish(self, program: str, **options: Any) -> PublicationResult:
        return publish_program(program, self.scenario, self.lake, self.tables, self.settings, **options)

    @property
    def config(self) -> dict[str, Any]:
        return client_config(self.settings, self.settings.kafka_bootstrap_servers)

    @property
    def topics(self) -> Topics:
        return existing_topics(self.config, self.settings.topic_prefix)

    def records(self, *families: str) -> list[Any]:
        """Read everything that lies on these topics."""
        return list(read_between(self.config, low_offsets(self.config, self.topics.places(*families)), None))

    def ids(self) -> Counter[str]:
        return Counter(text_headers(record)[Header.ID] for record in self.records("frame", "product"))


def installed(home: Path, broker: servers.Kafka, monkeypatch: pytest.MonkeyPatch) -> Installation:
    """Return an installation at a broker, with the bulk program."""
    (home / "scenarios").mkdir()
    (home / "scenarios" / f"{SCENARIO}.yaml").write_text(yaml.safe_dump(SCENARIO_FILE))
    monkeypatch.setenv("HWOSIM_SCENARIO_PATH", str(home / "scenarios"))
    monkeypatch.setenv("HWOSIM_KAFKA_BOOTSTRAP_SERVERS", broker.servers)
    settings = Settings()
    bulk_program(Lake.from_settings(settings), Tables.from_settings(settings))
    return Installation(settings)


def planned_ids(plan: StreamPlan) -> Counter[str]:
    """Return how often each message is to lie on the topics; lost ones not at all."""
    return Counter({row["message_id"]: row["copies"] for row in plan.rows if row["copies"]})


def assert_proved(row: dict[str, Any]) -> None:
    assert (row["verified"], row["discrepancies"]) == (True, 0), row["examples_json"]
    assert row["planned"] - row["lost"] + row["duplicated"] == row["published"] == row["consumed"]
