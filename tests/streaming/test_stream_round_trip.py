"""Round trips over the embedded broker: bits, resuming, reading, looking on."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
import weakref
from contextlib import closing
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from astropy.io import fits
from click.testing import CliRunner
from stream_data import FAULTY, files, manifest, scenario, truth

from hwosim_assets.errors import BackendAbsentError, BadInputError, HwosimError
from hwosim_assets.lake.store import Lake
from hwosim_assets.perturb.transport import TRANSPORT_SEVERITIES
from hwosim_assets.settings import Settings
from hwosim_streaming import connect, delivery
from hwosim_streaming.arrivals import text_headers
from hwosim_streaming.broker import BrokerState
from hwosim_streaming.checkpoint import begin
from hwosim_streaming.cli import stream as stream_command
from hwosim_streaming.clients import client_config, end_offsets, low_offsets, read_between
from hwosim_streaming.compose import Composer
from hwosim_streaming.delivery import Delivered, deliver
from hwosim_streaming.envelope import Frame, Header, decode, encode
from hwosim_streaming.lag import lags
from hwosim_streaming.pixels import DeliveredFiles
from hwosim_streaming.plan import StreamPlan, make_plan
from hwosim_streaming.refusals import BrokerRefusesError
from hwosim_streaming.sink import KafkaSink, Outgoing
from hwosim_streaming.topics import Topics, ensure_topics, existing_topics, topic_name
from hwosim_streaming.watch import Watcher, picture, snapshot


class Bench:
    """A plan, a broker and topics of one test."""

    def __init__(self, settings: Settings, lake: Lake, rows: pa.Table, **sections: Any) -> None:
        self.settings, self.lake, self.rows = settings, lake, rows
        self.config = client_config(settings, settings.kafka_bootstrap_servers)
        self.topics: Topics = ensure_topics(self.config, settings.topic_prefix, settings.topic_partitions)
        self.plan: StreamPlan = make_plan(rows, scenario(**sections))

    def deliver(self, **options: Any) -> Delivered:
        with DeliveredFiles(self.lake, self.plan, never) as opened:
            return deliver(self.plan, truth(self.rows), opened, self.config, self.topics, **options)

    def messages(self, *families: str) -> list[Any]:
        places = self.topics.places(*families)
        return list(read_between(self.config, low_offsets(self.config, places), None))


def never(name: str) -> bytes:
    raise AssertionError(f"{name} was to be read from the lake")


@pytest.fixture
def bench(stream_settings: Settings, lake: Lake) -> Bench:
    return Bench(stream_settings, lake, manifest(lake), transport=FAULTY, seed=11)


def rebuilt(frames: list[Frame], product: str, name: str) -> np.ndarray:
    own = [frame for frame in frames if frame.product == product and name in frame.arrays]
    first = own[0]
    whole = np.zeros((*first.hdu_shape, *first.arrays[name].shape[len(first.origin) :]), first.arrays[name].dtype)
    if first.kind == "table":
        whole = np.zeros((first.hdu_shape[0], *first.arrays[name].shape[1:]), first.arrays[name].dtype)
    for frame in own:
        array = frame.arrays[name]
        numbered = len(frame.hdu_shape) - array.ndim if frame.kind == "image" else 0
        lengths = (1,) * numbered + array.shape[: len(frame.hdu_shape) - numbered]
        span = tuple(slice(at, at + length) for at, length in zip(frame.origin, lengths, strict=True))
        whole[span] = array.reshape(lengths + array.shape[len(lengths) - numbered :])
    return whole


def test_every_bit_arrives(stream_settings: Settings, lake: Lake) -> None:
    bench = Bench(stream_settings, lake, manifest(lake))
    assert bench.deliver().verification.verified
    with connect("hwosim.frames.v1", idle=0.5) as stream:
        frames = list(stream)
    assert stream.duplicates == stream.refused == 0
    assert len(frames) == sum(row["family"] == "frame" for row in bench.plan.rows)
    for product, content in files().items():
        with fits.open(io.BytesIO(content)) as hdus:
            if "somebody" in product:
                assert rebuilt(frames, product, "PRIMARY").tobytes() == hdus[0].data.astype("<i2").tobytes()
            elif "x1d" in product:
                for name in ("WAVELENGTH", "FLUX", "DQ", "VECTOR"):
                    column = hdus[1].data[name]
                    assert np.array_equal(rebuilt(frames, product, name), column)
                assert rebuilt(frames, product, "NOTE")[7] == b"r7"
            else:
                for name, dtype in (("SCI", "<f4"), ("ERR", "<f4"), ("DQ", "<u4")):
                    assert rebuilt(frames, product, name).tobytes() == hdus[name].data.astype(dtype).tobytes()
    units = {name: unit for frame in frames for name, unit in frame.units.items()}
    assert units == {"SCI": "MJy/sr", "WAVELENGTH": "um", "FLUX": "Jy"}
    odd = next(frame for frame in frames if frame.product == "somebody_else.fits")
    assert (odd.detector, odd.instrument, odd.exposed_mjd) == (None, None, None)


def test_faults_arrive_as_planned_and_truth_tells_them(bench: Bench) -> None:
    done = bench.deliver()
    proof = done.verification
    assert proof.verified, proof.discrepancies
    assert (proof.planned, proof.lost, proof.duplicated) == (bench.plan.planned, bench.plan.lost, bench.plan.duplicated)
    assert bench.plan.lost > 0
    assert bench.plan.duplicated > 0
    labels = [decode(message.value()).record for message in bench.messages("truth")]
    assert sorted(label["product"] for label in labels) == sorted(files())
    ids = [each for label in labels for each in label["message_ids"]]
    assert sorted(ids) == sorted(bench.plan.messages["message_id"].to_pylist())
    told = {fault["message_id"] for label in labels for fault in label["faults"] if fault["fault"] == "loss"}
    assert told == {row["message_id"] for row in bench.plan.rows if row["copies"] == 0}
    with connect("hwosim.frames.v1", idle=0.5) as stream:
        ids = [frame.message_id for frame in stream]
    assert len(ids) == len(set(ids))
    assert stream.duplicates == bench.plan.duplicated


def test_data_topics_do_not_tell_the_scenario(bench: Bench) -> None:
    bench.deliver()
    words = [b"windy", bench.plan.plan_sha256.encode(), bench.plan.scenario_sha256.encode(), b"loss", b"perturb"]
    for message in bench.messages("frame", "product"):
        said = b" ".join([message.key(), message.value(), *(value for _name, value in message.headers())])
        assert not [word for word in words if word in said]
    assert any(b"windy" in message.value() for message in bench.messages("truth"))


def test_messages_carry_cloudevents_headers_and_exposure_time(bench: Bench) -> None:
    bench.deliver()
    for message in bench.messages("frame"):
        said, frame = text_headers(message), Frame.from_record(decode(message.value()).record)
        assert (said[Header.ID], said[Header.RUN]) == (frame.message_id, frame.run_id)
        assert message.key().decode() == (frame.detector or "UNKNOWN")
        assert abs(int(said[Header.DUE]) / 1e9 - time.time()) < 120
        if frame.exposed_mjd is not None:
            assert message.timestamp()[1] == round((frame.exposed_mjd - 40587) * 86_400_000)
            assert said[Header.TIME].startswith("2022-08-09")
    product = decode(bench.messages("product")[0].value()).record
    assert bench.lake.key_of(product["uri"]).startswith("delivered/")


def test_the_same_plan_puts_the_same_bytes_and_a_second_time_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = bench.deliver()
    values = sorted(message.value() for message in bench.messages("frame", "product", "truth"))
    again = bench.deliver()
    assert again.sent == {}
    assert again.verification.verified
    assert sorted(message.value() for message in bench.messages("frame", "product", "truth")) == values
    monkeypatch.setenv("HWOSIM_TOPIC_PREFIX", f"{bench.settings.topic_prefix}second.")
    elsewhere = Bench(Settings(), bench.lake, bench.rows, transport=FAULTY, seed=11)
    assert elsewhere.deliver().verification.verified
    assert [send.crc for send in elsewhere.deliver().expected.values()] == [
        send.crc for send in first.expected.values()
    ]
    assert sorted(message.value() for message in elsewhere.messages("frame", "product", "truth")) == values


DIE = """
import os, sys, json
sys.path.insert(0, "tests/streaming")
import pyarrow.parquet as pq
from test_stream_round_trip import Bench, FAULTY, Lake, Settings
from hwosim_streaming import publisher
publisher.CHECKPOINT_MESSAGES = 3
settings = Settings()
bench = Bench(settings, Lake.from_settings(settings), pq.read_table(sys.argv[1]), transport=FAULTY, seed=11)
def at(number, total):
    if number == int(sys.argv[2]):
        os.kill(os.getpid(), 9)
bench.deliver(on_message=at)
"""


def test_a_killed_publisher_is_continued_and_nothing_comes_twice(bench: Bench, tmp_path: Any) -> None:
    import pyarrow.parquet as pq

    pq.write_table(bench.rows, tmp_path / "rows.parquet")
    total = len(bench.plan.sends) + len(files())
    for number in (1, 22, total):
        died = subprocess.run([sys.executable, "-c", DIE, str(tmp_path / "rows.parquet"), str(number)], check=False)
        assert died.returncode == -9
    done = bench.deliver()
    assert done.verification.verified, done.verification.discrepancies
    assert done.verification.consumed == len(bench.plan.sends)
    # It went on instead of beginning anew.
    assert len(done.sent) < total


def test_a_run_that_stopped_between_a_message_and_its_copy_sends_the_copy(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = next(number for number, send in enumerate(bench.plan.sends) if send.copy)

    def stop(number: int, _total: int) -> None:
        if number == copy:
            raise InterruptedError

    with monkeypatch.context() as patched, pytest.raises(InterruptedError):
        patched.setattr(KafkaSink, "abandon", KafkaSink.flush)  # all that was sent arrives
        bench.deliver(on_message=stop)
    done = bench.deliver()
    assert min(done.sent) == copy
    assert done.verification.verified, done.verification.discrepancies


def test_a_failed_attempt_leaves_nothing_in_memory(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its sends take as much as the plan, and would stay beside those of the next, while nothing is collected."""
    prove, alive, made = delivery._prove, list[int](), list[weakref.ref[Any]]()

    class Seen(Composer):
        def __init__(self, *what: Any) -> None:
            alive.append(sum(each() is not None for each in made))
            made.append(weakref.ref(self))
            super().__init__(*what)

    def fail_once(*what: Any) -> Any:
        monkeypatch.setattr(delivery, "_prove", prove)
        raise BackendAbsentError("the broker", "went away", "publish again")

    monkeypatch.setattr(delivery, "Composer", Seen)
    monkeypatch.setattr(delivery, "_prove", fail_once)
    assert bench.deliver().verification.verified
    assert alive == [0, 0]


def test_a_broker_that_never_shows_what_it_confirmed_is_an_absent_one(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "SETTLE_SECONDS", 0.2)
    (topic, partition) = here = bench.topics.places("frame")[0]
    zero = dict.fromkeys(bench.topics.places(*delivery.DATA_FAMILIES), 0)
    state = replace(begin(zero, "run", "01093", "plan", 1), next={**zero, here: 1})
    with pytest.raises(BackendAbsentError, match=rf"what it confirmed in {topic} \[{partition}\]"):
        delivery._settled_ends(bench.config, bench.topics, state)


def test_a_file_that_is_not_the_manifests_stops_the_publication(bench: Bench) -> None:
    name = next(iter(bench.plan.products))
    bench.plan.products[name]["out_sha256"] = "0" * 64
    with pytest.raises(HwosimError, match=f"{name}: has the hash"):
        bench.deliver()
    bench.plan.products[name]["key"] = "delivered/00/nothing.fits"
    with pytest.raises(HwosimError, match="nothing"):
        bench.deliver()


def test_a_run_goes_on_after_a_file_was_mended(bench: Bench) -> None:
    last = list(bench.plan.products)[-2]
    key = bench.plan.products[last]["key"]
    good = bench.lake.read(key)
    bench.lake.delete(key)
    bench.lake.write_new(key, good[:-1] + bytes([good[-1] ^ 1]))
    with pytest.raises(HwosimError, match="has the hash"):
        bench.deliver()
    bench.lake.delete(key)
    bench.lake.write_new(key, good)
    assert bench.deliver().verification.verified


def test_what_was_tampered_with_is_named(bench: Bench) -> None:
    done = bench.deliver()
    row = next(row for row in bench.plan.rows if row["copies"] == 1 and row["family"] == "frame")
    message = next(each for each in bench.messages("frame") if text_headers(each)[Header.ID] == row["message_id"])
    sink = KafkaSink(bench.config)
    value = message.value()[:-1] + bytes([message.value()[-1] ^ 1])
    again = Outgoing(message.topic(), message.partition(), message.key(), value, tuple(message.headers()), None)
    sink.send(again, lambda _offset, _reason: None)
    sink.flush()
    proof = bench.deliver().verification
    assert not proof.verified
    assert [(each.kind, each.message_id) for each in proof.discrepancies] == [("extra", row["message_id"])]
    assert proof.consumed == done.verification.consumed + 1


def test_a_product_that_is_not_stored_is_made_when_it_is_due(stream_settings: Settings, lake: Lake) -> None:
    rows = [{**row, "key": None, "uri": None} for row in manifest(lake).to_pylist()]
    bench = Bench(stream_settings, lake, pa.Table.from_pylist(rows))
    with DeliveredFiles(lake, bench.plan, files().__getitem__) as opened:
        done = deliver(bench.plan, [], opened, bench.config, bench.topics)
    assert done.verification.verified
    assert {decode(message.value()).record["uri"] for message in bench.messages("product")} == {None}


def test_a_group_goes_on_where_it_stopped_and_lag_says_so(stream_settings: Settings, lake: Lake) -> None:
    bench = Bench(stream_settings, lake, manifest(lake))
    bench.deliver()
    group = f"model-{os.getpid()}-{stream_settings.topic_prefix}"
    total = sum(row["family"] == "frame" for row in bench.plan.rows)
    seen = []
    with connect("hwosim.frames.v1", group=group, idle=1) as stream:
        for frame in stream:
            seen.append(frame.message_id)
            if len(seen) == 5:
                break  # the fifth was not finished
    behind = {each.group: 0 for each in lags(bench.config, bench.topics)}
    for each in lags(bench.config, bench.topics):
        behind[each.group] += each.behind
    assert behind[group] == total - 4
    with connect("hwosim.frames.v1", group=group, idle=1) as stream:
        rest = [frame.message_id for frame in stream]
    assert len(rest) == total - 4
    assert set(seen) | set(rest) == {row["message_id"] for row in bench.plan.rows if row["family"] == "frame"}
    assert sum(each.behind for each in lags(bench.config, bench.topics, group)) == 0


def test_poison_on_the_topic_is_refused_and_the_stream_goes_on(bench: Bench) -> None:
    bench.deliver()
    sink = KafkaSink(bench.config)
    for value in (b"", b"\0\0\0\xff\xff", b"not avro", encode("control", control())[:-3]):
        sink.send(Outgoing(bench.topics.names["frame"], 0, b"", value, (), None), lambda _offset, _reason: None)
    sink.flush()
    with connect("hwosim.frames.v1", idle=0.5) as stream:
        frames = list(stream)
    assert stream.refused == 4
    assert len(frames) == sum(row["family"] == "frame" and row["copies"] > 0 for row in bench.plan.rows)
    assert bench.deliver().verification.verified  # other people's records are none of the run


def control() -> dict[str, Any]:
    words = {"run_id": "r", "event": "started", "program": "0", "plan_sha256": "", "at": ""}
    return {**words, "position": 0, "sends": 0, "offsets": []}


def test_a_topic_that_is_not_there_is_said(stream_settings: Settings) -> None:
    with pytest.raises(BadInputError, match="is not on this broker"):
        connect("hwosim.frames.v1")


def test_looking_on(bench: Bench) -> None:
    before = snapshot(bench.config, existing_topics(bench.config, bench.settings.topic_prefix))
    assert before.newest is None
    with Watcher(bench.config, bench.settings.topic_prefix) as watcher:
        bench.deliver()
        until = time.monotonic() + 10
        frames = bench.topics.names["frame"]
        sent = sum(bench.plan.rows[send.index]["family"] == "frame" for send in bench.plan.sends)
        while watcher.shown.counts[frames] < sent and time.monotonic() < until:
            watcher.step()
        assert watcher.shown.counts[frames] == sent
        assert watcher.rate[0] > 0
        assert watcher.view() is not None
    now = snapshot(bench.config, bench.topics)
    assert now.counts[frames] == sent
    assert now.counts[bench.topics.names["truth"]] == len(files())
    assert now.newest is not None


def test_a_picture_shows_nan_in_red() -> None:
    image = np.linspace(0, 1, 64 * 64).reshape(64, 64)
    image[:, :20] = np.nan
    frame = replace(blank(), arrays={"SCI": image})
    styles = {str(span.style) for span in picture(frame).spans}
    assert "#a00000 on #a00000" in styles
    assert len(styles) > 10
    assert picture(replace(blank(), arrays={"SCI": np.full((3, 3), np.nan)})).plain


def blank() -> Frame:
    return Frame("", "", 0, "", "", "", "", None, None, None, "image", 1, "SCI", 1, None, None, 0, 1, (), (), {}, {})


def test_commands_find_the_same_topics(bench: Bench) -> None:
    bench.deliver()
    runner = CliRunner()

    def said(*arguments: str) -> Any:
        done = runner.invoke(stream_command, [*arguments, "--json"], catch_exceptions=False)
        assert done.exit_code == 0
        return done.stdout

    counts = json.loads(said("watch", "--once"))
    assert counts["counts"][topic_name("product", bench.settings.topic_prefix)] == len(files())
    assert counts["newest"]["arrays"]
    lines = said("consume", "--topic", "hwosim.truth.v1", "--idle", "0.5").splitlines()
    assert {json.loads(line)["product"] for line in lines} == set(files())
    assert len(said("consume", "--count", "3").splitlines()) == 3
    assert json.loads(said("lag", "--group", "nobody")) == []
    for command in stream_command.commands:
        helped = runner.invoke(stream_command, [command, "--help"])
        assert helped.exit_code == 0
    assert "Example" in runner.invoke(stream_command, ["watch", "--help"]).stdout


def test_ends_are_known_though_batches_are_large(bench: Bench) -> None:
    sink = KafkaSink(bench.config)
    place = (bench.topics.names["prediction"], 0)
    for _ in range(250):
        sink.send(Outgoing(*place, b"k", b"v", (), None), lambda _offset, _reason: None)
    sink.flush()
    assert end_offsets(bench.config, [place]) == {place: 250}
    assert delivery.DATA_FAMILIES == ("frame", "product", "truth")


def test_a_producer_serves_the_next_publication_unless_it_failed(bench: Bench) -> None:
    place = (bench.topics.names["prediction"], 0)

    def sent(size: int, **properties: Any) -> KafkaSink:
        with closing(KafkaSink({**bench.config, **properties})) as sink:
            sink.send(Outgoing(*place, b"k", b"v" * size, (), None), lambda _offset, _reason: None)
            sink.flush()
        return sink

    first = sent(1)
    again = sent(1)
    assert again._producer is first._producer
    other = sent(1, **{"client.id": "another"})
    assert other._producer is not first._producer
    assert sent(1)._producer is not first._producer  # one is kept, no more
    small = {"message.max.bytes": 2000}
    kept = sent(1, **small)
    with pytest.raises(BrokerRefusesError, match="takes no message of this size"):
        sent(5000, **small)
    assert sent(1, **small)._producer is not kept._producer
    assert end_offsets(bench.config, [place]) == {place: 6}


def test_messages_of_any_exposure_are_taken_and_kept(bench: Bench) -> None:
    """Records carry the time of exposure: a broker that keeps a week would drop them, Kafka 4 refuses those to come."""
    from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType

    admin = AdminClient(bench.config)
    asked = [ConfigResource(ResourceType.TOPIC, bench.topics.names[family]) for family in delivery.DATA_FAMILIES]
    for answer in admin.describe_configs(asked).values():
        assert answer.result()["retention.ms"].value == "-1"
        assert answer.result()["message.timestamp.after.max.ms"].value == str(2**63 - 1)


def test_the_embedded_broker_of_another_home_is_not_ours(stream_settings: Settings, embedded: BrokerState) -> None:
    from hwosim_streaming.broker import running

    assert running(stream_settings.home) is None
    assert embedded.servers == stream_settings.kafka_bootstrap_servers


def test_every_fault_of_the_transport_arrives_as_planned(stream_settings: Settings, lake: Lake) -> None:
    faults = {name: {"severity": 5} for name in TRANSPORT_SEVERITIES}
    faults |= {"delay": {"probability": 0.3, "median_s": 0.01}, "late_label": {"probability": 1, "mean_s": 0.1}}
    faults |= {"gap": {"probability": 0.2, "length": 2}, "stale": {"probability": 0.3}}
    faults |= {name: {"probability": 0.25} for name in ("corruption", "truncation", "schema_change")}
    bench = Bench(stream_settings, lake, manifest(lake), transport=faults, seed=3)
    proof = bench.deliver().verification
    assert proof.verified, proof.discrepancies
    told = [decode(message.value()).record for message in bench.messages("truth")]
    befallen = {fault["message_id"]: fault["fault"] for each in told for fault in each["faults"]}
    by_kind = {fault["fault"] for each in told for fault in each["faults"]}
    assert by_kind >= {"loss", "gap", "duplicate", "stale", "delay", "corruption", "truncation", "schema_change"}
    with connect("hwosim.frames.v1", idle=0.5) as stream:
        frames = {frame.message_id: frame for frame in stream}
    damaged = {row["message_id"] for row in bench.plan.rows if row["damage"] and row["copies"]}
    whole = {row["message_id"] for row in bench.plan.rows if row["family"] == "frame" and row["copies"]} - damaged
    assert set(frames) == whole
    assert stream.refused == sum(row["copies"] for row in bench.plan.rows if row["damage"])
    assert befallen
    for row in bench.plan.rows:
        if row["message_id"] in frames and row["exposed_mjd"] is not None:
            off = (frames[row["message_id"]].exposed_mjd - row["exposed_mjd"]) * 86400
            assert off == pytest.approx(row["clock_skew_s"], abs=1e-5)
    assert bench.deliver().verification.verified  # nothing is published twice
