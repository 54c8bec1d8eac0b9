"""A broker and messages for the benchmarks of the stream.

Holds: :func:`broker`, Apache Kafka as the integration tests run it or the embedded one where there is no Java;
:class:`Messages`, noise planned as a stream of values of one size; :func:`manifest_row`. Keep out what is measured.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast
from unittest import mock

import numpy as np
import pyarrow as pa

from hwosim_assets.perturb.scenario import Scenario
from hwosim_assets.settings import Settings
from hwosim_streaming.clients import client_config
from hwosim_streaming.compose import Composed, Composer
from hwosim_streaming.envelope import FAMILIES, TOPIC_OF, Header
from hwosim_streaming.pixels import DeliveredFiles
from hwosim_streaming.plan import StreamPlan, make_plan
from hwosim_streaming.topics import Topics

__all__ = ["Broker", "Messages", "broker", "manifest_row"]

INTEGRATION = Path(__file__).parent.parent / "tests" / "integration"
#: Bytes of a frame's value beside its pixels: ids, names, times.
AROUND_PIXELS = 210
PROGRAM = "01093"


@dataclass(frozen=True)
class Broker:
    """A broker for one benchmark.

    Attributes
    ----------
    name : str
        Which one.
    config : dict
        See :func:`hwosim_streaming.clients.client_config`.
    jars : pathlib.Path or None
        Apache Kafka's jars, its own tools among them; ``None`` for the embedded broker.
    """

    name: str
    config: dict[str, Any]
    jars: Path | None

    def transactional_id(self, name: str) -> str | None:
        """Return the id to publish in transactions by; ``None`` where a publication would not use them."""
        return f"bench-{name}" if self.jars else None


@contextmanager
def broker() -> Iterator[Broker]:
    """Run a broker while the block runs: Apache Kafka, or the embedded one where that cannot be had."""
    import pytest

    sys.path.insert(0, str(INTEGRATION))
    import servers

    with tempfile.TemporaryDirectory(prefix="hwosim-bench-") as folder:
        settings = Settings(DAGSTER_HOME=Path(folder))  # type: ignore[call-arg]
        try:
            kafka = servers.Kafka(Path(folder))
        except pytest.skip.Exception as reason:
            from hwosim_streaming.broker import launch, stop

            print(f"Apache Kafka is left out: {reason}")
            state = launch(Path(folder))
            try:
                yield Broker("embedded broker", client_config(settings, state.servers), None)
            finally:
                stop(Path(folder))
            return
        with kafka.started():
            yield Broker("Apache Kafka", client_config(settings, kafka.servers), servers.kafka_jars())


@dataclass(frozen=True)
class Messages:
    """A stream of noise images, each a message.

    Attributes
    ----------
    size : int
        Bytes of a value, nearly.
    count : int
        How many, at least.
    rate_per_s : float
        How fast.
    """

    size: int
    count: int
    rate_per_s: float = 1e6

    @cached_property
    def plan(self) -> StreamPlan:
        """One product of 1000 groups after the other, on four detectors."""
        shape = [1, 1000, 1, self._pixels]
        rows = [manifest_row(number, shape, 59800 + number / 1000) for number in range(-(-self.count // 1000))]
        schedule = {"mode": "constant", "rate_per_s": self.rate_per_s}
        scenario = Scenario.from_mapping("bench", {"version": 1, "schedule": schedule, "transport": {}})
        return make_plan(pa.Table.from_pylist(rows), scenario)

    @cached_property
    def image(self) -> np.ndarray[Any, Any]:
        """The pixels of every message: uint16 noise of 300 DN, as a detector's."""
        rng = np.random.default_rng(1)
        return rng.normal(10_000, 300, (1, self._pixels)).astype(np.uint16)

    @property
    def files(self) -> DeliveredFiles:
        """What a composer reads the pixels from; no file is opened."""
        return cast("DeliveredFiles", self)

    @property
    def waited_s(self) -> list[float]:
        """No file is waited for."""
        return []

    def read(self, _message: Mapping[str, Any]) -> tuple[dict[str, np.ndarray[Any, Any]], dict[str, str]]:
        """Return the pixels of a message."""
        return {"SCI": self.image}, {}

    @contextmanager
    def packed_before(self) -> Iterator[None]:
        """Let pixels be packed already while the block runs: as they are, of just the size that is measured."""
        from hwosim_streaming.envelope import packed_arrays

        array = packed_arrays({"SCI": self.image}, {})[0]
        packed = [{**array, "codec": "raw", "data": self.image.tobytes()}]
        with mock.patch("hwosim_streaming.compose.packed_arrays", lambda _arrays, _units: packed):
            yield

    def value(self) -> bytes:
        """Return one frame's value."""
        return self._frame.value

    def headers(self) -> dict[str, str]:
        """Return one frame's headers, the due time that a publisher adds among them."""
        return {**self._frame.headers, Header.DUE: str(time.time_ns())}

    @cached_property
    def _frame(self) -> Composed:
        index = next(number for number, row in enumerate(self.plan.rows) if row["family"] == "frame")
        with self.packed_before():
            return Composer(self.plan, self.files, Topics(TOPIC_OF, dict.fromkeys(FAMILIES, 4))).compose(index)

    @property
    def _pixels(self) -> int:
        return (self.size - AROUND_PIXELS) // 2


def manifest_row(number: int, shape: list[int], start: float) -> dict[str, Any]:
    """Return the manifest row of an uncal product of this shape and time (MJD), of one of four detectors."""
    layout = [
        {"index": 0, "extname": "PRIMARY", "extver": 1, "kind": "empty", "shape": [], "dtype": "", "columns": []},
        {"index": 1, "extname": "SCI", "extver": 1, "kind": "image", "shape": shape, "dtype": "uint16", "columns": []},
    ]
    return {
        "program": PROGRAM,
        "product_name": f"jw01093001001_03101_{number:05d}_nrca1_uncal.fits",
        "in_sha256": "a" * 64,
        "out_sha256": f"{number:064d}",
        "plan_sha256": "b" * 64,
        "layout_json": json.dumps(layout),
        "product_type": "uncal",
        "detector": f"NRCA{number % 4 + 1}",
        "instrument_name": "NIRCAM/IMAGE",
        "obs_id": "x",
        "uri": "",
        "size_bytes": 0,
        "stream_time_mjd": start,
    }
