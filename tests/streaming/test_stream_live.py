"""Looking on: the live page shows what is wrong and the newest frame, the same to everybody who looks."""

from __future__ import annotations

import io
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic
from PIL import Image
from stream_data import FAULTY, manifest
from test_stream_round_trip import Bench

from hwosim_assets.lake.store import Lake
from hwosim_assets.lake.tables import Tables
from hwosim_assets.settings import Settings
from hwosim_streaming.envelope import Header
from hwosim_streaming.live import LiveMessage, LivePicture, LiveStream
from hwosim_streaming.live_feed import kafka_feed
from hwosim_streaming.report_server import ReportServer
from hwosim_streaming.tally import DAMAGED, DUPLICATE, Tally

VIEWERS = 40


def message(number: int, *, value: bytes = b"value", key: bytes = b"NRCA1", crc: str = "1d775834") -> Any:
    headers = {Header.RUN: "run", Header.ID: f"id-{number}", Header.SEQUENCE: str(number), Header.CRC: crc}
    pairs = [(name, text.encode()) for name, text in headers.items()]
    return SimpleNamespace(headers=lambda: pairs, value=lambda: value, key=lambda: key, topic=lambda: "frames")


def test_the_tally_tells_what_is_damaged_doubled_and_missing() -> None:
    tally = Tally()
    found = [tally.note(message(number)) for number in (0, 1, 4, 4, 3)]
    assert found == ["", "", "", DUPLICATE, ""]
    assert tally.missing == 1
    assert tally.note(message(5, value=b"valuf")) == DAMAGED
    assert tally.note(message(0, key=b"NIS")) == DUPLICATE
    assert tally.counts == {DAMAGED: 1, DUPLICATE: 2}
    nothing = SimpleNamespace(headers=lambda: None, value=lambda: None, key=lambda: None, topic=lambda: "frames")
    assert [tally.note(nothing), tally.note(nothing)] == ["", ""]


def wait_until(is_so: Callable[[], bool], seconds: float = 60.0) -> None:
    until = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < until
        time.sleep(0.05)


def test_the_stream_is_shown_with_its_faults_and_its_newest_frame(stream_settings: Settings, lake: Lake) -> None:
    bench = Bench(stream_settings, lake, manifest(lake), transport=FAULTY, seed=11)
    live = LiveStream(kafka_feed(stream_settings))
    live.start()
    try:
        marks = Producer(bench.config)
        while not live.snapshot()["messages"]:
            marks.produce(bench.topics.names["product"], b"mark", partition=0)
            marks.flush(10)
            time.sleep(0.2)
        assert live.picture == b""
        done = bench.deliver().verification
        lies = [each for each in bench.messages("frame", "product") if each.key()]
        # The marks have no key, and nobody knows how many came before the first look.
        wait_until(lambda: sum(count for key, count in live.snapshot()["by_key"].items() if key) == len(lies))
        wait_until(lambda: live.snapshot()["picture"] > 0)
        seen = live.snapshot()
    finally:
        live.close()
    expected = Tally()
    for each in lies:
        expected.note(each)
    assert done.duplicated > 0
    assert seen["faults"] == expected.counts
    assert seen["faults"][DUPLICATE] > 0
    assert seen["missing"] == expected.missing > 0
    picture = Image.open(io.BytesIO(live.picture))
    assert picture.format == "PNG"
    assert min(picture.size) > 50
    assert "tile" in seen["caption"]


def test_a_feed_that_stumbles_is_told_and_taken_up_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("hwosim_streaming.live.PAUSE_S", 0.01)
    turns = []

    def feed(stop: threading.Event) -> Iterator[LiveMessage | LivePicture]:
        turns.append(1)
        if len(turns) == 1:
            raise ZeroDivisionError("on a poisoned message")
        yield LiveMessage("frames", "NRCA1", "m1", "a.fits", 5)
        stop.wait()

    live = LiveStream(feed)
    live.start()
    wait_until(lambda: live.snapshot()["messages"] == 1)
    assert live.snapshot()["trouble"] == ""
    assert "poisoned message" in caplog.text
    live.close()


def test_the_feed_shows_all_of_a_topic_that_was_made_anew_and_is_longer_than_before(
    stream_settings: Settings, lake: Lake
) -> None:
    bench = Bench(stream_settings, lake, manifest(lake))
    topic, feed = bench.topics.names["frame"], kafka_feed(stream_settings)
    before, after = LiveStream(feed), LiveStream(feed)

    def produce(count: int, key: bytes) -> None:
        producer = Producer(bench.config)
        for _message in range(count):
            producer.produce(topic, b"something", key=key, partition=0)
        producer.flush(10)

    before.start()
    try:
        while before.snapshot()["messages"] < 3:
            produce(1, b"before")
            time.sleep(0.2)
    finally:
        before.close()
    admin = AdminClient(bench.config)
    admin.delete_topics([topic])[topic].result()
    admin.create_topics([NewTopic(topic, 3, 1)])[topic].result()
    produce(200, b"anew")
    after.start()
    try:
        wait_until(lambda: after.snapshot()["by_key"].get("anew") == 200)
        assert "before" not in after.snapshot()["by_key"]
    finally:
        after.close()


def drawn(stop: threading.Event) -> Iterator[LiveMessage | LivePicture]:
    yield LiveMessage("hwosim.frames.v1", "NRCA1", "id", "<i>x_cal.fits", 10, fault=DUPLICATE, missing=3)
    yield LivePicture(b"first", "one")
    yield LivePicture(b"second", "two <b>")
    stop.wait()


@pytest.fixture
def server(stream_settings: Settings, lake: Lake) -> Iterator[ReportServer]:
    with ReportServer(lake, Tables.from_settings(stream_settings), drawn, 0) as running:
        yield running


def test_many_viewers_see_the_same_picture_at_once(server: ReportServer) -> None:
    assert httpx.get(f"{server.url}/live/picture.png").status_code == 404
    together = threading.Barrier(VIEWERS)

    def view(_number: int) -> tuple[Any, bytes, str]:
        with httpx.stream("GET", f"{server.url}/live/events", timeout=60) as events:
            lines = (json.loads(line.removeprefix("data: ")) for line in events.iter_lines() if line)
            now = next(each for each in lines if each["picture"] == 2)
            together.wait(60)  # all of them hold their stream of events open
            answer = httpx.get(f"{server.url}/live/picture.png?{now['picture']}", timeout=60)
        return (now["caption"], now["faults"], now["missing"]), answer.content, answer.headers["content-type"]

    with ThreadPoolExecutor(VIEWERS) as viewers:
        views = list(viewers.map(view, range(VIEWERS)))
    assert views == [(("two <b>", {DAMAGED: 0, DUPLICATE: 1}, 3), b"second", "image/png")] * VIEWERS


def test_the_page_may_show_pictures_of_its_own_server_only(server: ReportServer) -> None:
    page = httpx.get(f"{server.url}/live")
    assert "img-src data: 'self';" in page.headers["content-security-policy"]
    assert 'id="picture"' in page.text
