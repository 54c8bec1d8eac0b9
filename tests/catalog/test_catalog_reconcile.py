"""``hwosim lake reconcile``: what killed runs left is found and removed, what a run has just taken up is not."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from shelf import Shelf, name_of

from hwosim_assets.commands.lake import lake as group
from hwosim_assets.lake.store import Lake, Stored

NAMED, LEFT = name_of("01093", "012"), name_of("01093", "013")


@pytest.fixture
def shelf(state: Path) -> Shelf:
    shelf = Shelf(state)
    shelf.put(NAMED)
    _age(shelf, _key(shelf, NAMED))
    return shelf


def _key(shelf: Shelf, name: str) -> str:
    return str(shelf._row(name)["key"])


def _age(shelf: Shelf, key: str) -> None:
    """Make an object two days old."""
    assert shelf.lake.place.folder is not None
    then = time.time() - 2 * 86400
    os.utime(shelf.lake.place.folder / key, (then, then))


def _left(shelf: Shelf) -> str:
    """Store an object that no row names, as a run does that is killed before its commit, and return its key."""
    shelf.products[LEFT] = ("1.17.1", "PUBLIC")
    return _key(shelf, LEFT)


def _reconcile(*words: str) -> list[str]:
    done = CliRunner().invoke(group, ["reconcile", *words, "--json"])
    assert done.exit_code == 0, done.output
    return [row["object"] for row in json.loads(done.stdout)]


def test_what_a_killed_run_left_is_found_and_removed(shelf: Shelf) -> None:
    key = _left(shelf)
    assert _reconcile() == [], "a young object may belong to a run under way"
    _age(shelf, key)
    assert _reconcile() == [key]
    assert shelf.lake.head(key), "it was only asked for"
    assert _reconcile("--remove") == [key]
    assert shelf.lake.head(key) is None
    assert shelf.lake.head(_key(shelf, NAMED))


def test_what_a_run_takes_up_meanwhile_stays(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same product comes again, finds its object stored, and commits its row while the store is listed."""
    key = _left(shelf)
    _age(shelf, key)
    listed = Lake.list

    def listed_while_a_run_commits(lake: Lake, *words: str) -> Iterator[Stored]:
        yield from listed(lake, *words)
        shelf.put(LEFT)

    monkeypatch.setattr(Lake, "list", listed_while_a_run_commits)
    assert _reconcile("--remove") == []
    assert shelf.lake.head(key)
