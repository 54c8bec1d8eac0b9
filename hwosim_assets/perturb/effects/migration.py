"""Charge that does not stay where its light fell: migration from full pixels, the brighter-fatter effect.

Holds: the part of C4 that grows with the charge. Keep out coupling that does not (``state``: inter-pixel capacitance).
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from hwosim_assets.fits.dq import DQ
from hwosim_assets.perturb.effect import Effect
from hwosim_assets.perturb.effects.state import electrons_per_unit, integrations, pixels_of_a_detector
from hwosim_assets.perturb.parameters import Parameter
from hwosim_assets.perturb.registry import register
from hwosim_assets.perturb.rng import normal
from hwosim_assets.perturb.spec import EffectSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hwosim_assets.perturb.block import Block
    from hwosim_assets.perturb.budget import Budget
    from hwosim_assets.perturb.measurements import Measurement

    Plane = NDArray[np.floating[Any]]

__all__ = ["ChargeMigration"]

#: Pixels that are worked on at once, so that they stay in the cache.
_BAND = 32768
#: Share of a pixel's light beyond which no larger share is deflected.
_MOST = 0.2


@register(
    EffectSpec(
        name="charge_migration",
        title="Charge migration (brighter-fatter effect)",
        code="C4",
        stage="ipc",
        model="S_i += (a/4) sum_j (Q_j S_j - Q_i S_i) over the four neighbours j, Q the electrons at the end of an "
        "integration: light is deflected from a pixel by a per electron that it holds more than its neighbour, and a "
        "line through the ramp sees half of the deflection at its end",
        planes=("SCI", "ERR", "VAR_POISSON", "DQ"),
        parameters=(
            Parameter(
                "coefficient",
                "relative change a of a pixel's area for each electron more in a neighbour",
                severities=(1e-7, 2.87e-7, 6e-7, 1.2e-6, 3e-6),
                high=1e-4,
                source="assumption, of the order of what arXiv:2003.05978 gives for an H4RG of Roman; 2.87e-7 was not "
                "verified against the paper; other levels are a proposal",
            ),
            Parameter(
                "threshold",
                "electrons from which on a pixel is flagged CHARGELOSS",
                unit="e-",
                default=40_000.0,
                high=1e7,
                source="25 000 DN in NIRISS (the pipeline's charge_migration step), 1.6 e-/DN",
            ),
        ),
        source="deflection of new charge by the charge that is there already (Hirata & Choi, arXiv:1906.01846)",
        test="a pixel alone loses a Q of its light, neighbours gain it; neighbours' photon noise correlates by a Q",
        err=True,
        dq=True,
    )
)
class ChargeMigration(Effect):
    """Bright pixels that lose light to their neighbours; where charge is even, only the noise is smoothed."""

    per_frame = True

    def prepare(self, measurement: Measurement, budget: Budget) -> dict[str, Any]:
        """Refuse what has no detector pixels, or whose electrons are not known."""
        pixels_of_a_detector(measurement)
        k = electrons_per_unit(budget)
        return {"electrons_per_unit": k / integrations(self.task.product, measurement), "noise_from": budget.k_method}

    def reach(self, measurement: Measurement) -> int:
        """Look at the neighbours."""
        return 1

    def on_frame(self, block: Block) -> None:
        """Let the charge migrate; in a ramp, what has gathered since the first group."""
        coefficient = self.task.number("coefficient", block)
        if coefficient == 0:
            return
        per_unit = electrons_per_unit(block.budget) / integrations(self.task.product, block.measurement)
        ramp = block.measurement.ramp
        base = block.sci[0].copy() if ramp else np.zeros((), block.sci.dtype)
        for group in range(1 if ramp else 0, block.groups):
            charge = (block.sci[group] - base) * block.sci.dtype.type(per_unit)
            charge[~np.isfinite(charge)] = np.nan
            if block.inert is not None:
                charge[block.inert] = np.nan
            self._migrate(block, group, charge.reshape(-1, block.measurement.frame[1]), per_unit, coefficient)
            full = np.flatnonzero(charge > self.task.number("threshold"))
            block.flag(self.use, group, full, DQ.CHARGELOSS, self.task.dq_honest)

    def _migrate(self, block: Block, group: int, charge: Plane, per_unit: float, coefficient: float) -> None:
        """Move charge of a group, band by band; ``charge`` is in electrons, NaN where invalid."""
        rows, columns = charge.shape
        honest = self.task.err_honest
        before = [] if block.measurement.ramp else block.variances("poisson", honest)
        after = [np.empty_like(variance) for variance in before]
        height = max(_BAND // columns, 1)
        for top in range(0, rows, height):
            band = slice(max(top - 1, 0), min(top + height + 1, rows))
            inner = slice(top - band.start, min(top + height, rows) - band.start)
            part = block.part(slice(top * columns, min(top + height, rows) * columns))
            weights = _Deflection(charge[band], coefficient)
            moved = weights.moved()[inner].reshape(-1)
            moved /= part.sci.dtype.type(per_unit)
            part.sci[group] += moved
            if not block.measurement.ramp:
                self._top_up(part, weights.squares(inner))
            for shot, smooth in zip(before, after, strict=True):  # photon noise is smoothed as the light was moved
                near = shot.reshape(rows, columns)[band]
                smooth[0, top * columns : top * columns + part.size] = weights.variance(near, inner)
        if before:
            changes = [np.subtract(smooth, shot, out=smooth) for smooth, shot in zip(after, before, strict=True)]
            block.change_variance("poisson", changes, honest)

    def _top_up(self, part: Block, share: Plane) -> None:
        """Keep the read noise, which came after, as large as it was."""
        words = self.task.stream(part.measurement.key).bits(part.plane(0), part.start, part.size)
        lacking = np.maximum(1.0 - share, 0.0) * part.true["read"][0]
        part.sci[0] += np.sqrt(lacking) * normal(words)


class _Deflection:
    """Shares of light that pixels give to each neighbour, and what follows of them.

    Parameters
    ----------
    charge : floating array, (rows, columns)
        Electrons, NaN where invalid: such pixels give and take nothing.
    coefficient : float
        Share for each electron.
    """

    def __init__(self, charge: Plane, coefficient: float) -> None:
        self.valid = np.isfinite(charge)
        self.charge = np.where(self.valid, np.maximum(charge, 0.0), 0.0).astype(charge.dtype)
        self.share = np.minimum(self.charge * self.charge.dtype.type(coefficient), self.charge.dtype.type(_MOST))
        self.sides = _around(self.valid.astype(self.charge.dtype)) * self.valid

    def moved(self) -> Plane:
        """Return the electrons that pixels gain."""
        given = self.charge * self.share * self.charge.dtype.type(0.25)
        return (_around(given) - self.sides * given) * self.valid

    def variance(self, shot: Plane, inner: slice) -> Plane:
        """Return the variance of the moved light, of the inner rows and flat."""
        # What was lost earlier has no variance, not even a share of it to give to neighbours.
        given = np.where(np.isfinite(shot), self.spread * shot, shot.dtype.type(0))
        after = self.kept * shot + _around(given) * self.valid
        return after[inner].reshape(-1)

    def squares(self, inner: slice) -> Plane:
        """Return the sum of the squared weights that the moved light has, of the inner rows and flat."""
        weights = self.kept + _around(self.spread) * self.valid
        return np.asarray(weights[inner].reshape(-1))

    @cached_property
    def spread(self) -> Plane:
        """The squared weight with which a neighbour gets of a pixel's light."""
        half = self.share * self.charge.dtype.type(0.5)
        return half * half

    @cached_property
    def kept(self) -> Plane:
        """The squared weight with which a pixel keeps its light."""
        kept = 1.0 - self.sides * (self.share * self.charge.dtype.type(0.5))
        return kept * kept


def _around(plane: Plane) -> Plane:
    """Return the sum of the four neighbours; beyond the edge there is nothing."""
    total = np.zeros_like(plane)
    total[1:] += plane[:-1]
    total[:-1] += plane[1:]
    total[:, 1:] += plane[:, :-1]
    total[:, :-1] += plane[:, 1:]
    return total
