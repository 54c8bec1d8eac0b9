"""Broken files and spoilt headers: broken just as the record says, and repeatable."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from typing import Any

import pytest
from astropy.io import fits

from hwosim_assets.errors import BadInputError
from hwosim_assets.perturb.product import Product
from hwosim_assets.perturb.proof import diff, replay
from hwosim_assets.perturb.run import apply
from hwosim_assets.perturb.scenario import Scenario

Make = Callable[..., Product]


def scenario(effect: str, **parameters: Any) -> Scenario:
    return Scenario.from_mapping("broken", {"version": 1, "valid_only": False, "effects": [{effect: parameters}]})


def broken(product: Product, effect: str, **parameters: Any) -> tuple[Product, list[dict[str, Any]]]:
    out, truth = apply(product, scenario(effect, **parameters))
    assert diff(product, out, truth).accounted
    assert replay(truth, product).content == out.content
    return out, truth.record["effects"][0]["events"]


@pytest.mark.parametrize("share", [0.01, 0.011])
def test_a_truncated_file_is_short_by_the_share(make: Make, share: float) -> None:
    product = make("cal")
    out, (event,) = broken(product, "file_damage", kind="truncation", share=share)
    missing = 1 - len(out.content) / len(product.content)
    assert abs(missing - share) <= 1 / len(product.content)
    assert not abs(missing - share * 1.1) < 0.05 * share, "a tenth more would not be told"
    assert event["bytes_after"] == len(out.content)
    assert product.content.startswith(out.content)
    with pytest.raises(BadInputError, match=r"truncated|holds only|claims"):
        _ = Product(product.name, out.content).measurements


def test_a_zeroed_block_lies_where_the_record_says(make: Make) -> None:
    product = make("cal")
    out, (event,) = broken(product, "file_damage", kind="zero_block", share=0.1)
    start, end = event["offset"], event["offset"] + event["bytes"]
    assert out.content == product.content[:start] + bytes(end - start) + product.content[end:]
    assert 0 < event["bytes"] <= 0.1 * len(product.content) + 1
    _wider, (other,) = broken(product, "file_damage", kind="zero_block", share=0.2)
    assert other["offset"] <= start
    assert other["offset"] + other["bytes"] >= end


@pytest.mark.parametrize(("left", "kind"), [(1500, "zero_block"), (0, "zero_block"), (0, "truncation")])
def test_what_is_left_of_a_file_is_damaged_again(make: Make, left: int, kind: str) -> None:
    product = make("cal")
    uses = [
        {"kind": "truncation", "share": 1 - left / len(product.content)},
        {"kind": kind, "share": 0.1, "label": "again"},
    ]
    sections = {"version": 1, "valid_only": False, "effects": [{"file_damage": use} for use in uses]}
    out, truth = apply(product, Scenario.from_mapping("twice", sections))
    (cut,), (again,) = (each["events"] for each in truth.record["effects"])
    assert cut["bytes_after"] == left
    assert out.content == product.content[:left]
    if kind == "truncation":
        assert (again["bytes_before"], again["bytes_after"]) == (0, 0)
    else:
        assert "first block" in again["not_applicable"]
    assert replay(truth, product).content == out.content


def test_a_wrong_checksum_is_wrong_and_nothing_else_is(make: Make) -> None:
    product = make("cal", checksum=True)
    out, (event,) = broken(product, "file_damage", kind="checksum")
    assert sum(one != two for one, two in zip(product.content, out.content, strict=True)) == 2
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        fits.open(io.BytesIO(out.content), checksum=True).close()
    assert any("Checksum verification failed" in str(each.message) for each in told)
    assert event["offset"] > 0
    same, (event,) = broken(make("cal"), "file_damage", kind="checksum")
    assert same.content == make("cal").content
    assert "no CHECKSUM" in event["not_applicable"]


def test_a_sum_that_is_not_defined_cannot_be_made_wrong(make: Make) -> None:
    """FITS 4.0, 4.4.2.7: sixteen zeros say that the sum of the HDU is not defined."""
    product = make("cal", checksum=True)
    place = product.content.index(b"CHECKSUM= '") + len("CHECKSUM= '")
    content = product.content[:place] + b"0" * 16 + product.content[place + 16 :]
    same, (event,) = broken(Product(product.name, content), "file_damage", kind="checksum")
    assert same.content == content
    assert "not defined" in event["not_applicable"]


def test_a_scenario_must_allow_invalid_files() -> None:
    with pytest.raises(BadInputError, match="valid_only: false"):
        Scenario.from_mapping("broken", {"version": 1, "effects": [{"file_damage": {"severity": 1}}]})


@pytest.mark.parametrize("kind", ["truncated", "wrong_type", "not_a_number", "swapped"])
def test_spoilt_cards_are_just_the_recorded_ones(make: Make, kind: str) -> None:
    product = make("cal")
    out, events = broken(product, "header_corruption", kind=kind, keys=1000)
    before, after = (fits.open(io.BytesIO(each.content)) for each in (product, out))
    changed = {key for key in before[0].header if key and before[0].header[key] != after[0].header[key]}
    assert {event["keyword"] for event in events} == changed
    assert len(changed) > 2
    assert len(out.content) == len(product.content)
    for hdu, other in zip(before[1:], after[1:], strict=True):
        assert hdu.header == other.header
    if kind == "wrong_type":
        assert after[0].header["EXPSTART"] == "60000.0"
        assert after[0].header["DETECTOR"] == 0
    if kind == "not_a_number":
        assert after[0].header["EFFINTTM"] == "NaN"
        assert after[0].header["DATAPROB"] is False
    if kind == "truncated":
        assert before[0].header["TELESCOP"].startswith(after[0].header["TELESCOP"])
    if kind == "swapped":
        pair = [event for event in events if event["keyword"] in changed][:2]
        assert pair[0]["is"] == pair[1]["was"]


def test_more_severe_corruption_holds_the_milder_one(make: Make) -> None:
    sets = [
        {event["keyword"] for event in broken(make("cal"), "header_corruption", severity=level)[1]}
        for level in (1, 3, 5)
    ]
    assert sets[0] <= sets[1] <= sets[2]
    assert len(sets[2]) > len(sets[0])
