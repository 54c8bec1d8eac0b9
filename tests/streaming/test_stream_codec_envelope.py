"""Messages: any array survives, sizes are not believed, headers say nothing of what was done."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from fastavro import parse_schema, schemaless_reader, schemaless_writer
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hwosim_assets.errors import BadInputError
from hwosim_streaming import envelope
from hwosim_streaming.codec import LARGEST_ARRAY, pack, unpack
from hwosim_streaming.envelope import Frame, Header, UnreadableMessageError, decode, encode, headers, packed_arrays
from hwosim_streaming.faults import damaged
from hwosim_streaming.frame_values import OF_PRODUCT, FrameWriter

DTYPES = st.one_of(
    hnp.boolean_dtypes(),
    hnp.integer_dtypes(endianness="?"),
    hnp.unsigned_integer_dtypes(endianness="?"),
    hnp.floating_dtypes(endianness="?", sizes=(16, 32, 64)),
    hnp.complex_number_dtypes(endianness="?", sizes=(64, 128)),
    hnp.byte_string_dtypes(min_len=1, max_len=9),
    hnp.unicode_string_dtypes(endianness="?", min_len=1, max_len=5),
)
ARRAYS = DTYPES.flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=7))
)


def frame_record(arrays: dict[str, np.ndarray], **changes: object) -> dict[str, object]:
    record = {
        "run_id": "r",
        "message_id": "m",
        "sequence": 3,
        "program": "01093",
        "product": "a_cal.fits",
        "obs_id": "a",
        "product_type": "cal",
        "instrument": "NIRCAM",
        "detector": None,
        "exposed_mjd": 59800.5,
        "kind": "image",
        "hdu": 1,
        "extname": "SCI",
        "extver": 1,
        "integration": None,
        "group": None,
        "tile": 0,
        "tiles": 1,
        "hdu_shape": [4, 4],
        "origin": [0, 0],
        "arrays": packed_arrays(arrays, {"SCI": "MJy/sr"}),
    }
    return {**record, **changes}


@settings(max_examples=300, deadline=None)
@given(ARRAYS)
def test_any_array_survives_bit_for_bit(array: np.ndarray) -> None:
    packed = pack(array)
    back = unpack(packed.dtype, packed.shape, packed.codec, packed.data)
    little = array.astype(array.dtype.newbyteorder("<"))
    assert back.shape == array.shape
    assert back.tobytes() == little.tobytes()
    assert back.dtype == little.dtype


def test_nan_payloads_survive() -> None:
    bits = np.array([0x7FC00001, 0x7F800001, 0xFFC12345], dtype=">u4")
    packed = pack(bits.view(">f4"))
    assert unpack(packed.dtype, packed.shape, packed.codec, packed.data).tobytes() == bits.astype("<u4").tobytes()


def test_shuffle_and_zstd_make_an_image_smaller() -> None:
    image = np.random.default_rng(1).normal(1000, 5, (200, 200)).astype(np.float32)
    packed = pack(image)
    assert packed.codec == "shuffle-zstd"
    assert len(packed.data) < 0.85 * image.nbytes


@pytest.mark.parametrize(
    ("dtype", "shape", "codec", "data"),
    [
        ("|O", (1,), "raw", b"12345678"),
        ("<f4", (2**40,), "raw", b"1234"),
        ("<f4", (-1, 4), "raw", b""),
        ("<f4", (2,), "raw", b"1234"),
        ("<f4", (2,), "lzma", b"12345678"),
        ("<f4", (2,), "shuffle-zstd", b"12345678"),
        ("<f4", (2,), "shuffle-zstd", pack(np.zeros(1000, "<f4")).data),
        ("<V8", (1,), "raw", b"12345678"),
    ],
)
def test_an_array_that_lies_is_refused(dtype: str, shape: tuple[int, ...], codec: str, data: bytes) -> None:
    with pytest.raises(BadInputError):
        unpack(dtype, shape, codec, data)


def test_a_zstd_bomb_takes_no_memory() -> None:
    import zstandard

    bomb = zstandard.ZstdCompressor().compress(bytes(LARGEST_ARRAY + 8))
    with pytest.raises(BadInputError):
        unpack("<f8", (4,), "shuffle-zstd", bomb)


@settings(max_examples=60, deadline=None)
@given(ARRAYS)
def test_frame_round_trip(array: np.ndarray) -> None:
    decoded = decode(encode("frame", frame_record({"SCI": array})))
    frame = Frame.from_record(decoded.record)
    assert frame.data.tobytes() == array.astype(array.dtype.newbyteorder("<")).tobytes()
    assert (frame.units, frame.detector, frame.instrument, frame.exposed_mjd) == (
        {"SCI": "MJy/sr"},
        None,
        "NIRCAM",
        59800.5,
    )


def test_a_table_becomes_a_structured_array() -> None:
    columns = {"WAVELENGTH": np.linspace(1, 2, 5), "NOTE": np.array([b"a"] * 5), "V": np.ones((5, 3), "f4")}
    frame = Frame.from_record(decode(encode("frame", frame_record(columns, kind="table"))).record)
    assert frame.data.dtype.names == ("WAVELENGTH", "NOTE", "V")
    assert frame.data["V"].shape == (5, 3)


@pytest.mark.parametrize(
    ("kind", "arrays"),
    [
        ("image", {}),
        ("table", {}),
        ("table", {"FLUX": np.ones(3), "ERROR": np.ones(4)}),
        ("table", {"FLUX": np.ones(())}),
    ],
)
def test_a_frame_of_no_image_and_no_table_is_refused(kind: str, arrays: dict[str, np.ndarray]) -> None:
    """It fits the schema, so that any producer can send it; its readers go on after it."""
    record = decode(encode("frame", frame_record(arrays, kind=kind))).record
    with pytest.raises(BadInputError, match="cannot be made of"):
        Frame.from_record(record)


def test_arrays_that_are_too_much_together_are_refused() -> None:
    """Zeros pack to nothing: a message of 25 kB could claim gigabytes, array by array."""
    part = np.zeros(LARGEST_ARRAY // 16, "<f8")
    record = decode(encode("frame", frame_record({"SCI": part, "ERR": part}))).record
    assert sum(array.nbytes for array in Frame.from_record(record).arrays.values()) == LARGEST_ARRAY
    record["arrays"] += packed_arrays({"DQ": np.zeros(1, "<u4")}, {})
    with pytest.raises(BadInputError, match="claims 4 bytes"):
        Frame.from_record(record)


def test_wire_format_is_readable_without_hwosim() -> None:
    value = encode("frame", frame_record({"SCI": np.arange(3.0)}))
    assert value[:5] == b"\0\0\0\0\x64"  # frame 1.0: number 100
    schema = parse_schema(json.loads(json.dumps(envelope.schemas()[100])))
    assert schemaless_reader(io.BytesIO(value[5:]), schema)["product"] == "a_cal.fits"


def test_schemas_have_numbers_and_documents() -> None:
    assert sorted(envelope.schemas()) == [100, 10100, 20100, 20101, 30100, 40100]
    for schema in envelope.schemas().values():
        assert schema["doc"]
        assert all(field["doc"] for field in schema["fields"])


@pytest.mark.parametrize("value", [None, b"", b"\0", b"\1\0\0\0\x64abc", b"\0\0\0\xff\xffabc", b"\0\0\0\0\x64\xff\xff"])
def test_what_is_no_message_is_refused(value: bytes | None) -> None:
    with pytest.raises(UnreadableMessageError):
        decode(value)


@settings(max_examples=200, deadline=None)
@given(st.integers(5, 400), st.integers(0, 255))
def test_a_damaged_value_never_does_worse_than_being_refused(at: int, byte: int) -> None:
    value = bytearray(encode("frame", frame_record({"SCI": np.arange(30.0)})))
    value[at % len(value)] = byte
    with suppress(BadInputError):
        frame = Frame.from_record(decode(bytes(value)).record)
        assert sum(array.nbytes for array in frame.arrays.values()) <= LARGEST_ARRAY
        assert frame.data.size >= 0


def test_a_message_too_large_is_refused() -> None:
    noise = np.random.default_rng(1).integers(0, 256, 2**20, dtype=np.uint8)
    with pytest.raises(BadInputError, match="smaller tiles"):
        encode("frame", frame_record({"SCI": noise}))


NUMBERS = st.integers(0, 2**40)
#: Of the schema's type int.
SMALL = st.integers(0, 2**31 - 1)
AXES = st.lists(NUMBERS, max_size=4)
ARRAY = st.fixed_dictionaries(
    {"name": st.text(max_size=9), "unit": st.none() | st.text(max_size=9), "dtype": st.text(max_size=5)}
    | {"shape": AXES.map(tuple), "codec": st.sampled_from(["raw", "shuffle-zstd"]), "data": st.binary(max_size=300)}
)
MAYBE = st.none() | SMALL
ROW = st.fixed_dictionaries(
    {"message_id": st.uuids().map(str), "sequence": NUMBERS, "kind": st.sampled_from(["image", "table"])}
    | {"extname": st.text(max_size=70), "hdu": SMALL, "extver": SMALL, "tile": SMALL, "tiles": SMALL}
    | {"integration": MAYBE, "group": MAYBE, "hdu_shape": AXES, "origin": AXES}
)
TIMES = st.none() | st.floats(allow_nan=False)


def written(
    writer: FrameWriter, row: Mapping[str, Any], product: tuple[Any, ...], time: float | None, arrays: Any
) -> bytes:
    told = (writer.product(product), writer.time(time), writer.place(row))
    return writer.value(row["message_id"], row["sequence"], *told, arrays)


@given(ROW, st.tuples(*[st.text(max_size=70)] * 4, *[st.none() | st.text(max_size=9)] * 2), TIMES, st.lists(ARRAY))
def test_a_frame_written_fast_is_the_frame(row: Any, product: tuple[Any, ...], time: float | None, arrays: Any) -> None:
    number = 70_000
    record = {"run_id": "1b4e28ba-2fa1-11d2-883f-0016d3cca427", **row, "exposed_mjd": time, "arrays": arrays}
    record |= dict(zip(OF_PRODUCT, product, strict=True))
    assert set(record) == {field["name"] for field in envelope.bundled("frame")[-1]["fields"]}
    fast = written(FrameWriter(record["run_id"], number), row, product, time, arrays)
    assert fast == encode("frame", record, number)


def test_the_bytes_of_a_frame_never_change() -> None:
    array = {"name": "SCI", "unit": "MJy/sr", "dtype": "<f4", "shape": (2, 3), "codec": "raw", "data": bytes(24)}
    row = {"message_id": "1b4e28ba-2fa1-51d2-883f-0016d3cca427", "sequence": 300, "kind": "image", "extname": "SCI"}
    row |= {"hdu": 1, "extver": 1, "tile": 0, "tiles": 4, "integration": 2, "group": None}
    row |= {"hdu_shape": [5, 200, 300], "origin": [1, 0, 150]}
    product = ("01093", "jw01093001001_03101_00001_nrca1_calints.fits", "jw01093001001", "calints", "NIRCAM", "NRCA1")
    writer = FrameWriter("6fa459ea-ee8a-5ca4-894e-db77e160355e", 100)
    value = written(writer, row, product, 59800.5, [array])
    assert hashlib.sha256(value).hexdigest() == "f3b36f8713e7df57f1efb5861d47d49313ea3d92a575f3ef938528b839eef194"


def test_a_frame_written_fast_is_refused_where_it_is_too_large() -> None:
    record = frame_record({"SCI": np.random.default_rng(1).integers(0, 256, 2**20, dtype=np.uint8)})
    product = tuple(record[name] for name in OF_PRODUCT)
    with pytest.raises(BadInputError, match="smaller tiles"):
        written(FrameWriter(str(record["run_id"]), 100), record, product, None, record["arrays"])


def test_headers_are_cloudevents() -> None:
    said = headers(
        "frame", message_id="m", run_id="r", program="01093", subject="a.fits", time=None, sequence=7, crc=0xAB
    )
    assert said[Header.SPECVERSION] == "1.0"
    assert said[Header.TYPE] == "hwosim.frame.v1"
    assert said[Header.CRC] == "000000ab"
    assert Header.TIME not in said


def test_every_schema_of_a_major_version_reads_every_other_ones_messages() -> None:
    """Forward and backward transitive: a reader of any age understands a writer of any age."""
    from fastavro.utils import generate_one

    by_major: dict[int, list[int]] = {}
    for number in sorted(envelope.schemas()):
        by_major.setdefault(number // 100, []).append(number)
    pairs = [(writer, reader) for numbers in by_major.values() for writer in numbers for reader in numbers]
    assert any(writer != reader for writer, reader in pairs)
    for writer, reader in pairs:
        written, read = (parse_schema(json.loads(json.dumps(envelope.schemas()[each]))) for each in (writer, reader))
        body = io.BytesIO()
        schemaless_writer(body, written, generate_one(written))
        body.seek(0)
        assert isinstance(schemaless_reader(body, written, read), dict)


def test_damage_leaves_what_it_says() -> None:
    value = bytes(range(256)) * 4
    assert damaged(value, None, 1, "m", 3) == value
    assert len(damaged(value, "truncation", 1, "m", 3)) < len(value)
    assert value.startswith(damaged(value, "truncation", 1, "m", 3))
    changed = damaged(value, "corruption", 1, "m", 3)
    assert sum((one ^ two).bit_count() for one, two in zip(value, changed, strict=True)) == 3
    assert changed[:5] == value[:5]
    words = {"run_id": "r", "event": "started", "program": "0", "plan_sha256": "", "at": ""}
    control = {**words, "position": 0, "sends": 0, "offsets": []}
    ahead = damaged(encode("control", control), "schema_change", 1, "m", 3)
    with pytest.raises(UnreadableMessageError, match="unknown schema 1073781924"):
        decode(ahead)
