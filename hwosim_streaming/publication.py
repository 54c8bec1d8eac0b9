"""One publication: plan, publish, consume back, prove, write the receipt.

Holds: the table ``publications`` and :func:`publish_program`, which does all of it for one program and
scenario and does nothing where it was done already. Keep out each step's own rules; they stand in
``plan``, ``compose``, ``publisher``, ``checkpoint`` and ``verify``.
"""

from __future__ import annotations

import io
import json
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from hwosim_assets.errors import HwosimError
from hwosim_assets.lake.spec import TableSpec

if TYPE_CHECKING:
    from hwosim_assets.lake.store import Lake
    from hwosim_assets.lake.tables import Tables
    from hwosim_assets.perturb.scenario import Scenario
    from hwosim_assets.settings import Settings
    from hwosim_streaming.delivery import Delivered
    from hwosim_streaming.plan import StreamPlan
    from hwosim_streaming.topics import Topics
    from hwosim_streaming.verify import Verification

__all__ = ["PUBLICATIONS", "RECEIPT", "PublicationResult", "plan_program", "publish_program"]

#: Discrepancies that a row names; the receipt has them all.
EXAMPLES = 20
#: Seconds to wait for another process that publishes the same run.
LOCK_SECONDS = 600.0

PUBLICATIONS = TableSpec(
    name="publications",
    schema=pa.schema(
        [
            pa.field("program", pa.string(), nullable=False),
            pa.field("scenario", pa.string(), nullable=False),
            pa.field("plan_sha256", pa.string(), nullable=False),
            pa.field("run_id", pa.string(), nullable=False),
            pa.field("broker_id", pa.string(), nullable=False),
            pa.field("topic", pa.string(), nullable=False),
            pa.field("planned", pa.int64(), nullable=False),
            pa.field("lost", pa.int64(), nullable=False),
            pa.field("duplicated", pa.int64(), nullable=False),
            pa.field("published", pa.int64(), nullable=False),
            pa.field("consumed", pa.int64(), nullable=False),
            pa.field("verified", pa.bool_(), nullable=False),
            pa.field("products", pa.int64(), nullable=False),
            pa.field("truths", pa.int64(), nullable=False),
            pa.field("resumed", pa.int64(), nullable=False),
            pa.field("discrepancies", pa.int64(), nullable=False),
            pa.field("examples_json", pa.string()),
            pa.field("bytes", pa.int64(), nullable=False),
            pa.field("first_offset", pa.int64()),
            pa.field("last_offset", pa.int64()),
            pa.field("offsets_json", pa.string(), nullable=False),
            pa.field("seconds", pa.float64(), nullable=False),
            pa.field("planned_seconds", pa.float64(), nullable=False),
            pa.field("late_p99_ms", pa.float64()),
            pa.field("published_at", pa.timestamp("us", "UTC")),
            pa.field("plan_key", pa.string(), nullable=False),
            pa.field("receipt_key", pa.string(), nullable=False),
        ]
    ),
    scope=("program", "scenario"),
    key=("plan_sha256",),
    volatile=("published_at",),
    doc="One row per plan that was published: what went out, what came back, whether every message reconciled.",
)


@dataclass(frozen=True)
class PublicationResult:
    """What publishing did.

    Attributes
    ----------
    row : dict
        The row of the table ``publications``.
    verification : Verification or None
        The proof; ``None`` when nothing was published because it had been before.
    already : bool
        Whether a valid receipt of this plan on this broker was there, so that nothing was done.
    """

    row: dict[str, Any]
    verification: Verification | None
    already: bool


def plan_program(program: str, scenario: Scenario, tables: Tables) -> StreamPlan:
    """Plan the stream of a program's perturbed products.

    Raises
    ------
    BadInputError
        If the program has none under this scenario.
    """
    from hwosim_assets.perturb.dataset import PERTURBED
    from hwosim_streaming.plan import make_plan

    return make_plan(tables.scan(PERTURBED, {"program": program, "scenario": scenario.id}), scenario)


def publish_program(
    program: str,
    scenario: Scenario,
    lake: Lake,
    tables: Tables,
    settings: Settings,
    *,
    on_message: Callable[[int, int], None] | None = None,
) -> PublicationResult:
    """Publish a program's products under a scenario, prove what arrived, write the receipt.

    A plan that has a valid receipt for this broker publishes nothing. A publication that died is
    continued where it stopped; see ``checkpoint`` for how.

    Parameters
    ----------
    program : str
        Five digits.
    scenario : Scenario
        Its perturbed products must have been made.
    lake, tables, settings
        Where everything lies.
    on_message : callable, optional
        Called with (number, how many) for each message that goes out.

    Returns
    -------
    PublicationResult
        With ``row["verified"]`` false where something did not reconcile: the caller decides.

    Raises
    ------
    BadInputError
        If there is nothing to publish.
    BackendAbsentError
        If there is no broker, or it goes away.
    """
    from hwosim_assets.lake.layout import plan_key
    from hwosim_assets.perturb.dataset import TRUTH
    from hwosim_streaming.broker import bootstrap_servers
    from hwosim_streaming.clients import client_config, cluster_id
    from hwosim_streaming.delivery import deliver
    from hwosim_streaming.topics import ensure_topics

    plan = plan_program(program, scenario, tables)
    config = client_config(settings, bootstrap_servers(settings))
    broker = cluster_id(config)
    with _only_publisher(settings, plan.run_id):
        topics = ensure_topics(config, settings.topic_prefix, settings.topic_partitions)
        known = _valid_receipt(plan, broker, config, topics, tables)
        if known is not None:
            return PublicationResult(known, None, already=True)
        key = plan_key(program, plan.scenario, plan.plan_sha256)
        _write_once(lake, key, plan_table(plan))
        truth = tables.scan(TRUTH, {"program": program, "scenario": scenario.id}).to_pylist()
        delivered = deliver(plan, truth, lake, config, topics, on_message)
        row = {
            **_row(plan, broker, topics, delivered),
            "plan_key": key,
            "receipt_key": _write_receipt(plan, delivered, lake),
        }
        _record(row, tables)
    return PublicationResult(row, delivered.verification, already=False)


@contextmanager
def _only_publisher(settings: Settings, run_id: str) -> Iterator[None]:
    """Let one process of this installation publish a run at a time; the next finds it done."""
    from filelock import FileLock, Timeout

    folder = settings.home / "publishing"
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / f"{run_id}.lock", timeout=LOCK_SECONDS)
    try:
        lock.acquire()
    except Timeout as error:
        raise HwosimError(f"run {run_id}", "is being published by another process", "wait for it to finish") from error
    try:
        yield
    finally:
        lock.release()


def _valid_receipt(
    plan: StreamPlan, broker: str, config: dict[str, Any], topics: Topics, tables: Tables
) -> dict[str, Any] | None:
    """Return the row of this plan's publication if its messages lie on this broker, verified."""
    from hwosim_streaming.clients import end_offsets

    rows = tables.scan(PUBLICATIONS, {"program": plan.program, "scenario": plan.scenario}).to_pylist()
    for row in rows:
        if (row["plan_sha256"], row["broker_id"], row["verified"]) != (plan.plan_sha256, broker, True):
            continue
        lies = [(each["topic"], each["partition"], each["last"]) for each in json.loads(row["offsets_json"])]
        if any(topic not in topics.names.values() for topic, _partition, _last in lies):
            continue
        ends = end_offsets(config, [(topic, partition) for topic, partition, _last in lies])
        # A topic that was deleted and made anew ends before what the receipt says of it.
        if all(ends[topic, partition] > last for topic, partition, last in lies):
            return dict(row)
    return None


def _row(plan: StreamPlan, broker: str, topics: Topics, delivered: Delivered) -> dict[str, Any]:
    proof = delivered.verification
    spans: dict[tuple[str, int], list[int]] = defaultdict(list)
    for arrival in proof.found.values():
        spans[arrival.place].append(arrival.offset)
    offsets: list[dict[str, Any]] = [
        {"topic": topic, "partition": partition, "first": min(each), "last": max(each), "messages": len(each)}
        for (topic, partition), each in sorted(spans.items())
    ]
    frames = [each for each in offsets if each["topic"] == topics.names["frame"]]
    late = sorted(sent.sent_ns - sent.due_ns for sent in delivered.sent.values())
    examples = [f"{each.kind}: {each.message_id}: {each.detail}" for each in proof.discrepancies[:EXAMPLES]]
    return {
        "program": plan.program,
        "scenario": plan.scenario,
        "plan_sha256": plan.plan_sha256,
        "run_id": plan.run_id,
        "broker_id": broker,
        "topic": topics.names["frame"],
        "planned": plan.planned,
        "lost": plan.lost,
        "duplicated": plan.duplicated,
        "published": sum(send.family != "truth" for send in delivered.expected),
        "consumed": proof.consumed,
        "verified": proof.verified,
        "products": len(plan.products),
        "truths": proof.truths_consumed,
        "resumed": len(delivered.expected) - len(delivered.sent),
        "discrepancies": len(proof.discrepancies),
        "examples_json": json.dumps(examples) if examples else None,
        "bytes": proof.size,
        "first_offset": min((each["first"] for each in frames), default=None),
        "last_offset": max((each["last"] for each in frames), default=None),
        "offsets_json": json.dumps(offsets),
        "seconds": delivered.seconds,
        "planned_seconds": plan.seconds,
        "late_p99_ms": late[int(0.99 * (len(late) - 1))] / 1e6 if late else None,
        "published_at": datetime.now(UTC),
    }


def _record(row: dict[str, Any], tables: Tables) -> None:
    """Put the row among those of its program and scenario; other plans keep theirs."""
    scope = {"program": row["program"], "scenario": row["scenario"]}
    others = [
        each for each in tables.scan(PUBLICATIONS, scope).to_pylist() if each["plan_sha256"] != row["plan_sha256"]
    ]
    tables.replace(PUBLICATIONS, scope, pa.Table.from_pylist([*others, row], schema=PUBLICATIONS.schema))


def plan_table(plan: StreamPlan) -> pa.Table:
    """Return a plan as it is kept in the lake: its messages, and what it is in the schema's metadata."""
    said = {
        "plan_sha256": plan.plan_sha256,
        "run_id": plan.run_id,
        "program": plan.program,
        "scenario": plan.scenario,
        "scenario_sha256": plan.scenario_sha256,
        "seed": str(plan.seed),
    }
    return plan.messages.replace_schema_metadata({f"hwosim.{name}": value for name, value in said.items()})


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
        pa.field("size", pa.int64()),
        pa.field("due_ns", pa.int64()),
        pa.field("sent_ns", pa.int64()),
    ]
)


def _write_receipt(plan: StreamPlan, delivered: Delivered, lake: Lake) -> str:
    """Write what was published and what came back, one row per send; return its key in the lake."""
    from hwosim_assets.lake.layout import receipt_key

    rows = []
    for number, send in enumerate(delivered.expected):
        arrival, sent = delivered.verification.found.get(number), delivered.sent.get(number)
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
                "size": arrival.size if arrival else None,
                "due_ns": sent.due_ns if sent else None,
                "sent_ns": sent.sent_ns if sent else None,
            }
        )
    problems = [[each.kind, each.message_id, each.detail] for each in delivered.verification.discrepancies]
    first = [[topic, partition, offset] for (topic, partition), offset in sorted(delivered.state.first.items())]
    said = {"hwosim.discrepancies": json.dumps(problems), "hwosim.first": json.dumps(first)}
    key = receipt_key(plan.program, plan.scenario, plan.plan_sha256, uuid.uuid4().hex)
    _write_once(lake, key, pa.Table.from_pylist(rows, schema=RECEIPT).replace_schema_metadata(said))
    return key


def _write_once(lake: Lake, key: str, table: pa.Table) -> None:
    import pyarrow.parquet as pq

    from hwosim_assets.lake.store import AlreadyStoredError

    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    # Keys are named by content or are new: what is stored says the same.
    with suppress(AlreadyStoredError):
        lake.write_new(key, buffer.getvalue())
