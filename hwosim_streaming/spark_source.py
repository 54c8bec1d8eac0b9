"""Frames' metadata and statistics as a streaming source of Spark: Kafka read by our own client in Spark's workers.

Holds: the table ``stream_frames``, :func:`described`, which makes a row of it from a message, and
:class:`FrameSource`. Pixels never leave the worker that read them. Broker, credentials and registry are those of the
workers' environment, so that no secret stands in a query plan. Keep out what becomes of the rows (``spark``).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark.sql.datasource import DataSource, DataSourceStreamReader, InputPartition

from hwosim_assets.errors import BadInputError
from hwosim_assets.lake.spec import TableSpec
from hwosim_assets.settings import Settings
from hwosim_streaming.arrivals import text_headers
from hwosim_streaming.broker import bootstrap_servers
from hwosim_streaming.clients import client_config, end_offsets, low_offsets, read_between
from hwosim_streaming.envelope import Frame, Header, decode
from hwosim_streaming.reader import refuse_damaged
from hwosim_streaming.registry import Registry
from hwosim_streaming.topics import existing_topics

__all__ = ["ROWS", "STREAM_FRAMES", "FrameSource", "described"]

#: Messages that one task reads; each opens a connection of its own.
TASK_MESSAGES = 10_000
#: Rows handed to Spark at a time.
BATCH_ROWS = 1000

STREAM_FRAMES = TableSpec(
    name="stream_frames",
    schema=pa.schema(
        [
            pa.field("program", pa.string(), nullable=False),
            pa.field("run_id", pa.string(), nullable=False),
            pa.field("message_id", pa.string(), nullable=False),
            pa.field("sequence", pa.int64(), nullable=False),
            pa.field("product", pa.string(), nullable=False),
            pa.field("obs_id", pa.string()),
            pa.field("product_type", pa.string()),
            pa.field("instrument", pa.string()),
            pa.field("detector", pa.string()),
            pa.field("taken_at", pa.timestamp("us", "UTC"), nullable=False),
            pa.field("kind", pa.string(), nullable=False),
            pa.field("hdu", pa.int64(), nullable=False),
            pa.field("extname", pa.string()),
            pa.field("extver", pa.int64()),
            pa.field("integration", pa.int64()),
            pa.field("group_number", pa.int64()),
            pa.field("tile", pa.int64(), nullable=False),
            pa.field("tiles", pa.int64(), nullable=False),
            pa.field("shape", pa.string(), nullable=False),
            pa.field("unit", pa.string()),
            pa.field("pixels", pa.int64()),
            pa.field("invalid", pa.int64()),
            pa.field("mean", pa.float64()),
            pa.field("squared_deviations", pa.float64()),
            pa.field("minimum", pa.float64()),
            pa.field("maximum", pa.float64()),
            pa.field("size_bytes", pa.int64(), nullable=False),
            pa.field("kafka_topic", pa.string(), nullable=False),
            pa.field("kafka_partition", pa.int64(), nullable=False),
            pa.field("kafka_offset", pa.int64(), nullable=False),
        ]
    ),
    scope=("program",),
    key=("run_id", "message_id"),
    doc="One row per frame that came on the stream, however often it came: what it is, and the statistics of its main "
    "array (finite pixels, not finite ones, mean, sum of squared deviations from it, least and greatest). taken_at is "
    "the exposure by the detector's clock, or the time of sending where the file tells none.",
)
#: Columns that are a frame's attributes as they are.
COPIED = (
    *("program", "run_id", "message_id", "sequence", "product", "obs_id", "product_type", "instrument", "detector"),
    *("kind", "hdu", "extname", "extver", "integration", "tile", "tiles"),
)
#: What the source yields: a row of the table, or the reason why a message was refused.
ROWS = pa.schema([*(field.with_nullable(True) for field in STREAM_FRAMES.schema), pa.field("refused", pa.string())])


class FrameSource(DataSource):  # type: ignore[misc] # read as Any, with Spark and without
    """The source ``hwosim_frames``; its option ``topic`` is a full name."""

    @classmethod
    def name(cls) -> str:
        """Return the name under which Spark knows it."""
        return "hwosim_frames"

    def schema(self) -> Any:
        """Return the columns of :data:`ROWS` in Spark's words."""
        from pyspark.sql.pandas.types import from_arrow_schema

        return from_arrow_schema(ROWS)

    def streamReader(self, schema: Any) -> DataSourceStreamReader:  # noqa: N802 - Spark's names
        """Return the reader."""
        return _FrameReader(self.options["topic"])


class _Range(InputPartition):  # type: ignore[misc]
    """Offsets of one partition that one task reads, the last exclusive."""

    def __init__(self, partition: int, start: int, end: int) -> None:
        self.partition, self.start, self.end = partition, start, end


class _FrameReader(DataSourceStreamReader):  # type: ignore[misc]
    """Plans by offsets and reads them; committed transactions only, as every reader of ours."""

    def __init__(self, topic: str) -> None:
        self._topic = topic

    def initialOffset(self) -> dict[str, int]:  # noqa: N802
        """Return the lowest offset of each partition."""
        return self._offsets(low_offsets)

    def latestOffset(self) -> dict[str, int]:  # noqa: N802
        """Return the offset after the last message that a reader may see, of each partition."""
        return self._offsets(end_offsets)

    def _offsets(self, ask: Any) -> dict[str, int]:
        settings = Settings()
        config = client_config(settings, bootstrap_servers(settings, start=False))
        topics = existing_topics(config, settings.topic_prefix)
        found = ask(config, topics.places("frame"))
        return {str(partition): offset for (_topic, partition), offset in sorted(found.items())}

    def partitions(self, start: dict[str, int], end: dict[str, int]) -> Sequence[InputPartition]:
        """Return what each task reads; a partition that the topic gained begins at its first message."""
        return [
            _Range(int(partition), first, min(first + TASK_MESSAGES, last))
            for partition, last in end.items()
            for first in range(start.get(partition, 0), last, TASK_MESSAGES)
        ]

    def read(self, partition: InputPartition) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a range."""
        assert isinstance(partition, _Range)  # noqa: S101
        settings = Settings()
        config = client_config(settings, bootstrap_servers(settings, start=False))
        registry = Registry.configured(settings)
        place = (self._topic, partition.partition)
        rows = []
        for message in read_between(config, {place: partition.start}, {place: partition.end}):
            rows.append(described(message, registry))
            if len(rows) == BATCH_ROWS:
                yield pa.RecordBatch.from_pylist(rows, schema=ROWS)
                rows = []
        if rows:
            yield pa.RecordBatch.from_pylist(rows, schema=ROWS)


def described(message: Any, registry: Registry | None = None) -> dict[str, Any]:
    """Return the row of a message; one that cannot be used has nothing but ``refused``, which says why."""
    said, value = text_headers(message), message.value() or b""
    try:
        refuse_damaged(value, said.get(Header.CRC))
        decoded = decode(value, registry)
        if decoded.family != "frame":
            return {"refused": f"a {decoded.family} and no frame"}
        frame = Frame.from_record(decoded.record)
        taken_at = _time(message)
    except BadInputError as error:
        return {"refused": str(error)}
    return {
        **{name: getattr(frame, name) for name in COPIED},
        "group_number": frame.group,
        "taken_at": taken_at,
        **_statistics(frame),
        "size_bytes": len(value),
        "kafka_topic": message.topic(),
        "kafka_partition": message.partition(),
        "kafka_offset": message.offset(),
    }


def _time(message: Any) -> datetime:
    """Return the time of a record, which any producer may have set to anything."""
    _type, milliseconds = message.timestamp()
    try:
        return datetime.fromtimestamp(milliseconds / 1000, UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise BadInputError(f"time {milliseconds} of a record", "is no date", "refuse the message") from error


def _statistics(frame: Frame) -> dict[str, Any]:
    """Return the statistics of a frame's main array, in double precision; none of a table's rows."""
    data = frame.data
    found: dict[str, Any] = {"shape": json.dumps(list(data.shape))}
    if frame.kind != "image" or data.dtype.kind not in "iuf":
        return found
    finite = data[np.isfinite(data)].astype(np.float64)
    found |= {"unit": frame.units.get("SCI"), "pixels": finite.size, "invalid": data.size - finite.size}
    if finite.size:
        mean = float(finite.mean())
        deviations = float(np.square(finite - mean).sum())
        found |= {"mean": mean, "squared_deviations": deviations}
        found |= {"minimum": float(finite.min()), "maximum": float(finite.max())}
    return found
