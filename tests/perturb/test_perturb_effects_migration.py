"""Charge migration on fixed seeds; a coefficient that is off by a tenth falls outside."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from scenes import K, perturbed, ramp, scene, values

from hwosim_assets.fits.dq import DQ
from hwosim_assets.perturb import Scenario, apply

A = 2.87e-7


def spots(electrons: float, side: int = 60) -> np.ndarray:
    """Return single bright pixels, far from each other, on darkness."""
    signal = np.zeros((side, side))
    signal[5::10, 5::10] = electrons / K
    return signal


def moved(signal: np.ndarray, coefficient: float = A) -> np.ndarray:
    product = scene(signal)
    return values(perturbed(product, charge_migration={"coefficient": coefficient})[0]) - values(product)


@pytest.mark.parametrize("electrons", [2e4, 8e4])
def test_a_pixel_alone_loses_a_share_per_electron_to_its_neighbours(electrons: float) -> None:
    def share(coefficient: float) -> float:
        return float(-moved(spots(electrons), coefficient)[5::10, 5::10].mean() * K / electrons)

    # The read noise of a scene is 1e-4 units; 36 spots of 20 units tell a share of 6e-3 to 1e-4 of it.
    assert share(A) == pytest.approx(A * electrons, rel=0.02)
    assert share(1.1 * A) != pytest.approx(A * electrons, rel=0.02)
    change = moved(spots(electrons))
    gained = [np.roll(change, step, axis)[5::10, 5::10].mean() for axis in (0, 1) for step in (1, -1)]
    np.testing.assert_allclose(gained, A * electrons**2 / K / 4, rtol=0.02)
    assert abs(np.roll(np.roll(change, 1, 0), 1, 1)[5::10, 5::10]).max() < 1e-6


def test_light_is_kept_and_evenly_lit_pixels_stay() -> None:
    y, x = np.mgrid[:48, :64]
    bumps = 30 + 25 * np.sin(x / 2.0) * np.cos(y / 3.0)
    change = moved(bumps)
    assert abs(change).max() > 0.05
    assert abs(change.sum()) < 1e-6 * bumps.sum()
    assert abs(moved(np.full((32, 40), 50.0))).max() < 2e-3


def test_photon_noise_of_neighbours_correlates_and_shrinks_as_the_planes_say() -> None:
    """The photon transfer curve bends: var/mean falls by 4 a Q where the light is even."""
    coefficient, electrons = 1e-6, 3e4
    flat = np.full((700, 700), electrons / K)
    product = scene(flat, noise=True)

    def measured(coefficient: float) -> tuple[float, float, float]:
        out = perturbed(product, charge_migration={"coefficient": coefficient})[0]
        noise = values(out) - values(out).mean()
        correlation = (noise[:, 1:] * noise[:, :-1]).mean() / noise.var()
        return float(noise.var() / values(product).var()), float(correlation), float(values(out, "VAR_POISSON").mean())

    kept, side = 1 - 2 * coefficient * electrons, coefficient * electrons / 2
    ratio, correlation, claimed = measured(coefficient)
    assert ratio == pytest.approx(kept**2 + 4 * side**2, rel=0.005)
    assert claimed == pytest.approx(electrons / K / K * ratio, rel=0.005)
    assert correlation == pytest.approx(2 * kept * side / (kept**2 + 4 * side**2), abs=0.003)
    other = measured(1.1 * coefficient)
    assert other[0] != pytest.approx(kept**2 + 4 * side**2, rel=0.005)


def test_read_noise_is_as_large_as_before() -> None:
    product = scene(np.full((400, 400), 40.0), read=0.01)
    out = perturbed(product, charge_migration={"coefficient": 3e-6})[0]
    share = 0.12
    kept = 1 - (1 - 2 * share) ** 2 - 4 * (share / 2) ** 2
    # The scene has no noise of its own, so what is there now is what was put in place of what was smoothed.
    assert values(out)[1:-1, 1:-1].var() == pytest.approx(0.01 * kept, rel=0.03)
    np.testing.assert_array_equal(out.plane("VAR_RNOISE"), product.plane("VAR_RNOISE"))


@pytest.mark.parametrize("dq", ["flagged", "silent"])
def test_pixels_above_the_threshold_are_flagged(dq: str) -> None:
    product = scene(np.broadcast_to(np.linspace(0, 100, 101), (20, 101)).copy())
    out, _ = perturbed(product, charge_migration={"severity": 2, "dq": dq})
    flagged = (out.plane("DQ") & int(DQ.CHARGELOSS)) != 0
    np.testing.assert_array_equal(flagged, (values(product) > 40.0) if dq == "flagged" else np.zeros((20, 101), bool))


def test_invalid_pixels_give_and_take_nothing() -> None:
    signal = spots(8e4)
    signal[5, 6] = np.nan
    change = moved(signal)
    assert np.isnan(change[5, 6])
    assert change[5, 5] == pytest.approx(-0.75 * A * 8e4**2 / K, rel=0.02)
    assert change[5, 7] == 0


def test_a_ramp_bends_with_the_square_of_its_charge() -> None:
    rate = np.zeros((21, 21))
    rate[10, 10] = 1000.0
    product = ramp(rate, groups=11)
    out, note = perturbed(product, charge_migration={"coefficient": A})
    change = (values(out) - values(product))[0]
    gain = float(str(note["electrons_per_unit"]))
    electrons = gain * 1000.0 * np.arange(11)
    np.testing.assert_allclose(change[:, 10, 10], -A * electrons**2 / gain, rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(change[:, 10, 11], A * electrons**2 / gain / 4, rtol=1e-3, atol=1e-6)
    assert abs(change.sum(axis=(1, 2))).max() < 1e-6


def test_bands_of_rows_are_seen_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    from hwosim_assets.perturb.effects import migration

    product = scene(np.random.default_rng(3).uniform(0, 80, (37, 50)), noise=True, read=0.01)
    whole = perturbed(product, charge_migration={"severity": 4})[0].content
    monkeypatch.setattr(migration, "_BAND", 100)
    assert perturbed(product, charge_migration={"severity": 4})[0].content == whole


@pytest.mark.parametrize("lossy", [{"hot_pixels": {"severity": 3}}, {"pointing_drift": {"shift": 300.0}}])
def test_only_pixels_that_the_truth_calls_lost_become_nan(lossy: dict[str, object]) -> None:
    """What was lost before charge migrates has no variance, and its neighbours still have theirs."""
    product = scene(np.full((96, 96), 50.0), noise=True, read=1e-4)
    effects = [lossy, {"charge_migration": {"severity": 3}}, {"dropped_groups": {"severity": 2}}]
    out, truth = apply(product, Scenario.from_mapping("test", {"version": 1, "seed": 11, "effects": effects}))
    lost = np.zeros(96 * 96, bool)
    for run in (truth.runs() or pa.table({})).to_pylist():
        if run["kind"] == "lost":
            lost[run["start"] : run["start"] + run["length"]] = True
    assert lost.any()
    for name in ("SCI", "ERR", "VAR_POISSON"):
        np.testing.assert_array_equal(np.isnan(out.plane(name)).reshape(-1), lost, err_msg=name)
