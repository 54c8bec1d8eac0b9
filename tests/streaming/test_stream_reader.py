"""What a reader can do beside reading: see gaps, answer, wait without blocking, fetch files, write FITS."""

from __future__ import annotations

import asyncio
import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from stream_data import FAULTY, files, manifest
from test_stream_round_trip import Bench

from hwosim_assets.errors import BackendAbsentError, BadInputError
from hwosim_assets.lake.store import Lake
from hwosim_assets.settings import Settings
from hwosim_streaming import connect
from hwosim_streaming.arrivals import text_headers
from hwosim_streaming.cli import stream as stream_command
from hwosim_streaming.codec import unpack
from hwosim_streaming.envelope import Frame, Header, decode
from hwosim_streaming.frame_fits import file_name, write_fits
from hwosim_streaming.gaps import REMEMBERED, Gaps
from hwosim_streaming.sink import KafkaSink, PublishFailedError


@pytest.fixture
def bench(stream_settings: Settings, lake: Lake) -> Bench:
    return Bench(stream_settings, lake, manifest(lake))


def group_of(bench: Bench) -> str:
    return f"model-{bench.settings.topic_prefix}"


# ---------------------------------------------------------------------- gaps


@given(st.lists(st.integers(0, 60), unique=True, min_size=1))
def test_gaps_are_what_lies_between_and_has_not_come(numbers: list[int]) -> None:
    gaps = Gaps()
    for number in numbers:
        gaps.note("run", "NIS", number)
    expected = set(range(numbers[0], max(numbers))) - set(numbers)
    assert {number for _run, _key, number in gaps.missing()} == expected
    assert gaps.count == len(expected)


def test_keys_and_runs_count_for_themselves_and_a_leap_takes_bounded_memory() -> None:
    gaps = Gaps()
    assert [gaps.note(run, key, 0) for run, key in (("a", "NIS"), ("a", "NRS1"), ("b", "NIS"))] == [0, 0, 0]
    assert gaps.note("a", "NIS", 3) == 2
    assert gaps.missing() == [("a", "NIS", 1), ("a", "NIS", 2)]
    assert gaps.note("b", "NIS", 10**12) == 10**12 - 1
    assert gaps.forgotten == 10**12 - 1 - REMEMBERED


def test_runs_long_over_are_forgotten_and_what_they_missed_stays_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hwosim_streaming.gaps.PLACES", 3)
    gaps = Gaps()
    for number in range(10):
        gaps.note(f"run {number}", "NIS", 0)
        gaps.note(f"run {number}", "NIS", 3)
    assert gaps.count == 20
    assert len(gaps.missing()) == 6
    gaps.note("run 9", "NIS", 2)
    gaps.note("run 9", "NIS", 2)
    assert gaps.count == 19


def test_a_reader_sees_just_the_lost_frames_as_gaps(stream_settings: Settings, lake: Lake) -> None:
    bench = Bench(stream_settings, lake, manifest(lake), transport=FAULTY, seed=11)
    bench.deliver()
    with connect("hwosim.frames.v1", idle=0.5) as stream:
        frames = list(stream)
    rows = [row for row in bench.plan.rows if row["family"] == "frame"]
    first = {frame.detector: 0 for frame in frames}
    seen = {key: [row["sequence"] for row in rows if row["key"] == key and row["copies"]] for key in first if key}
    lost = {
        (row["key"], row["sequence"])
        for row in rows
        if not row["copies"] and seen.get(row["key"]) and seen[row["key"]][0] < row["sequence"] < max(seen[row["key"]])
    }
    assert lost
    assert {(key, number) for _run, key, number in stream.gaps.missing() if key in seen} == lost


# ---------------------------------------------------------------------- answers


def predictions(bench: Bench) -> list[dict[str, Any]]:
    return [decode(message.value()).record for message in bench.messages("prediction")]


def test_answers_lie_on_their_topic_and_join_to_the_frames(bench: Bench) -> None:
    bench.deliver()
    group = group_of(bench)
    with connect("hwosim.frames.v1", group=group, idle=1, model_version="7") as stream:
        frames = []
        for frame in stream:
            frames.append(frame)
            if frame.kind == "image":
                said = (
                    {"label": "star", "score": np.float32(0.5), "mask": frame.arrays["SCI"] > 0}
                    if "SCI" in frame.arrays
                    else 1
                )
                stream.predict(frame, said)
            else:
                stream.predict(frame, "spectrum")
    found = predictions(bench)
    assert [(each["run_id"], each["message_id"]) for each in found] == [(f.run_id, f.message_id) for f in frames]
    assert {(each["model"], each["model_version"]) for each in found} == {(group, "7")}
    first = next(each for each in found if each["arrays"])
    frame = next(frame for frame in frames if frame.message_id == first["message_id"])
    (sent,) = first["arrays"]
    mask = unpack(sent["dtype"], tuple(sent["shape"]), sent["codec"], sent["data"])
    assert np.array_equal(mask, next(iter(frame.arrays.values())) > 0)
    assert (first["label"], first["values"]) == ("star", {"score": 0.5})
    assert all(each["received_ns"] <= each["answered_ns"] for each in found)
    assert {each["label"] for each in found if not each["values"]} == {"spectrum"}


def test_the_same_answer_again_has_the_same_id(bench: Bench) -> None:
    bench.deliver()
    for _ in range(2):
        with connect("hwosim.frames.v1", idle=0.5, model="m") as stream:
            stream.predict(next(iter(stream)), 1.0)
    ids = [text_headers(message)[Header.ID] for message in bench.messages("prediction")]
    assert len(ids) == 2
    assert len(set(ids)) == 1


def test_a_frame_whose_answer_was_not_taken_comes_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.deliver()
    group = group_of(bench)

    def refused(self: KafkaSink, record: Any, done: Any) -> None:
        done(None, BackendAbsentError("the topic", "no room", "make some"))

    with monkeypatch.context() as patched:
        patched.setattr(KafkaSink, "send", refused)
        with (
            pytest.raises(PublishFailedError, match="no room"),
            connect("hwosim.frames.v1", group=group, idle=1) as one,
        ):
            for frame in one:
                one.predict(frame, 1.0)
    with connect("hwosim.frames.v1", group=group, idle=1) as stream:
        read = [frame.message_id for frame in stream]
    assert set(read) == {row["message_id"] for row in bench.plan.rows if row["family"] == "frame"}


@pytest.mark.parametrize("answer", [None, object(), {"score": "high"}, [1, 2]])
def test_what_is_no_answer_is_refused(bench: Bench, answer: object) -> None:
    bench.deliver()
    with connect("hwosim.frames.v1", idle=0.5, model="m") as stream:
        frame = next(iter(stream))
        with pytest.raises(BadInputError, match="prediction of m"):
            stream.predict(frame, answer)
    with connect("hwosim.frames.v1", idle=0.5) as stream, pytest.raises(BadInputError, match="who answers"):
        stream.predict(frame, 1.0)


# ---------------------------------------------------------------------- other ways to read


def test_waiting_for_frames_blocks_nobody_else(bench: Bench) -> None:
    bench.deliver()

    async def read() -> tuple[int, int]:
        ticks, frames = 0, 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0.01)

        ticking = asyncio.create_task(tick())
        with connect("hwosim.frames.v1", idle=0.5) as stream:
            async for frame in stream:
                assert isinstance(frame, Frame)
                frames += 1
        ticking.cancel()
        return ticks, frames

    ticks, frames = asyncio.run(read())
    assert frames == sum(row["family"] == "frame" for row in bench.plan.rows)
    assert ticks > 20


def test_a_claim_check_becomes_the_file(bench: Bench, lake: Lake) -> None:
    bench.deliver()
    with connect("hwosim.products.v1", idle=0.5) as stream:
        products = list(stream)
        assert {each.record["product"]: stream.fetch(each) for each in products} == files()
    changed = products[0]
    changed.record["sha256"] = "0" * 64
    with pytest.raises(BadInputError, match="not the file that was announced"):
        stream.fetch(changed)
    changed.record["uri"] = None
    with pytest.raises(BadInputError, match="kept nowhere"):
        stream.fetch(changed)


def test_frames_become_fits_files_that_tell_where_they_lie(bench: Bench) -> None:
    bench.deliver()
    with connect("hwosim.frames.v1", idle=0.5) as stream:
        frames = list(stream)
    assert len({file_name(frame) for frame in frames}) == len(frames)
    for frame in frames:
        buffer = io.BytesIO()
        frame.to_hdulist().writeto(buffer, output_verify="exception")
        with fits.open(io.BytesIO(buffer.getvalue())) as hdus:
            assert hdus[0].header["HWOMSG"] == frame.message_id
            assert hdus[0].header["PROGRAM"] == frame.program
            for number, (name, array) in enumerate(frame.arrays.items(), start=1):
                stored = hdus[1].data[name] if frame.kind == "table" else hdus[number].data
                if array.dtype.kind == "S":
                    assert [text.encode() for text in stored] == array.tolist()
                else:
                    assert np.array_equal(stored, array, equal_nan=array.dtype.kind == "f")
            if frame.kind == "image":
                assert [hdus[1].header[f"LTV{axis}"] for axis in (1, 2)] == [-frame.origin[-1], -frame.origin[-2]]
            units = {hdu.header.get("BUNIT") for hdu in hdus if "BUNIT" in hdu.header}
            assert units <= set(frame.units.values())


def test_the_command_writes_files_and_a_name_cannot_leave_the_folder(bench: Bench, tmp_path: Path) -> None:
    bench.deliver()
    done = CliRunner().invoke(stream_command, ["consume", "--idle", "0.5", "--fits", str(tmp_path / "frames")])
    assert done.exit_code == 0, done.output
    written = sorted((tmp_path / "frames").iterdir())
    assert len(written) == sum(row["family"] == "frame" for row in bench.plan.rows)
    with connect("hwosim.frames.v1", idle=0.5) as stream:
        frame = next(iter(stream))
    with pytest.raises(BadInputError):
        write_fits(replace(frame, product="../../escaped.fits"), tmp_path / "frames")
    assert sorted((tmp_path / "frames").iterdir()) == written
