"""The rule on logical columns of tables: do they hold what FITS calls true, false and nothing.

Holds: the bytes of columns of the types ``L``, ``PL`` and ``QL``, as they are stored; libraries turn any byte into
a truth value and say nothing. Keep out every other rule on tables (``rules_structure``, ``rules_planes``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from hwosim_assets.catalog.finding import Finding, Subject, found
from hwosim_assets.fits.blocks import byte_stream, card_value

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hwosim_assets.fits.blocks import Block

    Bytes = NDArray[np.uint8]

__all__ = ["logical"]

#: Bytes of a table that are looked at, rows and heap together; JWST's own tables have no logical column.
_MOST_BYTES = 2**24
#: FITS 4.0, 7.3.3.1: T, F, and a byte of zeros for a value that is not known.
_LOGICAL = np.frombuffer(b"TF\0", np.uint8)
_FORM = re.compile(r" *(\d*)([LXBIJKAEDCMPQ])(\w?)")
#: Bytes of one element (FITS 4.0, table 18); bits are packed.
_WIDTHS = {"L": 1, "B": 1, "I": 2, "J": 4, "K": 8, "A": 1, "E": 4, "D": 8, "C": 8, "M": 16, "P": 8, "Q": 16}


def logical(subject: Subject) -> Iterator[Finding]:
    """Yield the tables whose logical columns hold other bytes than T, F and zero."""
    told = [(block.index, said) for block in _tables(subject) if (said := _odd(subject, block))]
    if told:
        yield found("logical_values", "; ".join(f"HDU {index}: {said}" for index, said in told[:5]))


def _tables(subject: Subject) -> list[Block]:
    return [block for block in subject.scan.blocks if any(_is_logical(form) for form in _forms(block))]


def _forms(block: Block) -> list[re.Match[str]]:
    """Return the formats of a binary table's columns; of a table with a format that is none, nothing."""
    if str(card_value(block.header, "XTENSION") or "").strip() != "BINTABLE":
        return []
    count = card_value(block.header, "TFIELDS")
    count = count if isinstance(count, int) and 0 <= count <= 999 else 0
    forms = [_FORM.match(str(card_value(block.header, f"TFORM{number}") or "")) for number in range(1, count + 1)]
    known = [form for form in forms if form]
    return known if len(known) == len(forms) else []


def _is_logical(form: re.Match[str]) -> bool:
    return form[2] == "L" or (form[2] in "PQ" and form[3] == "L")


def _odd(subject: Subject, block: Block) -> str:
    """Return what stands in the logical columns of one table that is no truth value."""
    axes = [card_value(block.header, f"NAXIS{axis}") for axis in (1, 2)]
    width, rows = (value if isinstance(value, int) else 0 for value in axes)
    forms = _forms(block)
    if width <= 0 or sum(_bytes_of(form) for form in forms) != width:
        return ""  # columns that do not fill a row are another rule's
    with byte_stream(subject.path, subject.facts.file_name) as (stream, _, _):
        stream.seek(block.data_offset)
        stored = np.frombuffer(stream.read(min(block.data_bytes, _MOST_BYTES)), np.uint8)
    rows = min(rows, stored.size // width)
    table = stored[: rows * width].reshape(rows, width)
    heap = stored[_heap_start(block, width) :]
    places = np.cumsum([0, *(_bytes_of(form) for form in forms)])
    values = [
        table[:, start:end].ravel() if form[2] == "L" else _from_heap(table[:, start:end], heap, form)
        for form, start, end in zip(forms, places[:-1], places[1:], strict=True)
        if _is_logical(form)
    ]
    wrong = np.concatenate([item[~np.isin(item, _LOGICAL)] for item in values])
    return f"{wrong.size} logical values are neither T nor F, the first is 0x{wrong[0]:02x}" if wrong.size else ""


def _bytes_of(form: re.Match[str]) -> int:
    count = int(form[1] or 1)
    return -(-count // 8) if form[2] == "X" else count * _WIDTHS[form[2]]


def _heap_start(block: Block, width: int) -> int:
    said: Any = card_value(block.header, "THEAP")
    default = width * int(card_value(block.header, "NAXIS2") or 0)
    return said if isinstance(said, int) and said >= default else default


def _from_heap(cells: Bytes, heap: Bytes, form: re.Match[str]) -> Bytes:
    """Return what the descriptors of a column point at, as far as it was read."""
    if not cells.size:
        return np.zeros(0, np.uint8)
    pairs = np.ascontiguousarray(cells).view(">i4" if form[2] == "P" else ">i8").reshape(-1, 2).astype(np.int64)
    inside = [heap[start : start + count] for count, start in pairs.tolist() if count > 0 and 0 <= start < heap.size]
    return np.concatenate(inside) if inside else np.zeros(0, np.uint8)
