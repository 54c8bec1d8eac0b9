"""What is kept of a publication in the lake: the plan before, the receipt after, both as Parquet.

Holds: writing and reading them. The receipt has what a plan cannot: checksums, offsets, the time each
message went out. Keep out the one row that says how it went (``publication``).
"""

from __future__ import annotations

import io
import json
import uuid
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from hwosim_streaming.clients import Place
from hwosim_streaming.verify import Expected

if TYPE_CHECKING:
    from hwosim_assets.lake.store import Lake
    from hwosim_streaming.delivery import Delivered
    from hwosim_streaming.plan import StreamPlan

__all__ = ["RECEIPT", "Receipt", "plan_table", "read_receipt", "sent_times", "write_plan", "write_receipt"]

#: One row per send that was not left out (these are named in the schema's metadata). Due and sent are nanoseconds
#: after the start of the attempt that sent it; null where an earlier attempt did. Offset and size are null where
#: the message was not found again.
RECEIPT = pa.schema(
    [
        pa.field("number", pa.int64(), nullable=False),
        pa.field("message_id", pa.string(), nullable=False),
        pa.field("family", pa.string(), nullable=False),
        pa.field("topic", pa.string(), nullable=False),
        pa.field("partition", pa.int32(), nullable=False),
        pa.field("offset", pa.int64()),
        pa.field("sequence", pa.int64(), nullable=False),
        pa.field("crc32", pa.int64(), nullable=False),
        pa.field("stated_crc32", pa.int64(), nullable=False),
        pa.field("size", pa.int64()),
        pa.field("due_ns", pa.int64()),
        pa.field("sent_ns", pa.int64()),
    ]
)


@dataclass(frozen=True)
class Receipt:
    """A publication as its receipt tells it.

    Attributes
    ----------
    expected : list of Expected
        Every send in order.
    lost : frozenset of str
        Ids of the messages that nobody gets: the plan loses them, or they were left out.
    first : dict of (topic, partition) to int
        Offset before which nothing of the run lies.
    """

    expected: list[Expected]
    lost: frozenset[str]
    first: dict[Place, int]


def plan_table(plan: StreamPlan) -> pa.Table:
    """Return a plan as it is kept: its messages, and what it is in the schema's metadata."""
    said = {
        "plan_sha256": plan.plan_sha256,
        "run_id": plan.run_id,
        "program": plan.program,
        "scenario": plan.scenario,
        "scenario_sha256": plan.scenario_sha256,
        "seed": str(plan.seed),
    }
    return plan.messages.replace_schema_metadata({f"hwosim.{name}": value for name, value in said.items()})


def write_plan(lake: Lake, plan: StreamPlan) -> str:
    """Keep a plan in the lake and return its key."""
    from hwosim_assets.lake.layout import plan_key

    key = plan_key(plan.program, plan.scenario, plan.plan_sha256)
    _write(lake, key, plan_table(plan))
    return key


def write_receipt(lake: Lake, plan: StreamPlan, delivered: Delivered) -> str:
    """Write down what was published and what came back; return the key in the lake."""
    from hwosim_assets.lake.layout import receipt_key

    rows = []
    for place, (number, send) in enumerate(delivered.expected.items()):
        arrival, sent = delivered.verification.found.get(place), delivered.sent.get(number)
        rows.append(
            {
                "number": number,
                "message_id": send.message_id,
                "family": send.family,
                "topic": send.place[0],
                "partition": send.place[1],
                "offset": arrival.offset if arrival else None,
                "sequence": send.sequence,
                "crc32": send.crc,
                "stated_crc32": send.stated_crc,
                "size": arrival.size if arrival else None,
                "due_ns": sent.due_ns if sent else None,
                "sent_ns": sent.sent_ns if sent else None,
            }
        )
    problems = [[each.kind, each.message_id, each.detail] for each in delivered.verification.discrepancies]
    first = [[topic, partition, offset] for (topic, partition), offset in sorted(delivered.state.first.items())]
    said = {
        "hwosim.discrepancies": json.dumps(problems),
        "hwosim.first": json.dumps(first),
        "hwosim.left_out": json.dumps(list(delivered.left_out.items())),
    }
    key = receipt_key(plan.program, plan.scenario, plan.plan_sha256, uuid.uuid4().hex)
    _write(lake, key, pa.Table.from_pylist(rows, schema=RECEIPT).replace_schema_metadata(said))
    return key


def read_receipt(lake: Lake, plan_key: str, receipt_key: str) -> Receipt:
    """Return what a publication promised to be on the topics.

    Raises
    ------
    NotStoredError
        If the lake no longer has the plan or the receipt.
    """
    table, messages = _read(lake, receipt_key), _read(lake, plan_key)
    expected = [
        Expected(
            row["message_id"],
            row["family"],
            (row["topic"], row["partition"]),
            row["sequence"],
            row["crc32"],
            row.get("stated_crc32", row["crc32"]),  # earlier receipts knew no damage
        )
        for row in table.to_pylist()
    ]
    lost = {row["message_id"] for row in messages.select(["message_id", "copies"]).to_pylist() if not row["copies"]}
    left_out = {message_id for _number, message_id in json.loads(table.schema.metadata.get(b"hwosim.left_out", b"[]"))}
    lost |= left_out - {send.message_id for send in expected}
    first = {
        (topic, partition): offset for topic, partition, offset in json.loads(table.schema.metadata[b"hwosim.first"])
    }
    return Receipt(expected, frozenset(lost), first)


def sent_times(lake: Lake, receipt_key: str) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return when the messages of a receipt's attempt were due and were sent, nanoseconds after its start.

    Raises
    ------
    NotStoredError
        If the lake no longer has the receipt.
    """
    times = _read(lake, receipt_key).select(["due_ns", "sent_ns"]).drop_null()
    return times["due_ns"].to_numpy(), times["sent_ns"].to_numpy()


def _read(lake: Lake, key: str) -> pa.Table:
    import pyarrow.parquet as pq

    return pq.read_table(io.BytesIO(lake.read(key)))


def _write(lake: Lake, key: str, table: pa.Table) -> None:
    import pyarrow.parquet as pq

    from hwosim_assets.lake.store import AlreadyStoredError

    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    # A key is named by content or new: what is stored there says the same.
    with suppress(AlreadyStoredError):
        lake.write_new(key, buffer.getvalue())
