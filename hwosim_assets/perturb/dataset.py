"""A program's products under a scenario: the perturbed dataset and its truth.

Holds: the tables ``perturbed`` and ``truth``, and :func:`perturb_program`, which makes what is not
there yet and keeps what is. Light to import. Keep out how one product is perturbed
(``perturb.run``) and what Dagster shows of it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa

from hwosim_assets.errors import HwosimError
from hwosim_assets.lake.rejections import Rejection
from hwosim_assets.lake.spec import TableSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hwosim_assets.lake.store import Lake
    from hwosim_assets.lake.tables import Tables
    from hwosim_assets.perturb.effect import Earlier
    from hwosim_assets.perturb.plan import Plan
    from hwosim_assets.perturb.product import Product
    from hwosim_assets.perturb.scenario import Scenario
    from hwosim_assets.perturb.truth import Truth
    from hwosim_assets.quality.pictures import Picture

__all__ = [
    "PERTURBED",
    "TRUTH",
    "Delivered",
    "PerturbResult",
    "Unperturbed",
    "deliver_row",
    "perturb_program",
    "perturb_read",
    "perturb_row",
    "read_row",
]

#: Rows of the tables ``perturbed`` and ``truth``, or why there are none.
Delivered = tuple[dict[str, Any], dict[str, Any]] | Rejection


def _fields(kind: pa.DataType, *names: str, nullable: bool = True) -> list[pa.Field]:
    return [pa.field(name, kind, nullable=nullable) for name in names]


PERTURBED = TableSpec(
    name="perturbed",
    schema=pa.schema(
        [
            *_fields(pa.string(), "program", "scenario", "product_name", nullable=False),
            *_fields(pa.string(), "in_sha256", "out_sha256", "plan_sha256", nullable=False),
            *_fields(pa.string(), "key", "uri"),
            *_fields(pa.int64(), "size_bytes", nullable=False),
            *_fields(pa.string(), "layout_json", nullable=False),
            *_fields(pa.string(), "product_type", "detector", "instrument_name", "obs_id"),
            *_fields(pa.float64(), "stream_time_mjd"),
            *_fields(pa.int64(), "seed", nullable=False),
            *_fields(pa.string(), "scale", "engine", nullable=False),
            *_fields(pa.bool_(), "changed", nullable=False),
            *_fields(pa.float64(), "snr_loss", "snr_loss_true"),
            *_fields(pa.string(), "exposed_json"),
            pa.field("created_at", pa.timestamp("us", "UTC")),
        ]
    ),
    scope=("program", "scenario"),
    key=("product_name",),
    volatile=("created_at",),
    doc="One row for each product of a program under a scenario; key and uri are null where files are not stored. "
    "snr_loss is the median loss of signal to noise by the errors that the product claims, snr_loss_true by the true "
    "ones.",
)

TRUTH = TableSpec(
    name="truth",
    schema=pa.schema(
        [
            *_fields(pa.string(), "program", "scenario", "product_name", nullable=False),
            *_fields(pa.string(), "in_sha256", "out_sha256", "plan_sha256", "record_json", nullable=False),
            *_fields(pa.string(), "side_key"),
        ]
    ),
    scope=("program", "scenario"),
    key=("product_name",),
    doc="What was done to each product of a program under a scenario; side_key is the table of pixels and events.",
)


#: What a row takes from the catalog.
_COPIED = ("program", "product_name", "product_type", "detector", "instrument_name", "obs_id", "stream_time_mjd")
#: What a row and its truth must agree in.
_HASHES = ("in_sha256", "out_sha256", "plan_sha256")


@dataclass(frozen=True)
class PerturbResult:
    """What :func:`perturb_program` did.

    Attributes
    ----------
    rows, truth : pyarrow.Table
        All rows of :data:`PERTURBED` and :data:`TRUTH` of this program and scenario.
    made, kept : int
        Products made now, and kept from before.
    rejections : list of Rejection
        Products that cannot be perturbed.
    picture : callable
        Returns one product before and after, or ``None``; reads the lake when called.
    """

    rows: pa.Table
    truth: pa.Table
    made: int
    kept: int
    rejections: list[Rejection]
    picture: Callable[[], Picture | None]


def perturb_program(
    program: str,
    scenario: Scenario,
    lake: Lake,
    tables: Tables,
    *,
    on_file: Callable[[str], None] | None = None,
    threads: int = 1,
    workers: int = 1,
) -> PerturbResult:
    """Perturb the validated products of a program and record the truth.

    A product whose bytes, plan and engine are those of an earlier result, and whose files still
    lie in the lake, is kept.

    Parameters
    ----------
    program, scenario
        Five digits, and what to do; rows stand under the scenario's ``id``.
    lake, tables
        Where products are read from and results go to.
    on_file : callable, optional
        Called with the name of each product when it is done.
    threads, workers : int
        Threads for one product, and processes that take a product each; bytes do not depend on them.

    Raises
    ------
    HwosimError
        When the lake or the tables fail, or a process is killed. A product that cannot be perturbed is a rejection.
    """
    from hwosim_assets.catalog.products import PRODUCTS

    scope = {"program": program, "scenario": scenario.id}
    products = tables.scan(PRODUCTS, {"program": program}).to_pylist()
    before, known = (_by_name(tables.scan(spec, scope)) for spec in (PERTURBED, TRUTH))
    rows, truths, kept = list[dict[str, Any]](), list[dict[str, Any]](), 0
    rejections = list[Rejection]()
    todo = list[dict[str, Any]]()
    for product in sorted(products, key=lambda row: str(row["product_name"])):
        name = product["product_name"]
        if _is_kept(product, scenario, before.get(name), known.get(name), lake, products):
            # The catalog may have learnt to read more out of the same bytes since.
            rows.append({**before[name], **{column: product[column] for column in _COPIED}})
            truths.append(known[name])
            kept += 1
            if on_file is not None:
                on_file(name)
        else:
            todo.append(product)
    for product, made in zip(todo, _each(todo, scenario, lake, products, threads, workers), strict=True):
        if isinstance(made, Rejection):
            rejections.append(made)
        else:
            rows.append(made[0])
            truths.append(made[1])
        if on_file is not None:
            on_file(product["product_name"])
    for found in (rows, truths):
        found.sort(key=lambda row: str(row["product_name"]))
    table = pa.Table.from_pylist(rows, schema=PERTURBED.schema)
    truth = pa.Table.from_pylist(truths, schema=TRUTH.schema)
    tables.replace(TRUTH, scope, truth)
    tables.replace(PERTURBED, scope, table)
    picture = partial(_picture, rows, products, scenario, lake)
    return PerturbResult(table, truth, len(rows) - kept, kept, rejections, picture)


def _by_name(rows: pa.Table) -> dict[str, dict[str, Any]]:
    return {row["product_name"]: row for row in rows.to_pylist()}


def _each(
    todo: list[dict[str, Any]],
    scenario: Scenario,
    lake: Lake,
    products: list[dict[str, Any]],
    threads: int,
    workers: int,
) -> Iterator[Delivered]:
    """Deliver products in order, in this process or in several."""
    work = partial(deliver_row, scenario=scenario, lake=lake, products=products, threads=threads)
    if workers <= 1 or len(todo) <= 1:
        yield from map(work, todo)
        return
    # Started anew: a fork of a process with threads (object store, Arrow) may wait for ever.
    try:
        with ProcessPoolExecutor(min(workers, len(todo)), mp_context=get_context("spawn")) as pool:
            yield from pool.map(work, todo)
    except BrokenProcessPool as error:
        reason = f"a process was killed while {workers} perturbed products, most likely for want of memory"
        raise HwosimError("perturbing", reason, "set HWOSIM_PERTURB_WORKERS to fewer") from error


class Unperturbed(NamedTuple):
    """A product as it was read, with all that perturbing it needs.

    Attributes
    ----------
    product : Product
        The input.
    plan : Plan
        What is done to it.
    earlier : list of Earlier
        The exposure before, where an effect remembers it.
    """

    product: Product
    plan: Plan
    earlier: list[Earlier]


def read_row(
    row: dict[str, Any], scenario: Scenario, lake: Lake, products: Sequence[dict[str, Any]] = ()
) -> Unperturbed:
    """Read one catalogued product, to be perturbed; parameters and errors are those of :func:`perturb_row`."""
    from hwosim_assets.perturb.effect import Earlier
    from hwosim_assets.perturb.plan import make_plan
    from hwosim_assets.perturb.product import Product, RefusedProductError

    product = Product(row["product_name"], lake.read(row["key"]))
    if product.sha256 != row["sha256"]:
        reason = "its bytes in the lake are not those of the catalog"
        raise RefusedProductError(product.name, reason, "ingest it again", rule="checksum")
    _ = product.measurements  # refuses what holds none, under every scenario alike, the clean one included
    plan = make_plan(scenario, product.name, row["stream_time_mjd"])
    earlier = [
        Earlier(Product(item["product_name"], lake.read(item["key"])), float(item["t_max"]))
        for item in _remembered(row, plan, products)
    ]
    return Unperturbed(product, plan, earlier)


def perturb_read(found: Unperturbed, *, threads: int = 1) -> tuple[Product, Truth]:
    """Perturb a product that was read; return the output and its truth."""
    from hwosim_assets.perturb.run import perturb_product

    return perturb_product(found.product, found.plan, threads=threads, earlier=found.earlier)


def perturb_row(
    row: dict[str, Any],
    scenario: Scenario,
    lake: Lake,
    products: Sequence[dict[str, Any]] = (),
    *,
    threads: int = 1,
) -> tuple[Product, Product, Truth]:
    """Perturb one catalogued product on the fly; the same bytes as the stored file of the dataset.

    Parameters
    ----------
    row : dict
        A row of the table ``products``.
    scenario : Scenario
        What to do.
    lake : Lake
        Where the product lies.
    products : sequence of dict
        The rows of its program, for effects that remember the exposure before.
    threads : int
        Threads to use.

    Returns
    -------
    tuple
        Input, output and truth.

    Raises
    ------
    RefusedProductError
        When the product holds nothing that can be perturbed, or its bytes are not those catalogued.
    NotStoredError
        When the lake has lost it.
    """
    found = read_row(row, scenario, lake, products)
    return found.product, *perturb_read(found, threads=threads)


def _remembered(row: dict[str, Any], plan: Plan, products: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the exposure of the same detector before this one, where an effect of the plan wants it.

    One is enough: what a detector remembers of the one before that has decayed for an exposure more. It is a product
    of the same type, so that both are in the same units.
    """
    from hwosim_assets.perturb.registry import effect_class

    if row["detector"] is None or row["t_min"] is None:
        return []
    if not any(effect_class(step.effect).remembers for step in plan.effects):
        return []
    before = [
        item
        for item in products
        if (item["detector"], item["product_type"]) == (row["detector"], row["product_type"])
        and item["t_max"] is not None
        and item["t_max"] <= row["t_min"]
    ]
    return sorted(before, key=lambda item: (item["t_max"], item["product_name"]))[-1:]


def _is_kept(
    product: dict[str, Any],
    scenario: Scenario,
    row: dict[str, Any] | None,
    truth: dict[str, Any] | None,
    lake: Lake,
    products: Sequence[dict[str, Any]],
) -> bool:
    """Return whether an earlier result still stands."""
    from hwosim_assets.perturb.plan import make_plan
    from hwosim_assets.perturb.truth import ENGINE

    if row is None or truth is None or row["in_sha256"] != product["sha256"] or row["engine"] != ENGINE:
        return False
    if any(row[name] != truth[name] for name in _HASHES):
        return False  # a run that died between the two tables left a truth of other bytes
    plan = make_plan(scenario, product["product_name"], product["stream_time_mjd"])
    if row["plan_sha256"] != plan.sha256:
        return False
    remembered = [item["sha256"] for item in _remembered(product, plan, products)]
    if remembered and remembered != [item["sha256"] for item in json.loads(truth["record_json"])["earlier"]]:
        return False
    if (row["key"] is not None) != (scenario.store == "files"):
        return False
    return all(lake.head(key) is not None for key in (row["key"], truth["side_key"]) if key is not None)


def deliver_row(
    product: dict[str, Any],
    scenario: Scenario,
    lake: Lake,
    products: Sequence[dict[str, Any]] = (),
    *,
    threads: int = 1,
) -> Delivered:
    """Perturb one catalogued product and store it and its truth: the one function of a fleet.

    It needs nothing but its arguments, all of which can be pickled, so any scheduler may run it anywhere; who
    gathers the rows writes them into the tables :data:`PERTURBED` and :data:`TRUTH`.

    Parameters
    ----------
    product, scenario, lake, products, threads
        As for :func:`perturb_row`.

    Returns
    -------
    tuple of dict, or Rejection
        Rows of both tables, or why the product cannot be perturbed.
    """
    from hwosim_assets.fits.blocks import UnreadableFitsError
    from hwosim_assets.lake.layout import delivered_key
    from hwosim_assets.lake.store import NotStoredError
    from hwosim_assets.perturb.product import RefusedProductError

    name = product["product_name"]
    try:
        before, out, truth = perturb_row(product, scenario, lake, products, threads=threads)
    except RefusedProductError as error:
        rule, reason = error.rule, error.reason
    except UnreadableFitsError as error:
        rule, reason = "fits_structure", error.reason
    except NotStoredError as error:
        rule, reason = "not_stored", error.reason
    else:
        key = None
        if scenario.store == "files":
            key = delivered_key(out.sha256, name)
            _store_once(lake, key, out.content)
        return _row(product, scenario, lake, (before, out), truth, key), _truth_row(product, scenario, lake, truth)
    return Rejection(name, "perturbed", rule, reason, product["data_uri"], product["sha256"])


def _row(
    product: dict[str, Any],
    scenario: Scenario,
    lake: Lake,
    made: tuple[Product, Product],
    truth: Truth,
    key: str | None,
) -> dict[str, Any]:
    from hwosim_assets.fits.hdus import hdu_facts, layout
    from hwosim_assets.perturb.exposed import delivered_times

    out = made[1]
    # What was damaged on purpose has no layout that could be read.
    facts = () if truth.record["damaged"] else tuple(hdu_facts(block) for block in out.scan.blocks)
    times = delivered_times(*made, product["product_type"] or "") if facts else None
    recorded = (*_HASHES, "seed", "scale", "engine")
    return {
        **{name: product[name] for name in _COPIED},
        **{name: truth.record[name] for name in recorded},
        "scenario": scenario.id,
        "key": key,
        "uri": None if key is None else lake.uri_of(key),
        "size_bytes": len(out.content),
        "layout_json": json.dumps(layout(facts), separators=(",", ":")),
        "changed": truth.changed,
        "snr_loss": _first_told(truth, "snr_loss_median"),
        "snr_loss_true": _first_told(truth, "snr_loss_true_median"),
        "exposed_json": times.json() if times else None,
        "created_at": datetime.now(UTC),
    }


def _first_told(truth: Truth, name: str) -> float | None:
    """Return a number of the first measurement whose summary tells it."""
    return next((entry[name] for entry in truth.record["summary"] if entry.get(name) is not None), None)


def _truth_row(product: dict[str, Any], scenario: Scenario, lake: Lake, truth: Truth) -> dict[str, Any]:
    from hwosim_assets.lake.layout import truth_key

    record = truth.record
    side_key = None
    if truth.side is not None:
        made = "/".join((record["plan_sha256"], record["in_sha256"], record["engine"], record["side_sha256"]))
        digest = hashlib.sha256(made.encode()).hexdigest()
        side_key = truth_key(product["program"], scenario.id, digest, f"{product['product_name']}.runs.parquet")
        _store_once(lake, side_key, truth.side)
    return {
        "program": product["program"],
        "scenario": scenario.id,
        "product_name": product["product_name"],
        **{name: record[name] for name in _HASHES},
        "record_json": truth.line(),
        "side_key": side_key,
    }


def _store_once(lake: Lake, key: str, content: bytes) -> None:
    """Store an object that is named by its content, unless it is there."""
    from hwosim_assets.lake.store import AlreadyStoredError

    if lake.head(key) is not None:
        return
    try:
        lake.write_new(key, content)
    except AlreadyStoredError:
        return


def _picture(
    rows: list[dict[str, Any]], products: list[dict[str, Any]], scenario: Scenario, lake: Lake
) -> Picture | None:
    """Return the first changed product (or the first) before and after; none of a file damaged on purpose."""
    from hwosim_assets.quality.pictures import Picture

    if not rows:
        return None
    row = next((row for row in rows if row["changed"]), rows[0])
    product = next(item for item in products if item["product_name"] == row["product_name"])
    before, after, truth = perturb_row(product, scenario, lake, products)
    if truth.record["damaged"]:
        return None
    first, second = (_last_group(source) for source in (before, after))
    return Picture(f"{before.name} {before.measurements[0].sci.name}", first, second)


def _last_group(product: Product) -> NDArray[Any]:
    """Return the first frame, of a ramp its last group."""
    item = product.measurements[0]
    shape = (item.frames, item.groups, *item.frame)
    return np.asarray(item.sci.read(product.payload).reshape(shape)[0, -1])
