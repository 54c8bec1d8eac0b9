"""A folder as an archive: what it lists, what it refuses, and that it is looked at again."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from archive_material import write_product

from hwosim_assets.archive.client import ArchiveClient
from hwosim_assets.archive.errors import ArchiveBrokenError, ArchiveMissingError
from hwosim_assets.archive.folder import Folder, Index
from hwosim_assets.archive.server import LocalArchive
from hwosim_assets.errors import BadInputError

CAL = "jw01979002001_02101_00001_nrca1_cal.fits"


def reasons(index: Index) -> dict[str, str]:
    return {item.path: item.reason for item in index.skipped}


def looked(root: Path) -> Index:
    return Folder(root).index()


def test_what_cannot_be_read_is_listed_with_its_reason(root: Path) -> None:
    whole = (root / CAL).read_bytes()
    bad = {
        "empty.fits": b"",
        "cut.fits": whole[:-1000],
        "page.fits": b"<!DOCTYPE html><html>404</html>",
        "pointer.fits": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 10\n",
        "noise.fits": bytes(range(256)) * 100,
    }
    for name, content in bad.items():
        (root / name).write_bytes(content)
    index = looked(root)
    assert set(reasons(index)) == set(bad)
    assert all(reasons(index).values())
    assert len(set(reasons(index).values())) == len(bad)
    assert len(index.files) == 7
    assert set(index.files).isdisjoint(bad)


def test_only_fits_files_are_looked_at(root: Path) -> None:
    for name in ("notes.txt", "truth.json", "x.fits.part", "x.fits.0.txt", ".hidden.fits"):
        (root / name).write_text("x")
    (root / ".git").mkdir()
    shutil.copy(root / CAL, root / ".git" / "object.fits")
    index = looked(root)
    assert len(index.files) == 7
    assert index.skipped == ()


def test_two_files_of_one_name(root: Path) -> None:
    shutil.copytree(root / "l3", root / "copy")
    index = looked(root)
    assert reasons(index) == {
        "l3/jw01979-o002_t001_nircam_clear-f150w_i2d.fits": "has the same file name as "
        "copy/jw01979-o002_t001_nircam_clear-f150w_i2d.fits"
    }
    shutil.copy(root / "copy" / "jw01979-o002_t001_nircam_clear-f150w_i2d.fits", root)
    assert set(reasons(looked(root))) == {
        "copy/jw01979-o002_t001_nircam_clear-f150w_i2d.fits",
        "l3/jw01979-o002_t001_nircam_clear-f150w_i2d.fits",
    }


def test_an_unreadable_file_does_not_hide_a_readable_one_of_its_name(root: Path) -> None:
    (root / "again").mkdir()
    shutil.move(root / CAL, root / "again" / CAL)
    (root / CAL).write_bytes(b"")
    index = looked(root)
    assert index.files[CAL].path == root / "again" / CAL
    assert set(reasons(index)) == {CAL}


def test_links_that_lead_out_are_refused(root: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    write_product(outside, "secret_cal.fits")
    (root / "link_cal.fits").symlink_to(outside / "secret_cal.fits")
    (root / "folder").symlink_to(outside)
    (root / "broken_cal.fits").symlink_to(root / "gone.fits")
    (root / "inside_cal.fits").symlink_to(root / CAL)
    os.mkfifo(root / "pipe_cal.fits")
    index = looked(root)
    assert reasons(index) == {
        "broken_cal.fits": "cannot be read (No such file or directory)",
        "folder": "is a link to a folder, which is not followed",
        "link_cal.fits": "is a link that leads out of the archive's folder",
        "pipe_cal.fits": "is not a regular file",
    }
    assert "inside_cal.fits" in index.files


def test_a_file_that_becomes_a_link_is_not_served(root: Path, tmp_path: Path) -> None:
    """Between two looks at the folder."""
    outside = write_product(tmp_path / "outside", "secret.fits")
    with LocalArchive(root, folder=Folder(root, rescan_seconds=3600)) as served, ArchiveClient(served.url) as client:
        client.programs()
        (root / CAL).unlink()
        (root / CAL).symlink_to(outside)
        with pytest.raises(ArchiveMissingError), client.open(f"mast:JWST/product/{CAL}"):
            pass


def test_names_that_no_path_should_have(root: Path) -> None:
    for name in ("new\nline_cal.fits", " blank_cal.fits", "back\\slash_cal.fits", b"latin-\xe9_cal.fits"):
        target = os.fsencode(root) + b"/" + (name if isinstance(name, bytes) else name.encode())
        shutil.copy(root / CAL, os.fsdecode(target))
    index = looked(root)
    assert len(index.files) == 7
    assert sorted(reasons(index).values()) == [
        "has a path separator",
        "has control characters",
        "is not valid Unicode",
        "starts or ends with dots or blanks that a path would change",
    ]


def test_odd_names_are_served_under_them(root: Path) -> None:
    with LocalArchive(root) as served, ArchiveClient(served.url, timeout=10) as client:
        name = "größe 100% + ünï&c=d#e;f?.fits"
        shutil.copy(root / CAL, root / name)
        served.folder._rescan_seconds = 0.0
        found = {row["productFilename"]: row for row in client.products(client.observations())}
        with client.open(found[name]["dataURI"]) as stream:
            assert b"".join(stream.chunks) == (root / CAL).read_bytes()


def test_skipped_files_are_told_over_http_whatever_their_names(root: Path) -> None:
    import httpx

    shutil.copy(root / CAL, os.fsdecode(os.fsencode(root) + b"/latin-\xe9_cal.fits"))
    with LocalArchive(root) as served:
        told = httpx.get(f"{served.url}/hwosim/v1/skipped", trust_env=False)
        assert told.status_code == 200
        assert [item["reason"] for item in told.json()] == ["is not valid Unicode"]
        assert [item["path"] for item in told.json()] == [r"latin-\udce9_cal.fits"]


def test_what_is_dropped_in_appears_and_what_goes_disappears(
    archive: LocalArchive, client: ArchiveClient, root: Path
) -> None:
    assert len(client.observations(program=2107)) == 2
    path = write_product(root / "new", "jw02107003001_02101_00001_mirimage_cal.fits", PROGRAM="02107", INSTRUME="MIRI")
    assert len(client.observations(program=2107)) == 3
    with client.open(f"mast:JWST/product/{path.name}") as stream:
        assert b"".join(stream.chunks) == path.read_bytes()
    path.unlink()
    assert len(client.observations(program=2107)) == 2
    with pytest.raises(ArchiveMissingError), client.open(f"mast:JWST/product/{path.name}"):
        pass


def test_a_file_that_is_still_being_written_appears_when_it_is_whole(root: Path) -> None:
    folder = Folder(root, rescan_seconds=0.0)
    whole = (root / CAL).read_bytes()
    name = "jw01979002001_02101_00009_nrca1_cal.fits"
    (root / name).write_bytes(whole[:3000])
    assert name in reasons(folder.index())
    (root / name).write_bytes(whole)
    index = folder.index()
    assert name in index.files
    assert index.skipped == ()


def test_looking_again_is_cheap(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    from hwosim_assets.archive import folder as module

    describe = module.describe
    monkeypatch.setattr(module, "describe", lambda path, name: (read.append(name), describe(path, name))[1])
    (root / "empty.fits").write_bytes(b"")
    watched = Folder(root, rescan_seconds=0.0)
    first = watched.index()
    assert len(read) == 8
    assert watched.index() is first
    assert len(read) == 8
    os.utime(root / CAL, ns=(5, 5))
    assert watched.index() is not first
    assert len(read) == 9


def test_the_order_of_files_does_not_matter(root: Path, tmp_path: Path) -> None:
    from hwosim_assets.archive.caom import list_files

    files = list(looked(root).files.values())
    assert list_files(files) == list_files(reversed(files))
    ids = [row["obsid"] for row in list_files(files).observations]
    copy = tmp_path / "copy"
    shutil.copytree(root, copy)
    assert [row["obsid"] for row in looked(copy).listing.observations] == ids
    assert all(10**14 <= number < 2**53 for number in ids)


def test_observations_gather_their_products(root: Path) -> None:
    listing = looked(root).listing
    row = next(row for row in listing.observations if row["obs_id"] == "jw01979002001_02101_00001_nrca1")
    assert [item["productSubGroupDescription"] for item in listing.products[row["obsid"]]] == ["CAL", "RATE"]
    assert row["dataURL"] == f"mast:JWST/product/{CAL}"
    assert (row["instrument_name"], row["filters"], row["calib_level"]) == ("NIRCAM/IMAGE", "F150W;CLEAR", 2)
    assert (row["t_min"], row["t_max"], row["t_exptime"]) == (60043.85, 60043.86, 515.365)
    assert 1300 < row["em_min"] < row["em_max"] < 1700
    ours = next(row for row in listing.observations if row["obs_id"] == "a file of ours")
    assert ours["proposal_id"] == "0"
    assert listing.programs["00000"].products == 1


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="is not a folder"):
        Folder(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    assert looked(tmp_path / "empty").listing.observations == []


def test_a_folder_that_goes_away_is_an_error_not_an_empty_archive(root: Path) -> None:
    folder = Folder(root, rescan_seconds=0.0)
    folder.index()
    shutil.rmtree(root)
    with pytest.raises(OSError, match=r"archive"):
        folder.index()


def test_a_served_folder_that_goes_away_is_told_as_a_server_error(
    archive: LocalArchive, client: ArchiveClient, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hwosim_assets.archive.transport.PAUSES", (0.01,))
    shutil.rmtree(root)
    with pytest.raises(ArchiveBrokenError, match="status 503"):
        client.programs()


def test_a_file_that_breaks_the_reader_does_not_hide_the_others(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from hwosim_assets.archive import folder as module

    describe = module.describe

    def fragile(path: Path, name: str) -> object:
        if name == CAL:
            raise ValueError("odd\nheader")
        return describe(path, name)

    monkeypatch.setattr(module, "describe", fragile)
    index = looked(root)
    assert reasons(index) == {CAL: "cannot be described (ValueError: odd header)"}
    assert len(index.files) == 6
