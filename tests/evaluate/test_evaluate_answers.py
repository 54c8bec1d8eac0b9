"""A model gets the delivered bytes and nothing else, and what it says is read strictly."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hwosim_assets.errors import BadInputError
from hwosim_assets.evaluate.answers import MOST, ask, load_model
from hwosim_assets.perturb import Product

SOURCE = {"kind": "source", "y": 3, "x": np.float32(4.5), "flux": 2.0}


def test_what_is_found_is_read(ramps: Product) -> None:
    mask = np.zeros((20, 48, 48), bool)
    dip = {"kind": "dip", "mjd": 60000.1}
    answer = ask(lambda product: iter([SOURCE, dip, {"kind": "cosmic_rays", "mask": mask}]), ramps)
    assert answer.failure == ""
    source, found_dip = answer.found
    assert (source.kind, source.hdu, source.place, source.strength) == ("source", 1, (3.0, 4.5), 2.0)
    assert (found_dip.hdu, found_dip.place) == (-1, (60000.1,))
    assert math.isnan(found_dip.strength)
    assert answer.masks[1] is mask


def test_a_model_sees_a_product_of_its_own(field: Product) -> None:
    seen: list[Product] = []

    def model(product: Product) -> list[dict[str, Any]]:
        seen.append(product)
        product.content = b""
        return []

    ask(model, field)
    assert seen[0] is not field
    assert len(field.content) > 0
    assert set(vars(seen[0])) == {"name", "content"}


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (None, "raised TypeError"),
        (7, "raised TypeError"),
        (["a star"], "no mapping"),
        (SOURCE, "a mapping alone"),
        ([{"kind": "galaxy"}], "no mapping"),
        ([{"kind": ["source"]}], "no mapping"),
        ([{"kind": "source", "y": 1.0}], "`x` of a source is None"),
        ([{**SOURCE, "y": math.nan}], "no finite number"),
        ([{**SOURCE, "y": "3"}], "no finite number"),
        ([{**SOURCE, "y": True}], "no finite number"),
        ([{**SOURCE, "flux": math.inf}], "`flux` of a source"),
        ([{**SOURCE, "hdu": 9}], "no measurement"),
        ([{**SOURCE, "hdu": []}], "no measurement"),
        ([{"kind": "cosmic_rays", "mask": np.zeros((2, 2), bool)}], "no bool array"),
        ([{"kind": "cosmic_rays", "mask": np.zeros((96, 96))}], "no bool array"),
        ([{"kind": "cosmic_rays"}], "no bool array"),
        (itertools.repeat(SOURCE), f"more than {MOST}"),
    ],
)
def test_nonsense_is_a_failure_and_nothing_else(field: Product, said: Any, why: str) -> None:
    answer = ask(lambda product: said, field)
    assert why in answer.failure
    assert not answer.found


@pytest.mark.parametrize("raised", [ValueError("no\nstars"), SystemExit(3), MemoryError()])
def test_a_model_that_raises_has_no_answer(field: Product, raised: BaseException) -> None:
    def model(product: Product) -> list[dict[str, Any]]:
        raise raised

    assert ask(model, field).failure.startswith(f"raised {type(raised).__name__}: ")


def test_a_person_may_stop_it(field: Product) -> None:
    def model(product: Product) -> list[dict[str, Any]]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ask(model, field)


def test_what_a_model_prints_is_kept_out_of_the_scores(field: Product, capsys: pytest.CaptureFixture[str]) -> None:
    def model(product: Product) -> list[dict[str, Any]]:
        print("epoch 1")  # noqa: T201 - as models do
        return []

    ask(model, field)
    assert capsys.readouterr() == ("", "epoch 1\n")


def test_a_damaged_file_may_be_answered(field: Product) -> None:
    short = Product(field.name, field.content[:5000])
    assert ask(lambda product: [], short).failure == ""
    assert "no measurement" in ask(lambda product: [SOURCE], short).failure
    (found,) = ask(lambda product: [SOURCE], short, field).found
    assert found.hdu == 1


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("nowhere_to_be_found:model", "'nowhere_to_be_found'); install it, or run where it lies"),
        ("broken_model:model", "cannot be imported (RuntimeError: no weights); mend it, or install what it imports"),
        ("lacking_model:model", "named 'not_installed'); mend it, or install what it imports"),
        ("script_model:model", "script_model cannot be imported (SystemExit: 2); mend it"),
        ("broken_model.py:model", "name the module, not its file: my_model:find for my_model.py"),
        ("./broken_model.py:model", "name the module, not its file: my_model:find for my_model.py"),
        ("math:nothing", "has no callable nothing"),
        ("math:pi", "has no callable pi"),
        ("math", "is not MODULE:NAME"),
        (":f", "is not MODULE:NAME"),
    ],
)
def test_a_model_that_cannot_be_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, why: str) -> None:
    (tmp_path / "broken_model.py").write_text("raise RuntimeError('no weights')\n")
    (tmp_path / "lacking_model.py").write_text("import not_installed\n")
    (tmp_path / "script_model.py").write_text("raise SystemExit(2)\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [*__import__("sys").path])
    with pytest.raises(BadInputError, match=f"model {name}: ") as said:
        load_model(name)
    assert why in str(said.value)


def test_a_model_of_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "my_first_model.py").write_text("print('loading')\ndef find(product):\n    return []\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [*__import__("sys").path])
    model: Callable[..., Any] = load_model("my_first_model:find")
    assert model(None) == []
    assert capsys.readouterr() == ("", "loading\n")  # standard output holds the scores
