"""What a search leaves unread: row groups that cannot hold what is asked for, never one that does."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from hwosim_assets.catalog.footprint_search import Cone
from hwosim_assets.catalog.products import PRODUCTS
from hwosim_assets.catalog.search import Question, _Narrow, accepted_by, find
from hwosim_assets.lake import datafile, selective, zones
from hwosim_assets.lake.tables import Tables
from hwosim_assets.lake.zones import ZONED, Zones, summarize

KINDS = ("NIRCAM/IMAGE", "MIRI/IMAGE", "NIRISS/WFSS", None)
NAN, INFINITE = float("nan"), float("inf")
#: Start and length (days) of exposures, some of which no archive should list.
TIMES = (
    (60000.2, 0.004), (60000.99, 0.1), (60001.5, None), (60003.0, 0.0), (60007.25, 1.5), (60010.0, -0.2),
    (60020.0, 400.0), (None, 0.1), (NAN, 0.1), (60030.0, NAN), (60040.0, INFINITE), (-INFINITE, 0.1), (1e18, 0.0),
    (-1e20, 0.0),
)  # fmt: skip


def rows_of(times: Any, program: str = "01093", kind: Any = None, ra: float | None = None) -> pa.Table:
    rows = []
    for number, (start, length) in enumerate(times):
        end = None if start is None or length is None else start + length
        rows.append(
            {"program": program, "product_name": f"jw{program}001001_02101_{number:05d}_nrca1_cal.fits", "sha256": "0",
             "size_bytes": 1, "key": "k", "uri": "u", "data_uri": f"mast:{program}/{number}", "product_type": "cal",
             "layout_json": "[]", "extractor_version": 1, "t_min": start, "t_max": end,
             "instrument_name": kind if kind is not None else KINDS[number % len(KINDS)], "filters": "F150W",
             "s_ra": ra, "s_dec": None if ra is None else 0.0, "s_fov": None if ra is None else 0.1}
        )  # fmt: skip
    return pa.Table.from_pylist(rows, schema=PRODUCTS.schema)


@pytest.mark.parametrize("seed", range(40))
def test_a_row_group_is_left_out_only_if_no_row_of_it_is_asked_for(seed: int) -> None:
    random = Random(seed)
    rows = rows_of(random.sample(TIMES, random.randint(1, 5)))
    zone = summarize(rows.select(list(ZONED)))
    for _ in range(40):
        start = random.choice([60000 + random.uniform(-3, 45), 60020.0, 1e18, -INFINITE])
        span = (start, random.choice([start, 60000 + random.uniform(-3, 45), 1e20, INFINITE]))
        if span[0] > span[1]:
            continue
        question = Question(between=span, instrument=random.choice([None, "NIRCAM", "MIRI/IMAGE"]))
        found = rows.filter(accepted_by(question)).num_rows
        assert not found or _Narrow(question)(Zones([zone])) == [0], (
            question,
            rows.select(["t_min", "t_max"]).to_pylist(),
        )


def test_days_between_exposures_and_of_other_instruments_are_known() -> None:
    rows = pa.concat_tables(
        [
            rows_of([(60000.1, 0.2), (60000.8, 0.3)], kind="MIRI/IMAGE"),
            rows_of([(60009.5, 0.1)], "02000", "NIRISS/WFSS"),
        ]
    )
    zone = summarize(rows.select(list(ZONED)))
    assert zone["days"] == {"MIRI/IMAGE": [60000, 60001], "NIRISS/WFSS": [60009]}

    def may_hold(start: float, end: float, instrument: str | None = None) -> bool:
        return _Narrow(Question(between=(start, end), instrument=instrument))(Zones([zone])) == [0]

    assert may_hold(60000.5, 60000.6)
    assert may_hold(60000.5, 60000.6, "miri")
    assert not may_hold(60000.5, 60000.6, "NIRISS")
    assert not may_hold(60004.0, 60008.9)
    assert may_hold(60004.0, 60009.0)
    del zone["days"]  # stored by an earlier version
    assert may_hold(60004.0, 60008.9)


def test_an_exposure_without_end_is_always_looked_at() -> None:
    assert summarize(rows_of([(60000.0, INFINITE), (60001.0, 0.1)]).select(list(ZONED)))["days"] is None
    assert summarize(rows_of([(60000.0, zones.LONG + 1)]).select(list(ZONED)))["days"] is None
    assert summarize(rows_of([(None, 0.1), (NAN, 0.1)]).select(list(ZONED)))["days"] == {}


@pytest.fixture
def many(state: Path, monkeypatch: pytest.MonkeyPatch) -> Tables:
    """Return products of 12 programs, each at its own time and place, in row groups of one and files of four."""
    monkeypatch.setattr(datafile, "ROW_GROUP", 10)
    tables = Tables(f"sqlite:///{state / 'catalog.db'}", (state / "tables").as_uri())
    first = rows_of([(60000.0, 0.1)] * 10)
    tables.replace(PRODUCTS, {"program": "01093"}, first)
    tables.replace(PRODUCTS, {"program": "01093"}, PRODUCTS.schema.empty_table())
    table = tables.open(PRODUCTS.name)
    with table.transaction() as transaction, transaction.update_snapshot().fast_append() as change:
        for start in range(0, 12, 4):
            rows = [
                rows_of(
                    [(60000.0 + 30 * (number % 4) + day, 0.1) for day in range(10)],
                    f"{number:05d}",
                    KINDS[number % 3],
                    15.0 * number,
                )
                for number in range(start, start + 4)
            ]
            for file in datafile.write_rows(table, 0, pa.concat_tables(rows)):
                change.append_data_file(file)
    return tables


def test_a_span_of_time_reads_the_row_groups_of_its_days(many: Tables) -> None:
    everything = find(many, Question(), columns=PRODUCTS.schema.names).rows
    assert everything.num_rows == 120
    question = Question(between=(60030.0, 60030.5), instrument="MIRI")
    found = find(many, question)
    assert found.plan is not None
    assert (found.plan.files, found.plan.row_groups_planned, found.plan.rows_planned) == (3, 1, 10)
    assert found.rows["program"].to_pylist() == ["00001"]
    nowhere = find(many, Question(between=(60015.0, 60025.0)))
    assert nowhere.plan is not None
    assert (nowhere.plan.files_planned, nowhere.rows.num_rows) == (0, 0)


@pytest.mark.parametrize("number", range(12))
def test_a_cone_reads_the_row_groups_of_its_place(many: Tables, number: int) -> None:
    found = find(many, Question(areas=(Cone(15.0 * number, 0.01, 0.02),)))
    assert found.plan is not None
    assert (found.plan.row_groups_planned, found.plan.rows_planned) == (1, 10)
    assert found.rows["program"].to_pylist() == [f"{number:05d}"] * 10


@pytest.mark.parametrize("seed", range(20))
def test_row_groups_of_a_file_are_judged_as_each_by_itself(seed: int) -> None:
    random = Random(seed)
    rows = [
        rows_of(random.sample(TIMES, random.randint(0, 4)), ra=random.choice([None, 0.0, 0.3, 40.0, 359.9]))
        for _ in range(random.randint(0, 6))
    ]
    each = [summarize(part.select(list(ZONED))) for part in rows]
    for zone in each:
        zone["wide"] = zone["wide"] or random.random() < 0.1
    cells = np.unique(np.concatenate([np.arange(3, dtype=np.uint64), *(zone["cells"] for zone in each)])[::2])
    span = (60000.0, random.choice([60000.0, 60005.0, INFINITE]))
    together = Zones(each)
    alone = [Zones([zone]) for zone in each]
    assert len(together) == len(each)
    for asked in (cells.astype(np.uint64), np.empty(0, np.uint64)):
        assert together.holding(asked).tolist() == [one.holding(asked)[0] for one in alone]
        assert [one.holding(asked)[0] for one in alone] == [
            zone["wide"] or bool(set(zone["cells"]) & set(asked.tolist())) for zone in each
        ]
    assert together.overlapping(*span).tolist() == [one.overlapping(*span)[0] for one in alone]


@pytest.mark.parametrize(
    ("where", "programs"), [("t_min >= 60090 and t_min < 60091", 3), ("t_min > 90000", 0), ("size_bytes = 1", 12)]
)
def test_columns_of_row_groups_without_a_hit_stay_unread(
    many: Tables, monkeypatch: pytest.MonkeyPatch, where: str, programs: int
) -> None:
    import pyarrow.dataset as ds

    read: list[tuple[list[str], int]] = []
    real = ds.FileSystemDataset.to_table

    class Counted(ds.FileSystemDataset):
        def to_table(self, columns: list[str], **options: Any) -> pa.Table:
            read.append((columns, sum(fragment.num_row_groups for fragment in self.get_fragments())))
            return real(self, columns=columns, **options)

    monkeypatch.setattr(ds, "FileSystemDataset", Counted)
    found = find(many, Question(where=where))
    assert found.plan is not None
    assert found.plan.row_groups_planned == 12 > selective.FEW
    assert [groups for _, groups in read] == [12, programs][: 1 + bool(programs)]
    assert read[0][0] == ["__fragment_index"]
    assert pc.count_distinct(found.rows["program"]).as_py() == programs
    everything = find(many, Question(), columns=PRODUCTS.schema.names).rows
    assert (
        found.rows["data_uri"].to_pylist()
        == everything.filter(accepted_by(Question(where=where)))["data_uri"].to_pylist()
    )
