"""A small generated archive, and one installation that has taken it through the chain."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest
from chain_tools import FIELD, ROUGH, SPECTRUM, Installation, Proxy

from hwosim_assets.archive.sample import write_sample
from hwosim_assets.archive.server import LocalArchive

NUMBER = count()


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return a folder in memory where the system has one: Dagster commits 2000 times per program, and each waits."""
    memory = Path("/dev/shm")
    if not (memory.is_dir() and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 2**30):
        yield tmp_path_factory.mktemp("chain")
        return
    folder = Path(tempfile.mkdtemp(prefix="hwosim-chain-", dir=memory))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def sample(workshop: Path) -> Path:
    """Return a generated archive of three programs."""
    write_sample(workshop / "sample", programs=3)
    return workshop / "sample"


Chosen = Callable[..., Path]


@pytest.fixture(scope="session")
def chosen(workshop: Path, sample: Path) -> Chosen:
    """Return what makes an archive folder of those sample files that match patterns."""

    def make(*patterns: str) -> Path:
        root = workshop / f"archive-{next(NUMBER)}"
        root.mkdir()
        for pattern in patterns:
            found = list(sample.rglob(pattern))
            assert found, pattern
            for path in found:
                shutil.copy(path, root)
        return root

    return make


@pytest.fixture(scope="session")
def installed(workshop: Path) -> Iterator[Callable[..., Installation]]:
    """Return what makes an installation with an empty state folder; its broker is stopped at the end."""
    made: list[Installation] = []

    def make(archive_url: str, **variables: str) -> Installation:
        made.append(Installation(workshop / f"home-{next(NUMBER)}", archive_url, variables))
        return made[-1]

    yield make
    for installation in made:
        installation.close()


@pytest.fixture(scope="session")
def archive_root(chosen: Chosen) -> Path:
    """Return a folder with four products of a star field and two spectra of another program."""
    return chosen("*_00001_nrcb1_*.fits", "*_nis_i2d.fits", "*_nrs1_cal.fits", "*_nrs1_x1d.fits")


@pytest.fixture(scope="session")
def proxy(archive_root: Path) -> Iterator[Proxy]:
    """Return the archive behind a proxy that counts the bytes of files."""
    with LocalArchive(archive_root) as archive:
        between = Proxy(archive.url)
        yield between
        between.close()


@pytest.fixture(scope="module")
def taken(installed: Callable[..., Installation], proxy: Proxy) -> Installation:
    """Return an installation that took one program through a rough scenario and another through the clean one.

    Each file of tests has its own: what one publishes elsewhere would be news to the reports of the next.
    """
    installation = installed(proxy.url)
    for program, scenario in ((FIELD, ROUGH), (SPECTRUM, "clean")):
        outcome = installation.run(program, [scenario])
        assert outcome.succeeded, outcome
        installation.run_ids[program] = outcome.run_ids
    return installation
