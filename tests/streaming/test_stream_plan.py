"""Plans: pure, the same everywhere, adding up, tiles covering every pixel once."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stream_data import FAULTY, PART, scenario

from hwosim_assets.errors import BadInputError
from hwosim_assets.perturb.transport import TRANSPORT_SEVERITIES, Schedule, Transport
from hwosim_streaming.compose import truth_messages
from hwosim_streaming.envelope import decode
from hwosim_streaming.faults import Fate, fate, send_order
from hwosim_streaming.plan import MESSAGES, make_plan
from hwosim_streaming.schedule import due_times
from hwosim_streaming.tiling import LARGEST_PIECE, pieces


def image(index: int, name: str, shape: tuple[int, ...], dtype: str = "float32", extver: int = 1) -> dict:
    return {
        "index": index,
        "extname": name,
        "extver": extver,
        "kind": "image",
        "shape": shape,
        "dtype": dtype,
        "columns": [],
    }


PRIMARY = {"index": 0, "extname": "PRIMARY", "extver": 1, "kind": "empty", "shape": [], "dtype": "", "columns": []}


def rows(count: int = 6, shape: tuple[int, ...] = (10, 64, 64)) -> list[dict]:
    layout = json.dumps([PRIMARY, image(1, "SCI", shape), image(2, "ERR", shape), image(3, "DQ", shape, "uint32")])
    return [
        {
            "program": "01093",
            "scenario": "windy",
            "product_name": f"jw01093001001_03101_{number:05d}_nis_calints.fits",
            "in_sha256": "a" * 64,
            "out_sha256": f"{number:064d}",
            "plan_sha256": "b" * 64,
            "layout_json": layout,
            "product_type": "calints",
            "detector": "NIS" if number % 2 else "NRCA1",
            "instrument_name": "NIRISS/SOSS",
            "obs_id": "x",
            "stream_time_mjd": 59800 + number / 1000 if number % 5 else None,
        }
        for number in range(count)
    ]


def plan(manifest: list[dict], **sections: object):
    return make_plan(pa.Table.from_pylist(manifest), scenario(**sections))


severity = st.fixed_dictionaries({"severity": st.floats(0, 5)})
transports = st.fixed_dictionaries({"loss": severity, "duplicate": severity, "reorder": severity})


@settings(max_examples=25, deadline=None)
@given(
    st.randoms(use_true_random=False),
    transports,
    st.integers(0, 2**62),
    st.sampled_from(["constant", "poisson", "as_exposed"]),
)
def test_plan_is_pure_and_adds_up(random, transport, seed, mode) -> None:
    manifest = rows()
    sections = {"transport": transport, "seed": seed, "schedule": {"mode": mode}}
    first = plan(manifest, **sections)
    random.shuffle(manifest)
    second = plan(manifest, **sections)
    assert (first.plan_sha256, first.run_id) == (second.plan_sha256, second.run_id)
    assert first.messages.equals(second.messages)
    assert first.sends == second.sends
    assert first.planned - first.lost + first.duplicated == len(first.sends)
    due = [send.due_ns for send in first.sends]
    assert due == sorted(due)
    assert min(due) >= 0
    assert len(set(first.messages["message_id"].to_pylist())) == first.planned


def test_severity_zero_is_the_identity() -> None:
    still = plan(rows(), transport={name: {"severity": 0} for name in ("loss", "duplicate", "reorder")})
    assert [(send.index, send.copy) for send in still.sends] == [(index, 0) for index in range(still.planned)]
    assert still.lost == still.duplicated == 0
    due = still.messages["due_ns"].to_pylist()
    assert [send.due_ns for send in still.sends] == due


def test_the_hash_follows_what_the_stream_is_made_of() -> None:
    base = plan(rows())
    other_bytes = rows()
    other_bytes[0]["out_sha256"] = "f" * 64
    changed = [
        plan(other_bytes),
        plan(rows(), seed=5),
        plan(rows(), transport=FAULTY),
        plan(rows(), schedule={"mode": "constant", "rate_per_s": 3}),
        plan(rows(5)),
    ]
    assert len({base.plan_sha256, *(each.plan_sha256 for each in changed)}) == 6
    assert len({base.run_id, *(each.run_id for each in changed)}) == 6
    assert plan(rows(), description="other words").plan_sha256 == base.plan_sha256


def test_the_hash_is_the_same_in_another_process() -> None:
    code = (
        "import sys; sys.path.insert(0, 'tests/streaming')\n"
        "from test_stream_plan import plan, rows, FAULTY\n"
        "print(plan(rows(), transport=FAULTY).plan_sha256)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": "7"}
    )
    assert done.stdout.strip() == plan(rows(), transport=FAULTY).plan_sha256


def test_ids_differ_between_scenarios_and_sequences_count_per_detector() -> None:
    made = plan(rows())
    frames = [row for row in made.rows if row["family"] == "frame"]
    for key in ("NIS", "NRCA1"):
        own = [row["sequence"] for row in frames if row["key"] == key]
        assert own == list(range(len(own)))
    assert [row["exposed_mjd"] for row in made.rows if row["exposed_mjd"] is None][-1] is None
    assert made.rows[-1]["exposed_mjd"] is None  # what has no time comes last


def test_nothing_to_stream_is_said() -> None:
    with pytest.raises(BadInputError, match="no perturbed products"):
        make_plan(pa.Table.from_pylist([], schema=pa.schema([("product_name", pa.string())])), scenario())
    mixed = rows(2)
    mixed[1]["program"] = "00002"
    with pytest.raises(BadInputError, match="00002, 01093"):
        plan(mixed)


def test_a_time_that_is_none_is_no_time() -> None:
    manifest = rows(2)
    manifest[1]["stream_time_mjd"] = math.nan
    assert set(plan(manifest).messages["exposed_mjd"].to_pylist()) == {None}


def test_fault_rates_are_within_three_sigma() -> None:
    count = 20_000
    for name in ("loss", "duplicate", "reorder"):
        for level, probability in enumerate(TRANSPORT_SEVERITIES[name], start=1):
            transport = Transport.model_validate({name: {"severity": level}})
            lots = [fate(1, f"{name}/{number}", transport) for number in range(count)]
            hit = {
                "loss": lambda lot: lot.copies == 0,
                "duplicate": lambda lot: lot.copies == 2,
                "reorder": lambda lot: lot.displacement > 0,
            }
            found = sum(map(hit[name], lots))
            assert abs(found - count * probability) <= 3 * math.sqrt(count * probability * (1 - probability))


def test_a_message_lost_at_one_severity_is_lost_at_the_next() -> None:
    lost: set[int] = set()
    for level in range(6):
        transport = Transport.model_validate({"loss": {"severity": level}})
        now = {number for number in range(20_000) if fate(9, str(number), transport).copies == 0}
        assert lost <= now
        lost = now
    assert lost


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 2), st.integers(0, 5), st.integers(1, 4)), max_size=40))
def test_send_order_moves_within_the_key_and_no_further_than_told(entries) -> None:
    lanes = [lane for lane, *_ in entries]
    fates = [Fate(copies, displacement, late) for _lane, copies, displacement, late in entries]
    order = send_order(lanes, fates)
    assert Counter(index for _place, index, _copy in order) == Counter(
        {index: lot.copies for index, lot in enumerate(fates) if lot.copies}
    )
    for lane in "ab":
        own = [index for index in range(len(lanes)) if lanes[index] == lane]
        for place, index, copy in order:
            if lanes[index] == lane:
                moved = own.index(place) - own.index(index)
                allowed = fates[index].displacement + (fates[index].copy_displacement if copy else 0)
                assert 0 <= moved <= allowed


def test_truth_tells_every_fault_as_it_can_be_seen() -> None:
    """By sequence numbers in the order of arrival, as a reader would count them."""
    made = plan(rows(), transport=FAULTY, seed=4)
    arrived = [made.rows[send.index] for send in made.sends if made.rows[send.index]["family"] == "frame"]
    times = Counter(row["message_id"] for row in arrived)
    seen = {("duplicate", name): count - 1 for name, count in times.items() if count > 1}
    first = list({row["message_id"]: row for row in arrived}.values())
    for place, row in enumerate(first):
        later = sum(other["key"] == row["key"] and other["sequence"] > row["sequence"] for other in first[:place])
        if later:
            seen["reorder", row["message_id"]] = later
    frames = [row["message_id"] for row in made.rows if row["family"] == "frame"]
    seen |= {("loss", name): 1 for name in frames if name not in times}
    labels = [{**PART, **dict.fromkeys(("in_sha256", "out_sha256", "plan_sha256"), ""), "product_name": name}
              for name in made.products]  # fmt: skip
    told = [fault for each in truth_messages(made, labels) for fault in decode(each.value).record["faults"]]
    assert {(fault["fault"], fault["message_id"]): fault["amount"] for fault in told} == seen
    assert {fault for fault, _name in seen} == {"loss", "duplicate", "reorder"}


def test_constant_poisson_and_exposed_schedules() -> None:
    constant = due_times(Schedule(mode="constant", rate_per_s=1000), 1, [None] * 5001)
    assert constant[-1] == 5_000_000_000
    poisson = np.diff(due_times(Schedule(mode="poisson", rate_per_s=100), 1, [None] * 20_001)) / 1e9
    assert abs(poisson.mean() - 0.01) < 3 * 0.01 / math.sqrt(20_000)
    assert abs(poisson.std() - 0.01) < 5e-4
    minute = 1 / 1440
    times = [59800.0, 59800.0, 59800 + minute, 59900.0, None]
    exposed = due_times(Schedule(mode="as_exposed", rate_per_s=10, time_scale=60, max_gap_s=5), 1, times)
    assert [round(each / 1e9, 3) for each in exposed] == [0.0, 0.1, 1.0, 6.0, 6.1]


shapes = st.one_of(
    st.tuples(st.integers(1, 700), st.integers(1, 700)),
    st.tuples(st.integers(1, 40), st.integers(1, 150), st.integers(1, 150)),
    st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 200), st.integers(1, 200)),
    st.tuples(st.integers(1, 300_000)),
)


@settings(max_examples=60, deadline=None)
@given(shapes, st.sampled_from(["calints", "cal", "s3d", "uncal"]))
def test_tiles_cover_every_pixel_once_and_stay_small(shape, product_type) -> None:
    found = list(
        pieces([PRIMARY, image(1, "SCI", shape), image(2, "ERR", shape), image(3, "DQ", shape, "uint32")], product_type)
    )
    covered = np.zeros(shape, dtype=int)
    for piece in found:
        assert piece.size <= LARGEST_PIECE
        assert [name for name, _hdu in piece.sources] == ["SCI", "ERR", "DQ"]
        covered[tuple(slice(at, at + length) for at, length in zip(piece.origin, piece.shape, strict=True))] += 1
    assert (covered == 1).all()
    numbers = Counter((piece.integration, piece.group) for piece in found)
    assert all(count == found[0].tiles for count in numbers.values())


def test_what_is_streamed_of_a_file() -> None:
    table = {"index": 4, "extname": "EXTRACT1D", "extver": 1, "kind": "table", "shape": [3], "dtype": "", "columns": [
        {"name": "WAVELENGTH", "format": "D", "unit": "um", "dtype": "float64", "shape": []},
        {"name": "LIST", "format": "PE", "unit": "", "dtype": "variable", "shape": []},
    ]}  # fmt: skip
    mixed = [PRIMARY, image(1, "SCI", (8, 8)), image(2, "ERR", (4, 4)), image(3, "VAR_RNOISE", (8, 8)), table]
    assert [piece.sources for piece in pieces(mixed, "s2d")] == [(("SCI", 1),), (("WAVELENGTH", 4),)]
    odd = [{**image(0, "PRIMARY", (8, 8)), "kind": "image"}, image(1, "", (2, 2)), {**table, "extname": "CATALOG"}]
    assert [piece.sources for piece in pieces(odd, "")] == [(("PRIMARY", 0),), (("HDU1", 1),), (("WAVELENGTH", 4),)]
    slits = [
        PRIMARY,
        image(1, "SCI", (8, 8), extver=1),
        image(2, "SCI", (4, 9), extver=2),
        image(3, "ERR", (4, 9), extver=2),
    ]
    assert [piece.sources for piece in pieces(slits, "cal")] == [(("SCI", 1),), (("SCI", 2), ("ERR", 3))]
    assert list(pieces([PRIMARY], "msa")) == []
    assert list(pieces([PRIMARY, {**table, "columns": [table["columns"][1]]}], "x1d")) == []


def test_a_hundred_thousand_messages_are_planned_in_time() -> None:
    started = time.process_time()
    made = plan(rows(100, (1000, 64, 64)), transport=FAULTY)
    spent = time.process_time() - started
    assert made.planned == 100_100
    assert set(made.messages.schema.names) == set(MESSAGES.names)
    assert spent < 10, f"{spent:.1f} s of processor time"  # the goal is 5 s on an idle core
