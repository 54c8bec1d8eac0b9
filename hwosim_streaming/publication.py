"""One publication: plan, publish, consume back, prove, write the receipt.

Holds: the table ``publications`` and :func:`publish_program`, which does all of it for one program and
scenario and does nothing where it was done already. Keep out each step's own rules; they stand in
``plan``, ``delivery``, ``receipts`` and ``verify``.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hwosim_assets.errors import BadInputError, HwosimError
from hwosim_assets.lake.spec import TableSpec

if TYPE_CHECKING:
    from hwosim_assets.lake.store import Lake
    from hwosim_assets.lake.tables import Tables
    from hwosim_assets.perturb.scenario import Scenario
    from hwosim_assets.settings import Settings
    from hwosim_streaming.clients import Place
    from hwosim_streaming.delivery import Delivered
    from hwosim_streaming.plan import StreamPlan
    from hwosim_streaming.topics import Topics
    from hwosim_streaming.verify import Verification

__all__ = ["PUBLICATIONS", "PublicationResult", "plan_program", "prove_again", "publish_program"]

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
            pa.field("skipped", pa.int64()),
            pa.field("discrepancies", pa.int64(), nullable=False),
            pa.field("examples_json", pa.string()),
            pa.field("bytes", pa.int64(), nullable=False),
            pa.field("first_offset", pa.int64()),
            pa.field("last_offset", pa.int64()),
            pa.field("offsets_json", pa.string(), nullable=False),
            pa.field("seconds", pa.float64(), nullable=False),
            pa.field("planned_seconds", pa.float64(), nullable=False),
            pa.field("late_p99_ms", pa.float64()),
            pa.field("perturbed", pa.int64()),
            pa.field("perturb_p50_ms", pa.float64()),
            pa.field("perturb_p95_ms", pa.float64()),
            pa.field("waited_p95_ms", pa.float64()),
            pa.field("published_at", pa.timestamp("us", "UTC")),
            pa.field("plan_key", pa.string(), nullable=False),
            pa.field("receipt_key", pa.string(), nullable=False),
            pa.field("attempt", pa.int64()),
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
    continued where it stopped; see ``checkpoint`` for how. One whose proof failed is beyond that: what lies on
    a topic cannot be taken back, so the plan is published anew as a run of its own (attempt 2, 3, …).

    Parameters
    ----------
    program, scenario
        Five digits, and the scenario under which perturbed products have been made.
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
    HwosimError
        If the truth of a product is not known.
    BackendAbsentError
        If there is no broker, or it goes away.
    """
    from hwosim_streaming.broker import bootstrap_servers
    from hwosim_streaming.clients import client_config, cluster_id
    from hwosim_streaming.delivery import deliver
    from hwosim_streaming.pixels import DeliveredFiles
    from hwosim_streaming.receipts import write_plan, write_receipt
    from hwosim_streaming.registry import Registry
    from hwosim_streaming.topics import ensure_topics

    plan = plan_program(program, scenario, tables)
    truth = _truth_of(plan, tables)
    config = client_config(settings, bootstrap_servers(settings))
    broker = cluster_id(config)
    with _only_publisher(settings, plan.run_id):
        topics = ensure_topics(config, settings.topic_prefix, settings.topic_partitions)
        topics = topics.registered(Registry.configured(settings))
        before = _publications_of(plan, broker, tables)
        known = _valid_receipt(before, config, topics)
        if known is not None:
            return PublicationResult(known, None, already=True)
        plan_key, attempt = write_plan(lake, plan), _attempt(before)
        plan = plan.attempt(attempt)
        took: list[float] = []
        with DeliveredFiles(lake, plan, _on_the_fly(plan, lake, tables, took)) as files:
            # The embedded broker shows aborted records to everybody: transactions would prove nothing there.
            one = f"hwosim-{settings.topic_prefix}{plan.run_id}" if settings.kafka_bootstrap_servers else None
            delivered = deliver(plan, truth, files, config, topics, transactional_id=one, on_message=on_message)
        more = {"plan_key": plan_key, "receipt_key": write_receipt(lake, plan, delivered), "attempt": attempt}
        row = _row(plan, broker, topics, delivered) | _added(took, files.waited_s) | more
        _record(row, tables)
    return PublicationResult(row, delivered.verification, already=False)


def _truth_of(plan: StreamPlan, tables: Tables) -> list[dict[str, Any]]:
    """Return the truth of a plan's products.

    Raises
    ------
    HwosimError
        If a product has none, or has that of other bytes: a process may have been killed between the
        two tables' commits.
    """
    from hwosim_assets.perturb.dataset import TRUTH

    rows: list[dict[str, Any]] = tables.scan(TRUTH, {"program": plan.program, "scenario": plan.scenario}).to_pylist()
    told = ("product_name", "in_sha256", "out_sha256", "plan_sha256")
    known = {tuple(row[name] for name in told) for row in rows}
    for name, row in plan.products.items():
        if tuple(row[column] for column in told) not in known:
            reason = f"has no truth record of these bytes under {plan.scenario}"
            raise HwosimError(name, reason, "materialize its perturbed products anew")
    return rows


def _on_the_fly(plan: StreamPlan, lake: Lake, tables: Tables, took: list[float]) -> Callable[[str], bytes]:
    """Return what perturbs a product that its scenario does not store, noting the seconds; reading does not count."""
    from hwosim_assets.catalog.products import PRODUCTS
    from hwosim_assets.perturb.dataset import perturb_read, read_row

    unstored = any(row["key"] is None for row in plan.products.values())
    rows = tables.scan(PRODUCTS, {"program": plan.program}).to_pylist() if unstored else []
    known = {row["product_name"]: row for row in rows}

    def make(name: str) -> bytes:
        if name not in known:
            raise HwosimError(name, "is no longer in the catalog", "materialize the program's perturbed products anew")
        found = read_row(known[name], plan.scenario_content, lake, rows)
        began = time.perf_counter()
        made, _truth = perturb_read(found)
        took.append(time.perf_counter() - began)
        return made.content

    return make


def _added(took: list[float], waited: list[float]) -> dict[str, Any]:
    """Return the columns that say what perturbing on the fly took, and how long the stream waited for its files."""

    def at(seconds: list[float], part: int) -> float | None:
        return float(np.percentile(seconds, part)) * 1e3 if seconds else None

    return {
        "perturbed": len(took),
        "perturb_p50_ms": at(took, 50),
        "perturb_p95_ms": at(took, 95),
        "waited_p95_ms": at(waited, 95),
    }


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


def _publications_of(plan: StreamPlan, broker: str, tables: Tables) -> list[dict[str, Any]]:
    """Return the rows of this plan's publications on this broker: one or none."""
    rows = tables.scan(PUBLICATIONS, {"program": plan.program, "scenario": plan.scenario}).to_pylist()
    return [row for row in rows if (row["plan_sha256"], row["broker_id"]) == (plan.plan_sha256, broker)]


def _attempt(before: list[dict[str, Any]]) -> int:
    """Return which attempt is next: another one than before only where the proof of that one failed."""
    return max(((row["attempt"] or 1) + (not row["verified"]) for row in before), default=1)


def _valid_receipt(before: list[dict[str, Any]], config: dict[str, Any], topics: Topics) -> dict[str, Any] | None:
    """Return the row among them whose messages lie on the broker, verified."""
    from hwosim_streaming.checkpoint import DATA_FAMILIES

    places = set(topics.places(*DATA_FAMILIES))
    for row in before:
        lies = {(each["topic"], each["partition"]): each["last"] for each in json.loads(row["offsets_json"])}
        if row["verified"] and lies.keys() <= places and _still_lies(row["run_id"], lies, config):
            return row
    return None


def _still_lies(run_id: str, lies: Mapping[Place, int], config: dict[str, Any]) -> bool:
    """Return whether the last message of a run in each partition is there, or was dropped for its age.

    A topic that was deleted and made anew ends before it, or has a message of another run in its place.
    """
    from hwosim_streaming.arrivals import text_headers
    from hwosim_streaming.clients import end_offsets, low_offsets, read_between
    from hwosim_streaming.envelope import Header

    ends, lows = end_offsets(config, lies), low_offsets(config, lies)
    if any(ends[place] <= last for place, last in lies.items()):
        return False
    kept = {place: last for place, last in lies.items() if lows[place] <= last}
    read = read_between(config, kept, {place: last + 1 for place, last in kept.items()})
    ours = [message for message in read if text_headers(message).get(Header.RUN) == run_id]
    return {(message.topic(), message.partition()) for message in ours} == kept.keys()


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
        "lost": proof.lost,
        "duplicated": proof.duplicated,
        "published": sum(send.family != "truth" for send in delivered.expected.values()),
        "consumed": proof.consumed,
        "verified": proof.verified,
        "products": len(plan.products),
        "truths": proof.truths_consumed,
        "resumed": sum(
            number not in delivered.sent and place in proof.found for place, number in enumerate(delivered.expected)
        ),
        "skipped": len(delivered.left_out),
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

    def beside_others(stored: pa.Table) -> pa.Table:
        others = stored.filter(pc.not_equal(stored["plan_sha256"], row["plan_sha256"]))
        return pa.concat_tables([others, pa.Table.from_pylist([row], schema=PUBLICATIONS.schema)])

    tables.update(PUBLICATIONS, {"program": row["program"], "scenario": row["scenario"]}, beside_others)


def prove_again(
    program: str, scenario_id: str, lake: Lake, tables: Tables, settings: Settings
) -> dict[str, Verification]:
    """Read the publications of a program and scenario back once more and compare them with their receipts.

    Returns
    -------
    dict of str to Verification
        By plan hash, for the publications on the broker that answers.

    Raises
    ------
    BadInputError
        If there is no publication on this broker.
    BackendAbsentError
        If there is no broker.
    """
    from hwosim_streaming.arrivals import arrivals
    from hwosim_streaming.broker import bootstrap_servers
    from hwosim_streaming.checkpoint import DATA_FAMILIES
    from hwosim_streaming.clients import client_config, cluster_id, end_offsets, low_offsets
    from hwosim_streaming.receipts import read_receipt
    from hwosim_streaming.topics import existing_topics
    from hwosim_streaming.verify import reconcile

    config = client_config(settings, bootstrap_servers(settings, start=False))
    broker, topics = cluster_id(config), existing_topics(config, settings.topic_prefix)
    rows = tables.scan(PUBLICATIONS, {"program": program, "scenario": scenario_id}).to_pylist()
    here = [row for row in rows if row["broker_id"] == broker]
    if not here:
        thing, mend = f"program {program}, scenario {scenario_id}", "publish it: hwosim stream publish"
        raise BadInputError(thing, "has no publication on this broker", mend)
    ends = end_offsets(config, topics.places(*DATA_FAMILIES))
    lows = low_offsets(config, ends)  # what was dropped for its age is missing
    proofs = {}
    for row in here:
        receipt = read_receipt(lake, row["plan_key"], row["receipt_key"])
        starts = {place: max(offset, lows[place]) for place, offset in receipt.first.items() if place in ends}
        arrived = arrivals(config, row["run_id"], starts, ends)
        proofs[row["plan_sha256"]] = reconcile(receipt.expected, receipt.lost, arrived, topics.names["truth"])
    return proofs
