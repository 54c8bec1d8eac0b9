"""Plans: pure, the same everywhere, adding up, tiles covering every pixel once."""

from __future__ import annotations

import hashlib
import json
import math
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stream_data import FAULTY, PART, scenario

from hwosim_assets.archive.sample import write_sample
from hwosim_assets.catalog.products import PRODUCTS, product_row
from hwosim_assets.errors import BadInputError
from hwosim_assets.fits.describe import describe
from hwosim_assets.lake.layout import raw_key
from hwosim_assets.lake.store import Lake
from hwosim_assets.lake.tables import Tables
from hwosim_assets.perturb.dataset import perturb_program
from hwosim_assets.perturb.schedule import Schedule
from hwosim_assets.perturb.transport import TRANSPORT_SEVERITIES, Transport
from hwosim_streaming.compose import truth_messages
from hwosim_streaming.envelope import FAMILIES, TOPIC_OF, decode
from hwosim_streaming.faults import DAMAGES, Fate, clock_skew, fate, in_gap, label_delay_ns, send_order
from hwosim_streaming.plan import FATE, MESSAGES, make_plan
from hwosim_streaming.publication import plan_program
from hwosim_streaming.schedule import Message, timeline
from hwosim_streaming.tiling import LARGEST_PIECE, pieces
from hwosim_streaming.topics import Topics


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


#: Draws for rates; the goal of 100 000 messages holds for the slowest test too.
COUNT = 20_000
MODES = ["constant", "bandwidth", "poisson", "bursts", "visits", "as_exposed", "downlink", "trace"]
severity = st.fixed_dictionaries({"severity": st.floats(0, 5)})
transports = st.fixed_dictionaries({}, optional=dict.fromkeys(TRANSPORT_SEVERITIES, severity))


@settings(max_examples=25, deadline=None)
@given(
    st.randoms(use_true_random=False),
    transports,
    st.integers(0, 2**62),
    st.sampled_from(MODES),
    st.sampled_from([0.0, 0.5]),
)
def test_plan_is_pure_and_adds_up(random, transport, seed, mode, jitter) -> None:
    manifest = rows()
    schedule = {"mode": mode, "jitter_s": jitter, "trace_s": [0, 0.5, 0.5, 3]}
    sections = {"transport": transport, "seed": seed, "schedule": schedule}
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
    still = plan(rows(), transport={name: {"severity": 0} for name in TRANSPORT_SEVERITIES})
    assert still.plan_sha256 == plan(rows()).plan_sha256
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


def test_detectors_that_expose_together_take_turns() -> None:
    manifest = rows(3, (2, 3, 8, 8))
    groups = [[60000 + integration / 100 + group / 1000 for group in range(3)] for integration in range(2)]
    for row in manifest:
        row |= {"product_type": "uncal", "exposed_json": json.dumps({"by": "GROUP", "mjd": groups})}
    manifest[2]["exposed_json"] = None  # of an earlier version, or a file that tells no times
    made = plan(manifest, schedule={"mode": "as_exposed", "time_scale": 86400, "max_gap_s": 100, "rate_per_s": 1e6})
    frames = [row for row in made.rows if row["family"] == "frame"]
    told, untold = frames[6:], frames[:6]
    assert {row["exposed_mjd"] for row in untold} == {59800.002}
    assert [row["exposed_mjd"] for row in told] == [time for ends in groups for time in ends for _detector in range(2)]
    assert [row["key"] for row in told] == ["NIS", "NRCA1"] * 6
    assert [(row["integration"], row["group"]) for row in told[::2]] == [(1, 1), (1, 2), (1, 3), (2, 1), (2, 2), (2, 3)]
    # A product is announced with its first frame, and the gaps are those of the exposure: 0.001 and 0.008 days.
    order = [
        (row["family"], row["product_name"]) for row in made.rows if row["product_name"] != told[0]["product_name"]
    ]
    assert order.index(("product", told[1]["product_name"])) < order.index(("frame", told[1]["product_name"]))
    due = [row["due_ns"] / 1e9 for row in told[::2]]
    assert np.allclose(np.diff(due), [0.001, 0.001, 0.008, 0.001, 0.001], atol=1e-5)
    for key in ("NIS", "NRCA1"):
        sequences = [row["sequence"] for row in frames if row["key"] == key]
        assert sequences == list(range(len(sequences)))


@pytest.mark.parametrize("times", ["{}", '{"by": "GROUP", "mjd": [[60000.0]]}'])
def test_times_that_do_not_cover_a_product_leave_the_rest_to_its_mid_time(times: str) -> None:
    manifest = rows(2, (2, 3, 8, 8))
    manifest[1] |= {"product_type": "uncal", "exposed_json": times}
    exposed = [row["exposed_mjd"] for row in plan(manifest).rows if row["product_name"] == manifest[1]["product_name"]]
    assert exposed.count(59800.001) >= 5


def test_the_plan_is_the_same_for_one_worker_or_four(tmp_path: Path) -> None:
    hashes = {}
    write_sample(tmp_path / "archive", programs=1, seed=3)
    files = sorted((tmp_path / "archive").rglob("*.fits"), key=lambda path: path.stat().st_size)[:4]
    for workers in (1, 4):
        uri = (tmp_path / f"lake{workers}").as_uri()
        lake, tables = Lake(uri), Tables(f"sqlite:///{tmp_path / f'{workers}.db'}", f"{uri}/tables")
        catalogued = []
        for path in files:
            content = path.read_bytes()
            raw = {"program": "97001", "product_name": path.name, "sha256": hashlib.sha256(content).hexdigest()}
            raw |= {"size_bytes": len(content), "key": raw_key(path.name, "97001", "one"), "data_uri": "", "uri": ""}
            lake.write_new(raw["key"], content)
            catalogued.append(product_row(raw, describe(content, path.name), []))
        tables.replace(PRODUCTS, {"program": "97001"}, pa.Table.from_pylist(catalogued, schema=PRODUCTS.schema))
        windy = scenario(transport=FAULTY, effects=[{"read_noise": {"severity": 2}}])
        assert not perturb_program("97001", windy, lake, tables, workers=workers).rejections
        made = plan_program("97001", windy, tables)
        hashes[workers] = (made.plan_sha256, made.run_id, made.planned)
    assert hashes[1] == hashes[4]
    assert hashes[1][2] > len(files)


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


HIT = {
    "loss": lambda lot: lot.copies == 0,
    "duplicate": lambda lot: lot.copy_displacement > 0,
    "reorder": lambda lot: lot.displacement > 0,
    "delay": lambda lot: lot.delay_ns > 0,
    "stale": lambda lot: lot.stale_displacement > 0,
    "corruption": lambda lot: lot.damage == "corruption",
    "truncation": lambda lot: lot.damage == "truncation",
    "schema_change": lambda lot: lot.damage == "schema_change",
}


@pytest.mark.parametrize("name", HIT)
def test_fault_rates_are_within_three_sigma_and_sets_are_nested(name: str) -> None:
    before: set[int] = set()
    for level, probability in enumerate(TRANSPORT_SEVERITIES[name]["probability"], start=1):
        transport = Transport.model_validate({name: {"severity": level}})
        hit = {number for number in range(COUNT) if HIT[name](fate(1, f"{name}/{number}", transport))}
        assert abs(len(hit) - COUNT * probability) <= 3 * math.sqrt(COUNT * probability * (1 - probability))
        assert before <= hit
        before = hit


@pytest.mark.parametrize("level", [1, 2, 3, 4, 5])
def test_gaps_clocks_and_labels_meet_their_rates(level: int) -> None:
    gap = Transport.model_validate({"gap": {"severity": level}}).gap
    blocks = [in_gap(3, number * gap.length, gap) for number in range(COUNT)]
    assert abs(sum(blocks) - COUNT * gap.probability) <= 3 * math.sqrt(COUNT * gap.probability * (1 - gap.probability))
    if True in blocks:
        first = blocks.index(True) * gap.length
        assert all(in_gap(3, number, gap) for number in range(first, first + gap.length))
        assert first == 0 or not in_gap(3, first - 1, gap)
    late = Transport.model_validate({"late_label": {"severity": level}}).late_label
    delays = np.array([label_delay_ns(3, str(number), late) for number in range(COUNT)]) / 1e9
    assert abs((delays > 0).mean() - late.probability) < 3 / math.sqrt(COUNT)
    assert abs(delays[delays > 0].mean() / late.mean_s - 1) < 3 / math.sqrt(COUNT * late.probability)
    skew = Transport.model_validate({"clock_skew": {"severity": level}}).clock_skew
    skews = np.array([clock_skew(3, str(number), skew) for number in range(COUNT)])
    assert abs((skews != 0).mean() - skew.probability) < 3 / math.sqrt(COUNT)
    assert np.abs(skews).max() <= skew.skew_s
    assert np.abs(skews).max() > 0.99 * skew.skew_s


def test_delays_are_log_normal_about_their_median() -> None:
    transport = Transport.model_validate({"delay": {"probability": 1, "median_s": 2}})
    logs = np.log([fate(1, str(number), transport).delay_ns / 2e9 for number in range(COUNT)])
    assert abs(logs.mean()) < 3 / math.sqrt(COUNT)
    assert abs(logs.std() - 1) < 3 / math.sqrt(2 * COUNT)


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
    topics = Topics(TOPIC_OF, dict.fromkeys(FAMILIES, 4))
    told = [fault for each in truth_messages(made, labels, topics) for fault in decode(each.value).record["faults"]]
    assert {(fault["fault"], fault["message_id"]): fault["amount"] for fault in told} == seen
    assert {fault for fault, _name in seen} == {"loss", "duplicate", "reorder"}


def due(count: int, *, exposed: list[float | None] | None = None, size: int = 1000, **numbers: object) -> np.ndarray:
    """Return due times in seconds."""
    messages = [Message(time, size) for time in exposed or [None] * count]
    return np.array(timeline(Schedule.model_validate(numbers), 1, messages).due_ns) / 1e9


def test_constant_poisson_and_exposed_schedules() -> None:
    assert due(5001, mode="constant", rate_per_s=1000)[-1] == 5
    assert due(1001, mode="bandwidth", megabytes_per_s=2, size=4000)[-1] == pytest.approx(2)
    poisson = np.diff(due(20_001, mode="poisson", rate_per_s=100))
    assert abs(poisson.mean() - 0.01) < 3 * 0.01 / math.sqrt(20_000)
    assert abs(poisson.std() - 0.01) < 5e-4
    minute = 1 / 1440
    times = [59800.0, 59800.0, 59800 + minute, 59900.0, None]
    exposed = due(5, exposed=times, mode="as_exposed", rate_per_s=10, time_scale=60, max_gap_s=5)
    assert exposed.round(3).tolist() == [0.0, 0.1, 1.0, 6.0, 6.1]


def test_bursts_keep_the_mean_rate_and_come_together() -> None:
    moments = due(60_000, mode="bursts", rate_per_s=100, burst_messages=50)
    sizes = np.unique(moments, return_counts=True)[1]
    assert abs(sizes.mean() / 50 - 1) < 3 / math.sqrt(len(sizes))
    assert abs(moments[-1] / 600 - 1) < 4 / math.sqrt(len(sizes))


def test_visits_are_rubins() -> None:
    moments = due(25_000, mode="visits")
    first = moments[:10_000]
    assert len(np.unique(first)) == 189
    assert 2.9 < first[-1] < 3
    assert (moments[10_000], moments[20_000]) == (37, 74)


def test_a_trace_is_repeated_with_its_own_gaps() -> None:
    assert due(7, mode="trace", trace_s=[5, 6, 6, 11]).tolist() == [0, 1, 1, 6, 8, 9, 9]


def test_jitter_moves_by_its_deviation_and_keeps_order() -> None:
    plain, moved = due(20_000, rate_per_s=1), due(20_000, rate_per_s=1, jitter_s=0.01)
    assert (np.diff(moved) >= 0).all()
    assert abs((moved - plain)[1:].std() / 0.01 - 1) < 3 / math.sqrt(40_000)


def test_the_downlink_is_silent_between_contacts_and_full_within() -> None:
    """A day of 60 GB at JWST's 3.5 MB/s needs both contacts, to the last byte."""
    day = [59800 + number / 6000 for number in range(6000)]
    schedule = Schedule.model_validate({"mode": "downlink", "time_scale": 1e5, "max_gap_s": 1e9, "rate_per_s": 1e6})
    times = timeline(schedule, 1, [Message(time, 10_000_000) for time in day])
    received = np.array(times.received)
    assert (np.diff(received) >= 0).all()
    assert (received >= day).all()
    hours = (received - 5 / 86400) % 0.5 * 24
    assert hours.max() <= 4 + 1e-6
    rate = 10 / np.diff(received).min() / 86400
    assert rate == pytest.approx(3.5, rel=1e-3)
    assert np.diff(times.due_ns).max() / 1e9 == pytest.approx(8 * 3600 / 1e5, rel=0.01)
    missed = timeline(schedule.model_copy(update={"contacts": schedule.contacts.model_copy(update={"missed": 0.9})}), 1,
                      [Message(time, 10_000_000) for time in day])  # fmt: skip
    assert np.mean(missed.received) > received.mean() + 0.1
    assert (np.array(missed.received) >= received - 1e-9).all()


@pytest.mark.parametrize(
    "schedule",
    [{"mode": "trace"}, {"mode": "trace", "trace_s": [2, 1]}, {"contacts": {"per_day": 7, "hours": 4}},
     {"visit_spread_s": 40}, {"overload": "give up"}, {"jitter_s": -1}],
)  # fmt: skip
def test_an_impossible_schedule_is_refused(schedule: dict) -> None:
    with pytest.raises(BadInputError, match="schedule"):
        scenario(schedule=schedule)


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


def test_a_hundred_thousand_messages_are_planned_in_time_and_at_their_rates() -> None:
    befalling = ("loss", "duplicate", "reorder", "stale", "delay", *DAMAGES)
    transport = {name: {"severity": 4} for name in befalling}
    started = time.process_time()
    made = plan(rows(100, (1000, 64, 64)), transport=transport)
    spent = time.process_time() - started
    assert made.planned == 100_100
    assert set(made.messages.schema.names) == set(MESSAGES.names)
    assert spent < 10, f"{spent:.1f} s of processor time"  # the goal is 5 s on an idle core
    frames = [Fate(*(row[name] for name in FATE)) for row in made.rows if row["family"] == "frame"]
    left = frames
    for name in befalling:
        probability = TRANSPORT_SEVERITIES[name]["probability"][3]
        hit = sum(map(HIT[name], left))
        sigma = math.sqrt(len(left) * probability * (1 - probability))
        assert abs(hit - len(left) * probability) <= 3 * sigma, name
        if name == "loss" or name in DAMAGES:  # what is lost meets nothing else, and a message is damaged in one way
            left = [lot for lot in left if not HIT[name](lot)]
