"""A watched place: what appears, changes or vanishes there is in the tables; nothing there is touched."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import pytest
from astropy.io import fits
from click.testing import CliRunner

from hwosim_assets.catalog import watch
from hwosim_assets.catalog.queue import Queue, event_keys, subscribe
from hwosim_assets.catalog.sources import SOURCE_CARDS, SOURCE_OBJECTS, path_facts
from hwosim_assets.catalog.watch import Watcher
from hwosim_assets.errors import BackendAbsentError, BadInputError
from hwosim_assets.fits.cards import header_bytes
from hwosim_assets.lake.store import Lake
from hwosim_assets.lake.tables import Tables

NAME = "jw01093012001_03102_00001_nis_cal.fits"
QUEUE_ARN = "arn:aws:sqs:us-east-1:123456789012:flight-events"


def event(*keys: str, kind: str = "ObjectCreated:Put", bucket: str = "flight") -> str:
    """Return a notification as S3 writes it, one record for each key."""
    records = [
        {
            "eventVersion": "2.1",
            "eventSource": "aws:s3",
            "eventName": kind,
            "s3": {"bucket": {"name": bucket}, "object": {"key": quote_plus(key, safe="/"), "sequencer": f"{n:016X}"}},
        }
        for n, key in enumerate(keys)
    ]
    return json.dumps({"Records": records})


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


class Bucket:
    """A watched bucket with its queue."""

    def __init__(self, tables: Tables, home: Path) -> None:
        import boto3

        self.s3 = boto3.client("s3", region_name="us-east-1")
        self.sqs = boto3.client("sqs", region_name="us-east-1")
        for old in self.s3.list_buckets()["Buckets"]:
            for item in self.s3.list_objects_v2(Bucket=old["Name"]).get("Contents", []):
                self.s3.delete_object(Bucket=old["Name"], Key=item["Key"])
            self.s3.delete_bucket(Bucket=old["Name"])
        self.s3.create_bucket(Bucket="flight")
        for url in self.sqs.list_queues().get("QueueUrls", []):
            self.sqs.delete_queue(QueueUrl=url)
        self.url = self.sqs.create_queue(QueueName="flight-events")["QueueUrl"]
        self.tables = tables
        self.watcher = Watcher(Lake("s3://flight/incoming"), tables, home, "{mission}/{year}")

    def put(self, key: str, content: bytes) -> None:
        self.s3.put_object(Bucket="flight", Key=key, Body=content)

    def send(self, *bodies: str) -> None:
        for body in bodies:
            self.sqs.send_message(QueueUrl=self.url, MessageBody=body)

    def drain(self) -> watch.Outcome:
        return self.watcher.drain(Queue(self.url))

    def rows(self) -> dict[str, dict[str, Any]]:
        return {row["product_name"]: row for row in self.tables.scan(SOURCE_OBJECTS).to_pylist()}


@pytest.fixture
def bucket(endpoint: str, state: Path, tables: Tables, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    for name, value in {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "hwosim",
        "AWS_SECRET_ACCESS_KEY": "not-a-secret",
        "AWS_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    return Bucket(tables, state)


@pytest.fixture
def content(cal: fits.HDUList, packed: Callable[..., bytes]) -> bytes:
    return packed(cal)


def test_events_bring_an_object_in_and_mark_it_deleted(bucket: Bucket, content: bytes) -> None:
    key = f"incoming/jwst/2022/a folder + more/{NAME}"
    bucket.put(key, content)
    bucket.send('{"Service":"Amazon S3","Event":"s3:TestEvent","Bucket":"flight"}', event(key))
    done = bucket.drain()
    assert (done.catalogued, done.messages, done.later) == (1, 2, [])
    row = bucket.rows()[NAME]
    assert (row["program"], row["state"], row["source"], row["product_type"]) == (
        "01093",
        "catalogued",
        "watched",
        "cal",
    )
    assert row["uri"] == f"s3://flight/{key}"
    assert json.loads(row["path_json"]) == {"mission": "jwst", "year": "2022", "further": "a folder + more"}
    assert (row["facility_name"], row["target_name"]) == ("JWST", "AB Dor")
    cards = bucket.tables.scan(SOURCE_CARDS).to_pylist()
    assert len(cards) == row["cards"]
    first = [card["raw"] for card in cards if card["hdu"] == 0]
    assert content.startswith(header_bytes(first))

    bucket.s3.delete_object(Bucket="flight", Key=key)
    bucket.send(event(key, kind="ObjectRemoved:Delete"))
    assert bucket.drain().deleted == 1
    gone = bucket.rows()[NAME]
    assert gone["state"] == "deleted"
    assert gone["deleted_at"] is not None
    assert gone["cards"] == bucket.tables.scan(SOURCE_CARDS).num_rows
    assert bucket.drain().messages == 0


def test_events_twice_out_of_order_and_for_others_do_no_harm(bucket: Bucket, content: bytes) -> None:
    keys = [f"incoming/x{number}.fits" for number in range(3)]
    for key in keys:
        bucket.put(key, content)
    bucket.put("elsewhere/y.fits", content)
    removed = event(keys[0], kind="ObjectRemoved:Delete")
    bucket.send(event(*keys), removed, event(keys[1]), event("elsewhere/y.fits"), event("x.fits", bucket="other"))
    bucket.drain()
    assert {name: row["state"] for name, row in bucket.rows().items()} == dict.fromkeys(
        ("x0.fits", "x1.fits", "x2.fits"), "catalogued"
    )
    before = bucket.rows()
    bucket.send(event(*keys), event(*keys))
    assert bucket.drain().kept >= 3
    assert bucket.rows() == before


def test_a_message_nobody_understands_is_told_and_stays(bucket: Bucket, content: bytes) -> None:
    bucket.put("incoming/x.fits", content)
    bucket.send("no notification", event("incoming/x.fits"))
    done = bucket.drain()
    assert done.catalogued == 1
    assert "is no S3 event notification" in done.later[0]
    counts = bucket.sqs.get_queue_attributes(QueueUrl=bucket.url, AttributeNames=["All"])["Attributes"]
    assert int(counts["ApproximateNumberOfMessagesNotVisible"]) == 1


def test_missed_events_are_found_by_listing_and_nothing_is_written(bucket: Bucket, content: bytes) -> None:
    bucket.put("incoming/new.fits", content)
    bucket.put("incoming/bad.fits", b"<!DOCTYPE html><html></html>")
    bucket.put("incoming/note.txt", b"not looked at")
    listed = bucket.s3.list_objects_v2(Bucket="flight")["Contents"]
    first = bucket.watcher.reconcile()
    assert (first.catalogued, first.rejected) == (1, 1)
    assert bucket.rows()["bad.fits"]["reason"] == "is a web page (HTML), not FITS"
    again = bucket.watcher.reconcile()
    assert (again.catalogued, again.rejected, again.kept, again.requests) == (0, 0, 2, 0)
    assert bucket.s3.list_objects_v2(Bucket="flight")["Contents"] == listed
    bucket.put("incoming/bad.fits", content)
    assert bucket.watcher.reconcile().catalogued == 1
    assert bucket.rows()["bad.fits"]["reason"] is None
    bucket.s3.delete_object(Bucket="flight", Key="incoming/new.fits")
    assert bucket.watcher.reconcile().deleted == 1
    assert bucket.watcher.reconcile().deleted == 0


def test_notifications_of_others_stay(bucket: Bucket) -> None:
    other = "arn:aws:sqs:us-east-1:123456789012:other"
    bucket.sqs.create_queue(QueueName="other")
    theirs = {"Id": "theirs", "QueueArn": other, "Events": ["s3:ObjectCreated:*"]}
    bucket.s3.put_bucket_notification_configuration(
        Bucket="flight", NotificationConfiguration={"QueueConfigurations": [theirs]}
    )
    assert subscribe(bucket.watcher.lake.place, QUEUE_ARN)
    assert not subscribe(bucket.watcher.lake.place, QUEUE_ARN)
    found = bucket.s3.get_bucket_notification_configuration(Bucket="flight")["QueueConfigurations"]
    assert {item["QueueArn"] for item in found} == {other, QUEUE_ARN}


def test_a_bucket_that_notifies_is_catalogued_by_itself(bucket: Bucket, content: bytes) -> None:
    subscribe(bucket.watcher.lake.place, QUEUE_ARN)
    bucket.put("incoming/by itself.fits", content)
    assert bucket.drain().catalogued == 1
    assert bucket.rows()["by itself.fits"]["state"] == "catalogued"


def test_a_notification_comes_wrapped_too() -> None:
    plain = event("a b.fits")
    wrapped = json.dumps({"Type": "Notification", "Message": plain})
    bridge = {"source": "aws.s3", "detail": {"bucket": {"name": "flight"}, "object": {"key": "a+b.fits"}}}
    assert event_keys(plain, "flight") == event_keys(wrapped, "flight") == ["a b.fits"]
    assert event_keys(json.dumps(bridge), "flight") == ["a+b.fits"]
    for body in ("", "[]", "{}", '{"Records": [{"s3": {}}]}', '{"Records": 3}'):
        with pytest.raises(BadInputError, match="no S3 event"):
            event_keys(body, "flight")


def test_a_killed_back_fill_goes_on_where_it_was(
    tmp_path: Path, tables: Tables, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "place"
    for number in range(6):
        (folder / f"{number % 2}").mkdir(parents=True, exist_ok=True)
        (folder / f"{number % 2}" / f"x{number}.fits").write_bytes(content)
    watcher = Watcher(Lake(folder.as_uri()), tables, tmp_path / "home")
    monkeypatch.setattr(watch, "BATCH", 2)

    class KilledError(Exception):
        pass

    def kill(_: int) -> None:
        raise KilledError

    with pytest.raises(KilledError):
        watcher.reconcile(on_object=kill)
    assert tables.scan(SOURCE_OBJECTS).num_rows == 2
    assert not watcher.reconcile(limit=1).complete
    rest = watcher.reconcile()
    assert (rest.catalogued, rest.kept, rest.complete) == (3, 3, True)
    shutil.rmtree(folder / "1")
    assert watcher.reconcile().deleted == 3


def test_a_pass_over_a_long_queue_ends_at_its_limit(bucket: Bucket) -> None:
    bucket.send(*(event(f"incoming/x{number}.fits") for number in range(25)))
    done = bucket.watcher.drain(Queue(bucket.url), limit=5)
    assert 5 <= done.messages < 25
    assert bucket.drain().messages == 25 - done.messages


def test_a_place_that_is_not_mounted_is_told_and_nothing_taken_for_deleted(
    tmp_path: Path, tables: Tables, content: bytes
) -> None:
    place, away = tmp_path / "place", tmp_path / "away"
    place.mkdir()
    (place / NAME).write_bytes(content)
    watcher = Watcher(Lake(place.as_uri()), tables, tmp_path / "home")
    watcher.reconcile()
    place.rename(away)
    for again in (watcher, Watcher(Lake(place.as_uri()), tables, tmp_path / "home")):
        with pytest.raises(BackendAbsentError, match="HWOSIM_WATCH_URI"):
            again.reconcile()
    assert not place.exists(), "nor is it made"
    away.rename(place)
    assert (watcher.reconcile().kept, watcher.reconcile().deleted) == (1, 0)


def test_an_object_that_changes_program_leaves_the_old_one(
    tmp_path: Path, tables: Tables, cal: fits.HDUList, packed: Callable[..., bytes]
) -> None:
    path = tmp_path / "place" / "mine.fits"
    path.parent.mkdir()
    watcher = Watcher(Lake(path.parent.as_uri()), tables, tmp_path / "home")
    for program in ("01093", "02222"):
        cal[0].header["PROGRAM"] = program
        path.write_bytes(packed(cal))
        watcher.reconcile()
        assert {row["program"] for row in tables.scan(SOURCE_OBJECTS).to_pylist()} == {program}
        assert set(tables.scan(SOURCE_CARDS)["program"].to_pylist()) == {program}


def test_folders_mean_the_same_at_any_depth() -> None:
    assert path_facts("jwst/2022/x.fits", "{mission}/{year}") == {"mission": "jwst", "year": "2022"}
    assert path_facts("jwst/x.fits", "{mission}/{year}") == {"mission": "jwst"}
    assert path_facts("jwst/2022/a/b/x.fits", "{mission}/{year}")["further"] == "a/b"


def test_the_commands_tell_what_they_did(state: Path, tmp_path: Path, content: bytes, monkeypatch: Any) -> None:
    from hwosim_assets.commands.lake import lake as group

    place = tmp_path / "place"
    place.mkdir()
    (place / NAME).write_bytes(content)
    done = CliRunner().invoke(group, ["backfill", place.as_uri(), "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["catalogued"] == 1
    monkeypatch.setenv("HWOSIM_WATCH_URI", place.as_uri())
    seen = CliRunner().invoke(group, ["watch", "--once", "--json"])
    assert json.loads(seen.stdout)["kept"] == 1


def test_watched_objects_are_found_by_what_their_headers_say(state: Path, tmp_path: Path, content: bytes) -> None:
    from hwosim_assets.commands.lake import lake as group
    from hwosim_assets.commands.search import search

    def found(*words: str) -> list[str]:
        done = CliRunner().invoke(search, [*words, "--source", "watched", "--json"])
        assert done.exit_code == 0, done.output
        return [row["uri"] for row in json.loads(done.stdout)]

    place = tmp_path / "place"
    place.mkdir()
    assert found() == []
    (place / NAME).write_bytes(content)
    (place / "other.fits").write_bytes(content.replace(b"'AB Dor  '", b"'HD 1    '"))
    (place / "broken.fits").write_bytes(b"no FITS")
    assert CliRunner().invoke(group, ["backfill", place.as_uri()]).exit_code == 0
    ours, other = (place / NAME).as_uri(), (place / "other.fits").as_uri()
    assert found() == [ours, other]
    assert found("--cone", "82.18", "-65.45", "0.01", "--instrument", "NIRISS") == [ours, other]
    assert found("--cone", "10", "20", "0.01") == []
    assert found("--key", "TARGNAME='HD 1'") == [other]
    assert found("--observation", "12", "--filter", "F150W") == [ours]
    assert found("--where", "t_exptime > 1000 and target_name = 'AB Dor'") == [ours]
    output = tmp_path / "found.vot"
    assert CliRunner().invoke(search, ["--source", "watched", "--output", str(output)]).exit_code == 0
    assert ours in output.read_text()
    for words in (["--explain"], ["--save", "x"], ["--rights", "PUBLIC"]):
        assert CliRunner().invoke(search, ["--source", "watched", *words]).exit_code != 0
    (place / NAME).unlink()
    assert CliRunner().invoke(group, ["backfill", place.as_uri()]).exit_code == 0
    assert found() == [other]


def test_every_real_file_is_catalogued_or_refused_with_its_reason(
    tmp_path: Path, tables: Tables, real_data: Path
) -> None:
    watcher = Watcher(Lake(real_data.as_uri()), tables, tmp_path / "home", "{collection}")
    done = watcher.reconcile()
    rows = tables.scan(SOURCE_OBJECTS).to_pylist()
    assert done.later == []
    assert done.catalogued > 150
    refused = {row["product_name"]: row["reason"] for row in rows if row["state"] == "rejected"}
    assert refused == {
        "jw02739-o002_t001_miri_f770w_i2d.fits": "is a git-lfs pointer, not the file it points to",
        "header_unexpected_end.fits": "is truncated: the header of HDU 0 has no END card",
        "idcompspec.fits": "is plain text, not FITS (no SIMPLE card)",
    }
    assert tables.scan(SOURCE_CARDS, columns=["uri"]).num_rows == sum(row["cards"] for row in rows)
