"""The folders of real and of malformed files as archives."""

from __future__ import annotations

from pathlib import Path

import pytest

from hwosim_assets.archive.client import ArchiveClient
from hwosim_assets.archive.schema import observation_rows, product_rows
from hwosim_assets.archive.server import LocalArchive


@pytest.fixture(scope="module")
def real_archive(real_data: Path) -> LocalArchive:  # type: ignore[misc]
    with LocalArchive(real_data / "jwst") as served:
        yield served


def test_every_real_file_is_listed_or_skipped_with_its_reason(real_archive: LocalArchive) -> None:
    index = real_archive.folder.index()
    on_disk = [
        path for path in real_archive.folder.root.rglob("*") if path.name.endswith(("fits", ".fits.gz", ".fits.fz"))
    ]
    assert len(index.files) + len(index.skipped) == len(on_disk)
    assert len(index.files) >= 70
    assert all(item.reason for item in index.skipped)


def test_programs_observations_and_products_agree(real_archive: LocalArchive) -> None:
    with ArchiveClient(real_archive.url, timeout=30) as client:
        programs = client.programs()
        names = []
        for program in programs:
            observations = client.observations(program=program)
            products = client.products(observations)
            assert observation_rows(program, observations).num_rows == len(observations)
            assert product_rows(program, products).num_rows == len(products)
            names += [row["productFilename"] for row in products]
    assert sorted(names) == sorted(real_archive.folder.index().files)
    assert "00000" in programs
    assert {"01093", "01345", "02565"} <= set(programs)


def test_every_real_file_comes_as_it_is(real_archive: LocalArchive) -> None:
    import hashlib

    with ArchiveClient(real_archive.url, timeout=30) as client:
        for name, file in real_archive.folder.index().files.items():
            with client.open(f"mast:JWST/product/{name}") as stream:
                digest = hashlib.sha256()
                for chunk in stream.chunks:
                    digest.update(chunk)
            assert digest.hexdigest() == stream.sha256 == hashlib.sha256(file.path.read_bytes()).hexdigest()


def test_positions_find_themselves(real_archive: LocalArchive) -> None:
    with ArchiveClient(real_archive.url, timeout=30) as client:
        rows = client.observations(program="01093")
        for row in rows:
            found = client.observations(program="01093", cone=(row["s_ra"], row["s_dec"], 0.01))
            assert row["obsid"] in {other["obsid"] for other in found}


def test_malformed_files_are_skipped_or_listed_and_nothing_breaks(real_data: Path) -> None:
    with LocalArchive(real_data / "evil") as served, ArchiveClient(served.url, timeout=30) as client:
        index = served.folder.index()
        assert len(index.skipped) >= 4
        assert all(item.reason and "\n" not in item.reason for item in index.skipped)
        assert len(client.products(client.observations())) == len(index.files)
        assert client.mission_search(access="PUBLIC")
