"""How much of the light is turned into numbers, and how that changes.

Holds: effects of throughput and calibration. Keep out added light; that is ``optics``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hwosim_assets.perturb import compiled
from hwosim_assets.perturb.effect import Effect, NotApplicableError
from hwosim_assets.perturb.effects.axes import wavelengths
from hwosim_assets.perturb.effects.wavefront import wavelength_of
from hwosim_assets.perturb.exact import power
from hwosim_assets.perturb.parameters import Parameter, rounded
from hwosim_assets.perturb.registry import register
from hwosim_assets.perturb.spec import EffectSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hwosim_assets.perturb.block import Block
    from hwosim_assets.perturb.budget import Budget
    from hwosim_assets.perturb.effect import Task
    from hwosim_assets.perturb.measurements import Measurement
    from hwosim_assets.perturb.rng import Stream

__all__ = ["Throughput", "lose_light"]


@register(
    EffectSpec(
        name="throughput",
        title="Throughput loss",
        code="E2",
        stage="throughput",
        model="S -> q S + sqrt(q(1-q) VAR_POISSON + (1-q^2) VAR_RNOISE) z with q = 1 - loss (lambda / at)^index, "
        "beyond `at` q = 1 - loss",
        planes=("SCI", "ERR", "VAR_POISSON", "VAR_FLAT"),
        parameters=(
            Parameter(
                "loss",
                "share of the light that is lost (1 - q)",
                low=0.0,
                high=0.999,
                severities=(0.01, 0.05, 0.21, 0.5, 0.9),
                source="MIRI in flight: imager -21 % at 25.5 um, MRS -50 % at 26 um (STScI news, 2023)",
            ),
            Parameter(
                "index",
                "how steeply the loss grows with the wavelength; 0 is a grey loss",
                default=0.0,
                high=20.0,
                source="0: a proposal; 3.3 meets MIRI's MRS: 50 % at 26 um, 15 % at 18 um, 3 % at 11.5 um (STScI news)",
            ),
            Parameter(
                "at",
                "wavelength at which the loss is as large as it says",
                unit="um",
                default=25.5,
                low=0.05,
                high=1000.0,
                source="MIRI's F2550W",
            ),
        ),
        source="the true-loss rule: the noise that a scaling takes away too much is put back",
        test="ratio of signal is q; variance per mean is kept",
        err=True,
    )
)
class Throughput(Effect):
    """Light lost before detection, with the noise that such a loss really leaves."""

    per_frame = True

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self._shapes: dict[int, NDArray[np.float64]] = {}

    def prepare(self, measurement: Measurement, budget: Budget) -> dict[str, Any]:
        """Refuse ramps of one group, whose bias is not known."""
        if measurement.ramp and measurement.groups < 2:
            raise NotApplicableError("a ramp of one group has a bias that cannot be told from light")
        shape = self._shape(measurement)
        self._shapes[id(measurement)] = shape
        lost = np.array(self.task.numbers("loss", measurement))[:, None] * shape
        found = {"noise_from": budget.read_method, "signal_scale": rounded(1.0 - float(np.median(lost)))}
        least, most = (rounded(1.0 - float(edge)) for edge in (lost.max(), lost.min()))
        return found if least == most else {**found, "signal_scales": [least, most]}

    def _shape(self, measurement: Measurement) -> NDArray[np.float64]:
        """Return the loss at the wavelengths of (frames, pixels or 1) relative to the largest."""
        index = self.task.number("index")
        if index == 0:
            return np.ones((measurement.frames, 1))
        waves = self._wavelengths(measurement)
        known = np.isfinite(waves) & (waves > 0)
        share = np.minimum(np.where(known, waves, self.task.number("at")) / self.task.number("at"), 1.0)
        return np.where(known, power(share, index), 0.0)

    def _wavelengths(self, measurement: Measurement) -> NDArray[np.float64]:
        """Return the wavelengths of pixels or frames, else that of the filter."""
        try:
            return wavelengths(self.task.product, measurement)
        except NotApplicableError:
            one = wavelength_of(self.task.product)
            if one is None:
                raise
            return np.full((measurement.frames, 1), one)

    def on_chunk(self, block: Block) -> None:
        """Scale the signal and put the missing noise back."""
        shape = self._shapes[id(block.measurement)][block.frame]
        loss = self.task.number("loss", block)
        if loss == 0:
            return
        if shape.size == 1:
            q: NDArray[Any] | float = 1.0 - loss * float(shape[0])
        else:
            q = (1.0 - loss * shape[block.start : block.start + block.size]).astype(block.sci.dtype)
        lose_light(block, self.task.stream(block.measurement.key), q, self.task.err_honest)


def lose_light(block: Block, stream: Stream, q: NDArray[Any] | float, honest: float) -> None:
    """Keep a share q of the light and put back the noise that a scaling takes away too much.

    Parameters
    ----------
    block : Block
        Changed in place.
    stream : Stream
        Random bits of the product's measurement.
    q : float, or floating array of one number per pixel
        Share of the light that is kept, 0 to 1; of a ramp, one number.
    honest : float
        Share of it that uncertainties say: ``task.err_honest``.
    """
    if block.measurement.ramp:
        _lose_from_ramp(block, stream, float(q))
        return
    accounts = block.accounts("poisson", honest) if compiled.on() and isinstance(q, float) else ()
    if accounts and isinstance(q, float):
        from hwosim_assets.perturb.compiled import effects

        draws, (flat,) = stream.normals(block.plane(0), block.start), block.flat_accounts(honest) or (block.sci[0, :0],)
        shares = tuple(block.sci.dtype.type(share) for share in (q, q * (1.0 - q), 1.0 - q * q, q * q))
        effects.lose_light(block.sci[0], block.true["read"][0], draws, shares, accounts, flat)
        return
    sigma = block.true["poisson"] * (q * (1.0 - q))
    sigma += block.true["read"] * (1.0 - q * q)
    np.sqrt(sigma, out=sigma)
    sigma[0] *= stream.normal(block.plane(0), block.start, block.size)
    block.sci *= q
    block.sci += sigma
    block.scale_variance("poisson", q, honest)
    block.scale_flat_variance(q * q, honest)


def _lose_from_ramp(block: Block, stream: Stream, q: float) -> None:
    """Scale what accumulated since the first group: electron by electron, then the reads' own noise.

    A group that is no number stays as it is, and the next one's light is counted from the last that was one.
    """
    shot = np.zeros(block.size, block.sci.dtype)
    per_unit = 0.0 if block.budget.k is None else q * (1.0 - q) / block.budget.k
    read = np.sqrt(block.true["read"][0] * (1.0 - q * q))
    base = block.sci[0].copy()
    last, total = base.copy(), np.zeros_like(base)
    for group in range(1, block.groups):
        now = block.sci[group].copy()
        known = np.isfinite(now - last)
        step = np.where(known, now - last, now.dtype.type(0))
        last = np.where(known, now, last)
        noise = stream.normal(block.plane(group), block.start, block.size)
        shot += np.sqrt(np.maximum(step, 0.0) * per_unit) * noise
        total += step
        again = stream.normal(block.plane(group), block.start, block.size, sub=1)
        block.sci[group] = np.where(known, base + q * total + shot + read * again, now)
