"""A publisher that cannot keep up leaves frames out, and the truth tells which; also when it died in between."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stream_data import FAULTY, PROGRAM, manifest
from test_stream_publication import Program
from test_stream_round_trip import Bench

from hwosim_assets.lake.store import Lake
from hwosim_assets.perturb.scenario import Scenario
from hwosim_assets.perturb.schedule import Schedule
from hwosim_assets.settings import Settings
from hwosim_streaming.arrivals import text_headers
from hwosim_streaming.envelope import Header, decode
from hwosim_streaming.publication import prove_again, publish_program
from hwosim_streaming.skipping import Skipping

SKIP = {"mode": "constant", "rate_per_s": 200.0, "overload": "skip", "skip_late_s": 0.05}
FAULTS = {**FAULTY, "duplicate": {"probability": 0.3}}


@dataclass(frozen=True)
class Sent:
    """What is looked at of a send."""

    message_id: str
    family: str = "frame"
    place: tuple[str, int] = ("frames", 0)


def hiccup(every: int = 8) -> Any:
    """Return what makes a publisher late now and then."""
    return lambda number, _total: time.sleep(0.15) if number % every == 1 else None


def skips_told(bench: Bench) -> Counter[str]:
    labels = [decode(message.value()).record for message in bench.messages("truth")]
    return Counter(
        {each["message_id"]: each["amount"] for label in labels for each in label["faults"] if each["fault"] == "skip"}
    )


def test_what_is_late_is_left_out_and_told(stream_settings: Settings, lake: Lake) -> None:
    bench = Bench(stream_settings, lake, manifest(lake), transport=FAULTS, seed=11, schedule=SKIP)
    done = bench.deliver(on_message=hiccup())
    proof = done.verification
    assert proof.verified, proof.discrepancies
    assert done.left_out
    planned = Counter(bench.plan.rows[send.index]["message_id"] for send in bench.plan.sends)
    there = Counter(text_headers(message)[Header.ID] for message in bench.messages("frame", "product"))
    assert planned - there == Counter(done.left_out.values()) == skips_told(bench)
    assert not there - planned
    families = {row["message_id"]: row["family"] for row in bench.plan.rows}
    assert {families[each] for each in done.left_out.values()} == {"frame"}
    assert proof.planned - proof.lost + proof.duplicated == proof.consumed == there.total()
    # A second look finds the same left out, and sends nothing.
    again = bench.deliver()
    assert (again.sent, again.left_out) == ({}, done.left_out)
    assert again.verification.verified


@pytest.mark.parametrize("policy", ["slip", "stretch"])
def test_the_other_policies_leave_nothing_out(stream_settings: Settings, lake: Lake, policy: str) -> None:
    bench = Bench(stream_settings, lake, manifest(lake), schedule={**SKIP, "overload": policy})
    done = bench.deliver(on_message=hiccup(20))
    assert (done.left_out, skips_told(bench)) == ({}, Counter())
    assert done.verification.verified


DIE = """
import os, sys, time
sys.path.insert(0, "tests/streaming")
import pyarrow.parquet as pq
from test_stream_skipping import FAULTS, SKIP, Bench, Lake, Settings, hiccup
from hwosim_streaming import publisher
publisher.CHECKPOINT_MESSAGES = 3
settings = Settings()
rows, lake = pq.read_table(sys.argv[1]), Lake.from_settings(settings)
bench = Bench(settings, lake, rows, transport=FAULTS, seed=11, schedule=SKIP)
late = hiccup()
def at(number, total):
    late(number, total)
    if number >= int(sys.argv[2]):
        os.kill(os.getpid(), 9)
bench.deliver(on_message=at)
"""


def test_a_death_in_between_forgets_nothing(stream_settings: Settings, lake: Lake, tmp_path: Path) -> None:
    bench = Bench(stream_settings, lake, manifest(lake), transport=FAULTS, seed=11, schedule=SKIP)
    pq.write_table(bench.rows, tmp_path / "rows.parquet")
    total = len(bench.plan.sends)
    for number in (total // 2, total + 2):  # among the data, and among the truth
        command = [sys.executable, "-c", DIE, str(tmp_path / "rows.parquet"), str(number)]
        assert subprocess.run(command, check=False, env=dict(os.environ)).returncode == -9
    done = bench.deliver()
    assert done.verification.verified, done.verification.discrepancies
    assert done.left_out
    planned = Counter(bench.plan.rows[send.index]["message_id"] for send in bench.plan.sends)
    there = Counter(text_headers(message)[Header.ID] for message in bench.messages("frame", "product"))
    assert planned - there == Counter(done.left_out.values()) == skips_told(bench)
    assert not there - planned


def test_a_publication_says_how_many_and_can_be_proved_again(stream_settings: Settings) -> None:
    content = {"version": 1, "seed": 11, "schedule": SKIP, "transport": FAULTS}
    program = Program(stream_settings, Scenario.from_mapping("windy", content))
    row = publish_program(
        PROGRAM, program.scenario, program.lake, program.tables, program.settings, on_message=hiccup()
    ).row
    assert row["verified"]
    assert row["skipped"] > 0
    assert row["planned"] - row["lost"] + row["duplicated"] == row["published"] == row["consumed"]
    (proof,) = prove_again(PROGRAM, "windy", program.lake, program.tables, program.settings).values()
    assert proof.verified
    assert (proof.lost, proof.consumed) == (row["lost"], row["consumed"])
    assert program.publish().already


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 12), st.booleans()), max_size=25), st.integers(0, 25), st.data())
def test_what_an_attempt_left_out_is_found_again(sends: list[tuple[int, bool]], stop: int, data: st.DataObject) -> None:
    """Whatever was sent before a death, and lost of its tails: nothing is sent after what was to follow it."""
    items = [Sent(f"m{name}", place=("frames", name % 2)) for name, _late in sends]
    first = Skipping(Schedule(overload="skip", skip_late_s=0.1))
    went = [
        number
        for number, (item, (_name, late)) in enumerate(zip(items, sends, strict=True))
        if number < stop and not first.leaves_out(number, item, 10**9 if late else 0)
    ]
    keep = {("frames", partition): data.draw(st.integers(0, 25)) for partition in (0, 1)}
    lies = {number for number in went if number < keep[items[number].place]}
    again = Skipping(Schedule(overload="skip", skip_late_s=0.1))
    again.recall(items, lies, {})
    last = {items[number].place: number for number in sorted(lies)}
    before = {number for number in first.left_out if number < last.get(items[number].place, -1)}
    assert set(again.left_out) == before, "no more than was left out, and all of it that something lies behind"
    # A truth says the rest of it: then what is due is what was lost, and all of that.
    told = Counter(first.left_out.values())
    knows = Skipping(Schedule(overload="skip", skip_late_s=0.1))
    whole = [number for number in range(len(items)) if number < stop]
    knows.recall([items[number] for number in whole], lies, {item.message_id: told[item.message_id] for item in items})
    assert set(knows.left_out) == set(first.left_out)
    assert not any(knows.leaves_out(99, item, 10**9) for item in items), "a truth that is out stays true"
