"""Saved searches: a question under a name, and what it found each time it was asked.

Holds: the ``basket_runs`` table, :func:`run_basket`, :func:`history`, :func:`found_by`, and a question as JSON. Keep
out how products are found (``catalog.search``), bundles of them (``catalog.bundle``) and who is told of new ones
(``catalog.subscriptions``).

What a run found lies in the lake by content, with the keys of the versions of then, so that an old selection can be
fetched again after products were reprocessed.
"""

from __future__ import annotations

import io
import json
import re
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from hwosim_assets.catalog.bundle import COLUMNS
from hwosim_assets.catalog.footprint_search import Cone, Polygon
from hwosim_assets.catalog.products import PRODUCTS
from hwosim_assets.catalog.search import Question, find
from hwosim_assets.catalog.search_joins import CardTest
from hwosim_assets.errors import BadInputError
from hwosim_assets.fits.names import NO_PROGRAM
from hwosim_assets.lake.content import content_sha256
from hwosim_assets.lake.layout import basket_key
from hwosim_assets.lake.spec import TableSpec
from hwosim_assets.lake.store import AlreadyStoredError

if TYPE_CHECKING:
    from hwosim_assets.lake.store import Lake
    from hwosim_assets.lake.tables import Tables

__all__ = [
    "BASKET_RUNS",
    "FOUND",
    "basket_names",
    "drop_basket",
    "found_by",
    "history",
    "question_of_run",
    "run_basket",
    "run_numbered",
]

BASKET_RUNS = TableSpec(
    name="basket_runs",
    schema=pa.schema(
        [
            *[pa.field(name, pa.string(), nullable=False) for name in ("program", "basket")],
            pa.field("run", pa.int64(), nullable=False),
            pa.field("question_json", pa.string(), nullable=False),
            *[
                pa.field(name, pa.int64(), nullable=False)
                for name in ("products", "size_bytes", "added", "gone", "reprocessed")
            ],
            pa.field("found_key", pa.string(), nullable=False),
            pa.field("ran_at", pa.timestamp("us", "UTC"), nullable=False),
        ]
    ),
    scope=("program", "basket"),
    key=("run",),
    doc="One row for each time a saved search was asked, counted from 1; program is 00000, for it may find any.",
)

#: What is kept of each product that a run found.
FOUND = [*COLUMNS, "kw_observtn"]
_FOUND_SPEC = TableSpec(
    name="found",
    schema=pa.schema([PRODUCTS.schema.field(name) for name in FOUND]),
    scope=("program",),
    key=("product_name",),
)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


def run_basket(name: str, lake: Lake, tables: Tables, question: Question | None = None) -> dict[str, Any]:
    """Ask a saved search and add a row to its history.

    Parameters
    ----------
    name : str
        Letters, digits, ``_`` and ``-``.
    lake, tables
        Where products are and the history goes.
    question : Question, optional
        What a new basket asks for; the one that is saved by default.

    Returns
    -------
    dict
        Row of :data:`BASKET_RUNS`. ``added``, ``gone`` and ``reprocessed`` count products against the run before.

    Raises
    ------
    BadInputError
        If there is no such basket, the name cannot be one, or it is saved with another question.
    """
    runs = history(tables, name) if question is None else _saved(tables, name)
    asked = question_of_run(runs[-1]) if question is None else question
    text = _as_json(asked)
    _same_question(name, runs[-1] if runs else None, text)
    found = find(tables, asked, columns=FOUND).rows
    run = {
        "program": NO_PROGRAM,
        "basket": name,
        "question_json": text,
        "products": found.num_rows,
        "size_bytes": sum(found["size_bytes"].to_pylist()),
        "found_key": _keep(name, found, lake),
        "ran_at": datetime.now(UTC),
    }
    made: dict[str, Any] = {}

    def beside_others(stored: pa.Table) -> pa.Table:
        if question is None and not stored.num_rows:
            raise _not_saved(tables, name)  # dropped meanwhile
        last = max(stored.to_pylist(), key=lambda one: one["run"], default=None)
        _same_question(name, last, text)  # saved meanwhile
        made.update(run | _against(last, found, lake))
        return pa.concat_tables([stored, pa.Table.from_pylist([made], schema=BASKET_RUNS.schema)])

    tables.update(BASKET_RUNS, {"program": NO_PROGRAM, "basket": name}, beside_others)
    return made


def _same_question(name: str, last: dict[str, Any] | None, text: str) -> None:
    if last is not None and last["question_json"] != text:
        raise BadInputError(f"basket {name}", "is saved with another search", "choose another name, or drop it first")


def _against(last: dict[str, Any] | None, found: pa.Table, lake: Lake) -> dict[str, int]:
    """Return the number of a run and what changed since the one before it."""
    before = _hashes(found_by(last, lake)) if last else {}
    now = _hashes(found)
    return {
        "run": last["run"] + 1 if last else 1,
        "added": len(now.keys() - before.keys()),
        "gone": len(before.keys() - now.keys()),
        "reprocessed": sum(now[uri] != before[uri] for uri in now.keys() & before.keys()),
    }


def history(tables: Tables, name: str) -> list[dict[str, Any]]:
    """Return the rows of :data:`BASKET_RUNS` of a basket, oldest first.

    Raises
    ------
    BadInputError
        If there is no such basket.
    """
    runs = _saved(tables, name)
    if not runs:
        raise _not_saved(tables, name)
    return runs


def _not_saved(tables: Tables, name: str) -> BadInputError:
    known = ", ".join(basket_names(tables)) or "none is saved yet: hwosim search ... --save NAME"
    return BadInputError(f"basket {name}", "is not saved", f"choose one of: {known}")


def run_numbered(runs: list[dict[str, Any]], number: int | None) -> dict[str, Any]:
    """Return one run of a history, the last by default.

    Raises
    ------
    BadInputError
        If there is no run of that number.
    """
    found = [run for run in runs if number in (None, run["run"])]
    if not found:
        name, last = runs[-1]["basket"], runs[-1]["run"]
        raise BadInputError(f"basket {name}", f"has no run {number}", f"choose one of 1 to {last}")
    return found[-1]


def basket_names(tables: Tables) -> list[str]:
    """Return the names of all baskets."""
    return sorted(set(tables.scan(BASKET_RUNS, columns=["basket"])["basket"].to_pylist()))


def found_by(run: dict[str, Any], lake: Lake) -> pa.Table:
    """Return what a run found: the columns that a bundle needs, and OBSERVTN.

    Raises
    ------
    NotStoredError
        If the lake lost it.
    """
    import pyarrow.parquet as pq

    return pq.read_table(io.BytesIO(lake.read(run["found_key"])))


def question_of_run(run: dict[str, Any]) -> Question:
    """Return the question that a row of the history has as JSON."""
    said = json.loads(run["question_json"])
    said["areas"] = tuple(
        Cone(**area) if "radius" in area else Polygon(tuple(map(tuple, area["corners"]))) for area in said["areas"]
    )
    said["cards"] = tuple(CardTest(**card) for card in said["cards"])
    said["targets"] = tuple(said["targets"])
    said["between"] = tuple(said["between"]) if said["between"] else None
    return Question(**said)


def drop_basket(name: str, lake: Lake, tables: Tables) -> int:
    """Forget a basket and what it found; return the number of runs that were.

    Raises
    ------
    BadInputError
        If there is no such basket.
    """
    runs = history(tables, name)
    tables.replace(BASKET_RUNS, {"program": NO_PROGRAM, "basket": name}, BASKET_RUNS.schema.empty_table())
    for key in {run["found_key"] for run in runs}:
        lake.delete(key)
    return len(runs)


def _saved(tables: Tables, name: str) -> list[dict[str, Any]]:
    if not _NAME.fullmatch(name):
        raise BadInputError(f"basket {name[:80]!r}", "cannot be a name", "use letters, digits, '_' and '-'")
    rows: list[dict[str, Any]] = tables.scan(BASKET_RUNS, {"program": NO_PROGRAM, "basket": name}).to_pylist()
    return rows


def _as_json(question: Question) -> str:
    return json.dumps(asdict(question), sort_keys=True)


def _keep(name: str, found: pa.Table, lake: Lake) -> str:
    """Put what was found into the lake, unless the same lies there; return the key."""
    import pyarrow.parquet as pq

    key = basket_key(name, content_sha256(_FOUND_SPEC, found))
    buffer = io.BytesIO()
    pq.write_table(found, buffer, compression="zstd")
    with suppress(AlreadyStoredError):
        lake.write_new(key, buffer.getvalue())
    return key


def _hashes(found: pa.Table) -> dict[str, str]:
    return dict(zip(found["data_uri"].to_pylist(), found["sha256"].to_pylist(), strict=True))
