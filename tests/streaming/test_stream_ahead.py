"""Files are there when their messages are due: the next is opened, or perturbed, while one is sent; what that took."""

from __future__ import annotations

import json
import threading
import time
from typing import Any

import pyarrow as pa
import pytest
from stream_data import PROGRAM, calints, manifest, manifest_row, scenario
from test_stream_round_trip import Bench

from hwosim_assets import metadata
from hwosim_assets.catalog.products import PRODUCTS, product_row
from hwosim_assets.errors import HwosimError
from hwosim_assets.fits.describe import describe
from hwosim_assets.lake.layout import raw_key
from hwosim_assets.lake.store import Lake
from hwosim_assets.lake.tables import Tables
from hwosim_assets.perturb.dataset import perturb_program
from hwosim_assets.perturb.product import Product
from hwosim_assets.perturb.scenario import Scenario
from hwosim_assets.settings import Settings
from hwosim_streaming import pixels
from hwosim_streaming.ahead import Ahead
from hwosim_streaming.delivery import deliver
from hwosim_streaming.pixels import DeliveredFiles
from hwosim_streaming.plan import StreamPlan, make_plan
from hwosim_streaming.publication import publish_program

#: Seconds after which nothing comes any more.
LONG = 20


def names(count: int) -> list[str]:
    return [f"jw01093001001_03101_0000{number}_nrca{number}_calints.fits" for number in range(1, count + 1)]


def taking_turns(lake: Lake, count: int) -> tuple[StreamPlan, dict[str, bytes]]:
    """A plan of products that are not stored, of detectors that expose at the same time, integration by integration."""
    contents = {name: calints(number, side=20) for number, name in enumerate(names(count))}
    times = json.dumps({"by": "INT_TIMES", "mjd": [[59800.0 + number / 1440] for number in range(4)]})
    own = {"key": None, "uri": None, "exposed_json": times}
    rows = [{**manifest_row(name, content, lake), **own} for name, content in contents.items()]
    return make_plan(pa.Table.from_pylist(rows), scenario()), contents


def nothing_left(thing: object) -> None:
    raise AssertionError(f"{thing} was made for nothing")


def test_the_next_thing_is_made_before_it_is_asked_for() -> None:
    made = {name: threading.Event() for name in "abc"}

    def make(name: str) -> str:
        made[name].set()
        return name.upper()

    ahead = Ahead(make, "abc", nothing_left)
    assert not made["a"].is_set()
    ahead.begin()
    assert made["a"].wait(LONG)
    assert ahead.take("a") == "A"
    assert made["b"].wait(LONG)
    assert not made["c"].wait(0.05), "one at a time"
    assert [ahead.take(name) for name in "bca"] == ["B", "C", "A"]
    assert len(ahead.waited_s) == 4
    ahead.close()


def test_what_was_not_asked_for_is_dropped_and_what_failed_is_said_when_it_is() -> None:
    begun = threading.Event()

    def make(name: str) -> str:
        if name == "b":
            raise HwosimError("b", "is broken", "mend it")
        if name == "c":
            begun.set()
        return name.upper()

    dropped: list[str] = []
    ahead = Ahead(make, "abc", dropped.append)
    ahead.begin()
    assert ahead.take("a") == "A"
    with pytest.raises(HwosimError, match="b: is broken"):
        ahead.take("b")
    ahead.begin()
    assert begun.wait(LONG)
    ahead.close()
    assert dropped == ["C"]
    failed = Ahead(make, "b", nothing_left)
    failed.begin()
    failed.close()


def test_what_is_passed_over_is_let_go_and_the_next_is_made_ahead() -> None:
    made = {name: threading.Event() for name in "abcd"}
    dropped: list[str] = []

    def make(name: str) -> str:
        made[name].set()
        return name.upper()

    ahead = Ahead(make, "abcd", dropped.append)
    assert ahead.take("a") == "A"
    assert made["b"].wait(LONG)
    assert ahead.take("c") == "C", "no message of b was sent: all were late"
    assert dropped == ["B"]
    assert made["d"].wait(LONG)
    assert ahead.take("a") == "A"
    assert dropped == ["B"], "one that is asked for again passes nothing over"
    ahead.close()
    assert dropped == ["B", "D"]


def test_waiting_is_told() -> None:
    slow = Ahead(lambda _name: time.sleep(0.2), "ab", nothing_left)
    slow.begin()
    time.sleep(0.5)
    slow.take("a")
    slow.take("b")
    slow.close()
    assert slow.waited_s[0] < 0.1 < slow.waited_s[1]


def test_a_plan_says_in_which_order_its_files_are_needed(lake: Lake) -> None:
    plan = make_plan(manifest(lake), scenario())
    frames = [row["product_name"] for row in plan.rows if row["family"] == "frame"]
    assert plan.order == list(dict.fromkeys(frames))
    lost = make_plan(manifest(lake), scenario(transport={"loss": {"probability": 0.5}}))
    assert lost.order == list(
        dict.fromkeys(
            lost.rows[send.index]["product_name"] for send in lost.sends if lost.rows[send.index]["family"] == "frame"
        )
    )


def test_detectors_that_take_turns_are_perturbed_once_each(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, contents = taking_turns(lake, 6)
    frames = [row for row in plan.rows if row["family"] == "frame"]
    assert [row["product_name"] for row in frames[:7]] == [*contents, next(iter(contents))]
    made: list[str] = []

    def make(name: str) -> bytes:
        made.append(name)
        return contents[name]

    with DeliveredFiles(lake, plan, make) as opened:
        for row in frames:
            opened.read(row)
    assert made == list(contents)
    assert len(opened.waited_s) == 6
    # What is held of them is bounded.
    made.clear()
    monkeypatch.setattr(pixels, "MADE_BYTES", 0)
    with DeliveredFiles(lake, plan, make) as opened:
        for row in frames:
            opened.read(row)
    assert len(made) > len(contents)


def test_the_next_product_is_perturbed_while_one_is_sent(lake: Lake) -> None:
    plan, contents = taking_turns(lake, 3)
    made = {name: threading.Event() for name in contents}

    def make(name: str) -> bytes:
        made[name].set()
        return contents[name]

    first, second, third = contents
    with DeliveredFiles(lake, plan, make) as opened:
        assert made[first].wait(LONG), "before anything is read"
        opened.read(next(row for row in plan.rows if row["family"] == "frame"))
        assert made[second].wait(LONG)
        assert not made[third].wait(0.05), "memory is bounded"


def test_the_first_file_is_there_before_time_starts(stream_settings: Settings, lake: Lake) -> None:
    plan, contents = taking_turns(lake, 1)
    bench = Bench(stream_settings, lake, pa.Table.from_pylist(list(plan.products.values())))

    def make(name: str) -> bytes:
        time.sleep(2)
        return contents[name]

    with DeliveredFiles(lake, bench.plan, make) as opened:
        done = deliver(bench.plan, [], opened, bench.config, bench.topics)
        assert opened.waited_s == []
    assert done.verification.verified
    assert max(each.sent_ns - each.due_ns for each in done.sent.values()) < 1.5e9


def test_a_file_that_fails_ahead_of_time_is_told_by_name(stream_settings: Settings, lake: Lake) -> None:
    plan, contents = taking_turns(lake, 2)
    bench = Bench(stream_settings, lake, pa.Table.from_pylist(list(plan.products.values())))
    first, second = contents

    def make(name: str) -> bytes:
        return contents[first]

    with DeliveredFiles(lake, bench.plan, make) as opened, pytest.raises(HwosimError, match=f"{second}: has the hash"):
        deliver(bench.plan, [], opened, bench.config, bench.topics)


def catalogue(lake: Lake, tables: Tables) -> None:
    """Put two products into the lake and the catalog."""
    rows = []
    for number, name in enumerate(names(2)):
        product = Product(name, calints(number, side=60))
        key = raw_key(name, PROGRAM, f"ingest{number}")
        lake.write_new(key, product.content)
        raw: dict[str, Any] = {
            "program": PROGRAM, "product_name": name, "sha256": product.sha256, "size_bytes": len(product.content),
            "key": key, "uri": lake.uri_of(key), "data_uri": f"mast:JWST/product/{name}",
        }  # fmt: skip
        rows.append(product_row(raw, describe(product.content, name), []))
    tables.replace(PRODUCTS, {"program": PROGRAM}, pa.Table.from_pylist(rows, schema=PRODUCTS.schema))


@pytest.mark.parametrize("store", ["none", "files"])
def test_a_publication_says_what_perturbing_on_the_fly_took(stream_settings: Settings, lake: Lake, store: str) -> None:
    tables = Tables.from_settings(stream_settings)
    catalogue(lake, tables)
    content = {"version": 1, "store": store, "effects": ["gaussian_noise"], "schedule": {"rate_per_s": 1e6}}
    lean = Scenario.from_mapping("lean", content)
    made = perturb_program(PROGRAM, lean, lake, tables).rows.to_pylist()
    assert [row["changed"] for row in made] == [True, True]
    row = publish_program(PROGRAM, lean, lake, tables, stream_settings).row
    assert row["verified"]
    took = row["perturbed"], row["perturb_p50_ms"], row["perturb_p95_ms"]
    if store == "files":
        assert took == (0, None, None)
    else:
        assert took[0] == 2
        assert 0 < took[1] <= took[2] < 60_000
    assert 0 <= row["waited_p95_ms"] < 60_000
    shown = metadata.publication(row, already=False)
    assert shown["perturbed"] == row["perturbed"]
    assert shown.get("perturb_p95_ms") == row["perturb_p95_ms"]
