"""The local archive's replies have the form of MAST's, key by key and type by type."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from hwosim_assets.archive.columns import columns_config
from hwosim_assets.archive.server import LocalArchive


def recorded(real_data: Path, name: str) -> Any:
    return json.loads((real_data / "mast" / name).read_text())


def post(archive: LocalArchive, service: str, params: dict[str, Any], **more: Any) -> Any:
    request = {"service": service, "params": params, "format": "json", "pagesize": 50000, "page": 1, **more}
    reply = httpx.post(f"{archive.url}/api/v0/invoke", data={"request": json.dumps(request)}, trust_env=False)
    assert reply.status_code == 200
    return reply.json()


def types_of(rows: list[dict[str, Any]]) -> dict[str, set[str]]:
    """Return the JSON types that each key has; whole and broken numbers are one type in JSON."""
    types: dict[str, set[str]] = {}
    for row in rows:
        for key, value in row.items():
            name = "number" if isinstance(value, (int, float)) and not isinstance(value, bool) else type(value).__name__
            types.setdefault(key, set()).add(name)
    return types


def assert_same_form(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    """Every key of the recorded reply is there and its values have a type that was recorded, or are null."""
    assert set(ours) == set(theirs)
    assert {key: type(value) for key, value in ours["paging"].items()} == {
        key: type(value) for key, value in theirs["paging"].items()
    }
    our_fields = {field["name"]: field["type"] for field in ours["fields"]}
    their_fields = {field["name"]: field["type"] for field in theirs["fields"]}
    assert their_fields.items() <= our_fields.items()
    assert all(set(row) == set(our_fields) for row in ours["data"])
    our_types = types_of(ours["data"])
    for name, types in types_of(theirs["data"]).items():
        if types != {"NoneType"}:
            assert our_types[name] <= types | {"NoneType"}, name


FILTERS = [{"paramName": "obs_collection", "values": ["JWST"], "separator": ";"}]
#: What MAST added to the observation columns since the replies were recorded.
SINCE = {"intentType", "provenance_name", "proposal_type", "sequence_number", "dataRights", "mtFlag", "srcDen"}


def test_filtered(archive: LocalArchive, real_data: Path) -> None:
    ours, theirs = (
        post(archive, "Mast.Caom.Filtered", {"columns": "*", "filters": FILTERS}),
        recorded(real_data, "advSearch.json"),
    )
    assert_same_form(ours, theirs)
    assert ours["paging"] == {
        "page": 1,
        "pageSize": 50000,
        "pagesFiltered": 1,
        "rows": 6,
        "rowsFiltered": 6,
        "rowsTotal": 6,
    }
    extra = {field["name"] for field in ours["fields"]} - {field["name"] for field in theirs["fields"]}
    assert extra == SINCE


def test_filtered_position(archive: LocalArchive, real_data: Path) -> None:
    params = {"columns": "*", "filters": FILTERS, "position": "49.93, -19.40, 0.1"}
    ours, theirs = post(archive, "Mast.Caom.Filtered.Position", params), recorded(real_data, "advSearchPos.json")
    assert len(ours["data"]) == 2
    assert_same_form(ours, theirs)


def test_cone(archive: LocalArchive, real_data: Path) -> None:
    ours = post(archive, "Mast.Caom.Cone", {"ra": 49.93, "dec": -19.40, "radius": 0.1})
    assert len(ours["data"]) == 2
    assert_same_form(ours, recorded(real_data, "caom.json"))


def test_count(archive: LocalArchive, real_data: Path) -> None:
    ours = post(archive, "Mast.Caom.Filtered", {"columns": "COUNT_BIG(*)", "filters": FILTERS})
    theirs = recorded(real_data, "countsResp.json")
    assert ours == theirs | {"data": [{"Column1": 6}]}


def test_products(archive: LocalArchive, real_data: Path) -> None:
    rows = post(archive, "Mast.Caom.Filtered", {"columns": "*", "filters": FILTERS})["data"]
    ours = post(archive, "Mast.Caom.Products", {"obsid": ",".join(str(row["obsid"]) for row in rows)})
    assert len(ours["data"]) == 7
    assert_same_form(ours, recorded(real_data, "products.json"))


def test_real_jwst_rows_have_our_columns(archive: LocalArchive, real_data: Path) -> None:
    """Rows that astroquery returned for a JWST program: the same columns, the same words."""
    with (real_data / "mast" / "JWST_0098_MAST_ALL_PRODUCTS.csv").open() as stream:
        theirs = list(csv.DictReader(stream))
    rows = post(archive, "Mast.Caom.Filtered", {"columns": "*", "filters": FILTERS})["data"]
    ours = post(archive, "Mast.Caom.Products", {"obsid": ",".join(str(row["obsid"]) for row in rows)})["data"]
    assert {name for name in ours[0] if name != "_selected_"} == set(theirs[0])
    science = [row for row in theirs if row["productType"] == "SCIENCE"]
    for name in ("obs_collection", "project", "dataRights", "type", "productType", "dataproduct_type"):
        words = {row[name] for row in ours} - {None, "EXCLUSIVE_ACCESS"}
        assert words <= {row[name] for row in science}, name
    level = {row["productSubGroupDescription"]: row["calib_level"] for row in science}
    assert all(
        str(row["calib_level"]) == level.get(row["productSubGroupDescription"], "3")
        for row in ours
        if row["productSubGroupDescription"]
    )
    with (real_data / "mast" / "JWST_0098_MAST_MATCHED_OBSERVATIONS.csv").open() as stream:
        observed = set(next(csv.reader(stream)))
    assert set(rows[0]) - observed == {"objID"}  # the file's author dropped it
    assert observed - set(rows[0]) == {"wave_region", "wave_min", "wave_max", "distance"}  # and added these


def test_an_error(archive: LocalArchive) -> None:
    for service, params in (
        ("Mast.Caom.Nothing", {}),
        ("Mast.Caom.Filtered", {"filters": [{"paramName": "nothing", "values": [1]}]}),
        ("Mast.Caom.Filtered", {"filters": [{"values": [1]}]}),
        ("Mast.Caom.Filtered", {"columns": "nothing"}),
        ("Mast.Caom.Filtered", []),
        ("Mast.Caom.Filtered.Position", {"position": "1,2"}),
        ("Mast.Caom.Filtered.Position", {"position": "1,200,3"}),
        ("Mast.Caom.Cone", {"ra": "x", "dec": 0}),
        ("Mast.Caom.Products", {}),
    ):
        reply = post(archive, service, params)
        assert reply["status"] == "ERROR", service
        assert reply["msg"], service
    assert post(archive, "Mast.Caom.Filtered", {"filters": FILTERS}, page=0, pagesize=-3)["status"] == "ERROR"
    for body in ({"request": "{"}, {"request": "[]"}, {"other": "x"}):
        reply = httpx.post(f"{archive.url}/api/v0/invoke", data=body, trust_env=False)
        assert reply.json()["status"] == "ERROR"


def test_column_configurations(archive: LocalArchive, real_data: Path) -> None:
    """What astroquery reads of a configuration is as MAST says it."""
    theirs = {
        name: column for name, column in recorded(real_data, "columnsconfig.json").items() if not column.get("remove")
    }
    url = f"{archive.url}/portal/Mashup/Mashup.asmx/columnsconfig"
    ours = httpx.post(url, content="colConfigId=Mast.Caom.Cone", trust_env=False).json()
    assert set(theirs) <= set(ours)

    def filtered_by_range(column: dict[str, Any]) -> bool:
        return column.get("vot.datatype", column.get("type")) in ("double", "float", "numeric")

    for name, column in theirs.items():
        assert filtered_by_range(ours[name]) == filtered_by_range(column), name
        assert ours[name].get("separator") == column.get("separator"), name
    assert httpx.post(url, content="colConfigId=Mast.Galex", trust_env=False).json() == {}
    assert "dataURI" in columns_config("Mast.Caom.Products")


def test_mission_search(archive: LocalArchive, real_data: Path) -> None:
    theirs = recorded(real_data, "mast-jwst-mock.json")
    asked = theirs["search_params"] | {"target": ["49.93 -19.40"]}
    reply = httpx.post(f"{archive.url}/search/jwst/api/v0.1/search", json=asked, trust_env=False)
    assert reply.status_code == 200
    ours = reply.json()
    assert set(ours) == set(theirs)
    assert set(ours["search_params"]) == set(theirs["search_params"])
    assert ours["info"] == theirs["info"]
    assert ours["totalResults"] == len(ours["results"]) == 2
    assert set(ours["results"][0]) == set(theirs["results"][0])
    our_types = types_of(ours["results"])
    for name, types in types_of(theirs["results"]).items():
        assert our_types[name] <= types | {"NoneType"}, name


def test_mission_refusals(archive: LocalArchive) -> None:
    url = f"{archive.url}/search/jwst/api/v0.1/search"
    bad: list[Any] = [
        {"conditions": [{"nothing": 1}]},
        {"conditions": [{"program": "abc"}]},
        {"conditions": "abc"},
        {"target": ["x y"]},
        {"target": ["1 2 3"]},
        {"limit": -1},
        {"radius": 1, "radius_units": "parsec", "target": ["1 2"]},
        {"select_cols": ["nothing"]},
        [],
    ]
    for asked in bad:
        assert httpx.post(url, json=asked, trust_env=False).status_code == 400, asked
    assert httpx.post(url, content="{", trust_env=False).status_code == 400


def test_mission_products_and_columns(archive: LocalArchive, real_data: Path) -> None:
    url = f"{archive.url}/search/jwst/api/v0.1"
    name = "jw02107002001_02101_00002"
    ours = httpx.get(f"{url}/list_products", params={"dataset_ids": name}, trust_env=False).json()
    assert httpx.post(f"{url}/post_list_products", json={"dataset_ids": [name]}, trust_env=False).json() == ours
    theirs = recorded(real_data, "mission_products.json")
    assert set(ours) == set(theirs)
    for key, types in types_of(theirs["products"]).items():
        assert types_of(ours["products"])[key] <= types, key
    assert set(ours["products"][0]) == set(theirs["products"][0])
    columns = httpx.get(f"{archive.url}/search/util/api/v0.1/column_list", params={"mission": "jwst"}, trust_env=False)
    recorded_columns = recorded(real_data, "mission_columns.json")
    assert all(set(row) == set(recorded_columns[0]) for row in columns.json())
    assert {row["qual_type"] for row in columns.json()} <= {row["qual_type"] for row in recorded_columns} | {"number"}


def test_path_lookup(archive: LocalArchive, real_data: Path) -> None:
    theirs = recorded(real_data, "mast_relative_path.json")
    known = "mast:JWST/product/jw02107002001_02101_00002_mirimage_cal.fits"
    unknown = "mast:JWST/product/does_not_exist.fits"
    stage3 = "mast:JWST/product/jw01979-o002_t001_nircam_clear-f150w_i2d.fits"
    url = f"{archive.url}/api/v0.1/path_lookup/"
    ours = httpx.get(url, params={"uri": [known, unknown, stage3]}, trust_env=False).json()
    assert ours[known] == {
        "status_code": 200,
        "path": "/jwst/public/jw02107/jw02107002001/jw02107002001_02101_00002_mirimage_cal.fits",
    }
    assert ours[unknown] == theirs["mast:HST/product/does_not_exist.fits"]
    assert ours[stage3]["path"].startswith("/jwst/public/jw01979/L3/")


@pytest.mark.parametrize("path", ["/", "/etc/passwd", "/../secret", "/search/hst/api/v0.1/search", "/hwosim/v1"])
def test_other_paths_are_not_there(archive: LocalArchive, path: str) -> None:
    assert httpx.get(archive.url + path, trust_env=False).status_code == 404


def test_a_question_that_is_thousands_of_lists_deep_is_refused(archive: LocalArchive) -> None:
    deep = "[" * 100_000
    reply = httpx.post(f"{archive.url}/search/jwst/api/v0.1/search", content=deep, trust_env=False)
    assert (reply.status_code, reply.text) == (400, "the request is not JSON")
    portal = httpx.post(f"{archive.url}/api/v0/invoke", data={"request": deep}, trust_env=False)
    assert (portal.status_code, portal.json()["status"]) == (200, "ERROR")


def test_a_question_without_end_is_refused(archive: LocalArchive) -> None:
    reply = httpx.post(f"{archive.url}/api/v0/invoke", content=b"request=" + b"x" * 5_000_000, trust_env=False)
    assert reply.status_code == 413
