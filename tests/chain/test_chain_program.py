"""A program through the whole chain, once more unchanged, and once more with a product changed in the archive."""

from __future__ import annotations

import base64
import hashlib
import io
import time
from collections import Counter
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pytest
from astropy.io import fits
from chain_tools import FIELD, ROUGH, SPECTRUM, Installation, Proxy, locations
from PIL import Image

from hwosim_assets import runner
from hwosim_assets.archive.client import ArchiveClient
from hwosim_assets.archive.folder import RESCAN_SECONDS
from hwosim_assets.archive.schema import ARCHIVE_PRODUCTS
from hwosim_assets.catalog.cards import HEADER_CARDS
from hwosim_assets.catalog.products import PRODUCTS
from hwosim_assets.lake.ingest import RAW_FILES
from hwosim_assets.lake.rejections import QUARANTINE
from hwosim_assets.lake.versions import RAW_VERSIONS
from hwosim_assets.perturb.dataset import PERTURBED, TRUTH
from hwosim_streaming import connect
from hwosim_streaming.publication import PUBLICATIONS

ASSETS = {
    "mast/observations",
    "mast/products",
    "raw/fits_files",
    "catalog/header_cards",
    "catalog/products",
    "catalog/quarantine",
    "report/data_quality",
}


def named(found: dict[str, Any]) -> dict[str, Any]:
    """Leave out what runs with overrides made, which other tests do in the same installation."""
    return {name: value for name, value in found.items() if "--" not in name}


def per_scenario(name: str) -> set[str]:
    return {f"{group}/{name}" for group in ("perturbed", "truth", "stream")}


def names(installation: Installation, spec: Any, column: str = "product_name", **scope: str) -> list[str]:
    return sorted(installation.tables().scan(spec, {"program": FIELD, **scope}, [column])[column].to_pylist())


def headers(message: Any) -> dict[str, str]:
    return {name: value.decode() for name, value in message.headers()}


def test_counts_reconcile_at_every_stage(taken: Installation, archive_root: Path) -> None:
    lying = sorted(path.name for path in archive_root.glob(f"jw{FIELD}*"))
    assert len(lying) == 4
    assert names(taken, ARCHIVE_PRODUCTS, "productFilename") == lying
    assert names(taken, RAW_FILES) == lying
    assert names(taken, PRODUCTS) == lying
    assert set(names(taken, HEADER_CARDS)) == set(lying)
    assert names(taken, QUARANTINE) == []
    assert names(taken, PERTURBED, scenario=ROUGH) == lying
    assert names(taken, TRUTH, scenario=ROUGH) == lying
    row = taken.outcome(FIELD, ROUGH)
    assert [row[name] for name in ("listed", "ingested", "validated", "quarantined", "perturbed")] == [4, 4, 4, 0, 4]
    assert (row["published"], row["verified"]) == (row["consumed"], True)


def test_the_topics_hold_what_the_publication_says(taken: Installation) -> None:
    """Counted with a consumer that knows nothing of plans."""
    publication = taken.tables().scan(PUBLICATIONS, {"program": FIELD, "scenario": ROUGH}).to_pylist()[0]
    assert publication["lost"] > 0
    assert publication["duplicated"] > 0
    ids: Counter[str] = Counter()
    for family in ("frame", "product"):
        for message in taken.messages(family):
            said = headers(message)
            if said["ce_hworun"] == publication["run_id"]:
                ids[said["ce_id"]] += 1
    assert sum(ids.values()) == publication["consumed"]
    assert len(ids) == publication["planned"] - publication["lost"]
    assert sum(ids.values()) - len(ids) == publication["duplicated"]
    truths = [headers(message)["ce_subject"] for message in taken.messages("truth")]
    assert set(truths) >= set(names(taken, TRUTH, scenario=ROUGH))


def test_clean_pixels_arrive_as_they_lie_in_the_archive(taken: Installation, archive_root: Path) -> None:
    name = next(path.name for path in archive_root.glob("*nrs1_cal.fits"))
    with fits.open(archive_root / name) as hdus:
        sent = {(hdu.name, hdu.ver): hdu.data for hdu in hdus if hdu.name in ("SCI", "ERR", "DQ")}
    came = {key: np.zeros_like(array) for key, array in sent.items()}
    with taken.here() as settings, connect("hwosim.frames.v1", idle=1.0, settings=settings) as stream:
        for frame in stream:
            if frame.product != name or frame.kind != "image":
                continue
            place = frame.origin
            for plane, array in frame.arrays.items():
                if (plane, frame.extver) in came:
                    index = tuple(slice(at, at + size) for at, size in zip(place[-2:], array.shape[-2:], strict=True))
                    came[plane, frame.extver][index] = array
    assert sent
    for key, array in sent.items():
        np.testing.assert_array_equal(came[key], array)


def test_every_asset_says_what_it_holds(taken: Installation) -> None:
    found = named(taken.materialized(FIELD))
    assert set(found) == ASSETS | per_scenario(ROUGH)
    said: dict[str, dict[str, Any]] = {
        name: {key: value.value for key, value in event.metadata.items()} for name, event in found.items()
    }
    for name in set(found) - {f"stream/{ROUGH}", "report/data_quality"}:
        table = found[name].metadata["rows"]
        assert isinstance(table, dg.TableMetadataValue)
        assert len(table.records) == min(20, said[name]["dagster/partition_row_count"]), name
        assert said[name]["dagster/table_name"].startswith("hwosim.")
    for name in ("raw/fits_files", "catalog/products", f"perturbed/{ROUGH}"):
        assert said[name]["dagster/partition_row_count"] == 4
        assert said[name]["bytes"] > 4 * 50_000
        assert said[name]["dagster/uri"].startswith(taken.lake().uri)
    assert said["raw/fits_files"]["files moved"] == 4
    assert said["raw/fits_files"]["bytes moved"] == said["raw/fits_files"]["bytes"]
    assert said[f"stream/{ROUGH}"]["published"] == said[f"stream/{ROUGH}"]["consumed"]
    assert said["report/data_quality"]["report"] == f"http://127.0.0.1:3080/program/{FIELD}"
    lake = taken.lake()
    page = lake.read(lake.key_of(said["report/data_quality"]["dagster/uri"])).decode()
    judged = set(found) - {"report/data_quality", f"truth/{ROUGH}"}
    assert all(f">{name}<" in page for name in judged), page


def test_the_picture_shows_before_and_after(taken: Installation) -> None:
    text = str(taken.materialized(FIELD)[f"perturbed/{ROUGH}"].metadata["before and after"].value)
    assert len(text) < 150_000
    start = "data:image/png;base64,"
    assert start in text
    picture = Image.open(io.BytesIO(base64.b64decode(text.partition(start)[2].partition(")")[0])))
    pixels = np.asarray(picture.convert("RGB"), dtype=int)
    gap = 8
    side = (pixels.shape[1] - gap) // 2
    before, after = pixels[:, :side], pixels[:, side + gap :]
    assert before.shape == after.shape
    assert np.ptp(before) > 100
    assert (before != after).any()


#: Checks over more than one program's rows of one asset; they have no report of their own.
WITHOUT_A_SUITE = {"quality_drift", "inputs_current"}


def test_every_check_is_recorded_for_the_program(taken: Installation) -> None:
    keys = {dg.AssetKey(name.split("/")) for name in ASSETS | per_scenario(ROUGH)}
    wanted = {
        (check.asset_key.to_user_string(), check.name)
        for definitions in locations()
        for check in definitions.resolve_asset_graph().asset_check_keys
        if check.asset_key in keys
    }
    assert len(wanted) > 80
    evaluations = {}
    with taken.here(), runner.instance_at(taken.home) as instance:
        for run_id in taken.run_ids[FIELD]:
            records = instance.get_records_for_run(run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION).records
            for record in records:
                event = record.event_log_entry.dagster_event
                assert event is not None
                evaluation = event.asset_check_evaluation_data
                evaluations[evaluation.asset_key.to_user_string(), evaluation.check_name] = evaluation
    assert set(evaluations) == wanted
    for name, evaluation in evaluations.items():
        assert evaluation.partition == FIELD, name
        assert evaluation.passed, name
        if name[1] in WITHOUT_A_SUITE:
            continue
        metadata: dict[str, Any] = {key: value.value for key, value in evaluation.metadata.items()}
        assert metadata["checked"] >= metadata["unexpected"], name
        assert str(metadata["report"]).startswith("http://127.0.0.1:3080/reports/"), name
        key = str(metadata["report"]).removeprefix("http://127.0.0.1:3080/")
        assert taken.lake().head(key) is not None, name


def test_an_unchanged_program_moves_writes_and_publishes_nothing(taken: Installation, proxy: Proxy) -> None:
    before = (named(taken.versions(FIELD)), taken.ends(), taken.snapshots(), taken.objects())
    assert set(before[0]) == ASSETS | per_scenario(ROUGH)
    assert sum(before[1].values()) > 0
    proxy.downloads.clear()
    outcome = taken.run(FIELD, [ROUGH])
    assert outcome.succeeded, outcome
    assert proxy.downloads == []
    assert named(taken.versions(FIELD)) == before[0]
    assert taken.ends() == before[1]
    assert taken.snapshots() == before[2]
    assert taken.objects() == before[3]
    said = taken.materialized(FIELD)
    assert said["raw/fits_files"].metadata["bytes moved"].value == 0
    assert said["raw/fits_files"].metadata["files kept"].value == 4
    assert said[f"perturbed/{ROUGH}"].metadata["files made"].value == 0
    assert said[f"stream/{ROUGH}"].metadata["published now"].value is False


@pytest.fixture
def changed(archive_root: Path) -> str:
    """Change one pixel of one product in the archive, size and name as before."""
    path = next(archive_root.glob(f"jw{FIELD}*_cal.fits"))
    size = path.stat().st_size
    with fits.open(path, mode="update", checksum=True) as hdus:
        hdus["SCI"].data[3, 4] += 1
        for hdu in hdus:
            hdu.add_checksum()
    assert path.stat().st_size == size
    return path.name


def test_a_changed_product_changes_its_program_alone(
    taken: Installation, proxy: Proxy, archive_root: Path, request: pytest.FixtureRequest
) -> None:
    versions = {program: taken.versions(program) for program in (FIELD, SPECTRUM)}
    published = taken.tables().scan(PUBLICATIONS, {"program": FIELD, "scenario": ROUGH}).to_pylist()
    ends = taken.ends()
    with ArchiveClient(proxy.url) as client:
        fingerprints = client.programs()
        name = request.getfixturevalue("changed")
        proxy.downloads.clear()
        time.sleep(RESCAN_SECONDS + 0.05)
        again = client.programs()
    assert {key for key in again if again[key] != fingerprints[key]} == {FIELD}
    for program, scenario in ((FIELD, ROUGH), (SPECTRUM, "clean")):
        outcome = taken.run(program, [scenario])
        assert outcome.succeeded, outcome
    assert [each for each, _size in proxy.downloads] == [name]
    assert taken.versions(SPECTRUM) == versions[SPECTRUM]
    now = named(taken.versions(FIELD))
    differing = {asset for asset in now if now[asset] != versions[FIELD][asset]}
    below = {"raw/fits_files", "catalog/header_cards", "catalog/products", *per_scenario(ROUGH), "report/data_quality"}
    assert differing == below, "what lies above, and quarantine, is as it was"
    kept = taken.tables().scan(RAW_VERSIONS, {"program": FIELD}).to_pylist()
    old, present = (row for row in kept if row["product_name"] == name)
    for row in (old, present):
        assert hashlib.sha256(taken.lake().read(row["key"])).hexdigest() == row["sha256"]
    assert present["sha256"] == hashlib.sha256((archive_root / name).read_bytes()).hexdigest() != old["sha256"]
    made = taken.materialized(FIELD)[f"perturbed/{ROUGH}"].metadata
    assert (made["files made"].value, made["files kept"].value) == (1, 3)
    rows = taken.tables().scan(PUBLICATIONS, {"program": FIELD, "scenario": ROUGH}).to_pylist()
    (new,) = [row for row in rows if row["plan_sha256"] not in {each["plan_sha256"] for each in published}]
    assert new["verified"]
    grown = sum(taken.ends().values()) - sum(ends.values())
    assert grown >= new["published"] + new["truths"]
