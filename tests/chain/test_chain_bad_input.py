"""Bad files, all at once: each is listed or quarantined by name with its reason, and the good ones go all the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
from astropy.io import fits
from chain_tools import FIELD, ROUGH, Installation, Proxy

from hwosim_assets.archive.server import LocalArchive
from hwosim_assets.catalog.products import PRODUCTS
from hwosim_assets.lake.ingest import RAW_FILES
from hwosim_assets.lake.rejections import QUARANTINE
from hwosim_assets.perturb.dataset import PERTURBED

POINTER = (
    b"version https://git-lfs.github.com/spec/v1\n"
    b"oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 158400\n"
)
TEXT = b"<html><body>The file you asked for has moved.</body></html>\n"
BLOCK = 2880


def lying(content: bytes) -> bytes:
    """Return a file whose first extension claims 16 exabytes, its size as before."""
    at = content.index(b"XTENSION= 'IMAGE   '")
    said = content[at : at + BLOCK]
    for axis in (1, 2):
        card = said.index(f"NAXIS{axis}  =".encode())
        said = said[:card] + f"NAXIS{axis}  = {2_000_000_000:>20}".encode().ljust(80) + said[card + 80 :]
    return content[:at] + said + content[at + BLOCK :]


def flipped(content: bytes, at: int) -> bytes:
    """Return the same bytes with one of them changed."""
    return content[:at] + bytes([content[at] ^ 0xFF]) + content[at + 1 :]


def filled(content: bytes, size: int) -> bytes:
    return content + b"\n" * (size - len(content))


#: What lies in the archive's folder under a JWST name, and what the archive must say of it.
IN_FOLDER: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    f"jw{FIELD}001001_02101_00003_nrcb1_cal.fits": (lambda good: good[: len(good) // 2], "truncated"),
    f"jw{FIELD}001001_02101_00004_nrcb1_cal.fits": (lambda _good: b"", "empty"),
    f"jw{FIELD}001001_02101_00005_nrcb1_cal.fits": (lambda _good: TEXT, "HTML"),
    f"jw{FIELD}001001_02101_00006_nrcb1_cal.fits": (lambda _good: POINTER, "git-lfs pointer"),
    f"jw{FIELD}001001_02101_00007_nrcb1_cal.fits": (lying, "claims"),
    f"jw{FIELD}001001_02101_00008_nrcb1_cal.fits": (lambda _good: b"just a note\n", "not FITS"),
}


class Served(NamedTuple):
    """What a careless archive sends for a file that it lists, and what must become of it."""

    stage: str
    rule: str
    reason: str
    content: Callable[[bytes, bytes], bytes]
    digested: bool = False


#: The second argument is a larger file, of which a truncated one is cut.
SERVED = {
    f"jw{FIELD}001001_02101_00001_nrcb1_rate.fits": Served(
        "raw", "size_mismatch", "lists 118080 bytes and sends 0", lambda good, _large: b""
    ),
    f"jw{FIELD}001001_02101_00002_nrcb1_rate.fits": Served(
        "raw", "size_mismatch", "lists 118080 bytes and sends 115200", lambda good, _large: good[:-BLOCK]
    ),
    f"jw{FIELD}001001_02101_00002_nrcb1_uncal.fits": Served(
        "raw", "checksum_mismatch", "SHA-256", lambda good, _large: flipped(good, -5000), digested=True
    ),
    f"jw{FIELD}001001_02101_00001_nrcblong_cal.fits": Served(
        "catalog", "fits_structure", "truncated", lambda good, large: large[: len(good)]
    ),
    f"jw{FIELD}001001_02101_00002_nrcblong_cal.fits": Served(
        "catalog", "fits_structure", "HTML", lambda good, _large: filled(TEXT, len(good))
    ),
    f"jw{FIELD}002001_0410a_00001_nis_rate.fits": Served(
        "catalog", "fits_structure", "git-lfs pointer", lambda good, _large: filled(POINTER, len(good))
    ),
    f"jw{FIELD}002001_0410a_00001_nis_cal.fits": Served(
        "catalog", "fits_structure", "claims", lambda good, _large: lying(good)
    ),
}
#: Lies in the folder with a wrong DATASUM, which an archive that reads headers cannot know.
DATASUM = f"jw{FIELD}003001_02101_00001_guider1_rate.fits"
LARGE = f"jw{FIELD}003001_02101_00001_guider1_cal.fits"


@dataclass
class Spoilt:
    """A chain that ran over a spoilt archive."""

    installation: Installation
    archive: LocalArchive
    good: list[str]

    def quarantine(self) -> dict[str, dict[str, str]]:
        rows = self.installation.tables().scan(QUARANTINE, {"program": FIELD}).to_pylist()
        assert len({row["product_name"] for row in rows}) == len(rows)
        return {row["product_name"]: row for row in rows}


@pytest.fixture(scope="module")
def spoilt(chosen: Callable[..., Path], installed: Callable[..., Installation]) -> Iterator[Spoilt]:
    root = chosen(f"jw{FIELD}*.fits")
    contents = {path.name: path.read_bytes() for path in root.glob("*.fits")}
    good = contents[f"jw{FIELD}001001_02101_00001_nrcb1_cal.fits"]
    for name, (spoil, _reason) in IN_FOLDER.items():
        (root / name).write_bytes(spoil(good))
    with fits.open(root / DATASUM) as hdus:
        inside = hdus["SCI"].fileinfo()["datLoc"] + 400
    (root / DATASUM).write_bytes(flipped(contents[DATASUM], inside))
    with LocalArchive(root) as archive:
        proxy = Proxy(archive.url)
        proxy.contents = {name: served.content(contents[name], contents[LARGE]) for name, served in SERVED.items()}
        proxy.digested = {name for name, served in SERVED.items() if served.digested}
        installation = installed(proxy.url)
        outcome = installation.run(FIELD, [ROUGH])
        assert outcome.succeeded, outcome
        yield Spoilt(installation, archive, sorted(set(contents) - set(SERVED) - {DATASUM}))
        proxy.close()


def test_the_archive_lists_what_it_cannot_read(spoilt: Spoilt) -> None:
    told = httpx.get(f"{spoilt.archive.url}/hwosim/v1/skipped").json()
    reasons = {item["path"]: item["reason"] for item in told}
    assert set(reasons) == set(IN_FOLDER)
    for name, (_spoil, reason) in IN_FOLDER.items():
        assert reason in reasons[name], (name, reasons[name])


@pytest.mark.parametrize("name", SERVED)
def test_a_file_that_arrives_spoilt_is_quarantined_by_name(spoilt: Spoilt, name: str) -> None:
    row, served = spoilt.quarantine()[name], SERVED[name]
    assert (row["stage"], row["rule"]) == (served.stage, served.rule), row
    assert served.reason in row["reason"], row


def test_a_product_that_does_not_match_its_checksum_is_quarantined(spoilt: Spoilt) -> None:
    row = spoilt.quarantine()[DATASUM]
    assert (row["stage"], row["rule"]) == ("catalog", "checksum")
    assert "DATASUM" in row["reason"]


def test_nothing_else_is_lost(spoilt: Spoilt) -> None:
    assert set(spoilt.quarantine()) == set(SERVED) | {DATASUM}
    tables, scope = spoilt.installation.tables(), {"program": FIELD}
    refused_raw = {name for name, served in SERVED.items() if served.stage == "raw"}
    raw = set(tables.scan(RAW_FILES, scope, ["product_name"])["product_name"].to_pylist())
    assert raw == set(spoilt.good) | set(SERVED) - refused_raw | {DATASUM}
    for spec, where in ((PRODUCTS, scope), (PERTURBED, {**scope, "scenario": ROUGH})):
        assert sorted(tables.scan(spec, where, ["product_name"])["product_name"].to_pylist()) == spoilt.good
    row = spoilt.installation.outcome(FIELD, ROUGH)
    assert (row["listed"], row["quarantined"], row["validated"]) == (16, 8, 8)
    assert (row["verified"], row["published"]) == (True, row["consumed"])
    subjects = {dict(message.headers())["ce_subject"].decode() for message in spoilt.installation.messages("truth")}
    assert subjects == set(spoilt.good)
