"""The plan of a stream: every message, when it is due, what the transport does to it.

Holds: :class:`StreamPlan` and :func:`make_plan`, a pure function of the manifest (rows of the table
``perturbed``) and the scenario. The same manifest and scenario give the same plan, hash and ids, in
whatever order the rows come. Keep out cutting files into messages (``tiling``), due times
(``schedule``), faults (``faults``), and everything that is known only after publishing: CRCs, offsets
and published times stand in the receipt (``publication``).
"""

from __future__ import annotations

import hashlib
import json
import math
import uuid
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from hwosim_assets.errors import BadInputError
from hwosim_streaming.faults import PLAIN, Fate, clock_skew, fate, in_gap, overtakings, send_order
from hwosim_streaming.schedule import Message, timeline
from hwosim_streaming.tiling import Piece, pieces

if TYPE_CHECKING:
    from hwosim_assets.perturb.scenario import Scenario

__all__ = ["MESSAGES", "Send", "StreamPlan", "instrument", "make_plan", "mid_time"]

#: Grows when the same manifest and scenario would give another plan.
PLAN_VERSION = 3
#: Namespace of the run ids.
NAMESPACE = uuid.UUID("0f5b9d1e-5c5e-5d0c-9a53-2f1f6f1f7a11")
#: What of a message's fate stands in its row, in the order of :class:`Fate`.
FATE = ("copies", "displacement", "copy_displacement", "stale_displacement", "delay_ns", "damage")
#: What of a manifest row tells one product from another, beside its times.
_IDENTITY = ("product_name", "in_sha256", "out_sha256", "plan_sha256")
#: Key of products that name neither detector nor instrument.
NO_DETECTOR = "UNKNOWN"

#: The messages of a plan, one row each, in the order in which they would come on a faultless link. Of the
#: clocks, exposed_mjd is also when the recorder has a message (it keeps up with the instruments),
#: received_mjd when the ground has it, due_ns when it is published; the fourth, when it really was, is in
#: the receipt.
MESSAGES = pa.schema(
    [
        pa.field("message_id", pa.string(), nullable=False),
        pa.field("family", pa.string(), nullable=False),
        pa.field("product_name", pa.string(), nullable=False),
        pa.field("key", pa.string(), nullable=False),
        pa.field("sequence", pa.int64(), nullable=False),
        pa.field("exposed_mjd", pa.float64()),
        pa.field("received_mjd", pa.float64()),
        pa.field("due_ns", pa.int64(), nullable=False),
        pa.field("copies", pa.int32(), nullable=False),
        pa.field("displacement", pa.int32(), nullable=False),
        pa.field("copy_displacement", pa.int32(), nullable=False),
        pa.field("stale_displacement", pa.int32(), nullable=False),
        pa.field("delay_ns", pa.int64(), nullable=False),
        pa.field("damage", pa.string()),
        pa.field("gap", pa.bool_(), nullable=False),
        pa.field("clock_skew_s", pa.float64(), nullable=False),
        pa.field("kind", pa.string()),
        pa.field("hdu", pa.int32()),
        pa.field("extname", pa.string()),
        pa.field("extver", pa.int32()),
        pa.field("arrays", pa.list_(pa.string())),
        pa.field("array_hdus", pa.list_(pa.int32())),
        pa.field("integration", pa.int32()),
        pa.field("group", pa.int32()),
        pa.field("tile", pa.int32()),
        pa.field("tiles", pa.int32()),
        pa.field("hdu_shape", pa.list_(pa.int64())),
        pa.field("origin", pa.list_(pa.int64())),
        pa.field("shape", pa.list_(pa.int64())),
        pa.field("size", pa.int64()),
    ]
)


@dataclass(frozen=True)
class Send:
    """One message going out.

    Attributes
    ----------
    index : int
        Row in the plan's messages.
    copy : int
        0 the message, 1 and 2 its copies.
    due_ns : int
        Nanoseconds after the start of the run.
    """

    index: int
    copy: int
    due_ns: int


@dataclass(frozen=True, eq=False)
class StreamPlan:
    """A stream, resolved: nothing in it is left to chance.

    Attributes
    ----------
    plan_sha256 : str
        Hash of program, scenario id and all messages; other words in the scenario's description leave it.
    run_id : str
        UUID of the run, the same for the same manifest and scenario; half of a message's identity.
    program : str
        Five digits.
    scenario, scenario_sha256 : str
        Scenario id, and the hash of its content.
    seed : int
        Root seed.
    scenario_content : Scenario
        What it was made by.
    messages : pyarrow.Table
        Of the schema ``MESSAGES``.
    products : dict of str to dict
        The manifest's rows by product name.
    """

    plan_sha256: str
    run_id: str
    program: str
    scenario: str
    scenario_sha256: str
    seed: int
    scenario_content: Scenario
    messages: pa.Table
    products: dict[str, dict[str, Any]]

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """The messages as dictionaries."""
        found: list[dict[str, Any]] = self.messages.to_pylist()
        return found

    @cached_property
    def sends(self) -> list[Send]:
        """Every send in order, lost messages left out, duplicates put in."""
        fates = [Fate(*(row[name] for name in FATE)) for row in self.rows]
        order = send_order(self._lanes, fates)
        sends = [
            Send(index, copy, self.rows[place]["due_ns"] + self.rows[index]["delay_ns"]) for place, index, copy in order
        ]
        return sorted(sends, key=lambda send: send.due_ns)

    @cached_property
    def order(self) -> list[str]:
        """Names of the products that frames are sent of, in the order of their first ones."""
        rows = (self.rows[send.index] for send in self.sends)
        return list(dict.fromkeys(row["product_name"] for row in rows if row["family"] == "frame"))

    @cached_property
    def overtaken(self) -> list[int]:
        """For each message, how many later ones of its topic and key are sent before it."""
        return overtakings(self._lanes, [send.index for send in self.sends])

    @cached_property
    def _lanes(self) -> list[str]:
        """What each message keeps its order in: topic and key."""
        return [f"{row['family']}/{row['key']}" for row in self.rows]

    def attempt(self, number: int) -> StreamPlan:
        """Return the same plan as a run of its own: what an earlier run put on the topics is no part of it.

        Parameters
        ----------
        number : int
            From 1, which is the plan itself. Message ids stay: with the run id they are unique.
        """
        if number == 1:
            return self
        return replace(self, run_id=str(uuid.uuid5(uuid.UUID(self.run_id), f"attempt/{number}")))

    @property
    def planned(self) -> int:
        """How many messages there are."""
        return int(self.messages.num_rows)

    @property
    def lost(self) -> int:
        """How many of them the transport loses."""
        return sum(row["copies"] == 0 for row in self.rows)

    @property
    def duplicated(self) -> int:
        """How many copies it adds."""
        return sum(max(0, row["copies"] - 1) for row in self.rows)

    @property
    def seconds(self) -> float:
        """How long the stream takes as planned."""
        return max((send.due_ns for send in self.sends), default=0) / 1e9


def make_plan(manifest: pa.Table, scenario: Scenario) -> StreamPlan:
    """Plan the stream of one program under one scenario.

    Parameters
    ----------
    manifest : pyarrow.Table
        Rows of the table ``perturbed`` of one program and the scenario.
    scenario : Scenario
        Its seed, ``schedule`` and ``transport`` are used.

    Raises
    ------
    BadInputError
        If there is nothing to stream, or the rows are of several programs.
    """
    products = sorted(manifest.to_pylist(), key=lambda row: (*_time_order(row), row["product_name"]))
    programs = sorted({row["program"] for row in products})
    if len(programs) != 1:
        reason = (
            "has no perturbed products" if not programs else f"was given rows of the programs {', '.join(programs)}"
        )
        raise BadInputError(f"scenario {scenario.id}", reason, "materialize perturbed products of one program first")
    run_id = _run_id(programs[0], scenario, products)
    columns = _columns(uuid.UUID(run_id), products, scenario)
    digest = hashlib.sha256(f"{PLAN_VERSION}\0{run_id}\0{scenario.id}\0".encode())
    for row in zip(*columns.values(), strict=True):
        digest.update(json.dumps(row).encode())
    return StreamPlan(
        plan_sha256=digest.hexdigest(),
        run_id=run_id,
        program=programs[0],
        scenario=scenario.id,
        scenario_sha256=scenario.sha256,
        seed=scenario.seed,
        scenario_content=scenario,
        messages=pa.table(columns, schema=MESSAGES),
        products={row["product_name"]: row for row in products},
    )


def mid_time(row: Mapping[str, Any]) -> float | None:
    """Return the mid time of a product's exposure, MJD UTC, or ``None`` where it has no real one."""
    time = row["stream_time_mjd"]
    return float(time) if time is not None and math.isfinite(time) else None


def _time_order(row: dict[str, Any]) -> tuple[bool, float]:
    time = mid_time(row)
    return (time is None, time or 0.0)


def _run_id(program: str, scenario: Scenario, products: list[dict[str, Any]]) -> str:
    """Return the id that this manifest has under this scenario, wherever and whenever it is streamed."""
    told = sorted([*(row[name] for name in _IDENTITY), row.get("exposed_json")] for row in products)
    said = [PLAN_VERSION, program, scenario.id, scenario.stream_sha256, told]
    return str(uuid.uuid5(NAMESPACE, hashlib.sha256(json.dumps(said).encode()).hexdigest()))


def _columns(run: uuid.UUID, products: list[dict[str, Any]], scenario: Scenario) -> dict[str, list[Any]]:
    """Return the columns of ``MESSAGES``."""
    rows: list[tuple[Any, ...]] = []
    sequences: dict[tuple[str, str], int] = defaultdict(int)
    for row, piece, exposed in _exposed_pieces(products):
        name, key = row["product_name"], row["detector"] or instrument(row) or NO_DETECTOR
        family = "frame" if piece else "product"
        address = _address(name, piece)
        sequence = sequences[family, key]
        sequences[family, key] += 1
        # In the order of the schema; the times are filled in below, when all messages are known.
        known = (str(uuid.uuid5(run, address)), family, name, key, sequence, exposed, None, 0)
        rows.append((*known, *_fated(scenario, address, key, piece, len(rows)), *_piece_values(piece)))
    columns = dict(zip(MESSAGES.names, map(list, zip(*rows, strict=True)), strict=True))
    messages = [Message(*each) for each in zip(columns["exposed_mjd"], map(_size, columns["size"]), strict=True)]
    times = timeline(scenario.schedule, scenario.seed, messages)
    columns["due_ns"], columns["received_mjd"] = times.due_ns, times.received
    return columns


def _exposed_pieces(products: list[dict[str, Any]]) -> list[tuple[dict[str, Any], Piece | None, float | None]]:
    """Return what becomes messages, and when each was exposed (MJD UTC), in this order; what has no time comes last.

    Integrations and groups have the times of the manifest, so that detectors that expose at the same time are
    interleaved as on the link; what is not cut by time has its exposure's mid time. A product is announced with its
    first frame.
    """
    found = []
    for row in products:
        times = json.loads(row.get("exposed_json") or "{}").get("mjd")
        cut = list(pieces(json.loads(row["layout_json"]), row["product_type"] or ""))
        known = [_end_of(piece, times, mid_time(row)) for piece in cut]
        first = min((time for time in known if time is not None), default=mid_time(row))
        found += [(row, piece, time) for piece, time in zip((None, *cut), (first, *known), strict=True)]
    return sorted(found, key=lambda each: (each[2] is None, each[2] or 0.0))


def _end_of(piece: Piece, times: list[list[float]] | None, otherwise: float | None) -> float | None:
    """Return the end of a piece's group or integration, or the product's time where that is not known."""
    if not times or piece.integration is None or piece.integration > len(times):
        return otherwise
    groups = times[piece.integration - 1]
    group = len(groups) if piece.group is None else piece.group
    return groups[group - 1] if group <= len(groups) else otherwise


def _size(size: int | None) -> int:
    return size or 0


def _fated(scenario: Scenario, address: str, key: str, piece: Piece | None, number: int) -> tuple[Any, ...]:
    """Return the columns of ``MESSAGES`` from ``copies`` to ``clock_skew_s``."""
    transport = scenario.transport
    skew = clock_skew(scenario.seed, key, transport.clock_skew)
    lot, missed = PLAIN, False
    # What the ground writes about a product is not sent over the link: only frames suffer.
    if piece:
        missed = in_gap(scenario.seed, number, transport.gap)
        lot = Fate(copies=0) if missed else fate(scenario.seed, address, transport)
    return (*(getattr(lot, name) for name in FATE), missed, skew)


def instrument(row: Mapping[str, Any]) -> str | None:
    """Return the instrument of a manifest row (``NIRCAM`` of MAST's ``NIRCAM/IMAGE``)."""
    name: str = (row["instrument_name"] or "").split("/")[0]
    return name or None


def _address(product: str, piece: Piece | None) -> str:
    if piece is None:
        return f"{product}/product"
    return f"{product}/{piece.hdu}/{piece.integration or 0}/{piece.group or 0}/{piece.tile}"


def _piece_values(piece: Piece | None) -> tuple[Any, ...]:
    """Return the columns of ``MESSAGES`` from ``kind`` on; a product message has none of them."""
    if piece is None:
        return (None,) * 14
    names, hdus = zip(*piece.sources, strict=True)
    what = (piece.kind, piece.hdu, piece.extname, piece.extver, names, hdus, piece.integration, piece.group)
    return (*what, piece.tile, piece.tiles, piece.hdu_shape, piece.origin, piece.shape, piece.size)
