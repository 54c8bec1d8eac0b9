"""The rules on checksums: are the data those that were written.

Holds: the sums of FITS over headers and data. Keep out what the data say (``rules_planes``).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from hwosim_assets.catalog.finding import Finding, Subject, found
from hwosim_assets.fits.blocks import byte_stream, card_value

if TYPE_CHECKING:
    from hwosim_assets.fits.blocks import Block

__all__ = ["checksums"]

_CHUNK = 2**22
_MODULUS = 0xFFFFFFFF


def checksums(subject: Subject) -> Iterator[Finding]:
    """Yield HDUs whose DATASUM or CHECKSUM does not hold (FITS 4.0, appendix J).

    Only files that carry such cards are read; JWST's own pipeline writes none.
    """
    stamped = [
        block
        for block in subject.scan.blocks
        if any(card_value(block.header, keyword) is not None for keyword in ("DATASUM", "CHECKSUM"))
    ]
    if not stamped:
        return
    with byte_stream(subject.path, subject.facts.file_name) as (stream, _, _):
        for block in stamped:
            stream.seek(block.data_offset)
            padded = -(-block.data_bytes // 2880) * 2880
            data_sum = ones_complement_sum(_chunks(stream, padded))
            yield from _stamp(block, data_sum)


def _chunks(stream: Any, size: int) -> Iterator[bytes]:
    """Yield the next bytes of a stream in pieces."""
    left = size
    while left:
        piece = stream.read(min(left, _CHUNK))
        if not piece:
            return
        left -= len(piece)
        yield piece


def ones_complement_sum(pieces: Iterator[bytes], start: int = 0) -> int:
    """Return the 32-bit ones' complement sum of bytes, big-endian, zero-padded to whole words."""
    total = start
    for piece in pieces:
        words = np.frombuffer(piece.ljust(-(-len(piece) // 4) * 4, b"\0"), dtype=">u4")
        total += int(words.sum(dtype=np.uint64))
    while total > _MODULUS:
        total = (total & _MODULUS) + (total >> 32)
    return total


def _stamp(block: Block, data_sum: int) -> Iterator[Finding]:
    """Compare one HDU with its cards; a header edited later is a warning, changed data are not."""
    where = f"HDU {block.index}"
    recorded = str(card_value(block.header, "DATASUM") or "").strip()
    if recorded.isdigit() and int(recorded) not in (data_sum, data_sum % _MODULUS):
        reason = f"the data of {where} sum to {data_sum}, DATASUM says {recorded}: they changed after they were written"
        yield found("checksum", reason)
    elif card_value(block.header, "CHECKSUM"):
        whole = ones_complement_sum(iter((block.raw,)), data_sum)
        if whole not in (0, _MODULUS):
            yield found("header_checksum", f"CHECKSUM of {where} does not hold: its header was edited afterwards")
