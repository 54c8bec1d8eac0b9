"""The hostile archive: what it does to a request, again the same for the same seed."""

from __future__ import annotations

import logging
from pathlib import Path

import httpx
import pytest

from hwosim_assets.archive.client import ArchiveClient
from hwosim_assets.archive.errors import ArchiveAnswerError
from hwosim_assets.archive.hostile import FAULTS, Faults
from hwosim_assets.archive.products import unique_products
from hwosim_assets.archive.server import LocalArchive
from hwosim_assets.errors import BadInputError

CAL = "jw01979002001_02101_00001_nrca1_cal.fits"
URI = f"mast:JWST/product/{CAL}"


def answers(root: Path, faults: Faults, times: int) -> list[str]:
    """Ask for a file some times; return what came of each."""
    came = []
    with LocalArchive(root, faults=faults) as served, httpx.Client(trust_env=False, timeout=1) as http:
        for _ in range(times):
            try:
                reply = http.get(f"{served.url}/api/v0.1/Download/file", params={"uri": URI})
                whole = reply.content == (root / CAL).read_bytes()
                came.append(f"{reply.status_code}{'' if whole or reply.status_code >= 400 else ' other'}")
            except httpx.HTTPError as problem:
                came.append(type(problem).__name__)
    return came


@pytest.mark.parametrize(
    ("fault", "seen"),
    [
        ("error", "500"),
        ("busy", "429"),
        ("reset", "ReadError"),
        ("stall", "ReadTimeout"),
        ("truncate", "RemoteProtocolError"),
        ("short", "200 other"),
        ("corrupt", "200 other"),
        ("forbidden", "403"),
        ("missing", "404"),
    ],
)
def test_each_fault_is_what_it_says(root: Path, fault: str, seen: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert answers(root, Faults(**{fault: 1.0}), 2) == [seen, seen]
    assert caplog.records == [], "what was asked for is no mistake of the server"


def test_a_trickle_is_slow(root: Path) -> None:
    with LocalArchive(root, faults=Faults(slow=1.0)) as served:
        url = f"{served.url}/api/v0.1/Download/file?uri={URI}"
        with httpx.Client(trust_env=False, timeout=5) as http, http.stream("GET", url) as reply:
            first = next(reply.iter_raw())
    assert len(first) < (root / CAL).stat().st_size / 10


def test_the_same_seed_fails_in_the_same_places(root: Path) -> None:
    def of(seed: int) -> list[str]:
        return answers(root, Faults(seed=seed, error=0.3, truncate=0.2, short=0.2), 12)

    assert of(1) == of(1)
    assert of(1) != of(2)
    assert {"200", "500", "RemoteProtocolError", "200 other"} >= set(of(1)) > {"200"}


def test_product_rows_are_repeated_falsified_and_left_out(root: Path) -> None:
    with LocalArchive(root) as served, ArchiveClient(served.url, timeout=10) as client:
        observed = client.observations(program=1979)
        true = client.products(observed)
    obsids = [row["obsid"] for row in observed]
    with LocalArchive(root, faults=Faults(duplicate=1.0)) as served, ArchiveClient(served.url, timeout=10) as client:
        rows = [row for rows in client.product_lists(obsids).values() for row in rows]
        assert len(rows) == 2 * len(true)
        assert unique_products(rows)[0] == true
    falsified = Faults(duplicate=1.0, wrong_size=1.0)
    with LocalArchive(root, faults=falsified) as served, ArchiveClient(served.url, timeout=10) as client:
        rows = [row for rows in client.product_lists(obsids).values() for row in rows]
        unique, contradicting = unique_products(rows)
        assert contradicting == [row["dataURI"] for row in true]
        assert {row["size"] for row in unique} == {None}
    with LocalArchive(root, faults=Faults(drop=1.0)) as served, ArchiveClient(served.url, timeout=10) as client:
        with pytest.raises(ArchiveAnswerError, match="rows and sent 0") as caught:
            client.product_lists(obsids)
        assert caught.value.rule == "incomplete_list"


def test_latency_alone_changes_nothing(root: Path) -> None:
    assert answers(root, Faults(latency=0.01), 3) == ["200"] * 3


def test_how_faults_are_written() -> None:
    assert Faults.parse("error=0.1, stall=0.02,latency=0.5", seed=4) == Faults(4, error=0.1, stall=0.02, latency=0.5)
    assert not Faults(seed=9).any()
    for text in ("eror=0.1", "error", "error=", "error=much", "seed=3", "", "error=0.1,,"):
        with pytest.raises(BadInputError, match="names: latency, error, busy"):
            Faults.parse(text)
    for text in ("error=2", "stall=-1", "error=0.6,stall=0.6"):
        with pytest.raises(BadInputError, match="outside 0 to 1"):
            Faults.parse(text)
    assert set(FAULTS) == set(Faults.__dataclass_fields__) - {"seed"}
