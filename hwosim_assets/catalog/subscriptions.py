"""Saved searches that tell somebody: which events there are, and each delivered once.

Holds: the tables ``subscriptions`` and ``deliveries`` (the ledger), :func:`subscribe`, :func:`deliver`. Keep out
saved searches themselves (``catalog.baskets``) and how events travel (``catalog.targets``).

Four kinds of event, after MAST's own: ``new`` (a product that was not there), ``first`` (the first product of an
observation), ``reprocessed`` (a further version of a product) and ``public`` (exclusive access ended). What the
basket found when the subscription began is no event.

A delivery looks at the programs that were written to since the last one, and at those alone.

An event is written to the ledger before it is sent and marked after. What a kill leaves unmarked is looked for
at the target, where the target can tell, and sent again otherwise, under the same id.
"""

from __future__ import annotations

import fcntl
import hashlib
import itertools
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from hwosim_assets.archive.schema import ARCHIVE_PRODUCTS
from hwosim_assets.catalog.baskets import FOUND, found_by, history, question_of_run, run_basket
from hwosim_assets.catalog.cards import HEADER_CARDS
from hwosim_assets.catalog.products import PRODUCTS
from hwosim_assets.catalog.search import find
from hwosim_assets.errors import BadInputError
from hwosim_assets.fits.names import NO_PROGRAM
from hwosim_assets.lake.since import Mark, mark_of, programs_since
from hwosim_assets.lake.spec import TableSpec
from hwosim_assets.lake.versions import RAW_VERSIONS

if TYPE_CHECKING:
    from pyiceberg.table import Table

    from hwosim_assets.catalog.targets import Target
    from hwosim_assets.lake.store import Lake
    from hwosim_assets.lake.tables import Tables

__all__ = ["DELIVERIES", "KINDS", "SUBSCRIPTIONS", "deliver", "subscribe", "subscriptions", "unsubscribe"]

#: Kinds of event.
KINDS = ("new", "first", "reprocessed", "public")
#: Events that are written to the ledger, sent and marked together.
BATCH = 100
#: Of more programs than this that were written to, everything is looked at: one question costs less than many.
FEW_PROGRAMS = 100
_CLOSED = ("EXCLUSIVE_ACCESS", "RESTRICTED")
#: Whatever makes an event, or makes a search find a product, is written to one of these.
_LOOKED_AT = (PRODUCTS, HEADER_CARDS, ARCHIVE_PRODUCTS, RAW_VERSIONS)

SUBSCRIPTIONS = TableSpec(
    name="subscriptions",
    schema=pa.schema(
        [
            *[pa.field(name, pa.string(), nullable=False) for name in ("program", "basket", "subscription", "target")],
            pa.field("kinds", pa.string(), nullable=False),
            pa.field("from_run", pa.int64(), nullable=False),
            pa.field("began_at", pa.timestamp("us", "UTC"), nullable=False),
            pa.field("seen_json", pa.string()),
        ]
    ),
    scope=("program", "basket"),
    key=("subscription",),
    doc="One row for each subscription of a saved search: where events go, the run whose products are none, "
    "and how far the last delivery looked.",
)

DELIVERIES = TableSpec(
    name="deliveries",
    schema=pa.schema(
        [
            pa.field(name, pa.string(), nullable=False)
            for name in ("program", "subscription", "event_id", "basket", "kind", "subject", "sha256", "state")
        ]
        + [pa.field("event_json", pa.string()), pa.field("at", pa.timestamp("us", "UTC"), nullable=False)]
    ),
    scope=("program", "subscription"),
    key=("event_id",),
    doc="One row for each event of a subscription: `sending` (its text is kept), `delivered`, or `noted` where it was "
    "not asked for.",
)


def subscriptions(tables: Tables, basket: str | None = None) -> list[dict[str, Any]]:
    """Return the rows of :data:`SUBSCRIPTIONS`, of one basket or all."""
    where = {"program": NO_PROGRAM, "basket": basket} if basket else None
    rows: list[dict[str, Any]] = tables.scan(SUBSCRIPTIONS, where).to_pylist()
    return rows


def subscribe(basket: str, target: str, kinds: Sequence[str], lake: Lake, tables: Tables) -> dict[str, Any]:
    """Begin a subscription: the basket is asked once, and what it finds now is no event.

    Parameters
    ----------
    basket : str
        A saved search.
    target : str
        Where events go, see :func:`~hwosim_assets.catalog.targets.target_of`.
    kinds : sequence of str
        Some of :data:`KINDS`.
    lake, tables
        Where things are.

    Returns
    -------
    dict
        Row of :data:`SUBSCRIPTIONS`.

    Raises
    ------
    BadInputError
        If there is no such basket, or it has a subscription to this target.
    """
    name = _digest(basket, target)[:8]
    taken = BadInputError(f"basket {basket}", f"has a subscription to {target}", f"hwosim basket unsubscribe {name}")
    if any(row["subscription"] == name for row in subscriptions(tables, basket)):
        raise taken
    seen, _changed = _look({}, "", tables)
    run = run_basket(basket, lake, tables)
    row = {
        "program": NO_PROGRAM,
        "basket": basket,
        "subscription": name,
        "target": target,
        "kinds": " ".join(kind for kind in KINDS if kind in kinds),
        "from_run": run["run"],
        "began_at": datetime.now(UTC),
        "seen_json": json.dumps(seen | {"question": run["question_json"]}),
    }
    one = question_of_run(run).one_program
    _note_closed(row, [one] if one else [None], tables)

    def with_it(stored: pa.Table) -> pa.Table:
        if name in stored["subscription"].to_pylist():
            raise taken
        return pa.concat_tables([stored, pa.Table.from_pylist([row], schema=SUBSCRIPTIONS.schema)])

    tables.update(SUBSCRIPTIONS, {"program": NO_PROGRAM, "basket": basket}, with_it)
    return row


def unsubscribe(subscription: dict[str, Any], tables: Tables) -> None:
    """End a subscription and forget what it delivered."""

    def without_it(stored: pa.Table) -> pa.Table:
        return stored.filter(pc.not_equal(stored["subscription"], subscription["subscription"]))

    tables.update(SUBSCRIPTIONS, {"program": NO_PROGRAM, "basket": subscription["basket"]}, without_it)
    for program, _rows in _ledger(subscription, tables).items():
        _write(subscription, program, [], tables)


def deliver(subscription: dict[str, Any], target: Target, lake: Lake, tables: Tables, home: Path) -> int:
    """Send the events of a subscription that were not sent yet.

    Parameters
    ----------
    subscription : dict
        Row of :data:`SUBSCRIPTIONS`.
    target : Target
        What its target is.
    lake, tables
        Where things are.
    home : pathlib.Path
        State folder; a lock in it keeps two processes of this machine apart.

    Returns
    -------
    int
        How many events the target has now that it did not have before.

    Raises
    ------
    HwosimError
        If the target does not take them. They stay in the ledger, and are sent the next time.
    """
    with _alone(home, subscription["subscription"]):
        sent = _recover(subscription, target, tables)
        runs = history(tables, subscription["basket"])
        earlier = json.loads(subscription["seen_json"] or "{}")
        seen, programs = _look(earlier, runs[-1]["question_json"], tables)
        one = question_of_run(runs[-1]).one_program
        where = _where(programs, one)
        kinds = subscription["kinds"].split()
        by_program: dict[str, list[dict[str, Any]]] = defaultdict(list)
        ledger = _ledger(subscription, tables, where)
        for event in _events(subscription, runs, ledger, where, lake, tables) if where else []:
            by_program[event["program"]].append(event | {"state": "sending" if event["kind"] in kinds else "noted"})
        for program, events in sorted(by_program.items()):
            rows = ledger.get(program, [])
            for start in range(0, len(events), BATCH):
                batch = events[start : start + BATCH]
                _write(subscription, program, [*rows, *batch], tables)
                wanted = [json.loads(event["event_json"]) for event in batch if event["state"] == "sending"]
                if wanted:
                    target.send(wanted)
                rows = [*rows, *map(_done, batch)]
                _write(subscription, program, rows, tables)
                sent += len(wanted)
        _note_closed(subscription, where, tables)
        if seen != earlier:
            _remember(subscription, seen, tables)
    return sent


# --------------------------------------------------------------------- what to look at


def _look(earlier: dict[str, Any], question: str, tables: Tables) -> tuple[dict[str, Any], set[str] | None]:
    """Return how far the tables go now, and the programs that were written to since an earlier look (``None``: all).

    Taken before anything is read, so that what others write meanwhile is looked at the next time.
    """
    seen: dict[str, Any] = {"question": question}
    changed: set[str] | None = set()
    for spec in _LOOKED_AT:
        told = tables.look(spec.name, partial(_since, earlier.get(spec.name)))
        if told is not None:
            seen[spec.name], programs = told
            changed = None if programs is None or changed is None else changed | programs
    asked_otherwise = question != earlier.get("question")
    return seen, None if asked_otherwise or changed is None or len(changed) > FEW_PROGRAMS else changed


def _since(mark: Mark | None, table: Table) -> tuple[Mark, set[str] | None]:
    return mark_of(table), programs_since(table, mark)


def _where(programs: set[str] | None, one: str | None) -> list[str | None]:
    """Return the programs to ask for, one by one; ``[None]`` asks for all at once."""
    if one is not None:
        return [one] if programs is None or one in programs else []
    return [None] if programs is None else [*sorted(programs)]


def _remember(subscription: dict[str, Any], seen: dict[str, Any], tables: Tables) -> None:
    """Write down how far this delivery looked; one that was ended meanwhile stays so."""

    def looked(stored: pa.Table) -> pa.Table:
        rows = stored.to_pylist()
        for row in rows:
            if row["subscription"] == subscription["subscription"]:
                row["seen_json"] = json.dumps(seen)
        return pa.Table.from_pylist(rows, schema=SUBSCRIPTIONS.schema)

    tables.update(SUBSCRIPTIONS, {"program": NO_PROGRAM, "basket": subscription["basket"]}, looked)


def _recover(subscription: dict[str, Any], target: Target, tables: Tables) -> int:
    """Finish what an earlier delivery began: mark the events that the target has, send the others."""
    sent = 0
    left = {"subscription": subscription["subscription"], "state": "sending"}
    programs = sorted(set(tables.scan(DELIVERIES, left, ["program"])["program"].to_pylist()))
    for program, rows in _ledger(subscription, tables, programs).items():
        begun = [row for row in rows if row["state"] == "sending"]
        there = target.has({row["event_id"] for row in begun})
        missing = [json.loads(row["event_json"]) for row in begun if row["event_id"] not in there]
        if missing:
            target.send(missing)
        _write(subscription, program, list(map(_done, rows)), tables)
        sent += len(missing)
    return sent


# --------------------------------------------------------------------- events


def _events(
    subscription: dict[str, Any],
    runs: list[dict[str, Any]],
    ledger: dict[str, list[dict[str, Any]]],
    where: list[str | None],
    lake: Lake,
    tables: Tables,
) -> Iterator[dict[str, Any]]:
    """Yield what happened in some programs since the subscription began and is not in the ledger, as rows of it."""
    before = found_by(next(run for run in runs if run["run"] == subscription["from_run"]), lake).to_pylist()
    question = question_of_run(runs[-1])
    told = {row["data_uri"]: row["sha256"] for row in before}
    observations = {_observation(row) for row in before}
    entries = sorted((row for rows in ledger.values() for row in rows), key=lambda row: row["at"])
    for entry in entries:
        if entry["kind"] in ("new", "reprocessed"):
            told[entry["subject"]] = entry["sha256"]
        elif entry["kind"] == "first":
            observations.add(entry["subject"])
    closed = {entry["subject"] for entry in entries if entry["kind"] == "closed"}
    opened = {entry["subject"] for entry in entries if entry["kind"] == "public"}
    versions: dict[tuple[str, str], int] = {}
    found: list[dict[str, Any]] = []
    for program in where:
        found += find(
            tables, question if program is None else replace(question, program=program), columns=FOUND
        ).rows.to_pylist()
        versions |= _versions(tables, program)
    public = _public(tables, {row["program"] for row in found if row["data_uri"] in closed - opened})
    for row in found:
        version = versions.get((row["data_uri"], row["sha256"]), 1)
        say = _Saying(subscription, row, version)
        if row["data_uri"] not in told:
            yield say("new", row["data_uri"], row["data_uri"])
        elif told[row["data_uri"]] != row["sha256"]:
            yield say("reprocessed", row["data_uri"], f"{row['data_uri']} {version} {row['sha256']}")
        if _observation(row) not in observations:
            observations.add(_observation(row))
            yield say("first", _observation(row), _observation(row))
        if row["data_uri"] in public and row["data_uri"] in closed - opened:
            yield say("public", row["data_uri"], row["data_uri"])


class _Saying:
    """Makes rows of the ledger about one product."""

    def __init__(self, subscription: dict[str, Any], product: dict[str, Any], version: int) -> None:
        self._subscription, self._product, self._version = subscription, product, version

    def __call__(self, kind: str, subject: str, identity: str) -> dict[str, Any]:
        subscription, product, now = self._subscription, self._product, datetime.now(UTC)
        event_id = _digest(subscription["subscription"], kind, identity)[:32]
        # https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md
        event = {
            "specversion": "1.0",
            "id": event_id,
            "source": f"hwosim/basket/{subscription['basket']}",
            "type": f"hwosim.product.{kind}",
            "subject": product["product_name"],
            "time": now.isoformat(timespec="milliseconds"),
            "datacontenttype": "application/json",
            "data": {
                **{name: product[name] for name in ("program", "product_name", "data_uri", "uri", "size_bytes")},
                "version": self._version,
                "sha256": product["sha256"],
                "cal_ver": product["kw_cal_ver"],
                "crds_ctx": product["kw_crds_ctx"],
            },
        }
        return {
            "program": product["program"],
            "subscription": subscription["subscription"],
            "event_id": event_id,
            "basket": subscription["basket"],
            "kind": kind,
            "subject": subject,
            "sha256": product["sha256"],
            "event_json": json.dumps(event),
            "at": now,
        }


def _observation(product: dict[str, Any]) -> str:
    return f"{product['program']} {product['kw_observtn'] or ''}"


def _versions(tables: Tables, program: str | None) -> dict[tuple[str, str], int]:
    """Return the number of each version; of equal bytes the latest."""
    where = {"program": program} if program else None
    rows = tables.scan(RAW_VERSIONS, where, ["program", "data_uri", "version", "sha256"]).to_pylist()
    return {(row["data_uri"], row["sha256"]): row["version"] for row in sorted(rows, key=lambda row: row["version"])}


def _public(tables: Tables, programs: Iterable[str]) -> set[str]:
    """Return what the archive lists as public."""
    found: set[str] = set()
    for program in programs:
        where = {"program": program, "dataRights": "PUBLIC"}
        found.update(tables.scan(ARCHIVE_PRODUCTS, where, ["dataURI"])["dataURI"].to_pylist())
    return found


def _note_closed(subscription: dict[str, Any], where: list[str | None], tables: Tables) -> None:
    """Write down what is not public now, so that its becoming so is noticed, whether it is ingested yet or not."""
    listed: dict[str, set[str]] = defaultdict(set)
    for program, rights in itertools.product(where, _CLOSED):
        asked = {"dataRights": rights} | ({"program": program} if program else {})
        for row in tables.scan(ARCHIVE_PRODUCTS, asked, ["program", "dataURI"]).to_pylist():
            listed[row["program"]].add(row["dataURI"])
    ledger = _ledger(subscription, tables, list(listed))
    for each, uris in listed.items():
        rows = ledger.get(each, [])
        new = sorted(uris - {row["subject"] for row in rows if row["kind"] == "closed"})
        noted = {
            "program": each,
            "subscription": subscription["subscription"],
            "basket": subscription["basket"],
            "kind": "closed",
            "sha256": "",
            "state": "noted",
            "at": datetime.now(UTC),
        }
        more = [noted | {"event_id": _digest("closed", uri)[:32], "subject": uri} for uri in new]
        if more:
            _write(subscription, each, rows + more, tables)


# --------------------------------------------------------------------- ledger


def _ledger(
    subscription: dict[str, Any], tables: Tables, where: Sequence[str | None] = (None,)
) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of a subscription by program, of some programs or all (``None``)."""
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for program in where:
        asked = {"subscription": subscription["subscription"]} | ({"program": program} if program else {})
        for row in tables.scan(DELIVERIES, asked).to_pylist():
            found[row["program"]].append(row)
    return found


def _done(row: dict[str, Any]) -> dict[str, Any]:
    return row | {"state": "delivered" if row["state"] == "sending" else row["state"], "event_json": None}


def _write(subscription: dict[str, Any], program: str, rows: list[dict[str, Any]], tables: Tables) -> None:
    scope = {"program": program, "subscription": subscription["subscription"]}
    tables.replace(DELIVERIES, scope, pa.Table.from_pylist(rows, schema=DELIVERIES.schema))


def _digest(*words: str) -> str:
    return hashlib.sha256("\0".join(words).encode()).hexdigest()


@contextmanager
def _alone(home: Path, subscription: str) -> Iterator[None]:
    """Wait until no other process of this machine delivers the same subscription."""
    folder = home / "subscriptions"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{subscription}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
