"""Numbers of a header that no exposure has: they are taken for none, and never become the size of an array."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits
from scenes import ramp, scene

from hwosim_assets.perturb import Product, Scenario, apply
from hwosim_assets.perturb.exposed import exposed_times
from hwosim_assets.perturb.registry import effect_specs

HUGE = 10**12


def all_effects() -> Scenario:
    effects = [{spec.name: {"severity": 3}} for spec in effect_specs() if not spec.breaks_format]
    return Scenario.from_mapping("test", {"version": 1, "effects": effects})


def with_card(product: Product, keyword: str, value: str) -> Product:
    """Return a product whose primary header has a card as it stands, which astropy would not write."""
    place = product.content.index(f"{keyword:8}= ".encode())
    card = f"{keyword:8}= {value:>20}".ljust(80).encode()
    return Product(product.name, product.content[:place] + card + product.content[place + 80 :])


@pytest.mark.parametrize(("keyword", "value"), [
    ("NGROUPS", HUGE), ("NGROUPS", 60000), ("NINTS", HUGE), ("NINTS", 60000), ("NOUTPUTS", HUGE), ("INTSTART", HUGE),
    ("SUBSTRT1", HUGE), ("SUBSTRT2", HUGE), ("SUBSTRT2", 1e30), ("PIXAR_A2", 1e-20), ("PIXAR_A2", 1e300),
    ("PIXAR_A2", 1e-11), ("PIXAR_A2", 1e11), ("TGROUP", 1e30), ("TFRAME", 1e300), ("NGROUPS", -1),
])  # fmt: skip
@pytest.mark.parametrize("made", ["cal", "ramp"])
def test_a_number_that_cannot_be_fails_no_effect(made: str, keyword: str, value: float) -> None:
    flat = np.full((24, 32), 50.0)
    cards: dict[str, object] = {keyword: value}
    product = scene(flat, noise=True, **cards) if made == "cal" else ramp(flat, **cards)
    out, _ = apply(product, all_effects())
    assert out.content != product.content


@pytest.mark.parametrize("keyword", ["FASTAXIS", "SLOWAXIS", "NGROUPS", "EXPSTART"])
def test_a_number_beyond_double_precision_is_none(keyword: str) -> None:
    product = with_card(scene(np.full((24, 32), 50.0), noise=True), keyword, "1E400")
    assert product.number(keyword) is None
    apply(product, all_effects())


@pytest.mark.parametrize(("said", "found"), [(5, 5), (5.0, 5), (1, 1), (65536, 65536), (65537, None), (0, None),
                                             (-3, None), (HUGE, None), (1e300, None), ("5", None)])  # fmt: skip
def test_counts_are_from_1_to_65536(said: object, found: int | None) -> None:
    assert scene(np.ones((4, 4)), NGROUPS=said).count("NGROUPS") == found


@pytest.mark.parametrize("groups", [HUGE, 60000, 10])
def test_times_of_integrations_need_no_more_memory_than_there_are_integrations(groups: int) -> None:
    product = scene(np.full((5, 16, 16), 50.0), name="rateints", TFRAME=2.0, NGROUPS=groups)
    found = exposed_times(product, "rateints")
    assert found is not None
    assert found.ends.shape == (5, 1)


def test_a_card_that_astropy_reads_as_infinite_is_the_one_that_is_meant() -> None:
    with fits.HDUList.fromstring(with_card(scene(np.ones((4, 4))), "NGROUPS", "1E400").content) as hdus:
        assert hdus[0].header["NGROUPS"] == float("inf")
