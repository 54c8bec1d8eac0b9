"""The acceptance test of every effect: which it is, and those of the effects that are as old as the engine.

A test of an effect asserts a statistic within a tolerance, and that a parameter that is a tenth larger leaves it; here
a tenth is eight standard deviations or more, and the tolerance four, so that neither depends on the draw.
"""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from scenes import K, perturbed, scene, values
from scipy import stats

from hwosim_assets.perturb import Scenario, apply
from hwosim_assets.perturb.effects.particles import deposits, hits
from hwosim_assets.perturb.effects.telemetry import lost_packets
from hwosim_assets.perturb.registry import effect_specs
from hwosim_assets.perturb.rng import Stream

HERE = Path(__file__).parent
FLAT = np.full((400, 400), 20.0)
FLAT[:, :40] *= 3

#: Effect -> the test that fails when its parameter is off by a tenth (or, for what is exact, by anything).
TESTS = {
    "alternating_column_noise": "test_even_and_odd_columns_have_each_their_rms_and_one_larger_by_a_tenth_has_not",
    "background": "test_light_is_added_by_its_factor_with_the_noise_of_photons",
    "bit_flips": "test_as_many_events_are_in_a_product_as_its_rate_says",
    "charge_migration": "test_a_pixel_alone_loses_a_share_per_electron_to_its_neighbours",
    "clock_error": "test_clock_error_is_fitted_exactly",
    "companion": "test_companion_has_contrast_and_separation",
    "compression_loss": "test_compression_adds_the_variance_of_its_step",
    "cosmic_rays": "test_hits_that_are_missed_stay_in_the_slope_and_found_ones_cut_the_ramp",
    "crosstalk": "test_crosstalk_regresses_on_what_the_other_amplifiers_read",
    "dark_current": "test_the_dark_current_rises_by_its_rate_and_another_by_a_tenth_does_not",
    "dark_decay": "test_the_fitted_time_constant_is_tau",
    "dark_reference_drift": "test_dark_reference_drift_regresses_on_its_template",
    "dropped_groups": "test_dropped_groups_follow_the_ramp_fit",
    "dropped_integrations": "test_dropped_integrations_have_their_rate",
    "eclipse": "test_dips_have_depth_and_time",
    "emccd_noise": "test_clock_induced_charge_follows_the_compound_law_and_another_by_a_tenth_does_not",
    "file_bit_flips": "test_flipped_bits_of_a_file_are_those_recorded_and_no_sum_is_mended",
    "file_damage": "test_a_truncated_file_is_short_by_the_share",
    "flare": "test_flare_has_peak_and_decay",
    "flat_drift": "test_flat_drift_has_its_rms_and_another_by_a_tenth_does_not",
    "fringing": "test_fringes_have_their_period_and_amplitude",
    "gaussian_noise": "test_gaussian_noise_is_as_large_as_asked_and_one_larger_by_a_tenth_is_not",
    "ghosts": "test_a_ghost_regresses_on_the_turned_scene",
    "header_corruption": "test_spoilt_cards_are_just_the_recorded_ones",
    "header_loss": "test_header_loss_removes_exactly_what_the_record_says",
    "hot_pixels": "test_the_share_of_bad_pixels_is_binomial_and_another_by_a_tenth_is_not",
    "ipc": "test_coupling_correlates_photon_noise_by_twice_alpha_and_another_by_a_tenth_does_not",
    "jitter": "test_jitter_widens_by_its_variance_and_another_by_a_tenth_does_not",
    "missing_blocks": "test_a_missing_block_has_its_area",
    "missing_values": "test_as_many_values_are_missing_as_the_fraction_says",
    "moving_object": "test_moving_object_follows_its_line",
    "packet_loss": "test_a_product_loses_as_many_packets_as_the_loss_says",
    "pedestal_drift": "test_pedestals_have_their_rms_and_forget_in_their_time_and_a_tenth_more_is_told",
    "persistence": "test_persistence_decays_with_its_index_and_another_by_a_tenth_does_not",
    "persistence_deficit": "test_a_settling_detector_has_depth_and_time",
    "photom_step": "test_photom_step_is_seen_at_its_time_and_told_by_the_header",
    "photon_noise": "test_counts_of_photons_follow_poisson_and_a_mean_higher_by_a_tenth_does_not",
    "picture_frame": "test_a_picture_frame_breathes_as_pink_noise_of_its_rms_and_one_larger_by_a_tenth_is_told",
    "pink_noise": "test_pink_noise_has_its_rms_and_one_larger_by_a_tenth_has_not",
    "point_source": "test_point_source_has_flux_and_place",
    "pointing_drift": "test_the_centroid_moves_by_the_shift_and_by_another_for_a_tenth_more",
    "quantization": "test_distinct_values_are_one_step_apart",
    "read_noise": "test_the_variance_of_read_noise_is_its_factor_squared_less_one",
    "reciprocity_failure": "test_the_response_changes_by_alpha_for_each_decade",
    "reset_noise": "test_reset_noise_has_its_variance_and_is_the_same_in_all_groups",
    "saturation": "test_pixels_above_the_level_are_flagged_and_a_level_off_by_a_tenth_flags_others",
    "schema_drift": "test_undoing_schema_drift_restores_the_bytes",
    "showers": "test_as_many_events_are_in_a_product_as_its_rate_says",
    "snowballs": "test_as_many_events_are_in_a_product_as_its_rate_says",
    "solar_particle_event": "test_the_light_curve_of_a_storm_has_its_peak_and_its_time",
    "speckle_drift": "test_speckles_follow_the_modified_rician",
    "spectral_line": "test_lines_have_flux_and_place",
    "stray_light": "test_stray_light_has_level_gradient_and_photon_noise",
    "stuck_value": "test_a_stuck_value_repeats_where_the_record_says",
    "telegraph_noise": "test_pixels_have_two_levels_and_stay_in_them_for_exponential_times",
    "throughput": "test_light_is_lost_by_its_share_and_the_noise_is_that_of_what_is_left",
    "tilt_event": "test_a_tilt_steps_at_its_onset_by_its_size_and_another_by_a_tenth_does_not",
    "trails": "test_trails_are_as_many_as_their_rate_and_a_tenth_more_are_not",
    "transit": "test_dips_have_depth_and_time",
    "wavefront_drift": "test_the_core_keeps_the_strehl_ratio_and_another_by_a_tenth_is_seen",
    "wavelength_shift": "test_wavelength_shift_is_found_by_cross_correlation",
    "wisps": "test_wisps_regress_on_their_template_and_a_tenth_more_do_not",
}


@cache
def _tests() -> set[str]:
    """Return the names of all tests of effects."""
    trees = (ast.parse(path.read_text()) for path in HERE.glob("test_perturb_*.py"))
    return {node.name for tree in trees for node in tree.body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("name", [spec.name for spec in effect_specs()])
def test_every_effect_has_an_acceptance_test(name: str) -> None:
    assert TESTS.get(name) in _tests(), f"{name} has no acceptance test in TESTS"
    assert TESTS.keys() <= {spec.name for spec in effect_specs()}


def near(found: float, expected: float, tolerance: float) -> bool:
    return abs(found - expected) < tolerance


# ------------------------------------------------------------------ A1 read noise


@pytest.mark.parametrize("factor", [1.25, 4.0])
def test_the_variance_of_read_noise_is_its_factor_squared_less_one(factor: float) -> None:
    product = scene(FLAT, read=0.04)

    def variance(asked: float) -> float:
        return float((values(perturbed(product, read_noise={"factor": asked})[0]) - values(product)).var() / 0.04)

    expected = factor**2 - 1
    tolerance = 4 * np.sqrt(2 / FLAT.size) * expected
    assert near(variance(factor), expected, tolerance)
    assert not near(variance(1 + 1.1 * (factor - 1)), expected, tolerance), "a tenth more would not be told"


# ------------------------------------------------------------------ A1 Gaussian noise


@pytest.mark.parametrize(("of", "sigma"), [("err", 0.5), ("err", 3.0), ("unit", 0.4)])
def test_gaussian_noise_is_as_large_as_asked_and_one_larger_by_a_tenth_is_not(of: str, sigma: float) -> None:
    product = scene(FLAT, read=0.04)
    one = values(product, "ERR") if of == "err" else np.ones_like(FLAT)

    def noise(asked: float) -> np.ndarray:
        out, _ = perturbed(product, gaussian_noise={"sigma": asked, "of": of})
        added = (values(out) - values(product)) / one
        gained = values(out, "VAR_RNOISE") - values(product, "VAR_RNOISE")
        np.testing.assert_allclose(gained, (asked * one) ** 2, rtol=1e-4)
        np.testing.assert_allclose(values(out, "ERR") ** 2 - values(product, "ERR") ** 2, gained, rtol=1e-4)
        return np.asarray(added)

    tolerance = 4 * np.sqrt(2 / FLAT.size) * sigma**2
    found = noise(sigma)
    assert near(found.var(), sigma**2, tolerance)
    assert near(found.mean(), 0.0, 4 * sigma / np.sqrt(FLAT.size))
    assert stats.kstest(found.ravel()[::2] / sigma, "norm").pvalue > 1e-3
    assert abs((found[:, 1:] * found[:, :-1]).mean()) * np.sqrt(FLAT.size) / sigma**2 < 4
    assert not near(noise(1.1 * sigma).var(), sigma**2, tolerance), "a tenth more would not be told"


# ------------------------------------------------------------------ D6 background


def test_light_is_added_by_its_factor_with_the_noise_of_photons() -> None:
    product = scene(FLAT)

    def electrons(factor: float) -> tuple[float, float, float]:
        out, _ = perturbed(product, background={"factor": factor})
        counts = (values(out) - values(product)) * K
        gained = (values(out, "VAR_POISSON") - values(product, "VAR_POISSON")).mean() * K * K
        return float(counts.mean()), float(counts.var() / counts.mean()), float(gained)

    mean, dispersion, gained = electrons(1.02)
    # The sky is 20 units, a factor of 1.02 is 400 electrons, known to 0.05; k is found to a part in a hundred.
    assert near(mean, 400.0, 4.0)
    assert near(dispersion, 1.0, 4 * np.sqrt(2 / FLAT.size) + 0.01)
    assert near(gained, 400.0, 8.0)
    assert not near(electrons(1.022)[0], 400.0, 4.0), "a tenth more would not be told"


# ------------------------------------------------------------------ E2 throughput


@pytest.mark.parametrize("loss", [0.05, 0.5])
def test_light_is_lost_by_its_share_and_the_noise_is_that_of_what_is_left(loss: float) -> None:
    product = scene(FLAT, noise=True)
    sky = np.s_[:, 40:]

    def kept(asked: float) -> tuple[float, float, float]:
        out = perturbed(product, throughput={"loss": asked})[0]
        mean = float(values(out)[sky].mean())
        return 1 - mean / 20.0, float(values(out)[sky].var() * K / mean), float(values(out, "VAR_POISSON")[sky].mean())

    found, dispersion, claimed = kept(loss)
    assert near(found, loss, 4 * np.sqrt(20 / K / FLAT[sky].size) / 20 + 1e-4)
    assert near(dispersion, 1.0, 4 * np.sqrt(2 / FLAT[sky].size))
    assert near(claimed, 20 * (1 - loss) / K, 1e-4 * 20 / K)
    assert not near(kept(1.1 * loss)[0], loss, 0.02 * loss), "a tenth more would not be told"


# ------------------------------------------------------------------ F1, F3 losses


@pytest.mark.parametrize("mechanism", ["mcar", "mar", "mnar"])
def test_as_many_values_are_missing_as_the_fraction_says(mechanism: str) -> None:
    product, fraction = scene(FLAT, noise=True), 0.1

    def share(asked: float) -> float:
        out = perturbed(product, missing_values={"fraction": asked, "mechanism": mechanism})[0]
        return float(np.isnan(values(out)).mean())

    tolerance = 4 * np.sqrt(fraction * (1 - fraction) / FLAT.size)
    assert near(share(fraction), fraction, tolerance)
    assert not near(share(1.1 * fraction), fraction, tolerance), "a tenth more would not be told"


@pytest.mark.parametrize(("loss", "burst"), [(0.1, 4.0), (0.02, 8.0)])
def test_as_many_packets_are_lost_as_the_loss_says_in_runs_of_the_burst(loss: float, burst: float) -> None:
    stream, count = Stream(3, "packet_loss", "packet_loss", "x", "SCI,1"), 4_000_000

    def found(asked: float, length: float) -> tuple[float, float]:
        gone = lost_packets(stream, 0, count, asked, length)
        runs = 1 + int(np.count_nonzero(np.diff(gone) > 1))
        return gone.size / count, gone.size / runs

    share, mean = found(loss, burst)
    # Lost packets come in runs of geometric length, whose variance is burst^2 - burst.
    spread = 4 * np.sqrt(2 * burst * loss / count)
    error = 4 * burst / np.sqrt(count * loss / burst)
    assert near(share, loss, spread)
    assert near(mean, burst, error)
    assert not near(found(1.1 * loss, burst)[0], loss, spread), "a tenth more would not be told"
    assert not near(found(loss, 1.1 * burst)[1], burst, error), "a tenth more would not be told"


def test_a_product_loses_as_many_packets_as_the_loss_says() -> None:
    product = scene(np.full((1000, 1000), 20.0))

    def share(loss: float) -> float:
        out = perturbed(product, packet_loss={"loss": loss, "packet": 5, "burst": 2.0})[0]
        return float(np.isnan(values(out)).mean())

    spread = 4 * np.sqrt(2 * 2.0 * 0.1 / 200_000)
    assert near(share(0.1), 0.1, spread)
    assert not near(share(0.11), 0.1, spread), "a tenth more would not be told"


# ------------------------------------------------------------------ B1, B4 particles


def test_hits_that_are_missed_stay_in_the_slope_and_found_ones_cut_the_ramp() -> None:
    """Missed, 6u(1-u) Q/k of each hit stays; found, the read noise of its pixels is that of two shorter ramps."""
    product = scene(FLAT, read=1e-4)

    def struck(flux: float, residual: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        body = {"cosmic_rays": {"flux": flux, "residual": residual}}
        content = {"version": 1, "seed": 11, "effects": [body]}
        out, truth = apply(product, Scenario.from_mapping("test", content))
        (step,) = truth.record["effects"]
        exposure = step["measurements"][0]["cm2_s"]
        found = hits(Stream(11, "cosmic_rays", "cosmic_rays", truth.record["plan"]["uid"], "SCI,1"), 0, flux, exposure,
                     FLAT.shape)  # fmt: skip
        assert step["events_recorded"] == found.y.size
        pixels, electrons, which = deposits(found, FLAT.shape, 18.0)
        u = found.u[which]
        kept = np.bincount(pixels, 6 * u * (1 - u) * electrons / K, FLAT.size)
        cut = np.ones(FLAT.size)
        np.minimum.at(cut, pixels, u**3 + (1 - u) ** 3)
        change = (values(out) - values(product)).ravel()
        return change, kept, (values(out, "VAR_RNOISE") / values(product, "VAR_RNOISE")).ravel(), cut

    change, kept, ratio, _ = struck(20.0, 1.0)
    assert (kept > 0).sum() > 1000
    np.testing.assert_allclose(change, kept, rtol=1e-2, atol=1e-4)
    assert not np.allclose(change, 1.1 * kept, rtol=1e-2, atol=1e-4), "a tenth more would not be told"
    assert (ratio == 1).all()
    change, _, ratio, cut = struck(20.0, 0.0)
    np.testing.assert_allclose(ratio * cut, 1, rtol=1e-4)
    hit = ratio > 1.01
    z = change[hit] / np.sqrt(1e-4 * (ratio[hit] - 1))
    assert near(float(z.var()), 1.0, 4 * np.sqrt(2 / z.size))


def test_the_light_curve_of_a_storm_has_its_peak_and_its_time() -> None:
    """Hits of 160 integrations against F (s/tau) exp(1 - s/tau), by chi^2."""
    frames, onset, tau, peak = 160, 0.1, 0.2, 60.0
    product = scene(np.full((frames, 64, 64), 20.0), EFFINTTM=300.0)
    body = {"solar_particle_event": {"peak": peak, "onset": onset, "tau": tau, "residual": 1.0}}
    _, truth = apply(product, Scenario.from_mapping("test", {"version": 1, "seed": 11, "effects": [body]}))
    events = truth.happened()
    assert events is not None
    counts = np.bincount(events["frame"].to_numpy(), minlength=frames)
    exposure = truth.record["effects"][0]["measurements"][0]["cm2_s"]
    since = np.maximum((np.arange(frames) + 0.5) / frames - onset, 0)

    def surprise(flux: float, time: float) -> float:
        expected = flux * since / time * np.exp(1 - since / time) * exposure
        used = expected > 5
        return float(stats.chi2.sf(((counts - expected)[used] ** 2 / expected[used]).sum(), used.sum()))

    assert counts.sum() > 5000
    assert not counts[since == 0].any()
    assert surprise(peak, tau) > 1e-4
    assert surprise(1.1 * peak, tau) < 1e-4, "a tenth more would not be told"
    assert surprise(peak, 1.1 * tau) < 1e-4, "a tenth longer would not be told"
