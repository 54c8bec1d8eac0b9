"""The switch `dq` of every effect that has it: what is flagged, what is kept quiet, and how much of each."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scenes import columns, ramp, scene

from hwosim_assets.perturb import Product, Scenario, apply, block
from hwosim_assets.perturb.effect import Earlier
from hwosim_assets.perturb.registry import effect_specs

SHARE = 0.3
FLAGGING = [spec.name for spec in effect_specs() if spec.dq]
#: What an effect needs so that it flags something here.
NEEDED: dict[str, dict[str, object]] = {
    "packet_loss": {"loss": 0.3, "packet": 16},
    "snowballs": {"rate": "20 /s"},
    "wavelength_shift": {"applied": "flux", "shift": "90 px"},
}
#: Effects that flag only where a ramp has flags of its own, which no scene here has.
ELSEWHERE = {"dropped_groups"}


def scenes(make: Callable[..., Product]) -> list[Product]:
    """Return products of which each effect flags one: bright, of MIRI, time series, below zero, a spectrum."""
    below = scene(columns(64, 128, 1, 50) - 20)
    miri = scene(np.full((96, 128), 5.0), INSTRUME="MIRI", DETECTOR="MIRIMAGE", FILTER="F1000W")
    return [scene(columns(96, 128, 1, 5e4)), miri, make("calints"), below, make("x1d")]


def flags(product: Product) -> NDArray[np.uint32]:
    """Return the flags of the first measurement."""
    dq = product.measurements[0].dq
    assert dq is not None
    return np.asarray(dq.read(product.payload))


def changed(product: Product, effect: str, dq: str) -> NDArray[np.bool_]:
    """Return of which pixels an effect changes the flags."""
    body = {"severity": 4, **NEEDED.get(effect, {}), "dq": dq, **({"dq_share": SHARE} if dq == "mixed" else {})}
    content = {"version": 1, "seed": 3, "effects": [{effect: body}]}
    before = [Earlier(scene(columns(96, 128, 1, 5e5)), 59999.999)]
    out, _ = apply(product, Scenario.from_mapping("test", content), earlier=before)
    return np.asarray(flags(product) != flags(out))


@pytest.mark.parametrize("effect", sorted(set(FLAGGING) - ELSEWHERE))
def test_mixed_flags_its_share_of_what_flagged_flags_and_silent_flags_nothing(
    make: Callable[..., Product], effect: str
) -> None:
    """An effect that wrote flags past the block's rules would flag everything, or nothing, or other pixels."""
    total = kept = 0
    for product in scenes(make):
        told = changed(product, effect, "flagged")
        if told.any():
            some = changed(product, effect, "mixed")
            assert not (some & ~told).any()
            assert not changed(product, effect, "silent").any()
            total, kept = total + int(told.sum()), kept + int(some.sum())
    assert total >= 60  # enough for the share to tell 0 and 1 from 0.3
    assert abs(kept - SHARE * total) < 4 * np.sqrt(SHARE * (1 - SHARE) * total)


def test_a_ramp_without_flags_keeps_none() -> None:
    product = ramp(np.full((16, 16), 5.0))
    assert product.measurements[0].dq is None
    content = {"version": 1, "effects": [{"dropped_groups": {"severity": 5, "dq": "mixed", "dq_share": SHARE}}]}
    _, truth = apply(product, Scenario.from_mapping("test", content))
    assert truth.record["effects"][0]["pixels_lost"] > 0


def test_positions_of_chunks_are_kept_and_those_of_whole_frames_are_not() -> None:
    size = block._KEPT_POSITIONS
    assert block._positions(size) is block._positions(size)
    assert block._positions(size + 1) is not block._positions(size + 1)
    np.testing.assert_array_equal(block._positions(size + 1), np.arange(size + 1))
