"""What rows say: the hash that decides whether anything changed."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from hwosim_assets.lake.content import content_sha256, fitted, with_stored_volatile
from hwosim_assets.lake.spec import TableSpec

SCHEMA = pa.schema(
    [
        pa.field("program", pa.string(), nullable=False),
        pa.field("name", pa.string(), nullable=False),
        pa.field("number", pa.int64(), nullable=False),
        pa.field("flux", pa.float64()),
        pa.field("count", pa.int64()),
        pa.field("good", pa.bool_()),
        pa.field("text", pa.string()),
        pa.field("raw", pa.binary()),
        pa.field("begin", pa.timestamp("us", "UTC")),
        pa.field("words", pa.list_(pa.string())),
        pa.field("place", pa.struct([("ra", pa.float64()), ("dec", pa.float64())])),
        pa.field("at", pa.timestamp("us", "UTC")),
    ]
)
SPEC = TableSpec("things", SCHEMA, scope=("program",), key=("name", "number"), volatile=("at",))

int64 = st.integers(-(2**63), 2**63 - 1)
times = st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))
words = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "flux": st.floats(),
    "count": int64,
    "good": st.booleans(),
    "text": words,
    "raw": st.binary(max_size=8),
    "begin": times,
    "words": st.lists(st.none() | words, max_size=3),
    "place": st.fixed_dictionaries({"ra": st.none() | st.floats(), "dec": st.floats()}),
}
row = st.fixed_dictionaries(
    {
        "program": st.just("01093"),
        "name": words,
        "number": int64,
        **{name: st.none() | values for name, values in VALUES.items()},
        "at": times,
    }
)
rows = st.lists(row, max_size=6, unique_by=lambda entry: (entry["name"], entry["number"]))


def table(entries: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(entries, schema=SCHEMA)


@settings(deadline=None)
@given(rows, st.randoms(use_true_random=False), times)
def test_order_chunks_and_times_of_writing_do_not_matter(
    entries: list[dict[str, Any]], random: Any, later: datetime
) -> None:
    shuffled = [entry | {"at": later} for entry in entries]
    random.shuffle(shuffled)
    columns = list(SCHEMA.names)
    random.shuffle(columns)
    pieces = [table([entry]) for entry in shuffled] or [table([])]
    chunked = pa.concat_tables(pieces).select(columns)
    assert content_sha256(SPEC, chunked) == content_sha256(SPEC, table(entries))


@settings(deadline=None)
@given(rows, st.data())
def test_any_other_change_of_a_value_is_seen(entries: list[dict[str, Any]], data: st.DataObject) -> None:
    assume(entries)
    place = data.draw(st.integers(0, len(entries) - 1))
    name = data.draw(st.sampled_from(sorted(VALUES)))
    value = data.draw(st.none() | VALUES[name])
    assume(repr(value) != repr(entries[place][name]))
    changed = [*entries[:place], entries[place] | {name: value}, *entries[place + 1 :]]
    assert content_sha256(SPEC, table(changed)) != content_sha256(SPEC, table(entries))


@settings(deadline=None)
@given(rows)
def test_a_row_more_or_less_is_seen(entries: list[dict[str, Any]]) -> None:
    assume(entries)
    assert content_sha256(SPEC, table(entries[1:])) != content_sha256(SPEC, table(entries))


@settings(deadline=None)
@given(rows)
def test_slices_and_what_lies_under_nulls_do_not_matter(entries: list[dict[str, Any]]) -> None:
    doubled = pa.concat_tables([table(entries), table(entries)]).combine_chunks()
    assert content_sha256(SPEC, doubled.slice(len(entries))) == content_sha256(SPEC, table(entries))
    hidden = pa.Array.from_buffers(pa.int64(), 1, [pa.py_buffer(b"\0"), pa.py_buffer(b"\7" * 8)])
    one = table([{"program": "1", "name": "a", "number": 1, "at": None, "good": True}])
    other = one.set_column(4, SCHEMA.field(4), hidden)
    assert content_sha256(SPEC, other) == content_sha256(SPEC, one)


def test_the_hash_is_the_same_on_every_machine() -> None:
    entries = [{"program": "01093", "name": "a", "number": 1, "flux": float("nan"), "text": "µ", "words": ["x", None]}]
    assert content_sha256(SPEC, table(entries)) == "64783cf116018499cd7c9e0139edb41d4492469f69a09be0a8034901bd6f862a"


def test_a_column_without_a_value_counts_as_absent() -> None:
    smaller = TableSpec("things", pa.schema(list(SCHEMA)[:4]), scope=SPEC.scope, key=SPEC.key)
    entries = [{"program": "01093", "name": "a", "number": 1, "flux": 1.0}]
    assert content_sha256(smaller, table(entries).select(smaller.schema.names)) == content_sha256(SPEC, table(entries))


def test_neighbours_do_not_run_into_each_other() -> None:
    def said(first: Any, second: Any, column: str) -> str:
        entries = [
            {"program": "1", "name": name, "number": 1, column: value}
            for name, value in zip("ab", (first, second), strict=True)
        ]
        return content_sha256(SPEC, table(entries))

    assert said("ab", "c", "text") != said("a", "bc", "text")
    assert said(["a", "b"], [], "words") != said(["a"], ["b"], "words")
    assert said(None, "", "text") != said("", None, "text")
    assert said(0.0, 1.0, "flux") != said(-0.0, 1.0, "flux")


def test_unsupported_types_are_refused() -> None:
    spec = TableSpec("odd", pa.schema([("program", pa.string()), ("x", pa.decimal128(5))]), ("program",), ("program",))
    with pytest.raises(ValueError, match="cannot have the type decimal"):
        content_sha256(spec, pa.table({"program": ["1"], "x": pa.array([1], pa.decimal128(5))}))


@settings(deadline=None)
@given(rows, times, st.data())
def test_unchanged_rows_keep_their_stored_times(
    entries: list[dict[str, Any]], later: datetime, data: st.DataObject
) -> None:
    stored = fitted(SPEC, table(entries))
    changed = set(
        data.draw(st.lists(st.sampled_from(entries or [None]), max_size=2).map(lambda some: [id(e) for e in some]))
    )
    fresh = [
        entry | {"at": later} | ({"text": (entry["text"] or "") + "!"} if id(entry) in changed else {})
        for entry in entries
    ]
    kept = with_stored_volatile(SPEC, fitted(SPEC, table(fresh)), stored).to_pylist()
    times_stored = {(entry["name"], entry["number"]): entry["at"] for entry in entries}
    changed_keys = {(entry["name"], entry["number"]) for entry in entries if id(entry) in changed}
    for entry in kept:
        key = (entry["name"], entry["number"])
        assert entry["at"] == (later if key in changed_keys else times_stored[key])
