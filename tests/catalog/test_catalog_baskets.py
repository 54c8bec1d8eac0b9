"""Saved searches: asked again, their history kept, an old selection handed out as it was."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from shelf import Shelf, name_of

from hwosim_assets.catalog import baskets
from hwosim_assets.catalog.baskets import (
    basket_names,
    drop_basket,
    found_by,
    history,
    question_of_run,
    run_basket,
)
from hwosim_assets.catalog.footprint_search import Cone, Polygon
from hwosim_assets.catalog.search import Question
from hwosim_assets.catalog.search_joins import CardTest
from hwosim_assets.cli import main
from hwosim_assets.errors import BadInputError

ONE, TWO, THREE = (name_of("01093", f"00{number}") for number in (1, 2, 3))
MINE = Question(program="01093")


@pytest.fixture
def shelf(state: Path) -> Shelf:
    shelf = Shelf(state)
    shelf.put(ONE, TWO, name_of("02000", "001"))
    return shelf


def counts(run: dict[str, int]) -> list[int]:
    return [run[name] for name in ("run", "products", "added", "gone", "reprocessed")]


def test_each_run_says_what_changed_since_the_one_before(shelf: Shelf) -> None:
    assert counts(run_basket("mine", shelf.lake, shelf.tables, MINE)) == [1, 2, 2, 0, 0]
    shelf.put(TWO, content="1.18.0")
    shelf.put(THREE)
    shelf.drop(ONE)
    assert counts(run_basket("mine", shelf.lake, shelf.tables)) == [2, 2, 1, 1, 1]
    assert counts(run_basket("mine", shelf.lake, shelf.tables)) == [3, 2, 0, 0, 0]
    runs = history(shelf.tables, "mine")
    assert [found_by(run, shelf.lake)["product_name"].to_pylist() for run in runs] == [[ONE, TWO]] + 2 * [[TWO, THREE]]
    assert runs[1]["found_key"] == runs[2]["found_key"]


def test_two_runs_at_once_are_both_in_the_history(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    run_basket("mine", shelf.lake, shelf.tables, MINE)
    real, others = baskets.find, [1]

    def overtaken(*asked: Any, **more: Any) -> Any:
        found = real(*asked, **more)
        if others and others.pop():
            shelf.put(THREE)
            run_basket("mine", shelf.lake, shelf.tables)
        return found

    monkeypatch.setattr(baskets, "find", overtaken)
    assert counts(run_basket("mine", shelf.lake, shelf.tables)) == [3, 2, 0, 1, 0]
    assert [counts(run) for run in history(shelf.tables, "mine")] == [[1, 2, 2, 0, 0], [2, 3, 1, 0, 0], [3, 2, 0, 1, 0]]


def test_a_basket_that_was_dropped_meanwhile_stays_dropped(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    run_basket("mine", shelf.lake, shelf.tables, MINE)
    real = baskets.find

    def overtaken(*asked: Any, **more: Any) -> Any:
        drop_basket("mine", shelf.lake, shelf.tables)
        return real(*asked, **more)

    monkeypatch.setattr(baskets, "find", overtaken)
    with pytest.raises(BadInputError, match="is not saved"):
        run_basket("mine", shelf.lake, shelf.tables)
    assert basket_names(shelf.tables) == []


@pytest.mark.parametrize(
    "question",
    [
        Question(),
        Question(areas=(Cone(1.0, -2.0, 0.5), Polygon(((0.0, 0.0), (1.0, 0.0), (1.0, 1.0)))), targets=("47 Tuc",)),
        Question(cards=(CardTest("EXPTIME", ">", 100.0), CardTest("ZEROFRAM", "=", True)), between=(59000.0, 60000.0)),
        Question(program="01093", observation=1, instrument="NIRISS", level=2, where="t_exptime > 1"),
    ],
)
def test_a_question_comes_back_as_it_was_asked(shelf: Shelf, question: Question) -> None:
    run_basket("kept", shelf.lake, shelf.tables, question)
    assert question_of_run(history(shelf.tables, "kept")[0]) == question
    run_basket("kept", shelf.lake, shelf.tables, question)


def test_a_name_keeps_its_question(shelf: Shelf) -> None:
    run_basket("mine", shelf.lake, shelf.tables, MINE)
    with pytest.raises(BadInputError, match="saved with another search"):
        run_basket("mine", shelf.lake, shelf.tables, Question(program="02000"))
    with pytest.raises(BadInputError, match="mine"):
        run_basket("other", shelf.lake, shelf.tables)
    with pytest.raises(BadInputError, match="cannot be a name"):
        run_basket("../up", shelf.lake, shelf.tables, MINE)


def test_a_dropped_basket_is_gone(shelf: Shelf) -> None:
    run_basket("mine", shelf.lake, shelf.tables, MINE)
    run_basket("other", shelf.lake, shelf.tables, MINE)
    assert drop_basket("mine", shelf.lake, shelf.tables) == 1
    assert basket_names(shelf.tables) == ["other"]
    assert [stored.key.split("/")[1] for stored in shelf.lake.list("baskets")] == ["other"]


def hwosim(*arguments: str) -> int:
    with pytest.raises(SystemExit) as leaving:
        main(list(arguments))
    return int(leaving.value.code or 0)


def test_an_old_selection_is_handed_out_as_it_was(
    shelf: Shelf, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert hwosim("search", "--program", "1093", "--save", "mine") == 0
    shelf.put(ONE, content="1.18.0")
    assert hwosim("basket", "run", "mine", "--json") == 0
    capsys.readouterr()
    assert hwosim("basket", "show", "mine", "--run", "1", "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert [run["reprocessed"] for run in shown["history"]] == [0, 1]
    assert {row["product_name"]: row["kw_cal_ver"] for row in shown["products"]} == {ONE: "1.17.1", TWO: "1.17.1"}
    for run, cal_ver in ((1, "1.17.1"), (2, "1.18.0")):
        target = tmp_path / f"{run}.zip"
        assert hwosim("bundle", "--basket", "mine", "--run", str(run), "--output", str(target)) == 0
        assert zipfile.ZipFile(target).read(f"01093/{ONE}").decode() == f"{ONE} {cal_ver}"
    assert hwosim("bundle", "--basket", "mine", "--program", "1093", "--format", "manifest") == 2
    assert hwosim("bundle", "--run", "1", "--format", "manifest") == 2
    assert hwosim("basket", "show", "mine", "--run", "9") == 1
    assert hwosim("basket", "list") == 0
    assert "program 01093" in capsys.readouterr().out
    assert hwosim("basket", "drop", "mine") == 0
    assert hwosim("basket", "drop", "mine") == 1
