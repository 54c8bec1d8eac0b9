"""A partition of a stopped Kafka as it would be without its tail: what a broker that forgot leaves behind."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

#: Before its records: base offset, length of the rest, epoch of the leader, magic, CRC, attributes, …
HEAD = struct.Struct(">qiibIh")
#: Bit of the attributes of a batch that ends a transaction; its key then says how: version, and 0 (abort) or 1.
CONTROL = 0x20
#: Where the key of a batch's only record begins.
KEY = 66
#: What Kafka makes anew of a segment.
DERIVED = (".index", ".timeindex", ".txnindex", ".snapshot")


@dataclass(frozen=True)
class Batch:
    """A batch of records: where it begins, and how it ends a transaction (empty: it does not)."""

    segment: Path
    position: int
    offset: int
    ends: str


def batches(folder: Path) -> list[Batch]:
    """Return the batches of a partition's folder."""
    found = []
    for segment in sorted(folder.glob("*.log")):
        content, position = segment.read_bytes(), 0
        while position + HEAD.size < len(content):
            offset, length, _epoch, _magic, _crc, attributes = HEAD.unpack_from(content, position)
            ends = ""
            if attributes & CONTROL:
                ends = ("abort", "commit")[int.from_bytes(content[position + KEY + 2 : position + KEY + 4])]
            found.append(Batch(segment, position, offset, ends))
            position += 12 + length
    return found


def forget_from(data: Path, first: Batch) -> None:
    """Take a batch and all behind it away, so that Kafka finds a partition that ends before it.

    Parameters
    ----------
    data : pathlib.Path
        The folder of a broker that does not run.
    first : Batch
        The first that is gone.
    """
    with first.segment.open("r+b") as file:
        file.truncate(first.position)
    for path in first.segment.parent.iterdir():
        if path.suffix in DERIVED or (path.suffix == ".log" and path.name > first.segment.name):
            path.unlink()
    # As after a loss of power: what was flushed is not known, so that all is read and the rest derived from it.
    for name in (".kafka_cleanshutdown", "recovery-point-offset-checkpoint"):
        (data / name).unlink(missing_ok=True)
