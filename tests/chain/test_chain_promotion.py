"""From shadow to ops and back: ops gets what shadow has, judges it itself, and what it had comes back."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from astropy.io import fits
from chain_tools import SPECTRUM, Installation

from hwosim_assets import promotion, runner
from hwosim_assets.archive.server import LocalArchive
from hwosim_assets.catalog.products import PRODUCTS
from hwosim_assets.environment import refuse_another
from hwosim_assets.errors import HwosimError
from hwosim_assets.lake.content import content_sha256
from hwosim_assets.lake.ingest import RAW_FILES
from hwosim_assets.lake.spec import TableSpec
from hwosim_assets.lake.versions import RAW_VERSIONS
from hwosim_assets.perturb.dataset import PERTURBED, TRUTH
from hwosim_assets.promoted import only_promotion
from hwosim_assets.promotion import PROMOTIONS, Side, kept_objects, promote, take_back
from hwosim_assets.quality.history import CHECK_RESULTS
from hwosim_assets.quality.report import QUALITY_REPORTS
from hwosim_assets.settings import Settings

SPECS = (RAW_FILES, PRODUCTS, PERTURBED, TRUTH)
SCOPE = {"program": SPECTRUM}


def side(installation: Installation) -> Side:
    with installation.here() as settings:
        return Side.of(settings)


def said(installation: Installation, *words: str, status: int = 0) -> Any:
    answer = installation.command("programs", *words, "--json")
    assert answer.status == status, answer.text
    return json.loads(answer.out) if answer.out else answer.err


def contents(where: Side) -> dict[str, str]:
    return {spec.name: content_sha256(spec, where.tables.scan(spec, SCOPE)) for spec in SPECS}


def sound(installation: Installation) -> bool:
    return installation.command("lake", "verify").status == 0


@pytest.fixture(scope="module")
def both(
    installed: Callable[..., Installation], chosen: Callable[..., Path], workshop: Path
) -> Iterator[tuple[Installation, Installation]]:
    """Return shadow and ops: ops took the program through when its file was older than that of shadow."""
    root = chosen("*_nrs1_x1d.fits")
    shared = {
        "HWOSIM_LAKE_URI": (workshop / "environments").as_uri(),
        "HWOSIM_CATALOG_URI": f"sqlite:///{workshop / 'environments.db'}",
    }
    with LocalArchive(root) as archive:
        shadow, ops = (installed(archive.url, HWOSIM_ENVIRONMENT=name, **shared) for name in ("shadow", "ops"))
        assert ops.run(SPECTRUM, ["clean"], "perturbed").succeeded
        (file,) = root.glob("*.fits")
        fits.setval(file, "CAL_VER", value="99.1.0")
        assert shadow.run(SPECTRUM, ["clean"], "perturbed").succeeded
        yield shadow, ops


def test_what_was_promoted_is_judged_published_and_taken_back(both: tuple[Installation, Installation]) -> None:
    shadow, ops = both
    before, events, theirs = contents(side(ops)), ops.versions(SPECTRUM), contents(side(shadow))
    old = side(ops).tables.scan(PERTURBED, SCOPE)["key"].to_pylist()
    (row,) = said(ops, "promote", SPECTRUM)
    assert (row["judged"], row["source"], row["scenarios"]) == ("passed", "shadow", "clean")
    assert row["objects copied"] > 0
    here, there = (side(each).tables for each in (ops, shadow))
    for spec in SPECS:
        mine, his = here.scan(spec, SCOPE).to_pylist(), there.scan(spec, SCOPE).to_pylist()
        for one in (*mine, *his):
            one |= {name: value.replace("/environments/ops/", "/environments/shadow/") for name, value in one.items()
                    if isinstance(value, str)}  # fmt: skip
        assert mine == his, "nothing was made anew: the times of writing are those of shadow too"
    assert "/environments/shadow/" not in json.dumps(
        [here.scan(spec, SCOPE).to_pylist() for spec in (*SPECS, QUALITY_REPORTS)], default=str
    )
    assert sound(ops)
    now = ops.versions(SPECTRUM)
    assert set(now) == set(events)
    assert now["catalog/products"] != events["catalog/products"], "sensors see that there is something new"
    versions = [one["cal_ver"] for one in here.scan(RAW_VERSIONS, SCOPE).to_pylist()]
    assert versions[-1] == "99.1.0"
    assert len(versions) == 2
    notes = {one["table_name"]: one for one in here.scan(PROMOTIONS).to_pylist()}
    assert {one["state"] for one in notes.values()} == {"done"}
    assert notes["products"]["snapshot_before"] not in (None, notes["products"]["snapshot_after"])
    assert kept_objects(side(ops)) == set(old), "what the way back needs is nobody's orphan"
    judged = {(one["asset"], one["run_id"]) for one in there.scan(CHECK_RESULTS, SCOPE).to_pylist()}
    assert "perturbed/clean" in {asset for asset, _ in judged}
    history = {(one["asset"], one["run_id"]) for one in here.scan(CHECK_RESULTS, SCOPE).to_pylist()}
    assert judged < history, "the history of ops says what shadow found, and then what ops did"

    (row,) = said(ops, "take-back", SPECTRUM)
    assert (row["judged"], row["promotion"]) == ("passed", notes["products"]["promotion"])
    assert contents(side(ops)) == before
    left = {(one["asset"], one["run_id"]) for one in here.scan(CHECK_RESULTS, SCOPE).to_pylist()}
    assert not left & judged
    assert ops.versions(SPECTRUM) == events
    assert sound(ops)
    assert contents(side(shadow)) == theirs
    assert kept_objects(side(ops)) == set()
    assert "was not promoted to ops" in said(ops, "take-back", SPECTRUM, status=1)


def test_a_second_promotion_of_a_program_is_refused_while_one_is_under_way(
    both: tuple[Installation, Installation],
) -> None:
    _, ops = both
    with ops.here() as settings:
        home = settings.home
    before = contents(side(ops))
    with only_promotion(home, SPECTRUM):
        for words in (("promote", SPECTRUM), ("take-back", SPECTRUM)):
            assert f"program {SPECTRUM}: is being promoted" in said(ops, *words, status=1)
        with only_promotion(home, "99999"):
            pass
    assert contents(side(ops)) == before


def test_a_promotion_that_was_killed_leaves_the_way_back(
    both: tuple[Installation, Installation], monkeypatch: pytest.MonkeyPatch
) -> None:
    shadow, ops = (side(each) for each in both)
    before = contents(ops)
    real = ops.tables.replace

    def killed(spec: TableSpec, scope: dict[str, str], rows: pa.Table) -> Any:
        if spec is PRODUCTS:
            raise KeyboardInterrupt
        return real(spec, scope, rows)

    monkeypatch.setattr(ops.tables, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        promote(SPECTRUM, shadow, ops)
    assert contents(ops) != before
    monkeypatch.undo()
    promote(SPECTRUM, shadow, ops)
    take_back(SPECTRUM, ops)
    assert contents(ops) == before


def test_what_is_not_fit_is_refused_and_nothing_changes(
    both: tuple[Installation, Installation], monkeypatch: pytest.MonkeyPatch
) -> None:
    shadow, ops = (side(each) for each in both)
    before = contents(ops)
    with pytest.raises(HwosimError, match="program 99999 of shadow: has no files"):
        promote("99999", shadow, ops)
    real = shadow.tables.scan

    def broken(spec: TableSpec, *rest: Any) -> pa.Table:
        rows = real(spec, *rest)
        if spec is QUALITY_REPORTS and "broken_critical" in rows.schema.names:
            at = rows.schema.get_field_index("broken_critical")
            return rows.set_column(at, rows.schema.field(at), pa.array([1] * rows.num_rows, pa.int64()))
        if spec is TRUTH and torn:
            return rows.slice(rows.num_rows)
        return rows

    torn = False
    monkeypatch.setattr(shadow.tables, "scan", broken)
    with pytest.raises(HwosimError, match="breaks critical rules"):
        promote(SPECTRUM, shadow, ops)
    torn = True
    with pytest.raises(HwosimError, match="perturbed are not made from its truth"):
        promote(SPECTRUM, shadow, ops)
    monkeypatch.undo()
    with monkeypatch.context() as patch:
        patch.setattr(promotion, "_objects", lambda _parts: {("raw/none", "")})
        with pytest.raises(HwosimError, match="raw/none: is not in the lake"):
            promote(SPECTRUM, shadow, ops)
    assert contents(ops) == before


def test_a_program_new_to_ops_is_gone_when_it_is_taken_back(
    both: tuple[Installation, Installation], installed: Callable[..., Installation]
) -> None:
    shadow, ops = both
    with shadow.here() as settings:
        new = installed(shadow.archive_url, **ops.variables | {"HWOSIM_ENVIRONMENT": "test"})
        source = Side.of(settings)
    with new.here():
        target = Side.of(Settings())
    (row,) = said(new, "promote", SPECTRUM)
    assert row["judged"] == "passed"
    assert target.tables.scan(PRODUCTS).num_rows == source.tables.scan(PRODUCTS).num_rows > 0
    (row,) = said(new, "take-back", SPECTRUM)
    assert row["judged"] == "nothing to judge"
    assert not any(target.tables.scan(spec).num_rows for spec in (*SPECS, QUALITY_REPORTS))


def test_an_instance_takes_no_other_environment_in(both: tuple[Installation, Installation]) -> None:
    shadow, ops = both
    refused = ops.command("programs", "list", HWOSIM_ENVIRONMENT="shadow")
    assert refused.status == 1
    assert "keeps the runs of the environment ops, and this is shadow" in refused.err
    with shadow.here(), runner.instance_at(shadow.home) as instance:
        refuse_another(instance, "shadow")
    assert "is where it would come from" in said(shadow, "promote", SPECTRUM, status=1)
