"""Lost blocks, groups and integrations, clocks, schema and compression on fixed seeds."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
from astropy.io import fits

from hwosim_assets.perturb import Product, Scenario, apply
from hwosim_assets.perturb.proof import diff

Make = Callable[..., Product]


def perturbed(product: Product, **chosen: dict[str, object]) -> tuple[Product, dict[str, object]]:
    content = {"version": 1, "seed": 11, "effects": [{name: options} for name, options in chosen.items()]}
    out, truth = apply(product, Scenario.from_mapping("test", content))
    assert diff(product, out, truth).findings == ()
    return out, truth.record


def timed(make: Make, times: np.ndarray) -> Product:
    with fits.HDUList.fromstring(make("x1dints").content) as hdus:
        columns = [fits.Column(f"int_{part}_MJD_UTC", "D", array=times) for part in ("start", "mid", "end")]
        hdus.append(fits.BinTableHDU.from_columns(columns, name="INT_TIMES"))
        hdus[0].header["NINTS"] = 12
        buffer = io.BytesIO()
        hdus.writeto(buffer, checksum=True)
    return Product("jw_x1dints.fits", buffer.getvalue())


@pytest.mark.parametrize("shape", ["rows", "columns", "amplifier", "rectangle"])
def test_a_missing_block_has_its_area(make: Make, shape: str) -> None:
    product = make("big")

    def area(asked: float) -> float:
        lost = np.isnan(
            perturbed(product, missing_blocks={"area": asked, "shape": shape, "dq": "flagged"})[0].plane("SCI")
        )
        ys, xs = np.nonzero(lost & ~np.isnan(product.plane("SCI")))
        box = (np.ptp(ys) + 1) * (np.ptp(xs) + 1) / lost.size
        assert lost[ys.min() : ys.max() + 1, xs.min() : xs.max() + 1].all()
        return float(box)

    assert area(0.2) == pytest.approx(0.2, rel=0.02)
    assert area(0.22) != pytest.approx(0.2, rel=0.02)


def test_dropped_groups_follow_the_ramp_fit(make: Make) -> None:
    product = make("big")

    def ratios(fraction: float) -> tuple[float, float]:
        out = perturbed(product, dropped_groups={"fraction": fraction})[0]
        names = ("VAR_POISSON", "VAR_RNOISE")
        poisson, read = (float(np.nanmedian(out.plane(name) / product.plane(name))) for name in names)
        delta = out.plane("SCI").astype(float) - product.plane("SCI").astype(float)
        gained = sum(out.plane(name).astype(float) - product.plane(name).astype(float) for name in names)
        z = (delta / np.sqrt(gained))[np.isfinite(delta)]
        assert abs(z.var() - 1) < 4 * np.sqrt(2 / z.size)
        return poisson, read

    assert ratios(0.5) == pytest.approx((2.0, 8.0), rel=1e-4)
    assert ratios(0.55)[1] / 8 > 1.3


def test_groups_of_a_ramp_are_lost_from_its_end(make: Make) -> None:
    ramp = perturbed(make("uncal"), dropped_groups={"fraction": 0.5})[0].plane("SCI")
    assert (ramp[:, 3:] == 0).all()
    np.testing.assert_array_equal(ramp[:, :3], make("uncal").plane("SCI")[:, :3])


def test_dropped_integrations_leave_all_planes_together(make: Make) -> None:
    product = timed(make, 60000 + np.arange(12) / 24)
    out, record = perturbed(product, dropped_integrations={"fraction": 0.4})
    lost = record["effects"][0]["measurements"][0]["lost"]
    keep = np.setdiff1d(np.arange(12), lost)
    assert 0 < len(lost) < 12
    for name, column in (("EXTRACT1D", "FLUX"), ("EXTRACT1D", "WAVELENGTH"), ("INT_TIMES", "int_mid_MJD_UTC")):
        np.testing.assert_array_equal(out.plane(name, 1, column), product.plane(name, 1, column)[keep])
    assert out.number("NINTS") == keep.size
    with fits.open(io.BytesIO(out.content), checksum=True) as hdus:
        hdus.verify("exception")
        assert len(hdus["EXTRACT1D"].data) == keep.size
    cube = perturbed(make("calints"), dropped_integrations={"fraction": 0.6})[0]
    assert {cube.plane(name).shape for name in ("SCI", "ERR", "DQ", "VAR_FLAT")} == {cube.plane("SCI").shape}
    assert len(cube.plane("SCI")) < 3


def test_dropped_integrations_have_their_rate(make: Make) -> None:
    product = make("x1dints")

    def rate(fraction: float) -> float:
        from hwosim_assets.perturb.rng import Stream, threshold

        words = Stream(11, "dropped_integrations", "dropped_integrations", product.name, "integrations").bits(
            0, 0, 40_000
        )
        return float((words < np.uint64(threshold(fraction))).mean())

    tolerance = 4 * np.sqrt(0.4 * 0.6 / 40_000)
    assert rate(0.4) == pytest.approx(0.4, abs=tolerance)
    assert rate(0.44) != pytest.approx(0.4, abs=tolerance)


@pytest.mark.parametrize("applied", ["all", "headers", "tables"])
def test_clock_error_is_fitted_exactly(make: Make, applied: str) -> None:
    times = 60000 + np.arange(12) * 0.5

    def fit(offset: float) -> tuple[float, float]:
        clock = {"offset": offset, "drift": 2.0, "applied": applied}
        out = perturbed(timed(make, times), clock_error=clock)[0]
        moved = (out.plane("INT_TIMES", 1, "int_mid_MJD_UTC") - times) * 86400
        slope, start = np.polyfit(times - 60000, moved, 1)
        header = (out.number("EXPMID") - 60000.5) * 86400
        assert header == pytest.approx((offset + 1.0) if applied != "tables" else 0.0, abs=1e-4)
        return float(start), float(slope)

    wanted = (5.0, 2.0) if applied != "headers" else (0.0, 0.0)
    assert fit(5.0) == pytest.approx(wanted, abs=1e-4)
    if applied != "headers":
        assert fit(5.5) != pytest.approx(wanted, abs=1e-4)


def test_undoing_schema_drift_restores_the_bytes(make: Make) -> None:
    product = make("cal")
    out, record = perturbed(product, schema_drift={"changes": 3})
    assert [event["keyword"] for event in record["effects"][0]["events"]] == ["BITPIX"] * 3
    assert out.plane("SCI").dtype == np.float64
    for plane in product.planes:
        same = out.plane(plane.extname).astype(plane.dtype)
        assert same.tobytes() == product.plane(plane.extname).tobytes()
    spectrum = make("x1d")
    renamed, record = perturbed(spectrum, schema_drift={"changes": 8})
    for event in record["effects"][0]["events"]:
        new, old = (x.plane("EXTRACT1D", 1, event[key]) for x, key in ((renamed, "value"), (spectrum, "before")))
        np.testing.assert_array_equal(new, old)
    assert record["effects"][0]["events"]


def test_compression_adds_the_variance_of_its_step(make: Make) -> None:
    product = make("big")

    def added(coarseness: float) -> tuple[float, float, float]:
        out, record = perturbed(product, compression_loss={"coarseness": coarseness})
        step = record["effects"][0]["measurements"][0]["step"]
        delta = out.plane("SCI").astype(float) - product.plane("SCI").astype(float)
        delta = delta[np.isfinite(delta)]
        gained = np.nanmedian(out.plane("VAR_RNOISE").astype(float) - product.plane("VAR_RNOISE"))
        return float(delta.var()), step**2 / 12, float(gained)

    found, expected, claimed = added(2.0)
    tolerance = 4 * np.sqrt(0.8 / product.plane("SCI").size)
    assert found == pytest.approx(expected, rel=tolerance)
    assert claimed == pytest.approx(expected, rel=1e-3)
    assert added(2.2)[0] != pytest.approx(expected, rel=tolerance)
