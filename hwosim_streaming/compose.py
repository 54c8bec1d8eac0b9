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
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from hwosim_streaming.envelope import encode, headers, own_numbers, packed_arrays
from hwosim_streaming.faults import damaged
from hwosim_streaming.frame_values import OF_PRODUCT, FrameWriter
from hwosim_streaming.pixels import DeliveredFiles
from hwosim_streaming.plan import StreamPlan, instrument, mid_time

__all__ = ["Composed", "Composer", "truth_messages"]

#: MJD of 1970-01-01.
EPOCH_MJD = 40587.0
DAY_SECONDS = 86400.0
#: Bounds of a truth message: characters of the record (up to four bytes each) and message ids.
RECORD_CHARACTERS = 100_000
IDS = 4096


@dataclass(slots=True)
class Composed:
    """A message ready to go; not frozen, which would make it four times as slow to make.

    Attributes
    ----------
    family : str
        Its topic's.
    message_id, key : str
        Id within the run; key of the record.
    sequence : int
        Within the key and topic, from 0.
    value : bytes
        Avro in Confluent wire format.
    crc, stated_crc : int
        CRC-32 of the value as it goes out, and of the value as it was made, which the headers state:
        they differ where the transport damages it.
    headers : dict of str to str
        CloudEvents, without the due time.
    timestamp_ms : int or None
        Exposure time, milliseconds since 1970, where known.
    """

    family: str
    message_id: str
    key: str
    sequence: int
    value: bytes
    crc: int
    stated_crc: int
    headers: dict[str, str]
    timestamp_ms: int | None


class Composer:
    """Makes the messages of a plan from the delivered files; ``numbers`` are those of their schemas, by family."""

    def __init__(self, plan: StreamPlan, files: DeliveredFiles, numbers: Mapping[str, int] | None = None) -> None:
        self._plan = plan
        self._files = files
        self._numbers = numbers or own_numbers()
        self._writer = FrameWriter(plan.run_id, self._numbers["frame"])
        self._rows = plan.rows
        self._products: dict[str, tuple[dict[str, Any], tuple[Any, ...], bytes]] = {}
        for name, product in plan.products.items():
            own = _own(plan.program, product)
            self._products[name] = (product, own, self._writer.product(own))
        self._frames: dict[tuple[str, int], int] = defaultdict(int)
        # One for each message, of which few are different objects: the writer keeps what it made.
        self._places = [self._writer.place(row) if row["family"] == "frame" else b"" for row in plan.rows]
        for row in plan.rows:
            if row["family"] == "frame":
                self._frames[row["product_name"], row["hdu"]] += 1

    def compose(self, index: int) -> Composed:
        """Return the message of a row of the plan; the same every time.

        Raises
        ------
        HwosimError
            If the file it comes from cannot be read as planned.
        BadInputError
            If the message comes out larger than one may be.
        """
        row = self._rows[index]
        product, own, about = self._products[row["product_name"]]
        if row["family"] == "frame":
            exposed = _on_its_clock(row, row["exposed_mjd"])
            arrays = packed_arrays(*self._files.read(row))
            identity = (row["message_id"], row["sequence"])
            value = self._writer.value(*identity, about, exposed, self._places[index], arrays)
        else:
            exposed = _on_its_clock(row, mid_time(product))
            ids = {"run_id": self._plan.run_id, "message_id": row["message_id"], "exposed_mjd": exposed}
            record = {**ids, **dict(zip(OF_PRODUCT, own, strict=True)), **self._product(product)}
            value = encode("product", record, self._numbers["product"])
        told = (row["family"], row["message_id"], row["key"], row["sequence"])
        made = _composed(self._plan, *told, row["product_name"], exposed, value)
        if row["damage"] is None:
            return made
        bits = self._plan.scenario_content.transport.corruption.bits
        value = damaged(made.value, row["damage"], self._plan.seed, row["message_id"], bits)
        return replace(made, value=value, crc=zlib.crc32(value))

    def _product(self, product: Mapping[str, Any]) -> dict[str, Any]:
        hdus = [
            {
                "index": hdu["index"],
                "extname": hdu["extname"],
                "extver": hdu["extver"],
                "kind": hdu["kind"],
                "shape": hdu["shape"],
                "frames": self._frames[product["product_name"], hdu["index"]],
            }
            for hdu in json.loads(product["layout_json"])
        ]
        whole = {"uri": product["uri"], "size_bytes": product["size_bytes"], "sha256": product["out_sha256"]}
        return {**whole, "hdus": hdus}


def truth_messages(
    plan: StreamPlan,
    truth: Iterable[Mapping[str, Any]],
    left_out: Mapping[str, int] = MappingProxyType({}),
    numbers: Mapping[str, int] | None = None,
) -> Iterator[Composed]:
    """Return the truth messages of a plan.

    Parameters
    ----------
    plan : StreamPlan
        The plan.
    truth : iterable of mapping
        Rows of the table ``truth`` of the program and scenario.
    left_out : mapping of str to int
        How many sends of a message the publisher left out, being late. All else of a truth is in the plan;
        number and ids of its messages do not depend on this.
    numbers : mapping of str to int, optional
        Of the schemas, by family; ours by default.

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
            value = encode("truth", record, (numbers or own_numbers())["truth"])
            key = label["product_name"]
            yield _composed(plan, "truth", message_id, key, part, key, None, value)


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
    family: str,
    message_id: str,
    key: str,
    sequence: int,
    subject: str,
    exposed: float | None,
    value: bytes,
) -> Composed:
    crc = zlib.crc32(value)
    milliseconds = _milliseconds(exposed)
    said = headers(
        family,
        message_id=message_id,
        run_id=plan.run_id,
        program=plan.program,
        subject=subject,
        time=None if milliseconds is None else _rfc3339(milliseconds),
        sequence=sequence,
        crc=crc,
    )
    return Composed(family, message_id, key, sequence, value, crc, crc, said, milliseconds)


def _milliseconds(mjd: float | None) -> int | None:
    """Return an exposure time in milliseconds since 1970; ``None`` for what no clock of a mission says."""
    if mjd is None or not EPOCH_MJD <= mjd < EPOCH_MJD + 100_000:
        return None
    return round((mjd - EPOCH_MJD) * 86_400_000)


@lru_cache(maxsize=1024)
def _rfc3339(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
