"""Subscriptions: which events there are, each delivered once, kills and deaf receivers included."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from shelf import Shelf, name_of, uri_of

from hwosim_assets.catalog import search, targets
from hwosim_assets.catalog import subscriptions as module
from hwosim_assets.catalog.baskets import run_basket
from hwosim_assets.catalog.search import Question
from hwosim_assets.catalog.subscriptions import (
    DELIVERIES,
    KINDS,
    SUBSCRIPTIONS,
    deliver,
    subscribe,
    subscriptions,
    unsubscribe,
)
from hwosim_assets.catalog.targets import FileTarget, Webhook, target_of
from hwosim_assets.cli import main
from hwosim_assets.errors import BadInputError, HwosimError
from hwosim_assets.lake import since
from hwosim_assets.lake.tables import Tables
from hwosim_assets.settings import Settings

PROGRAM = "01093"
ONE, TWO, THREE = (name_of(PROGRAM, f"00{number}") for number in (1, 2, 3))
TWO_AGAIN = name_of(PROGRAM, "002", 2)

Told = list[tuple[str, str]]


class Ear:
    """A target that listens."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    def send(self, events: list[dict[str, Any]]) -> None:
        self.events += events

    def has(self, ids: set[str]) -> set[str]:
        return ids & {event["id"] for event in self.events}

    def heard(self) -> Told:
        """Return kind and product of what came since the last question, in order."""
        events, self.events = self.events, []
        return sorted((event["type"].rpartition(".")[2], event["subject"]) for event in events)


@pytest.fixture
def shelf(state: Path) -> Shelf:
    shelf = Shelf(state)
    shelf.put(ONE, name_of("02000", "001"))
    run_basket("mine", shelf.lake, shelf.tables, Question(program=PROGRAM))
    return shelf


@pytest.fixture
def ear() -> Ear:
    return Ear()


@pytest.fixture
def tell(shelf: Shelf, ear: Ear) -> Callable[[], Told]:
    """Return what delivers the events of a subscription to all kinds, and says which these were."""
    row = subscribe("mine", "ear", KINDS, shelf.lake, shelf.tables)

    def told() -> Told:
        sent = deliver(row, ear, shelf.lake, shelf.tables, shelf.home)
        assert sent == len(ear.events)
        return ear.heard()

    return told


def test_what_is_there_when_it_begins_is_no_event(tell: Callable[[], Told]) -> None:
    assert tell() == []


def test_new_first_and_reprocessed_each_come_once(shelf: Shelf, tell: Callable[[], Told]) -> None:
    shelf.put(TWO)
    assert tell() == [("first", TWO), ("new", TWO)]
    assert tell() == []
    shelf.put(TWO_AGAIN)
    assert tell() == [("new", TWO_AGAIN)]
    for content in ("1.18.0", "1.17.1"):
        shelf.put(ONE, TWO, content=content)
        assert tell() == [("reprocessed", ONE), ("reprocessed", TWO)]
        assert tell() == []


def test_others_of_the_archive_are_not_told(shelf: Shelf, tell: Callable[[], Told]) -> None:
    shelf.put(name_of("02000", "002"))
    shelf.put(name_of("02000", "001"), content="1.18.0")
    assert tell() == []


def test_a_product_that_was_away_is_not_new_again(shelf: Shelf, tell: Callable[[], Told]) -> None:
    shelf.put(TWO)
    tell()
    shelf.drop(TWO)
    assert tell() == []
    shelf.put(TWO)
    assert tell() == []


def test_the_end_of_exclusive_access_is_told_once(shelf: Shelf, tell: Callable[[], Told]) -> None:
    shelf.put(TWO, rights="EXCLUSIVE_ACCESS")
    assert tell() == [("first", TWO), ("new", TWO)]
    shelf.put(TWO)
    assert tell() == [("public", TWO)]
    assert tell() == []


def test_an_event_says_what_is_needed_to_fetch_it(shelf: Shelf, ear: Ear) -> None:
    row = subscribe("mine", "ear", KINDS, shelf.lake, shelf.tables)
    shelf.put(ONE, content="1.18.0")
    deliver(row, ear, shelf.lake, shelf.tables, shelf.home)
    (event,) = ear.events
    assert event["specversion"] == "1.0"
    assert (event["source"], event["subject"]) == ("hwosim/basket/mine", ONE)
    data = event["data"]
    assert (data["program"], data["data_uri"], data["version"], data["cal_ver"]) == (PROGRAM, uri_of(ONE), 2, "1.18.0")
    assert shelf.lake.read(shelf.lake.key_of(data["uri"])) == f"{ONE} 1.18.0".encode()


def test_kinds_that_nobody_asked_for_are_not_sent_later(shelf: Shelf, ear: Ear) -> None:
    row = subscribe("mine", "ear", ["reprocessed"], shelf.lake, shelf.tables)
    shelf.put(TWO)
    assert deliver(row, ear, shelf.lake, shelf.tables, shelf.home) == 0
    shelf.put(TWO, content="1.18.0")
    deliver(row, ear, shelf.lake, shelf.tables, shelf.home)
    assert ear.heard() == [("reprocessed", TWO)]


def test_one_subscription_knows_nothing_of_another(shelf: Shelf) -> None:
    rows = [subscribe("mine", target, KINDS, shelf.lake, shelf.tables) for target in ("a", "b")]
    with pytest.raises(BadInputError, match="has a subscription to a"):
        subscribe("mine", "a", KINDS, shelf.lake, shelf.tables)
    shelf.put(TWO)
    for row in rows:
        assert deliver(row, Ear(), shelf.lake, shelf.tables, shelf.home) == 2
    unsubscribe(rows[0], shelf.tables)
    assert [row["target"] for row in subscriptions(shelf.tables)] == ["b"]
    assert set(shelf.tables.scan(DELIVERIES)["subscription"].to_pylist()) == {rows[1]["subscription"]}


@pytest.mark.parametrize("at", [0, 1, 2, 4])
def test_a_kill_between_any_two_steps_loses_and_doubles_nothing(
    shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    """Stopped before each step that changes anything: three batches, each written, sent, marked."""
    monkeypatch.setattr(module, "BATCH", 2)
    target = FileTarget(tmp_path / "events.jsonl")
    row = subscribe("mine", "file", ["new"], shelf.lake, shelf.tables)
    shelf.put(*(name_of(PROGRAM, "005", number) for number in range(1, 5)))
    steps = iter(range(100))

    def perhaps(step: Callable[..., None]) -> Callable[..., None]:
        def stopped(*arguments: Any) -> None:
            if next(steps) == at:
                raise KeyboardInterrupt
            step(*arguments)

        return stopped

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(module, "_write", perhaps(module._write))
        patch.setattr(target, "send", perhaps(target.send))
        deliver(row, target, shelf.lake, shelf.tables, shelf.home)
    deliver(row, target, shelf.lake, shelf.tables, shelf.home)
    assert deliver(row, target, shelf.lake, shelf.tables, shelf.home) == 0
    subjects = Counter(json.loads(line)["subject"] for line in (tmp_path / "events.jsonl").read_text().splitlines())
    assert subjects == Counter(name_of(PROGRAM, "005", number) for number in range(1, 5))


_DELIVER = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from shelf import Shelf
from hwosim_assets.catalog.subscriptions import deliver, subscriptions
from hwosim_assets.catalog.targets import FileTarget
shelf = Shelf(Path(sys.argv[2]))
class Dying(FileTarget):
    def send(self, events):
        super().send(events)
        with open(sys.argv[3], "ab") as file:
            file.write(b'{"id": "cut sho')
        os.kill(os.getpid(), signal.SIGKILL)
deliver(subscriptions(shelf.tables)[0], Dying(Path(sys.argv[3])), shelf.lake, shelf.tables, shelf.home)
"""


def test_a_killed_process_leaves_each_event_in_the_file_once(shelf: Shelf, tmp_path: Path) -> None:
    """Killed after the file has the events and before the ledger knows; with half a line behind them."""
    path = tmp_path / "events.jsonl"
    (row,) = [subscribe("mine", str(path), ["new"], shelf.lake, shelf.tables)]
    shelf.put(TWO, THREE)
    here = str(Path(__file__).parent)
    died = subprocess.run([sys.executable, "-c", _DELIVER, here, str(shelf.home), str(path)], env=dict(os.environ))
    assert died.returncode == -signal.SIGKILL
    states = Counter(shelf.tables.scan(DELIVERIES)["state"].to_pylist())
    assert states == {"sending": 2, "noted": 2}  # new, and the first of their observations
    deliver(row, FileTarget(path), shelf.lake, shelf.tables, shelf.home)
    shelf.put(ONE, content="1.18.0")
    shelf.put(TWO_AGAIN)
    deliver(row, FileTarget(path), shelf.lake, shelf.tables, shelf.home)
    assert [json.loads(line)["subject"] for line in path.read_text().splitlines()] == [TWO, THREE, TWO_AGAIN]


class Receiver:
    """A webhook on loopback; ``answers`` are its next statuses, 200 behind them."""

    def __init__(self) -> None:
        self.answers: list[int] = []
        self.posts: list[tuple[str, list[dict[str, Any]]]] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                assert self.headers["Content-Type"] == "application/cloudevents-batch+json"
                receiver.posts.append((self.headers["Idempotency-Key"], body))
                status = receiver.answers.pop(0) if receiver.answers else 200
                if status:
                    self.send_response(status)
                    self.send_header("Content-Length", "0")
                    self.end_headers()

            def log_message(self, *_arguments: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/events"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    monkeypatch.setattr(targets, "PAUSE", 0.01)
    receiver = Receiver()
    yield receiver
    receiver.close()


def test_a_webhook_that_stumbles_gets_the_same_batch_again(shelf: Shelf, receiver: Receiver) -> None:
    """Two failures and a broken connection (status 0), then it takes them."""
    row = subscribe("mine", receiver.url, ["new"], shelf.lake, shelf.tables)
    shelf.put(TWO, THREE)
    receiver.answers = [503, 0, 429]
    assert deliver(row, Webhook(receiver.url), shelf.lake, shelf.tables, shelf.home) == 2
    assert len(receiver.posts) == 4
    assert len({key for key, _ in receiver.posts}) == 1
    assert [event["subject"] for event in receiver.posts[-1][1]] == [TWO, THREE]
    assert deliver(row, Webhook(receiver.url), shelf.lake, shelf.tables, shelf.home) == 0
    assert len(receiver.posts) == 4


def test_a_batch_has_one_key_in_any_order(receiver: Receiver) -> None:
    """After a kill the events come in the order of the table, not in that in which they were found."""
    events = [{"id": name} for name in "cab"]
    Webhook(receiver.url).send(events)
    Webhook(receiver.url).send(sorted(events, key=lambda event: event["id"]))
    assert len({key for key, _ in receiver.posts}) == 1


@pytest.mark.parametrize(("answers", "calls"), [([500] * 5, 5), ([403], 1)])
def test_what_a_webhook_refuses_comes_the_next_time_under_its_id(
    shelf: Shelf, receiver: Receiver, answers: list[int], calls: int
) -> None:
    row = subscribe("mine", receiver.url, ["new"], shelf.lake, shelf.tables)
    shelf.put(TWO)
    receiver.answers = list(answers)
    with pytest.raises(HwosimError, match=f"answered {answers[0]}"):
        deliver(row, Webhook(receiver.url), shelf.lake, shelf.tables, shelf.home)
    assert len(receiver.posts) == calls
    assert deliver(row, Webhook(receiver.url), shelf.lake, shelf.tables, shelf.home) == 1
    assert len({event["id"] for _, events in receiver.posts for event in events}) == 1


def test_addresses_that_nothing_serves_are_refused(state: Path) -> None:
    with pytest.raises(BadInputError, match="nothing here serves"):
        target_of("ftp://127.0.0.1/x", Settings())
    with pytest.raises(BadInputError, match="not a name that Kafka allows"):
        target_of("kafka:no spaces", Settings())


def hwosim(*arguments: str) -> int:
    with pytest.raises(SystemExit) as leaving:
        main(list(arguments))
    return int(leaving.value.code or 0)


def test_the_commands_deliver_and_go_on_after_a_failure(
    shelf: Shelf,
    receiver: Receiver,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert hwosim("basket", "subscribe", "mine", "--to", receiver.url, "--event", "new") == 0
    assert hwosim("basket", "subscribe", "mine", "--to", "events.jsonl") == 0
    shelf.put(TWO)
    receiver.answers = [403]
    monkeypatch.chdir("/")
    capsys.readouterr()
    assert hwosim("basket", "deliver", "--json") == 1
    said = capsys.readouterr()
    assert sorted((told["sent"], told["trouble"] is not None) for told in json.loads(said.out)) == [
        (0, True),
        (2, False),
    ]
    assert len((tmp_path / "events.jsonl").read_text().splitlines()) == 2
    assert hwosim("basket", "deliver") == 0
    assert len(receiver.posts) == 2
    capsys.readouterr()
    assert hwosim("basket", "subscriptions", "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["kinds"] for row in rows} == {"new", "new first reprocessed public"}
    assert hwosim("basket", "unsubscribe", rows[0]["subscription"]) == 0
    assert hwosim("basket", "unsubscribe", rows[0]["subscription"]) == 1
    assert hwosim("basket", "drop", "mine") == 0
    assert subscriptions(shelf.tables) == []


# --------------------------------------------------------------------- what a delivery reads


@pytest.fixture
def files_read(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count the data files that are planned to be read, by table."""
    counted: Counter[str] = Counter()
    plan_of_scan, plan_of_search, programs = Tables._plan, search.plan, since._programs

    def scanned(table: Any, where: Any) -> Any:
        files = plan_of_scan(table, where)
        counted[table.name()[1]] += len(files)
        return files

    def searched(table: Any, *question: Any) -> Any:
        plan = plan_of_search(table, *question)
        counted[table.name()[1]] += plan.files_planned
        return plan

    def looked_at(table: Any, file: Any) -> set[str]:
        found = programs(table, file)
        counted[table.name()[1]] += len(found) > 1
        return found

    monkeypatch.setattr(Tables, "_plan", staticmethod(scanned))
    monkeypatch.setattr(search, "plan", searched)
    monkeypatch.setattr(since, "_programs", looked_at)
    return counted


@pytest.fixture
def wide(shelf: Shelf, ear: Ear) -> Callable[[], Told]:
    """Return what delivers the events of a subscription to everything in an archive of ten programs."""
    shelf.put(*(name_of(f"0300{number}", "001") for number in range(8)))
    run_basket("all", shelf.lake, shelf.tables, Question())
    subscribe("all", "ear", KINDS, shelf.lake, shelf.tables)

    def told() -> Told:
        row = subscriptions(shelf.tables, "all")[0]
        deliver(row, ear, shelf.lake, shelf.tables, shelf.home)
        return ear.heard()

    return told


BIG = ("products", "raw_versions", "archive_products", "header_cards")


def test_a_delivery_reads_nothing_where_nothing_is_new(wide: Callable[[], Told], files_read: Counter[str]) -> None:
    assert wide() == []
    assert {name: files_read[name] for name in BIG} == dict.fromkeys(BIG, 0)


def test_a_delivery_reads_the_programs_that_were_written_to(
    shelf: Shelf, wide: Callable[[], Told], files_read: Counter[str]
) -> None:
    changed, other = name_of("03003", "001"), name_of("03005", "002")
    shelf.put(changed, content="1.18.0")
    files_read.clear()
    assert wide() == [("reprocessed", changed)]
    # the products and the versions of the program once each, what the archive lists once for either kind of rights
    assert {name: files_read[name] for name in BIG} == {**dict.fromkeys(BIG, 0), "products": 1, "raw_versions": 1}
    files_read.clear()
    assert wide() == []
    assert {name: files_read[name] for name in BIG} == dict.fromkeys(BIG, 0)
    shelf.put(other, rights="EXCLUSIVE_ACCESS")
    files_read.clear()
    assert wide() == [("first", other), ("new", other)]
    assert files_read["archive_products"] <= 2
    shelf.put(other)
    assert wide() == [("public", other)]


def test_after_compaction_and_expiry_nothing_is_missed_and_nothing_told_twice(
    shelf: Shelf, wide: Callable[[], Told], files_read: Counter[str]
) -> None:
    new = name_of("03001", "003")
    shelf.put(new)
    for name in shelf.tables.names():
        shelf.tables.compact(name)
        shelf.tables.expire(name, keep=1, older_than=timedelta(0))
    assert wide() == [("first", new), ("new", new)]
    files_read.clear()
    assert wide() == []
    assert {name: files_read[name] for name in BIG} == dict.fromkeys(BIG, 0)


def test_a_delivery_that_failed_looks_at_the_same_again(shelf: Shelf, wide: Callable[[], Told], ear: Ear) -> None:
    new = name_of("03001", "003")
    shelf.put(new)
    hearing, ear.send = ear.send, deaf  # type: ignore[method-assign]
    with pytest.raises(HwosimError, match="deaf"):
        wide()
    ear.send = hearing  # type: ignore[method-assign]
    assert wide() == [("first", new), ("new", new)]
    assert wide() == []


def deaf(_events: list[dict[str, Any]]) -> None:
    raise HwosimError("the ear", "is deaf", "wait")


def test_a_subscription_of_an_earlier_version_looks_at_everything_once(
    shelf: Shelf, wide: Callable[[], Told], files_read: Counter[str]
) -> None:
    (row,) = subscriptions(shelf.tables, "all")
    scope = {"program": "00000", "basket": "all"}
    old = pa.Table.from_pylist([row | {"seen_json": None}], schema=SUBSCRIPTIONS.schema)
    shelf.tables.replace(SUBSCRIPTIONS, scope, old)
    assert wide() == []
    assert files_read["products"] >= 9
    files_read.clear()
    assert wide() == []
    assert files_read["products"] == 0
