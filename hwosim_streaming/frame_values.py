"""Frame values, written fast: what many frames of a run share is encoded once.

Holds: :class:`FrameWriter`. An Avro record is its fields one after the other with nothing between them, so a value can
be joined from parts. Those that repeat are encoded by fastavro once and kept; what differs in every message is a
number, a length with bytes behind it, or a time, and is written here. The bytes are those of
:func:`hwosim_streaming.envelope.encode`, in less than half of its time for a message of 1 KiB. Keep out all other
families: there are few of them.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Mapping
from functools import cache, lru_cache
from operator import itemgetter
from typing import Any

from hwosim_streaming.envelope import bundled, inline, preamble

__all__ = ["OF_PRODUCT", "FrameWriter"]

#: Encoded parts that are kept: groups and tiles come again with each detector and exposure.
KEPT = 8192
#: What the messages of a product say of it, in the order of the schema.
OF_PRODUCT = ("program", "product", "obs_id", "product_type", "instrument", "detector")
#: Where in its file a frame lies.
_OF_PLACE = ("kind", "hdu", "extname", "extver", "integration", "group", "tile", "tiles", "hdu_shape", "origin")
_PLACE = itemgetter(*_OF_PLACE[:-2])
_OF_ARRAY = ("name", "unit", "dtype", "shape", "codec")
_ARRAY = itemgetter(*_OF_ARRAY)
#: A number that may be absent: which of the two it is, and the number.
_NO_TIME, _TIME = b"\x00", struct.Struct("<Bd")
_IS_THERE = 2
#: Characters of a UUID, of which all message ids are.
_UUID = 36


class FrameWriter:
    """Writes the frames of one run.

    Parameters
    ----------
    run_id : str
        UUID of the run.
    number : int
        Of the schema on the wire.
    """

    def __init__(self, run_id: str, number: int) -> None:
        self._head = preamble(number) + _text(run_id) + _number(_UUID)
        self._product, self._place = _encoder("Frame", OF_PRODUCT), _encoder("Frame", _OF_PLACE)
        self._array = _encoder("Array", _OF_ARRAY)

    def product(self, values: tuple[Any, ...]) -> bytes:
        """Return what the frames of a product say of it, from its values in the order of ``OF_PRODUCT``."""
        return self._product(*values)

    def place(self, row: Mapping[str, Any]) -> bytes:
        """Return where in its file a frame lies, from its row of the plan's messages."""
        return self._place(*_PLACE(row), tuple(row["hdu_shape"]), tuple(row["origin"]))

    def time(self, exposed_mjd: float | None) -> bytes:
        """Return when a frame was exposed, as the clock of the message's key tells it."""
        return _NO_TIME if exposed_mjd is None else _TIME.pack(_IS_THERE, exposed_mjd)

    def value(self, message_id: str, sequence: int, product: bytes, time: bytes, place: bytes, arrays: Any) -> bytes:
        """Return a frame's value.

        Parameters
        ----------
        message_id : str
            UUID.
        sequence : int
            Within its key.
        product, time, place : bytes
            See the methods of these names.
        arrays : sequence of mapping
            See :func:`hwosim_streaming.envelope.packed_arrays`.

        Raises
        ------
        BadInputError
            If it comes out larger than a message may be.
        """
        parts = [self._head, message_id.encode(), _number(sequence), product, time, place]
        # The arrays are one block, and an empty one that ends it.
        if arrays:
            parts.append(_length(len(arrays)))
        for each in arrays:
            data = each["data"]
            parts += (self._array(*_ARRAY(each)), _length(len(data)), data)
        parts.append(_length(0))
        return inline("frame", b"".join(parts))


def _text(text: str) -> bytes:
    raw = text.encode()
    return _length(len(raw)) + raw


def _number(number: int) -> bytes:
    """Return an Avro ``int`` or ``long``: zigzag, seven bits a byte, the lowest first."""
    left = (number << 1) ^ (number >> 63)
    if 0x7F < left < 1 << 14:  # most sequence numbers, in half of the time
        return bytes((left & 0x7F | 0x80, left >> 7))
    found = bytearray()
    while left > 0x7F:
        found.append(left & 0x7F | 0x80)
        left >>= 7
    found.append(left)
    return bytes(found)


#: The same of what comes again: lengths and counts do, sequence numbers do not.
_length = lru_cache(maxsize=KEPT)(_number)


@cache
def _encoder(record: str, names: tuple[str, ...]) -> Callable[..., bytes]:
    """Return what encodes these fields of a frame, or of an array in it, and keeps what it made."""
    from fastavro import parse_schema, schemaless_writer

    fields = {field["name"]: field for field in bundled("frame")[-1]["fields"]}
    if record == "Array":
        fields = {field["name"]: field for field in fields["arrays"]["type"]["items"]["fields"]}
    schema = parse_schema({"type": "record", "name": "Part", "fields": [fields[name] for name in names]})

    @lru_cache(maxsize=KEPT)
    def encoded(*values: Any) -> bytes:
        body = io.BytesIO()
        schemaless_writer(body, schema, dict(zip(names, values, strict=True)))
        return body.getvalue()

    return encoded
