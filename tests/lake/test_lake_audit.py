"""The audit at rest: what rotted is found, and comes back only as the bytes that were stored."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from fake_archive import PROGRAM, FakeArchive

from hwosim_assets.errors import HwosimError
from hwosim_assets.lake.audit import Kept, audit, refetch
from hwosim_assets.lake.store import Lake

CONTENT = {name: name.encode() * 3000 for name in ("a.fits", "b.fits", "c.fits")}


def kept(name: str) -> Kept:
    digest = hashlib.sha256(CONTENT[name]).hexdigest()
    return Kept("raw_files", PROGRAM, name, f"raw/{name}", digest, f"mast:JWST/product/{name}")


@pytest.fixture
def filled(lake: Lake) -> Lake:
    for name, content in CONTENT.items():
        lake.write_new(f"raw/{name}", content)
    return lake


def rot(lake: Lake, name: str) -> None:
    content = bytearray(CONTENT[name])
    content[777] ^= 1
    lake.delete(f"raw/{name}")
    lake.write_new(f"raw/{name}", bytes(content))


def test_what_is_as_it_was_is_sound_and_read_whole(filled: Lake) -> None:
    seen: list[str] = []
    promises = [kept("a.fits"), kept("b.fits"), kept("a.fits")]
    findings = audit(promises, filled, on_object=lambda finding: seen.append(finding.kept.name))
    assert [(finding.state, finding.size) for finding in findings] == [("sound", 18000), ("sound", 18000)]
    assert seen == ["a.fits", "b.fits"]


def test_one_flipped_bit_and_a_missing_object_are_told_apart(filled: Lake) -> None:
    rot(filled, "b.fits")
    filled.delete("raw/c.fits")
    states = {finding.kept.name: finding.state for finding in audit([kept(name) for name in CONTENT], filled)}
    assert states == {"a.fits": "sound", "b.fits": "rotted", "c.fits": "missing"}


@pytest.mark.parametrize("fault", ["rotted", "missing"])
def test_the_stored_bytes_come_back_under_the_same_key(
    filled: Lake, tmp_path: Path, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rot(filled, "b.fits")
    if fault == "missing":
        filled.delete("raw/b.fits")
    settled: list[bytes] = []
    monkeypatch.setattr(Lake, "settle", lambda lake: settled.append(lake.read("raw/b.fits")))
    refetch(kept("b.fits"), FakeArchive(dict(CONTENT)), filled, tmp_path / "partial")
    assert settled == [CONTENT["b.fits"]], "its row is committed: a power cut must not take it"
    assert filled.read("raw/b.fits") == CONTENT["b.fits"]
    assert not list((tmp_path / "partial").glob("*"))


def test_another_version_in_the_archive_replaces_nothing(filled: Lake, tmp_path: Path) -> None:
    rot(filled, "b.fits")
    before = filled.read("raw/b.fits")
    with pytest.raises(HwosimError, match="another version"):
        refetch(kept("b.fits"), FakeArchive({"b.fits": b"reprocessed"}), filled, tmp_path / "partial")
    assert filled.read("raw/b.fits") == before


def test_a_failing_archive_is_told_and_nothing_is_lost(filled: Lake, tmp_path: Path) -> None:
    def breaks(content: bytes, offset: int):  # type: ignore[no-untyped-def]
        yield content[offset : offset + 10]
        raise ConnectionResetError("reset")

    before = filled.read("raw/b.fits")
    with pytest.raises(HwosimError, match=r"b\.fits: could not be fetched again \(unreachable"):
        refetch(kept("b.fits"), FakeArchive(dict(CONTENT), faults={"b.fits": breaks}), filled, tmp_path / "partial")
    assert filled.read("raw/b.fits") == before
