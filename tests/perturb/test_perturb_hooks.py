"""What the engine offers to effects: flags, events, honesty, time, convolution, readout, damage."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

from hwosim_assets.errors import BadInputError
from hwosim_assets.fits.dq import DQ
from hwosim_assets.perturb import Product, Scenario, apply, registry, replay
from hwosim_assets.perturb.block import Block
from hwosim_assets.perturb.convolve import convolve_signal
from hwosim_assets.perturb.effect import Earlier, Effect
from hwosim_assets.perturb.effects.axes import wavelengths
from hwosim_assets.perturb.exact import exp, log, power
from hwosim_assets.perturb.facts import find_facts
from hwosim_assets.perturb.parameters import Parameter
from hwosim_assets.perturb.proof import diff
from hwosim_assets.perturb.readout import Readout, find_readout
from hwosim_assets.perturb.spec import EffectSpec
from hwosim_assets.perturb.times import frame_times

Make = Callable[..., Product]


def registered(monkeypatch: pytest.MonkeyPatch, effect: type[Effect], **spec: Any) -> str:
    """Register an effect for one test."""
    base = EffectSpec(
        name="probe", title="Probe", code="T", stage="noise", model="for a test", planes=("SCI",),
        parameters=(Parameter("rms", "size", low=-100, high=100, severities=(1, 2, 3, 4, 5)),),
        source="this test", test="this test", err=True, dq=True,
    )  # fmt: skip
    registry.effect_specs()
    monkeypatch.setitem(registry._REGISTRY, "probe", effect)
    monkeypatch.setattr(effect, "spec", replace(base, **spec), raising=False)
    return "probe"


def scenario(**body: Any) -> Scenario:
    return Scenario.from_mapping("test", {"version": 1, "seed": 4, "effects": [{"probe": body}], "valid_only": False})


class Flagging(Effect):
    def on_chunk(self, block: Block) -> None:
        places = np.arange(block.start, block.start + block.size)
        chosen = places % 1000 < 10
        block.flag(self.use, 0, chosen, DQ.JUMP_DET, self.task.dq_honest)
        block.record(self.use, place=places[chosen], size=np.full(int(chosen.sum()), 2.5))


@pytest.mark.parametrize(("dq", "share"), [("flagged", 1.0), ("silent", 0.0), ("mixed", 0.3)])
def test_flags_are_set_recorded_or_both(make: Make, monkeypatch: pytest.MonkeyPatch, dq: str, share: float) -> None:
    registered(monkeypatch, Flagging)
    product = make("big")
    body = {"rms": 1, "dq": dq, **({"dq_share": share} if dq == "mixed" else {})}
    out, truth = apply(product, scenario(**body))
    set_now = (out.plane("DQ") & DQ.JUMP_DET) != 0
    step = truth.record["effects"][0]
    touched = step["pixels_flagged"] + step["pixels_unflagged"]
    assert touched == step["events_recorded"] == 3080
    assert set_now.sum() == step["pixels_flagged"]
    assert abs(set_now.sum() / touched - share) < 4 * np.sqrt(share * (1 - share) / touched) + 1e-9
    np.testing.assert_array_equal(out.plane("SCI"), product.plane("SCI"))
    runs = truth.runs()
    assert runs is not None
    assert set(runs["bits"].to_pylist()) == {int(DQ.JUMP_DET)}
    events = truth.happened()
    assert events is not None
    assert events["place"].to_pylist()[:3] == [0, 1, 2]
    assert set(events["size"].to_pylist()) == {2.5}
    assert replay(truth, product).content == out.content
    assert diff(product, out, truth).accounted


class Noise(Effect):
    per_frame = True

    def on_chunk(self, block: Block) -> None:
        block.sci += self.task.number("rms", block) * 0.1
        block.add_variance("read", 0.01 * self.task.number("rms"), self.task.err_honest)


def test_a_biased_error_claims_its_share_of_what_is_added(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    registered(monkeypatch, Noise)
    product = make("cal")
    before = product.plane("VAR_RNOISE").astype(float)
    for body, share in (({"err": "consistent"}, 1), ({"err": "stale"}, 0), ({"err": "biased", "err_factor": 0.5}, 0.25),
                        ({"err": "biased", "severity": 4}, 0.25)):  # fmt: skip
        out, truth = apply(product, scenario(**({"rms": 4} if "severity" not in body else {}), **body))
        added = out.plane("VAR_RNOISE").astype(float) - before
        np.testing.assert_allclose(added[np.isfinite(added)], 0.04 * share, atol=1e-7)
        total = sum(out.plane(name).astype(float) for name in ("VAR_POISSON", "VAR_RNOISE", "VAR_FLAT"))
        np.testing.assert_allclose(out.plane("ERR").astype(float) ** 2, total, rtol=1e-5)
        assert diff(product, out, truth).accounted


def test_a_profile_acts_from_frame_to_frame(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """The exposure runs from 60000.0 to 60001.0 in three integrations; the step comes in the second half."""
    registered(monkeypatch, Noise)
    product = make("calints")
    when = {"profile": "step", "start": 60000.7}
    out, truth = apply(product, scenario(rms=1, when=when, err="stale"))
    change = out.plane("SCI").astype(float) - product.plane("SCI")
    np.testing.assert_allclose([np.nanmedian(frame) for frame in change], [0, 0, 0.1], atol=1e-5)
    assert replay(truth, product).content == out.content
    times = frame_times(product, product.measurements[0])
    assert times is not None
    np.testing.assert_allclose(times.mid, 60000 + np.array([1, 3, 5]) / 6)
    assert times.method == "EXPSTART..EXPEND"


class Blur(Effect):
    def on_frame(self, block: Block) -> None:
        side = self.task.number("rms") / 10
        stream = self.task.stream(block.measurement.key)
        convolve_signal(block, ((side, 1 - 2 * side, side), (side, 1 - 2 * side, side)), stream, self.task.err_honest)


def test_convolution_keeps_flux_and_says_the_noise_it_leaves(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    registered(monkeypatch, Blur)
    product = make("big")
    out, truth = apply(product, scenario(rms=2))
    dark = (slice(None), slice(100, None))
    before, after = (x.plane("SCI")[dark].astype(float) for x in (product, out))
    assert np.nanmean(after) == pytest.approx(np.nanmean(before), abs=1e-3)
    claimed = np.nanmean(out.plane("VAR_POISSON")[dark] + out.plane("VAR_RNOISE")[dark])
    inner = np.nanvar(after)
    share = (0.2**2 * 2 + 0.6**2) ** 2
    shot, read = 2 / 150, 0.02
    # All noise of this product is spread, the read noise too, before the top-up of (1 - sum K^2) of it.
    assert inner == pytest.approx(share * (shot + read) + (1 - share) * read, rel=0.02)
    assert claimed == pytest.approx(share * shot + read, rel=0.02)
    assert (np.isnan(out.plane("SCI")) == np.isnan(product.plane("SCI"))).all()
    assert replay(truth, product, threads=2).content == out.content


def test_two_dimensional_and_separable_kernels_agree(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    product = make("cal")
    one = np.array([0.1, 0.7, 0.2])

    def blurred(kernel: Any) -> np.ndarray:
        class Chosen(Effect):
            def on_frame(self, block: Block) -> None:
                convolve_signal(block, kernel, self.task.stream("z"), 1.0)

        registered(monkeypatch, Chosen)
        return apply(product, scenario(rms=1))[0].plane("SCI")

    np.testing.assert_allclose(blurred(np.outer(one, one)), blurred((one, one)), rtol=1e-4)


class Remembering(Effect):
    remembers = True

    def on_chunk(self, block: Block) -> None:
        block.sci += float(len(self.task.earlier))


def test_earlier_exposures_are_recorded_and_needed_for_replay(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    registered(monkeypatch, Remembering)
    product, before = make("cal"), Earlier(make("big"), 59999.5)
    out, truth = apply(product, scenario(rms=1), earlier=[before])
    assert truth.record["earlier"] == [
        {"product": before.product.name, "sha256": before.product.sha256, "end_mjd": 59999.5}
    ]
    assert replay(truth, product, earlier=[before]).content == out.content
    with pytest.raises(BadInputError, match="remembered"):
        replay(truth, product)


class Cut(Effect):
    def on_bytes(self, content: bytes) -> tuple[bytes, list[dict[str, Any]]]:
        return content[:-2880], [{"cut": 2880}]


def test_damage_to_the_file_comes_last_and_is_accounted_for(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    registered(monkeypatch, Cut, stage="file", breaks_format=True)
    product = make("cal")
    out, truth = apply(product, scenario(rms=1))
    assert len(out.content) == len(product.content) - 2880
    assert truth.record["damaged"]
    assert truth.record["effects"][0]["events"] == [{"cut": 2880}]
    assert diff(product, out, truth).accounted
    assert not diff(product, Product(product.name, out.content[:-1] + b"x"), truth).accounted


def test_readout_order(make: Make) -> None:
    readout = Readout(4, 8, 1, 2, 2, interleaved=False, method="keywords")
    amplifier, line, place = readout.places(0, 8)
    assert amplifier.tolist() == [0] * 4 + [1] * 4
    assert place.tolist() == [0, 1, 2, 3, 3, 2, 1, 0]
    assert line.tolist() == [0] * 8
    assert Readout(4, 8, -1, -2, 2, interleaved=False, method="").places(0, 2)[1].tolist() == [3, 3]
    assert Readout(4, 8, 1, 2, 4, interleaved=True, method="").places(8, 5)[0].tolist() == [0, 1, 2, 3, 0]
    for clocks in (Readout(6, 8, -2, 1, 3, interleaved=False, method=""),):
        amplifier, *_ = clocks.places(0, 48)
        for number in range(3):
            assert len(set(clocks.clock(0, 48)[amplifier == number].tolist())) == 16
    found = find_readout(make("cal"), make("cal").measurements[0])
    assert found is not None
    assert (found.fast, found.slow, found.outputs, found.method) == (-1, 2, 1, "keywords")
    assert find_readout(make("i2d"), make("i2d").measurements[0]) is None


def test_facts_say_where_they_come_from(make: Make) -> None:
    facts = find_facts(make("cal"), make("cal").measurements[0])
    assert (facts.pixel_mas, facts.methods["pixel_mas"]) == (31.0, "published")
    assert facts.pixel_cm2 == pytest.approx(3.24e-6)
    assert (facts.frame_s, facts.methods["frame_s"]) == (300.0, "EFFEXPTM")
    assert facts.group_s is None


def _spread() -> Iterator[float]:
    yield from np.exp(np.linspace(-600, 600, 501)).tolist()


def test_exact_functions_meet_those_of_the_machine() -> None:
    values = np.array(list(_spread()))
    np.testing.assert_allclose(log(values), np.log(values), rtol=1e-15, atol=1e-15)
    np.testing.assert_allclose(exp(log(values)), values, rtol=3e-13)
    np.testing.assert_allclose(power(np.array([2.0, 10.0]), -3.5), np.array([2.0, 10.0]) ** -3.5, rtol=1e-14)
    assert exp(np.array([-1e9, 0.0])).tolist() == [0.0, 1.0]


@pytest.mark.parametrize(
    ("name", "model"), [("jw01234-o001_t001_miri_ch2-short_s3d_nav.fits", ""), ("cube.fits", "IFUCubeModel")]
)
def test_a_cube_without_its_weights_is_one_of_wavelengths(make: Make, name: str, model: str) -> None:
    with fits.open(io.BytesIO(make("s3d").content)) as hdus:
        del hdus["WMAP"]
        hdus[0].header["DATAMODL"] = model
        buffer = io.BytesIO()
        hdus.writeto(buffer)
    product = Product(name, buffer.getvalue())
    (item,) = product.measurements
    assert (item.resampled, item.weights) == (True, ())
    assert find_facts(product, item).methods["frame_s"] == "EFFEXPTM"
    np.testing.assert_allclose(wavelengths(product, item)[:, 0], 5.0 + 0.01 * np.arange(30))
    out, truth = apply(product, Scenario.from_mapping("test", {"version": 1, "effects": ["dropped_integrations"]}))
    assert "not_applicable" in truth.record["effects"][0]["measurements"][0]
    assert out.content == product.content


def test_a_real_cube_without_its_weights_is_one_of_wavelengths(real_data: Path) -> None:
    product = Product.open(real_data / "jwst" / "jw01022-o023_t001_miri_ch2-short_s3d_nav.fits")
    assert find_facts(product, product.measurements[0]).methods["frame_s"] == "EFFEXPTM"
    assert wavelengths(product, product.measurements[0]).min() == pytest.approx(7.511)
