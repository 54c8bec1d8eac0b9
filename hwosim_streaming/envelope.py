"""The message: Avro values in Confluent wire format, CloudEvents headers around them.

Holds: the bundled schemas by number, :func:`encode` and :func:`decode`, the headers of a data message,
and :class:`Frame`, what a reader gets. Schemas are ``schemas/<family>_<major>_<minor>.avsc`` and are never
edited once published: a change is a new file with a higher number. Keep out how arrays become bytes
(``codec``) and where the pixels come from (``pixels``).

Wire format: one zero byte, the schema number (four bytes, big-endian), the Avro body. The number is
``family * 10000 + major * 100 + minor``; families are frame 0, product 1, truth 2, prediction 3, control 4.
Where a schema registry is configured (``registry``), the number is the registry's instead.
"""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hwosim_assets.errors import BadInputError
from hwosim_streaming.codec import LARGEST_ARRAY, pack, unpack

if TYPE_CHECKING:
    from hwosim_streaming.registry import Registry

__all__ = [
    "DIGITS",
    "FAMILIES",
    "LARGEST_VALUE",
    "TOPICS",
    "TOPIC_OF",
    "Decoded",
    "Frame",
    "Header",
    "UnreadableMessageError",
    "bundled",
    "decode",
    "encode",
    "headers",
    "inline",
    "own_numbers",
    "packed_arrays",
    "preamble",
    "schema_number",
    "schemas",
]

#: The topics, without the prefix, and what their messages are.
TOPICS: Mapping[str, str] = {
    "hwosim.frames.v1": "Pixels of image tiles and rows of tables, one message each; key: detector.",
    "hwosim.products.v1": "One message per product: what it is, its HDUs, where the whole file lies; key: detector.",
    "hwosim.truth.v1": "What was done to each product and to its messages; key: product.",
    "hwosim.predictions.v1": "What models answer; key: model.",
    "hwosim.control.v1": "Runs: started, checkpoint, finished; key: run id.",
}
FAMILIES = ("frame", "product", "truth", "prediction", "control")
#: Topic, without the prefix, by the family of its messages.
TOPIC_OF: Mapping[str, str] = dict(zip(FAMILIES, TOPICS, strict=True))
#: Largest value in bytes that goes inline; below Kafka's default of 1,000,000 with room for headers.
LARGEST_VALUE = 900 * 1024
#: Digits of a number in a header that fits into 64 bits.
DIGITS = 19
_WIRE = struct.Struct(">bI")
#: What the Avro reader raises on bytes that are not what the schema says.
_DAMAGED = (EOFError, ValueError, IndexError, KeyError, TypeError, OverflowError, MemoryError, struct.error)


class UnreadableMessageError(BadInputError):
    """A message whose value or headers are not HWOsim's, or were damaged."""


class Header:
    """Names of the headers (CloudEvents binary mode; ``ce_hwo…`` are extensions)."""

    CONTENT_TYPE = "content-type"
    SPECVERSION = "ce_specversion"
    ID = "ce_id"
    SOURCE = "ce_source"
    TYPE = "ce_type"
    TIME = "ce_time"
    SUBJECT = "ce_subject"
    DATASCHEMA = "ce_dataschema"
    RUN = "ce_hworun"
    SEQUENCE = "ce_hwoseq"
    DUE = "ce_hwodue"
    CRC = "ce_hwocrc"


@dataclass(frozen=True)
class Decoded:
    """A decoded value.

    Attributes
    ----------
    family : str
        ``frame``, ``product``, ``truth``, ``prediction`` or ``control``.
    number : int
        Number of the schema it was written with.
    record : dict
        The fields, in the newest schema of the same family and major version.
    """

    family: str
    number: int
    record: dict[str, Any]


@cache
def schemas() -> dict[int, dict[str, Any]]:
    """Return the bundled Avro schemas by number, as parsed JSON."""
    found = {}
    for entry in files("hwosim_streaming").joinpath("schemas").iterdir():
        if entry.name.endswith(".avsc"):
            family, major, minor = entry.name.removesuffix(".avsc").split("_")
            found[schema_number(family, int(major), int(minor))] = json.loads(entry.read_text(encoding="utf-8"))
    return found


def bundled(family: str) -> list[dict[str, Any]]:
    """Return the bundled schemas of a family, the oldest first."""
    return [schema for number, schema in sorted(schemas().items()) if number // 10000 == FAMILIES.index(family)]


def own_numbers() -> dict[str, int]:
    """Return by family the number of the newest schema: what is on the wire without a registry."""
    return {family: _newest(family, 1) for family in FAMILIES}


def schema_number(family: str, major: int = 1, minor: int = 0) -> int:
    """Return the number that a schema has on the wire."""
    return FAMILIES.index(family) * 10000 + major * 100 + minor


@cache
def _parsed(number: int) -> Any:
    from fastavro import parse_schema

    return parse_schema(schemas()[number])


@cache
def _newest(family: str, major: int) -> int:
    first = schema_number(family, major)
    return max(number for number in schemas() if first <= number < first + 100)


def encode(family: str, record: Mapping[str, Any], wire_number: int | None = None) -> bytes:
    """Encode a record with the newest schema of its family.

    Parameters
    ----------
    family : str
        Family of the schema.
    record : mapping
        Its fields.
    wire_number : int, optional
        The number that a registry gave this schema; ours by default.

    Raises
    ------
    BadInputError
        If the value is larger than a message may be (``LARGEST_VALUE``).
    """
    from fastavro import schemaless_writer

    number = _newest(family, 1)
    body = io.BytesIO()
    body.write(preamble(number if wire_number is None else wire_number))
    schemaless_writer(body, _parsed(number), record)
    return inline(family, body.getvalue())


def preamble(number: int) -> bytes:
    """Return what stands before the Avro body of a value of this schema."""
    return _WIRE.pack(0, number)


def inline(family: str, value: bytes) -> bytes:
    """Return a value that is small enough to go inline.

    Raises
    ------
    BadInputError
        If it is not.
    """
    if len(value) > LARGEST_VALUE:
        raise BadInputError(
            f"{family} message of {len(value)} bytes",
            f"is above the {LARGEST_VALUE} that go inline",
            "use smaller tiles",
        )
    return value


def decode(value: bytes | None, registry: Registry | None = None) -> Decoded:
    """Decode a value.

    Parameters
    ----------
    value : bytes or None
        Of a message.
    registry : Registry, optional
        Asked first; what it does not know as ours is looked up among the bundled schemas.

    Raises
    ------
    UnreadableMessageError
        If it is empty, not in wire format, of an unknown schema, or damaged.
    BackendAbsentError
        If the registry does not answer.
    """
    from fastavro import schemaless_reader
    from fastavro.read import SchemaResolutionError

    if not value or len(value) < _WIRE.size or value[0] != 0:
        raise UnreadableMessageError("message", "is not Avro in Confluent wire format", "skip it")
    number = _WIRE.unpack_from(value)[1]
    family, written, newest = _schemas_of(number, registry)
    body = io.BytesIO(value)
    body.seek(_WIRE.size)
    try:
        record = schemaless_reader(body, written, _parsed(newest))
    except (*_DAMAGED, SchemaResolutionError) as error:
        raise UnreadableMessageError("message", f"does not fit schema {number}: {error}", "skip it") from error
    if body.tell() != len(value) or not isinstance(record, dict):
        raise UnreadableMessageError("message", f"has bytes left over after schema {number}", "skip it")
    return Decoded(family, number, record)


def _schemas_of(number: int, registry: Registry | None) -> tuple[str, Any, int]:
    """Return the family of a number on the wire, its schema, and the number of ours that reads it."""
    known = registry.find(number) if registry is not None else None
    if known is not None:
        return known[0], known[1], _newest(known[0], 1)
    if number not in schemas():
        raise UnreadableMessageError("message", f"has the unknown schema {number}", "update HWOsim, or skip it")
    family = FAMILIES[number // 10000]
    return family, _parsed(number), _newest(family, number // 100 % 100)


def headers(
    family: str, *, message_id: str, run_id: str, program: str, subject: str, time: str | None, sequence: int, crc: int
) -> dict[str, str]:
    """Return the headers of a message; a publisher adds ``Header.DUE`` when it knows the time.

    Parameters
    ----------
    family : str
        Family of the schema.
    message_id, run_id : str
        UUIDs; together they identify a message.
    program, subject : str
        Five-digit program; product file name.
    time : str or None
        Time of the exposure, RFC 3339, UTC; left out where it is not known.
    sequence : int
        Running number among the messages of the same key and topic, from 0.
    crc : int
        CRC-32 of the value.
    """
    # A copy that is added to is quicker than a new dictionary of all.
    found = _of_all(family, program, run_id).copy()
    found[Header.ID] = message_id
    found[Header.SUBJECT] = subject
    found[Header.SEQUENCE] = str(sequence)
    found[Header.CRC] = f"{crc:08x}"
    if time is not None:
        found[Header.TIME] = time
    return found


@lru_cache(maxsize=256)
def _of_all(family: str, program: str, run_id: str) -> dict[str, str]:
    """Return the headers that all messages of a family and a run have the same."""
    return {
        Header.CONTENT_TYPE: f"application/vnd.hwosim.{family}+avro",
        Header.SPECVERSION: "1.0",
        Header.SOURCE: f"/hwosim/programs/{program}",
        Header.TYPE: f"hwosim.{family}.v1",
        Header.DATASCHEMA: f"urn:hwosim:schema:{_newest(family, 1)}",
        Header.RUN: run_id,
    }


def packed_arrays(arrays: Mapping[str, npt.NDArray[Any]], units: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return arrays as the ``arrays`` field of a frame record."""
    found = []
    for name, array in arrays.items():
        packed = pack(array)
        found.append(
            {
                "name": name,
                "unit": units.get(name),
                "dtype": packed.dtype,
                "shape": packed.shape,
                "codec": packed.codec,
                "data": packed.data,
            }
        )
    return found


@dataclass(frozen=True, eq=False)
class Frame:
    """One frame message as a reader gets it: pixels of a tile or rows of a table, as numpy arrays.

    Attributes
    ----------
    run_id, message_id : str
        UUIDs; together they identify the message. A duplicate has both the same.
    sequence : int
        Running number within the key (detector); a gap is a lost message.
    program, product, obs_id, product_type : str
        Five digits; archive file name; CAOM observation id; JWST product type.
    instrument, detector : str or None
        For example ``NIRCAM``, ``NRCA1``.
    exposed_mjd : float or None
        End of the group or integration; mid time of the exposure for what is not cut by time. MJD UTC.
    kind : {"image", "table"}
        Pixels of an image HDU, or rows of a table HDU.
    hdu, extname, extver
        The HDU the message starts from (SCI where there are several).
    integration, group : int or None
        From 1, where the HDU has them.
    tile, tiles : int
        Number of this tile, from 0, and how many there are.
    hdu_shape, origin : tuple of int
        Shape of the HDU's whole array, and the first index on each axis that is covered.
    arrays : dict of str to numpy.ndarray
        By name: SCI, ERR, DQ, or columns of a table. Images have the tile's (rows, columns), with the
        planes in front for a cube.
    units : dict of str to str
        Physical unit of an array where the file states one.
    """

    run_id: str
    message_id: str
    sequence: int
    program: str
    product: str
    obs_id: str
    product_type: str
    instrument: str | None
    detector: str | None
    exposed_mjd: float | None
    kind: str
    hdu: int
    extname: str
    extver: int
    integration: int | None
    group: int | None
    tile: int
    tiles: int
    hdu_shape: tuple[int, ...]
    origin: tuple[int, ...]
    arrays: dict[str, npt.NDArray[Any]] = field(repr=False)
    units: dict[str, str] = field(repr=False)

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Frame:
        """Build a frame from a decoded record.

        Raises
        ------
        BadInputError
            If an array's claims do not fit its bytes, the arrays claim more than a message may hold, or they make no
            image and no table.
        """
        fields = dict(record)
        stored = fields.pop("arrays")
        arrays: dict[str, npt.NDArray[Any]] = {}
        left = LARGEST_ARRAY
        for each in stored:
            array = unpack(each["dtype"], tuple(each["shape"]), each["codec"], each["data"], left)
            arrays[each["name"]], left = array, left - array.nbytes
        _refuse_shapeless(fields["kind"], arrays)
        fields["arrays"] = arrays
        fields["units"] = {each["name"]: each["unit"] for each in stored if each["unit"] is not None}
        fields["hdu_shape"] = tuple(fields["hdu_shape"])
        fields["origin"] = tuple(fields["origin"])
        return cls(**fields)

    def to_hdulist(self) -> Any:
        """Return the frame as FITS; see :func:`hwosim_streaming.frame_fits.to_hdulist`."""
        from hwosim_streaming.frame_fits import to_hdulist

        return to_hdulist(self)

    @property
    def data(self) -> npt.NDArray[Any]:
        """The main array: SCI of an image (or its only array); the rows of a table as a structured array."""
        if self.kind == "image":
            return self.arrays["SCI"] if "SCI" in self.arrays else next(iter(self.arrays.values()))
        names = list(self.arrays)
        columns = [self.arrays[name] for name in names]
        rows = np.empty(
            len(columns[0]),
            dtype=[(name, column.dtype, column.shape[1:]) for name, column in zip(names, columns, strict=True)],
        )
        for name, column in zip(names, columns, strict=True):
            rows[name] = column
        return rows


def _refuse_shapeless(kind: str, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """Refuse a frame whose arrays are no image and no table, as a foreign producer may send it."""
    lengths = {array.shape[:1] for array in arrays.values()}
    if not arrays or (kind == "table" and (() in lengths or len(lengths) > 1)):
        shapes = ", ".join(f"{name} {array.shape}" for name, array in list(arrays.items())[:5]) or "no arrays"
        raise BadInputError(f"a frame of kind {kind}", f"cannot be made of {shapes}", "refuse the message")
