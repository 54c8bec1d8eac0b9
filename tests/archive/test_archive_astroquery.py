"""The local archive, asked by astroquery itself, through the client and directly."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import astropy.units as u
import pytest
from archive_material import write_product
from astropy.coordinates import SkyCoord
from astroquery.exceptions import InvalidQueryError, RemoteServiceError

from hwosim_assets.archive.client import ArchiveClient
from hwosim_assets.archive.errors import NoSuchProgramError
from hwosim_assets.archive.mast import missions_at, observations_at
from hwosim_assets.archive.schema import OBSERVATION_COLUMNS, PRODUCT_COLUMNS
from hwosim_assets.archive.server import LocalArchive
from hwosim_assets.archive.transport import Transport
from hwosim_assets.errors import BadInputError


def ids(rows: list[dict[str, object]]) -> list[object]:
    return [row["obs_id"] for row in rows]


NIRCAM = ["jw01979-o002_t001_nircam_clear-f150w", "jw01979002001_02101_00001_nrca1", "jw01979002001_02101_00001_nrca2"]
MIRI = ["jw02107002001_02101_00002_mirimage", "jw02107002001_02103_00002_mirimage"]


@pytest.mark.parametrize("program", ["01979", "1979", 1979])
def test_a_program_by_padded_and_unpadded_number(client: ArchiveClient, program: str | int) -> None:
    rows = client.observations(program=program)
    assert ids(rows) == NIRCAM
    assert {row["proposal_id"] for row in rows} == {"1979"}
    assert all(list(row) == list(OBSERVATION_COLUMNS) for row in rows)
    assert isinstance(rows[0]["s_ra"], float)
    assert isinstance(rows[0]["calib_level"], int)
    assert rows[0]["mtFlag"] is False
    assert rows[0]["srcDen"] is None


def test_criteria_select(client: ArchiveClient) -> None:
    assert ids(client.observations(instrument="MIRI")) == MIRI
    assert ids(client.observations(instrument="MIRI/IMAGE")) == MIRI
    assert ids(client.observations(instrument="miri")) == MIRI
    assert client.observations(instrument="MIRI/IFU") == []
    assert ids(client.observations(target="NGC-1300")) == MIRI
    assert ids(client.observations(target="ngc*")) == MIRI
    assert ids(client.observations(program="01979", calib_level=3)) == NIRCAM[:1]
    assert ids(client.observations(calib_level=1)) == MIRI[1:]
    assert ids(client.observations(data_rights="EXCLUSIVE_ACCESS")) == MIRI[1:]
    assert ids(client.observations(data_rights="public", instrument="MIRI")) == MIRI[:1]
    assert ids(client.observations(product_type="image", program=2107)) == MIRI
    assert client.observations(product_type="cube") == []


def test_a_cone_reaches_footprints_not_only_centres(client: ArchiveClient) -> None:
    assert ids(client.observations(cone=(49.93, -19.40, 0.001))) == MIRI  # inside the polygon
    assert ids(client.observations(cone=(49.93, -19.37, 0.02))) == MIRI  # its corner at -19.38 is nearer
    assert client.observations(cone=(49.93, -19.30, 0.02)) == []
    assert ids(client.observations(program=2107, cone=(49.93, -19.40, 0.1), calib_level=1)) == MIRI[1:]


def test_a_program_that_is_not_there_and_one_without_matches(client: ArchiveClient) -> None:
    with pytest.raises(NoSuchProgramError, match=r"program 09999: .* no observation"):
        client.observations(program=9999)
    with pytest.raises(NoSuchProgramError):
        client.observations(program=9999, instrument="MIRI")
    assert client.observations(program=1979, instrument="MIRI") == []
    with pytest.raises(BadInputError, match="not a JWST program"):
        client.observations(program="19-79")


@pytest.mark.parametrize("cone", [(10.0, 91.0, 1.0), (10.0, 0.0, 0.0), (400.0, 0.0, 1.0), (0.0, float("nan"), 1.0)])
def test_a_cone_outside_the_sky(client: ArchiveClient, cone: tuple[float, float, float]) -> None:
    with pytest.raises(BadInputError, match="outside the sky"):
        client.observations(cone=cone)


def test_products_of_a_program(client: ArchiveClient, root: Path) -> None:
    products = client.products(client.observations(program=1979))
    assert [row["productFilename"] for row in products] == [
        "jw01979-o002_t001_nircam_clear-f150w_i2d.fits",
        "jw01979002001_02101_00001_nrca1_cal.fits",
        "jw01979002001_02101_00001_nrca1_rate.fits",
        "jw01979002001_02101_00001_nrca2_cal.fits",
    ]
    assert all(list(row) == list(PRODUCT_COLUMNS) for row in products)
    assert [row["productSubGroupDescription"] for row in products] == ["I2D", "CAL", "RATE", "CAL"]
    sizes = {path.name: path.stat().st_size for path in root.rglob("*.fits")}
    assert all(row["size"] == sizes[row["productFilename"]] for row in products)
    assert all(row["dataURI"] == f"mast:JWST/product/{row['productFilename']}" for row in products)
    rates = client.products(client.observations(program=1979), product_type="rate")
    assert [row["productSubGroupDescription"] for row in rates] == ["RATE"]
    everything = client.observations()
    assert len(client.products(everything)) == 7
    assert len(client.products(everything, data_rights="public")) == 6
    assert client.products([]) == []


def test_many_observations_are_asked_in_batches(
    client: ArchiveClient, archive: LocalArchive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ArchiveClient, "PRODUCT_BATCH", 2)
    asked: list[str] = []
    send = Transport.request

    def counted(self: Transport, method: str, url: str, **more: object) -> object:
        asked.append(url)
        return send(self, method, url, **more)  # type: ignore[arg-type]

    observations = client.observations()
    monkeypatch.setattr(Transport, "request", counted)
    assert len(client.products(observations)) == 7
    assert sum(url.endswith("/invoke") for url in asked) == 3
    assert len(observations) == 6


def test_programs_and_their_fingerprints(client: ArchiveClient, root: Path) -> None:
    before = client.programs()
    assert list(before) == ["00000", "01979", "02107"]
    assert client.programs(of=["2107", "09999"]) == {"02107": before["02107"]}
    write_product(root, "jw01979002001_02101_00002_nrca1_cal.fits", PROGRAM="01979")
    write_product(root, "jw09000001001_02101_00001_nrca1_cal.fits", PROGRAM="09000")
    after = client.programs()
    assert list(after) == ["00000", "01979", "02107", "09000"]
    assert after["02107"] == before["02107"]
    assert after["01979"] != before["01979"]
    assert client.programs() == after


def test_the_mission_search(client: ArchiveClient) -> None:
    rows = client.mission_search(program="01979")
    assert [row["fileSetName"] for row in rows] == [NIRCAM[0], "jw01979002001_02101_00001"]
    exposure = rows[1]
    assert (exposure["program"], exposure["observtn"], exposure["visit"]) == (1979, 2, 1)
    assert exposure["productLevel"] == "2a, 2b"
    assert exposure["date_obs"] == "2023-04-09T20:36:40.864"
    assert exposure["access"] == "PUBLIC"
    assert [row["targprop"] for row in client.mission_search(target="NGC*")] == ["NGC-1300", "NGC-1300"]
    assert len(client.mission_search(instrument="MIRI,NIRISS")) == 3
    assert len(client.mission_search(instrument="!MIRI")) == 3
    near = client.mission_search(instrument="MIRI", cone=(49.93, -19.40, 0.01))
    assert [row["ang_sep"] for row in near] == [0.0, 0.0]
    assert client.mission_search(instrument="MIRI", cone=(59.93, -19.40, 0.01)) == []
    assert [row["exp_type"] for row in client.mission_search(exp_type="NIS_IMAGE")] == ["NIS_IMAGE"]
    assert len(client.mission_search(duration=">500")) == 5
    with pytest.raises(BadInputError, match="does not exist"):
        client.mission_search(no_such_column=1)
    with pytest.raises(BadInputError, match="no condition"):
        client.mission_search()


def test_mission_pages_are_put_together(client: ArchiveClient, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = client.mission_search(access="PUBLIC,EXCLUSIVE_ACCESS")
    monkeypatch.setattr("hwosim_assets.archive.client.MISSION_PAGE", 2)
    assert client.mission_search(access="PUBLIC,EXCLUSIVE_ACCESS") == whole
    assert len(whole) == 5


@pytest.mark.filterwarnings("ignore::astroquery.exceptions.NoResultsWarning")
def test_astroquery_itself(archive: LocalArchive) -> None:
    observations = observations_at(Transport(archive.url, timeout=10))
    assert observations.query_criteria_count(obs_collection="JWST", instrument_name="MIRI*") == 2
    centre = SkyCoord(49.93 * u.deg, -19.40 * u.deg)
    assert observations.query_region_count(centre, radius=0.1 * u.deg) == 2
    table = observations.query_region(centre, radius=0.1 * u.deg)
    assert sorted(table["obs_id"]) == MIRI
    assert list(table["distance"]) == [0.0, 0.0]
    assert observations.list_missions() == ["JWST"]
    assert set(OBSERVATION_COLUMNS) <= set(observations.get_metadata("observations")["Column Name"])
    assert set(observations.get_metadata("products")["Column Name"]) == set(PRODUCT_COLUMNS)
    with pytest.raises(InvalidQueryError, match="proposal_id"):
        observations.query_criteria(proposal_ids="1979")
    early = observations.query_criteria(t_min=[60000, 60044], obs_collection="JWST")
    assert len(early) == 6
    assert len(observations.query_criteria(em_min=[6000, 7000], obs_collection="JWST")) == 1
    products = observations.get_unique_product_list(table)
    assert sorted(products["productSubGroupDescription"]) == ["CAL", "UNCAL"]


def test_astroquery_pages(archive: LocalArchive) -> None:
    observations = observations_at(Transport(archive.url, timeout=10))
    assert len(observations.query_criteria(obs_collection="JWST", pagesize=4)) == 6
    assert len(observations.query_criteria(obs_collection="JWST", pagesize=4, page=2)) == 2
    with pytest.raises(RemoteServiceError, match="pagesize"):
        observations.query_criteria(obs_collection="JWST", pagesize=10**9)


def test_astroquery_missions(archive: LocalArchive) -> None:
    missions = missions_at(Transport(archive.url, timeout=10))
    assert "fileSetName" in missions.get_column_list()["name"]
    found = missions.query_criteria(program=2107, select_cols=["targprop"])
    assert set(found.colnames) >= {"targprop", "fileSetName"}
    region = missions.query_region(SkyCoord(49.93 * u.deg, -19.40 * u.deg), radius=1 * u.arcmin)
    assert len(region) == 2
    products = missions.get_product_list(region)
    assert sorted(products["filename"]) == [f"{MIRI[0]}_cal.fits", f"{MIRI[1]}_uncal.fits"]
    assert set(products["access"]) == {"PUBLIC", "EXCLUSIVE_ACCESS"}


def test_astroquery_missions_download(archive: LocalArchive, tmp_path: Path, root: Path) -> None:
    """astroquery downloads through its own session; it is routed as well."""
    missions = missions_at(Transport(archive.url, timeout=10))
    product = missions.get_product_list("jw02107002001_02101_00002")
    manifest = missions.download_products(product, download_dir=str(tmp_path), flat=True, verbose=False)
    assert list(manifest["Status"]) == ["COMPLETE"]
    name = product["filename"][0]
    assert (tmp_path / name).read_bytes() == (root / name).read_bytes()


VANILLA = """
import sys, json
from astroquery.mast import MastMissions, Observations
found = Observations.query_criteria(obs_collection="JWST", proposal_id="2107")
products = Observations.get_unique_product_list(found)
before = Observations.download_products(products, download_dir=sys.argv[1] + "/a", flat=True, verbose=False)
Observations.login(token="let-me-in")
after = Observations.download_products(products, download_dir=sys.argv[1] + "/b", flat=True, verbose=False)
missions = MastMissions(mission="jwst")
sets = missions.query_criteria(program=2107)
print(json.dumps({
    "obs_id": sorted(found["obs_id"]), "before": sorted(before["Status"]), "after": sorted(after["Status"]),
    "sets": sorted(sets["fileSetName"]), "listed": len(missions.get_product_list(sets)),
}))
"""


def test_astroquery_as_its_users_have_it(archive: LocalArchive, tmp_path: Path, root: Path) -> None:
    """Nothing of ours but the server: astroquery in its own process, pointed here by its configuration file."""
    settings = tmp_path / "config" / "astropy" / "astroquery.cfg"
    settings.parent.mkdir(parents=True)
    settings.write_text(f"[mast]\nserver = {archive.url}\nssoserver = {archive.url}\n")
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }
    for folder in ("cache/astropy", "a", "b"):
        (tmp_path / folder).mkdir(parents=True)
    command = [sys.executable, "-W", "ignore", "-c", VANILLA, str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["obs_id"] == MIRI
    assert told["before"] == ["COMPLETE", "ERROR"]
    assert told["after"] == ["COMPLETE", "COMPLETE"]
    assert told["sets"] == ["jw02107002001_02101_00002", "jw02107002001_02103_00002"]
    assert told["listed"] == 2
    exclusive = f"{MIRI[1]}_uncal.fits"
    assert (tmp_path / "b" / exclusive).read_bytes() == (root / exclusive).read_bytes()
    assert not (tmp_path / "a" / exclusive).exists()
