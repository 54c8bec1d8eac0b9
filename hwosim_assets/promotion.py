"""From one environment to another and back: the rows of a program, and the objects that they name.

Holds: :func:`promote`, :func:`take_back`, the table ``promotions``. Keep out what the target's graph makes of it
(``hwosim_assets.commands.promotion``), and publications: what was published stays with its broker.

Objects are write-once and copied first; rows are replaced scope by scope, each in one commit; what they replace is
kept in the target's lake before the first of them changes. A promotion that was killed is taken back, by itself
when the program is promoted again.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hwosim_assets.archive.listing import PRODUCT_LISTS
from hwosim_assets.archive.schema import ARCHIVE_PRODUCTS, OBSERVATIONS
from hwosim_assets.catalog.cards import HEADER_CARDS
from hwosim_assets.catalog.changes import record_reprocessing
from hwosim_assets.catalog.products import PRODUCTS
from hwosim_assets.catalog.verdicts import VERDICTS
from hwosim_assets.errors import HwosimError
from hwosim_assets.lake.awaited import AWAITED
from hwosim_assets.lake.content import content_sha256
from hwosim_assets.lake.ingest import RAW_FILES
from hwosim_assets.lake.layout import promotion_key
from hwosim_assets.lake.rejections import QUARANTINE
from hwosim_assets.lake.spec import TableSpec
from hwosim_assets.lake.store import AlreadyStoredError, Lake
from hwosim_assets.lake.tables import Tables
from hwosim_assets.perturb.dataset import PERTURBED, TRUTH
from hwosim_assets.quality.history import CHECK_RESULTS
from hwosim_assets.quality.report import QUALITY_REPORTS

if TYPE_CHECKING:
    from hwosim_assets.settings import Settings

__all__ = ["PROMOTIONS", "Promotion", "Side", "kept_objects", "promote", "take_back"]

PROMOTIONS = TableSpec(
    name="promotions",
    schema=pa.schema(
        [
            *[pa.field(name, pa.string(), nullable=False) for name in ("program", "promotion", "table_name", "source")],
            pa.field("state", pa.string(), nullable=False),
            pa.field("scopes_json", pa.string(), nullable=False),
            *[pa.field(name, pa.int64(), nullable=False) for name in ("rows_before", "rows_after")],
            *[pa.field(name, pa.string(), nullable=False) for name in ("sha256_before", "sha256_after", "before_key")],
            *[pa.field(name, pa.int64()) for name in ("source_snapshot", "snapshot_before", "snapshot_after")],
            pa.field("at", pa.timestamp("us", "UTC"), nullable=False),
        ]
    ),
    scope=("program",),
    key=("promotion", "table_name"),
    doc="One row for each table of each promotion of a program into this environment: where it came from, the "
    "snapshots of source and target, and the object that keeps the rows of before. States: begun, done, taken back.",
)

#: Tables that are taken over whole; of the others, what belongs to the stages and scenarios of the source.
_WHOLE = (OBSERVATIONS, ARCHIVE_PRODUCTS, PRODUCT_LISTS, RAW_FILES, AWAITED, HEADER_CARDS, PRODUCTS, VERDICTS)
#: The first location's stages: what this promotes.
_STAGES = ("mast", "raw", "catalog", "perturbed", "truth")
#: Columns that name an object of a lake by its URI.
_URIS = ("uri", "access_url")
#: Columns that name one by its key, and those that say its content.
_KEYS = {RAW_FILES: ("key", "sha256"), PERTURBED: ("key", "out_sha256"), TRUTH: ("side_key", "")}
_REPORTS = ("html_key", "json_key")


@dataclass(frozen=True)
class Side:
    """An environment: its name, its lake and its tables."""

    name: str
    lake: Lake
    tables: Tables

    @classmethod
    def of(cls, settings: Settings) -> Side:
        """Return the side of these settings."""
        return cls(settings.environment, Lake.from_settings(settings), Tables.from_settings(settings))


@dataclass(frozen=True)
class Promotion:
    """What :func:`promote` or :func:`take_back` did.

    Attributes
    ----------
    promotion : str
        Its identity, which sorts by time.
    program, source : str
        What, and from which environment.
    scenarios : tuple of str
        Of the perturbed datasets that were replaced.
    tables : dict of str to int
        Rows that stand now, by table.
    objects, bytes : int
        Copied.
    """

    promotion: str
    program: str
    source: str
    scenarios: tuple[str, ...]
    tables: dict[str, int]
    objects: int = 0
    bytes: int = 0


@dataclass(frozen=True)
class _Part:
    """Some scopes of one table, and their rows in the source."""

    spec: TableSpec
    scopes: tuple[dict[str, str], ...]
    rows: pa.Table


def promote(program: str, source: Side, target: Side, *, on_object: Callable[[str], None] | None = None) -> Promotion:
    """Make a program's rows and objects of one environment those of another.

    Parameters
    ----------
    program : str
        Five digits.
    source, target : Side
        From where, and to where. What the target has beyond the source's scenarios stays as it is.
    on_object : callable, optional
        Told the key of each object that is there.

    Raises
    ------
    HwosimError
        If the source has no such program, is just being written, or breaks a critical rule; if an object is
        missing or not what its row says. The target's rows are as before then.
    """
    parts = _parts(program, source)
    _refuse_unfit(program, source, parts)
    copied = [size for size in _copied(parts, source, target, on_object) if size is not None]
    parts = [_Part(part.spec, part.scopes, _with_uris_of(target, source, part.rows)) for part in parts]
    if any(row["state"] == "begun" for row in target.tables.scan(PROMOTIONS, {"program": program}).to_pylist()):
        take_back(program, target)  # it was killed: what stands is neither of before nor of the source
    noted = _begin(program, source, target, parts)
    for part in parts:
        _replace(target.tables, part.spec, part.scopes, part.rows)
    record_reprocessing(program, target.lake, target.tables)
    after = {part.spec.name: part for part in parts}
    for row in noted:
        part = after[row["table_name"]]
        row |= {"state": "done", "rows_after": part.rows.num_rows, "sha256_after": content_sha256(part.spec, part.rows)}
        row["snapshot_after"] = _snapshot(target, part.spec)
    _note(target, program, noted)
    rows = {part.spec.name: part.rows.num_rows for part in parts}
    scenarios = tuple(scope["scenario"] for scope in after[PERTURBED.name].scopes)
    return Promotion(noted[0]["promotion"], program, source.name, scenarios, rows, len(copied), sum(copied))


def take_back(program: str, target: Side) -> Promotion:
    """Put the rows back that stood before the last promotion of a program, or before the one that was killed.

    Raises
    ------
    HwosimError
        If there is no promotion to take back.
    """
    history = target.tables.scan(PROMOTIONS, {"program": program}).to_pylist()
    standing = [row for row in history if row["state"] != "taken back"]
    if not standing:
        raise HwosimError(f"program {program}", f"was not promoted to {target.name}", "see the table promotions")
    last = max(row["promotion"] for row in standing)
    rows = [row for row in standing if row["promotion"] == last]
    specs = {spec.name: spec for spec in (*_WHOLE, PERTURBED, TRUTH, QUARANTINE, QUALITY_REPORTS, CHECK_RESULTS)}
    for row in rows:
        _replace(target.tables, specs[row["table_name"]], json.loads(row["scopes_json"]), _before(target.lake, row))
    record_reprocessing(program, target.lake, target.tables)
    for row in rows:
        row["state"] = "taken back"
    _note(target, program, rows)
    scenarios = next(json.loads(row["scopes_json"]) for row in rows if row["table_name"] == PERTURBED.name)
    names = tuple(scope["scenario"] for scope in scenarios)
    return Promotion(last, program, rows[0]["source"], names, {row["table_name"]: row["rows_before"] for row in rows})


def kept_objects(target: Side) -> set[str]:
    """Return the keys of objects that no row names and that taking a promotion back would need."""
    found: set[str] = set()
    for row in target.tables.scan(PROMOTIONS).to_pylist():
        if row["table_name"] == PERTURBED.name and row["state"] != "taken back":
            found |= {key for key in _before(target.lake, row)["key"].to_pylist() if key is not None}
    return found


# ---------------------------------------------------------------------- what is promoted


def _parts(program: str, source: Side) -> list[_Part]:
    """Read what the source has, of one state: what was made from rows that changed meanwhile is refused."""
    whole = {"program": program}
    tables = source.tables
    parts = [_Part(spec, (whole,), tables.scan(spec, whole)) for spec in _WHOLE]
    made = {spec: tables.scan(spec, whole) for spec in (PERTURBED, TRUTH)}
    # derived identities (name--hash) were tried by somebody and belong to nobody's graph
    scenarios = sorted({name for name in made[PERTURBED]["scenario"].to_pylist() if "--" not in name})
    for spec, rows in made.items():
        scopes = tuple({**whole, "scenario": name} for name in scenarios)
        parts.append(_Part(spec, scopes, rows.filter(pc.is_in(rows["scenario"], pa.array(scenarios, pa.string())))))
    stages = ("raw", "catalog", *(f"perturbed/{name}" for name in scenarios))
    parts.append(_by(QUARANTINE, "stage", stages, program, tables))
    judged = tables.scan(QUALITY_REPORTS, whole, ["asset"])["asset"].to_pylist()
    assets = tuple(sorted(name for name in set(judged) if name.split("/", 1)[0] in _STAGES and "--" not in name))
    reports = _by(QUALITY_REPORTS, "asset", assets, program, tables)
    parts += [reports, _results_of(reports, program, tables)]
    _refuse_torn(program, source, parts)
    return parts


def _by(spec: TableSpec, column: str, values: tuple[str, ...], program: str, tables: Tables) -> _Part:
    rows = tables.scan(spec, {"program": program})
    chosen = rows.filter(pc.is_in(rows[column], pa.array(values, pa.string())))
    return _Part(spec, tuple({"program": program, column: value} for value in values), chosen)


def _results_of(reports: _Part, program: str, tables: Tables) -> _Part:
    """Return what the rules said in the runs that made these reports, of each the last: one run of each asset."""
    rows = tables.scan(CHECK_RESULTS, {"program": program})
    made = {(row["asset"], row["html_key"]) for row in reports.rows.to_pylist()}
    told = ["asset", "report_key", "evaluated_at", "run_id"]
    runs = {row["asset"]: row["run_id"] for row in rows.select(told).sort_by("evaluated_at").to_pylist()
            if (row["asset"], row["report_key"]) in made}  # fmt: skip
    chosen = pa.array([runs.get(row["asset"]) == row["run_id"] for row in rows.select(told).to_pylist()], pa.bool_())
    scopes = tuple({"program": program, "asset": asset, "run_id": run} for asset, run in sorted(runs.items()))
    return _Part(CHECK_RESULTS, scopes, rows.filter(chosen))


def _refuse_torn(program: str, source: Side, parts: list[_Part]) -> None:
    """Refuse rows of which some were made from others than these: a run of the source writes just now."""
    rows = {part.spec: part.rows for part in parts}
    thing = f"program {program} of {source.name}"
    if not rows[RAW_FILES].num_rows:
        raise HwosimError(thing, "has no files", f"run it there first: hwosim run --program {program}")

    def pairs(spec: TableSpec, content: str) -> set[tuple[str, str]]:
        return {(row["product_name"], row[content]) for row in rows[spec].select(["product_name", content]).to_pylist()}

    above = [(RAW_FILES, "sha256", PRODUCTS, "sha256"), (PRODUCTS, "sha256", PERTURBED, "in_sha256")]
    for upper, content, lower, used in [*above, (TRUTH, "out_sha256", PERTURBED, "out_sha256")]:
        if not pairs(lower, used) <= pairs(upper, content):
            reason = f"its {lower.name} are not made from its {upper.name} as they are now"
            raise HwosimError(thing, reason, "wait until its runs have ended, then promote it again")


def _refuse_unfit(program: str, source: Side, parts: list[_Part]) -> None:
    """Refuse what was not judged, or broke a critical rule."""
    reports = next(part.rows for part in parts if part.spec is QUALITY_REPORTS).to_pylist()
    thing = f"program {program} of {source.name}"
    if not reports:
        raise HwosimError(thing, "was never judged", "run it there with its checks")
    broken = [f"{row['asset']}: {row['broken_rules']}" for row in reports if row["broken_critical"]]
    if broken:
        raise HwosimError(thing, f"breaks critical rules ({'; '.join(broken)})", "promote it when it keeps them")


# ---------------------------------------------------------------------- objects


def _copied(
    parts: list[_Part], source: Side, target: Side, on_object: Callable[[str], None] | None
) -> Iterator[int | None]:
    """Copy every object that rows name; yield its bytes, or ``None`` where it was there."""
    for key, sha256 in sorted(_objects(parts)):
        yield _copy(key, sha256, source, target)
        if on_object is not None:
            on_object(key)


def _objects(parts: list[_Part]) -> set[tuple[str, str]]:
    """Return (key, content hash or nothing) of the objects."""
    found: set[tuple[str, str]] = set()
    for part in parts:
        for row in part.rows.to_pylist() if part.spec in _KEYS or part.spec is QUALITY_REPORTS else ():
            if part.spec is QUALITY_REPORTS:
                found |= {(row[name], "") for name in _REPORTS}
                continue
            name, content = _KEYS[part.spec]
            if row[name] is not None:
                found.add((row[name], row[content] if content else ""))
    return found


def _copy(key: str, sha256: str, source: Side, target: Side) -> int | None:
    with source.lake.local_copy(key) as path:
        size = path.stat().st_size
        there = target.lake.head(key)
        if there is not None:
            if there.size != size:
                raise HwosimError(target.lake.uri_of(key), "holds other bytes already", "hwosim lake verify, in both")
            return None
        if sha256:
            with path.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
            if found != sha256:
                raise HwosimError(source.lake.uri_of(key), "is not what its row says", "hwosim lake verify")
        try:
            target.lake.write_new(key, path)
        except AlreadyStoredError:
            return None  # another promotion copied it at the same moment
    return size


def _with_uris_of(target: Side, source: Side, rows: pa.Table) -> pa.Table:
    """Return rows with the URIs of the target's lake for those of the source's."""
    for name in _URIS:
        if name in rows.schema.names:
            place = source.lake.place
            said = [
                target.lake.uri_of(place.key_of(uri)) if uri is not None and uri.startswith(place.uri + "/") else uri
                for uri in rows[name].to_pylist()
            ]
            at = rows.schema.get_field_index(name)
            rows = rows.set_column(at, rows.schema.field(name), pa.array(said, pa.string()))
    return rows


# ---------------------------------------------------------------------- what is noted


def _begin(program: str, source: Side, target: Side, parts: list[_Part]) -> list[dict[str, Any]]:
    """Keep the rows of before as objects and note the promotion as begun."""
    now = datetime.now(UTC)
    promotion = f"{now:%Y%m%dT%H%M%S%f}"
    notes = []
    for part in parts:
        before = pa.concat_tables([target.tables.scan(part.spec, scope) for scope in part.scopes] or [part.rows[:0]])
        packed = io.BytesIO()
        pq.write_table(before, packed, compression="zstd")
        key = promotion_key(program, promotion, part.spec.name)
        target.lake.write_new(key, packed.getvalue())
        notes.append(
            {
                "program": program,
                "promotion": promotion,
                "table_name": part.spec.name,
                "source": source.name,
                "state": "begun",
                "scopes_json": json.dumps(part.scopes),
                "rows_before": before.num_rows,
                "rows_after": 0,
                "sha256_before": content_sha256(part.spec, before),
                "sha256_after": "",
                "before_key": key,
                "source_snapshot": _snapshot(source, part.spec),
                "snapshot_before": _snapshot(target, part.spec),
                "snapshot_after": None,
                "at": now,
            }
        )
    _note(target, program, notes)
    return notes


def _note(target: Side, program: str, notes: list[dict[str, Any]]) -> None:
    """Write notes of one promotion over what the table has of it."""
    new = pa.Table.from_pylist(notes, schema=PROMOTIONS.schema)

    def beside_others(stored: pa.Table) -> pa.Table:
        others = stored.filter(pc.not_equal(stored["promotion"], notes[0]["promotion"]))
        return pa.concat_tables([others, new])

    target.tables.update(PROMOTIONS, {"program": program}, beside_others)


def _before(lake: Lake, note: dict[str, Any]) -> pa.Table:
    return pq.read_table(io.BytesIO(lake.read(note["before_key"])))


def _snapshot(side: Side, spec: TableSpec) -> int | None:
    def present(table: Any) -> int | None:
        snapshot = table.current_snapshot()
        return None if snapshot is None else int(snapshot.snapshot_id)

    return side.tables.look(spec.name, present)


def _replace(tables: Tables, spec: TableSpec, scopes: Any, rows: pa.Table) -> None:
    for scope in scopes:
        chosen = rows
        for name, value in scope.items():
            chosen = chosen.filter(pc.equal(chosen[name], value))
        tables.replace(spec, scope, chosen)
