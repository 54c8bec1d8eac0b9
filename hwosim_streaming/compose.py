"""Planned messages as they go out: records, values, headers, keys.

Holds: :class:`Composer` for the data topics and :func:`truth_messages` for the truth topic. Everything in
a value is decided by the plan and the files, so that repeating a plan puts the same bytes on the
topic. No data message says which scenario it belongs to or what was done; truth messages do. Keep out
sending (``publisher``) and the wire format (``envelope``).
"""

from __future__ import annotations

import json
import uuid
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from types import MappingProxyType
from typing import Any, NamedTuple

from hwosim_streaming.envelope import Header, encode, headers, packed_arrays
from hwosim_streaming.faults import damaged
from hwosim_streaming.frame_values import OF_PRODUCT, FrameWriter
from hwosim_streaming.pixels import DeliveredFiles
from hwosim_streaming.plan import StreamPlan, instrument, mid_time
from hwosim_streaming.sink import Outgoing
from hwosim_streaming.topics import Topics, partition_of

__all__ = ["Composed", "Composer", "truth_messages"]

#: MJD of 1970-01-01.
EPOCH_MJD = 40587.0
DAY_SECONDS = 86400.0
#: Bounds of a truth message: characters of the record (up to four bytes each) and message ids.
RECORD_CHARACTERS = 100_000
IDS = 4096


@dataclass(slots=True)
class Composed(Outgoing):
    """A message ready to go: a record at the time of its exposure, where one is known, and what its proof needs.

    Attributes
    ----------
    headers : dict of str to str
        CloudEvents, without the due time.
    message_id : str
        Id within the run.
    sequence : int
        Within the key and topic, from 0.
    crc, stated_crc : int
        CRC-32 of the value as it goes out, and of the value as it was made, which the headers state:
        they differ where the transport damages it.
    """

    headers: dict[str, str]
    message_id: str
    sequence: int
    crc: int
    stated_crc: int


class _Frame(NamedTuple):
    """A frame as far as it is known before its pixels are; beside id, number and times, all is shared."""

    message_id: str
    sequence: int
    product: bytes
    time: bytes
    place: bytes
    headers: dict[str, str]
    timestamp_ms: int | None
    clock: str | None
    address: tuple[str, int, bytes]


class Composer:
    """Makes the messages of a plan from the delivered files.

    What the plan alone decides is looked up once for all frames, before the first is sent: rows of thirty named columns
    and the formatting of times took longer than joining a message of 1 KiB.
    """

    def __init__(self, plan: StreamPlan, files: DeliveredFiles, topics: Topics) -> None:
        self._plan = plan
        self._files = files
        self._topics = topics
        self._writer = FrameWriter(plan.run_id, topics.numbers["frame"])
        self._rows = plan.rows
        self._own = {name: _own(plan.program, product) for name, product in plan.products.items()}
        shared = {name: (self._writer.product(own), self._headers_of(name)) for name, own in self._own.items()}
        self._frames = [
            self._known(row, *shared[row["product_name"]]) if row["family"] == "frame" else None for row in plan.rows
        ]
        self._counts = Counter((row["product_name"], row["hdu"]) for row in plan.rows if row["family"] == "frame")

    def _headers_of(self, product: str) -> dict[str, str]:
        """Return the headers of a product's frames, with nothing yet where they differ."""
        plan = self._plan
        differing: dict[str, Any] = {"message_id": "", "time": "", "sequence": 0, "crc": 0}
        return headers("frame", run_id=plan.run_id, program=plan.program, subject=product, **differing)

    def _known(self, row: Mapping[str, Any], product: bytes, said: dict[str, str]) -> _Frame:
        """Return what is known of a frame from its row of the plan, and what all of its product say."""
        exposed = _on_its_clock(row, row["exposed_mjd"])
        own = (row["message_id"], row["sequence"], product, self._writer.time(exposed), self._writer.place(row))
        address = _address(self._topics.names["frame"], self._topics.partitions["frame"], row["key"])
        return _Frame(*own, said, *_time(exposed), address)

    def compose(self, index: int) -> Composed:
        """Return the message of a row of the plan; the same every time.

        Raises
        ------
        HwosimError
            If the file it comes from cannot be read as planned.
        BadInputError
            If the message comes out larger than one may be.
        """
        row, frame = self._rows[index], self._frames[index]
        made = self._product(row) if frame is None else self._frame(row, frame)
        if row["damage"] is None:
            return made
        bits = self._plan.scenario_content.transport.corruption.bits
        value = damaged(made.value, row["damage"], self._plan.seed, made.message_id, bits)
        return replace(made, value=value, crc=zlib.crc32(value))

    def _frame(self, row: Mapping[str, Any], frame: _Frame) -> Composed:
        message_id, sequence, product, time, place, said, milliseconds, clock, (topic, partition, key) = frame
        arrays = packed_arrays(*self._files.read(row))
        value = self._writer.value(message_id, sequence, product, time, place, arrays)
        crc = zlib.crc32(value)
        own = said.copy()
        own[Header.ID] = message_id
        own[Header.SEQUENCE] = str(sequence)
        own[Header.CRC] = f"{crc:08x}"
        if clock is None:
            del own[Header.TIME]
        else:
            own[Header.TIME] = clock
        return Composed(topic, partition, key, value, own, milliseconds, message_id, sequence, crc, crc)

    def _product(self, row: Mapping[str, Any]) -> Composed:
        name = row["product_name"]
        product = self._plan.products[name]
        exposed = _on_its_clock(row, mid_time(product))
        hdus = [
            {
                "index": hdu["index"],
                "extname": hdu["extname"],
                "extver": hdu["extver"],
                "kind": hdu["kind"],
                "shape": hdu["shape"],
                "frames": self._counts[name, hdu["index"]],
            }
            for hdu in json.loads(product["layout_json"])
        ]
        ids = {"run_id": self._plan.run_id, "message_id": row["message_id"], "exposed_mjd": exposed}
        whole = {"uri": product["uri"], "size_bytes": product["size_bytes"], "sha256": product["out_sha256"]}
        record = {**ids, **dict(zip(OF_PRODUCT, self._own[name], strict=True)), **whole, "hdus": hdus}
        told = (row["message_id"], row["key"], row["sequence"], name, exposed)
        return _composed(self._plan, self._topics, "product", record, *told)


def truth_messages(
    plan: StreamPlan,
    truth: Iterable[Mapping[str, Any]],
    topics: Topics,
    left_out: Mapping[str, int] = MappingProxyType({}),
) -> Iterator[Composed]:
    """Return the truth messages of a plan.

    Parameters
    ----------
    plan : StreamPlan
        The plan.
    truth : iterable of mapping
        Rows of the table ``truth`` of the program and scenario.
    topics : Topics
        Where they go.
    left_out : mapping of str to int
        How many sends of a message the publisher left out, being late. All else of a truth is in the plan;
        number and ids of its messages do not depend on this.

    Yields
    ------
    Composed
        One or more for each row, keyed by product: long records and long lists of ids come in parts.
    """
    messages: dict[str, list[tuple[dict[str, Any], int, int]]] = defaultdict(list)
    for row, overtaken in zip(plan.rows, plan.overtaken, strict=True):
        messages[row["product_name"]].append((row, overtaken, left_out.get(row["message_id"], 0)))
    for label in sorted(truth, key=lambda label: str(label["product_name"])):
        own, text = messages[label["product_name"]], label["record_json"] or ""
        parts = max(1, -(-len(text) // RECORD_CHARACTERS), -(-len(own) // IDS))
        for part in range(parts):
            message_id = str(uuid.uuid5(uuid.UUID(plan.run_id), f"{label['product_name']}/truth/{part}"))
            carried = own[part * IDS : (part + 1) * IDS]
            record = {
                "run_id": plan.run_id,
                "message_id": message_id,
                "program": plan.program,
                "product": label["product_name"],
                "scenario": plan.scenario,
                "scenario_sha256": plan.scenario_sha256,
                "seed": plan.seed,
                "in_sha256": label["in_sha256"],
                "out_sha256": label["out_sha256"],
                "plan_sha256": label["plan_sha256"],
                "part": part,
                "parts": parts,
                "record": text[part * RECORD_CHARACTERS : (part + 1) * RECORD_CHARACTERS],
                "side_key": label["side_key"],
                "message_ids": [row["message_id"] for row, _overtaken, _left_out in carried],
                "faults": [fault for message in carried for fault in _faults(*message)],
            }
            name = label["product_name"]
            yield _composed(plan, topics, "truth", record, message_id, name, part, name, None)


def _faults(message: Mapping[str, Any], overtaken: int, left_out: int) -> Iterator[dict[str, Any]]:
    lost, stale = message["copies"] == 0, message["stale_displacement"]
    amounts = {
        "loss": int(lost and not message["gap"]),
        "gap": int(message["gap"]),
        "skip": left_out,
        "duplicate": max(0, message["copies"] - 1 - (stale > 0)),
        "stale": stale,
        "reorder": overtaken,
        "delay": 0 if lost else round(message["delay_ns"] / 1e6),
        "clock_skew": round(message["clock_skew_s"] * 1000),
        **({message["damage"]: 1} if message["damage"] else {}),
    }
    for fault, amount in amounts.items():
        if amount:
            yield {"message_id": message["message_id"], "fault": fault, "amount": amount}


def _on_its_clock(row: Mapping[str, Any], exposed: float | None) -> float | None:
    """Return an exposure time as the clock of the message's key tells it, MJD."""
    return None if exposed is None else float(exposed + row["clock_skew_s"] / DAY_SECONDS)


def _own(program: str, product: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return what every message of a product says of it, in the order of ``OF_PRODUCT``."""
    kind, detector = product["product_type"] or "", product["detector"] or None
    return (program, product["product_name"], product["obs_id"] or "", kind, instrument(product), detector)


def _composed(
    plan: StreamPlan,
    topics: Topics,
    family: str,
    record: Mapping[str, Any],
    message_id: str,
    key: str,
    sequence: int,
    subject: str,
    exposed: float | None,
) -> Composed:
    value = encode(family, record, topics.numbers[family])
    crc = zlib.crc32(value)
    milliseconds, clock = _time(exposed)
    said = headers(
        family,
        message_id=message_id,
        run_id=plan.run_id,
        program=plan.program,
        subject=subject,
        time=clock,
        sequence=sequence,
        crc=crc,
    )
    topic, partition, raw = _address(topics.names[family], topics.partitions[family], key)
    return Composed(topic, partition, raw, value, said, milliseconds, message_id, sequence, crc, crc)


@lru_cache(maxsize=1024)
def _address(topic: str, partitions: int, key: str) -> tuple[str, int, bytes]:
    """Return topic, partition and key of a message as the client takes them."""
    return topic, partition_of(key, partitions), key.encode()


@lru_cache(maxsize=1024)
def _time(mjd: float | None) -> tuple[int | None, str | None]:
    """Return an exposure time in ms since 1970 and by RFC 3339; nothing for what no clock of a mission says."""
    if mjd is None or not EPOCH_MJD <= mjd < EPOCH_MJD + 100_000:
        return None, None
    milliseconds = round((mjd - EPOCH_MJD) * 86_400_000)
    clock = datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds")
    return milliseconds, clock.replace("+00:00", "Z")
