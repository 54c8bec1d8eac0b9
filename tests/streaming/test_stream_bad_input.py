"""What does not belong on a topic, and brokers that say no: set aside or told in one line, and the stream goes on."""

from __future__ import annotations

import logging
import struct
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stream_data import manifest
from test_stream_round_trip import Bench

from hwosim_assets.errors import BadInputError
from hwosim_assets.lake.store import Lake
from hwosim_assets.settings import Settings
from hwosim_streaming import connect, dead_letters
from hwosim_streaming.arrivals import text_headers
from hwosim_streaming.clients import low_offsets, read_between
from hwosim_streaming.codec import unpack
from hwosim_streaming.envelope import Frame, Header, decode, encode
from hwosim_streaming.refusals import BrokerRefusesError
from hwosim_streaming.sink import KafkaSink, Outgoing


@pytest.fixture
def bench(stream_settings: Settings, lake: Lake) -> Bench:
    return Bench(stream_settings, lake, manifest(lake))


def put(bench: Bench, *records: tuple[bytes | None, tuple[tuple[str, bytes], ...]], topic: str = "") -> None:
    sink = KafkaSink({**bench.config, "message.max.bytes": 4_000_000})
    for value, headers in records:
        record = Outgoing(topic or bench.topics.names["frame"], 0, b"k", value, headers, None)  # type: ignore[arg-type]
        sink.send(record, lambda _offset, refused: pytest.fail(str(refused)) if refused else None)
    sink.flush()
    sink.close()


def array(**changes: Any) -> dict[str, Any]:
    return {"name": "SCI", "unit": None, "dtype": "<f4", "shape": [2, 2], "codec": "raw", "data": bytes(16), **changes}


def frame(*arrays: dict[str, Any]) -> bytes:
    record = {"run_id": "r", "message_id": "m", "sequence": 0, "program": "01093", "product": "p", "obs_id": ""}
    record |= {"product_type": "", "instrument": None, "detector": None, "exposed_mjd": None, "kind": "image"}
    record |= {"hdu": 1, "extname": "SCI", "extver": 1, "integration": None, "group": None, "tile": 0, "tiles": 1}
    return encode("frame", {**record, "hdu_shape": [2, 2], "origin": [0, 0], "arrays": list(arrays) or [array()]})


#: A value, and what the reader says of it.
POISON: dict[str, bytes | None] = {
    "is not Avro": b"\x89PNG, somebody's picture",
    "is not Avro ": b"",
    "is not Avro  ": None,
    "unknown schema 65535": b"\0\0\0\xff\xff",
    "unknown schema 4294967295": struct.pack(">bI", 0, 2**32 - 1),
    "does not fit schema 100": frame()[:-5],
    "bytes left over": frame() + b"\0",
    "may carry": frame(array(dtype="|O")),
    "claims": frame(array(shape=[2**40, 2])),
    "has a negative length": frame(array(shape=[-2, 2])),
    "data type": frame(array(dtype="<f3")),
    "too big": frame(array(shape=[0, 2**62])),
    "has 100 axes": frame(array(shape=[1] * 100, data=bytes(4))),
    "is not known here": frame(array(codec="rot13")),
    "is not Avro, and large": bytes([1]) * 3_000_000,
}


def letters(bench: Bench) -> list[Any]:
    place = (bench.topics.names["frame"] + ".dlq", 0)
    return list(read_between(bench.config, low_offsets(bench.config, [place]), None))


def test_poison_is_set_aside_and_the_stream_goes_on(bench: Bench) -> None:
    put(bench, *((value, ()) for value in POISON.values()))
    bench.deliver()
    wrong_crc = (frame(), (((Header.CRC), b"00000000"),))
    endless = (frame(), ((Header.SEQUENCE, b"9" * 5000), (Header.RUN, b"r"), (Header.ID, b"x")))
    put(bench, wrong_crc, endless, (frame(), (("big", bytes(100_000)),)), (b"", (("big", bytes(100_000)),)))
    frames = sum(row["family"] == "frame" for row in bench.plan.rows)
    group = f"g-{bench.settings.topic_prefix}"
    with connect("hwosim.frames.v1", group=group, idle=1) as stream:
        assert len(list(stream)) == frames + 2  # two frames were whole, with odd headers
        assert stream.refused == len(POISON) + 2
    found = letters(bench)
    assert len(found) == len(POISON) + 2
    lay = {record.offset(): record for record in bench.messages("frame") if record.partition() == 0}
    for message, words in zip(found, [*POISON, "damaged on the way", "is not Avro"], strict=True):
        told = text_headers(message)
        assert words.split(",")[0].strip().lower() in told["dlq_reason"].lower()
        assert (told["dlq_topic"], told["dlq_partition"]) == (bench.topics.names["frame"], "0")
        assert told["dlq_group"] == group
        came = lay[int(told["dlq_offset"])].value() or b""
        assert int(told["dlq_size"]) == len(came)
        assert (message.value() or b"") == (came if len(came) < 1_000_000 else b"")
    with connect("hwosim.frames.v1", group=group, idle=1) as stream:
        assert list(stream) == []
    assert len(letters(bench)) == len(found), "what was set aside is processed"


def test_who_only_looks_sets_nothing_aside(bench: Bench) -> None:
    put(bench, (b"nothing of ours", ()))
    with connect("hwosim.frames.v1", idle=0.5) as stream:
        assert list(stream) == []
        assert stream.refused == 1
    with pytest.raises(BadInputError, match=r"frames\.v1\.dlq: is not on this broker"):
        connect("hwosim.frames.v1.dlq")


def test_dead_letters_of_dead_letters_are_not_made(bench: Bench) -> None:
    put(bench, (b"nothing of ours", ()))
    for topic in ("hwosim.frames.v1", "hwosim.frames.v1.dlq"):
        with connect(topic, group=f"g-{bench.settings.topic_prefix}{topic}", idle=1) as stream:
            assert list(stream) == []
            assert stream.refused == 1
    with pytest.raises(BadInputError, match="is not on this broker"):
        connect("hwosim.frames.v1.dlq.dlq")


@pytest.mark.parametrize("way", ["makes no topic", "takes no record"])
def test_a_broker_that_takes_no_dead_letter_is_told_once_and_the_stream_goes_on(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, way: str
) -> None:
    put(bench, (b"one", ()), (b"two", ()))
    bench.deliver()
    refused = BrokerRefusesError("Kafka topic", "does not let this user use the topic", "ask")

    def refuse(*_arguments: Any, **_options: Any) -> None:
        raise refused

    if way == "makes no topic":
        monkeypatch.setattr(dead_letters, "ensure_topic", refuse)
    else:
        monkeypatch.setattr(KafkaSink, "send", lambda _sink, _record, done: done(None, refused))
    group = f"g-{bench.settings.topic_prefix}"
    with caplog.at_level(logging.ERROR), connect("hwosim.frames.v1", group=group, idle=1) as stream:
        assert len(list(stream)) == sum(row["family"] == "frame" for row in bench.plan.rows)
        assert stream.refused == 2
    said = [record.getMessage() for record in caplog.records if "no dead letters are kept" in record.getMessage()]
    assert len(said) == 1
    assert said[0].endswith("ask")


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_bytes_that_changed_are_a_frame_or_refused_and_never_anything_else(data: st.DataObject) -> None:
    value = bytearray(frame(array(), array(name="DQ", dtype="<u4", codec="raw")))
    for _ in range(data.draw(st.integers(1, 4))):
        value[data.draw(st.integers(0, len(value) - 1))] = data.draw(st.integers(0, 255))
    try:
        decoded = decode(bytes(value[: data.draw(st.integers(0, len(value)))]))
        assert decoded.family != "frame" or isinstance(Frame.from_record(decoded.record), Frame)
    except BadInputError as error:
        assert len(str(error).splitlines()) == 1


@settings(max_examples=200, deadline=None)
@given(
    st.from_regex(r"[<|>][a-zA-Z]\d{0,6}", fullmatch=True),
    st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(0, 5), max_size=70).map(tuple),
    st.sampled_from(["raw", "shuffle-zstd", ""]),
    st.binary(max_size=64),
)
def test_an_array_of_any_claim_is_an_array_or_refused(
    dtype: str, shape: tuple[int, ...], codec: str, data: bytes
) -> None:
    try:
        assert unpack(dtype, shape, codec, data).shape == shape
    except BadInputError as error:
        assert len(str(error)) < 2000
    assert unpack("<f4", (0, 7), "raw", b"").shape == (0, 7)


def test_a_message_too_large_for_the_broker_is_told_at_once(bench: Bench) -> None:
    bench.config = {**bench.config, "message.max.bytes": 20_000}
    began = time.monotonic()
    with pytest.raises(BrokerRefusesError, match=r"takes no message of this size.*raise max\.message\.bytes"):
        bench.deliver()
    assert time.monotonic() - began < 8, "it is not tried five times"
    bench.config.pop("message.max.bytes")
    assert bench.deliver().verification.verified


def test_an_answer_too_large_is_refused_and_the_reader_goes_on(bench: Bench) -> None:
    bench.deliver()
    noise = np.random.default_rng(1).integers(0, 2**63, 400_000)
    with connect("hwosim.frames.v1", group=f"g-{bench.settings.topic_prefix}", idle=1) as stream:
        for number, each in enumerate(stream):
            if number == 0:
                with pytest.raises(BadInputError, match="above the"):
                    stream.predict(each, {"map": noise})
            stream.predict(each, 1.0)
    assert len(bench.messages("prediction")) == number + 1
