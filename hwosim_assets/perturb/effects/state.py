"""What the state of a detector does to charge: coupling, full wells, non-linearity, crosstalk.

Holds: the effects C4 to C7. Keep out bad pixels (``pixels``), what a detector remembers (``persistence``) and noise.
"""

from __future__ import annotations

from dataclasses import replace
from functools import reduce
from operator import add
from typing import TYPE_CHECKING, Any

import numpy as np

from hwosim_assets.fits.dq import DQ
from hwosim_assets.perturb.effect import Effect, NotApplicableError
from hwosim_assets.perturb.effects.kernels import keeping, require_image, spread
from hwosim_assets.perturb.effects.references import scale
from hwosim_assets.perturb.exact import power
from hwosim_assets.perturb.facts import find_facts
from hwosim_assets.perturb.parameters import Parameter, rounded
from hwosim_assets.perturb.readout import find_readout
from hwosim_assets.perturb.registry import register
from hwosim_assets.perturb.spec import EffectSpec
from hwosim_assets.perturb.times import segment_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hwosim_assets.perturb.block import Block
    from hwosim_assets.perturb.budget import Budget
    from hwosim_assets.perturb.effect import Task
    from hwosim_assets.perturb.measurements import Measurement
    from hwosim_assets.perturb.product import Product

__all__ = [
    "WELL",
    "Crosstalk",
    "InterpixelCapacitance",
    "ReciprocityFailure",
    "Saturation",
    "electrons_per_unit",
    "groups_of",
    "integrations",
    "lose_groups",
    "pixels_of_a_detector",
]

#: GalSim's Roman model uses -6e-7 per electron; a well of 105 000 e- is that of NIRCam at short wavelengths (pyNRC).
WELL = 105_000.0
#: Deviation from linearity from which on a pixel is flagged NONLINEAR.
_NONLINEAR = 0.01
#: Groups that are assumed where the header does not say NGROUPS.
_GROUPS = 10
_LN10 = 2.302585092994046


def integrations(product: Product, measurement: Measurement) -> float:
    """Return how many integrations one frame is the mean of: those of its file for a slope, 1 for integrations."""
    return float(segment_of(product, measurement).each)


def groups_of(product: Product, measurement: Measurement) -> tuple[int, str]:
    """Return (groups of an integration, where that was found)."""
    if measurement.ramp:
        return measurement.groups, "groups of the ramp"
    said = product.count("NGROUPS")
    return (said, "NGROUPS") if said else (_GROUPS, "assumed")


def lose_groups(
    effect: Effect,
    block: Block,
    index: NDArray[np.intp],
    left: NDArray[np.float64],
    groups: int,
    others: float = 0.0,
) -> None:
    """Lose the last groups of saturated pixels: variances grow with the noise that says so, flags tell of it.

    A pixel with fewer than two groups left, and no other integration that it is averaged with, is lost.

    Parameters
    ----------
    effect : Effect
        Who loses them.
    block : Block
        Of slopes.
    index : int array
        Positions in the block, ascending, each once.
    left : float64 array
        Groups that are left, a whole number for each.
    groups : int
        Groups of an integration.
    others : float
        Whole integrations that the slope is averaged with.
    """
    honest, name = effect.task.err_honest, block.measurement.key
    share = np.where(left < 2, 0.0, left / groups)
    kept = {"poisson": (others + share) / (others + 1.0), "read": (others + share * share * share) / (others + 1.0)}
    full = kept["read"] == 0
    block.lose(effect.use, 0, index[full], effect.task.dq_honest, bits=int(DQ.SATURATED | DQ.DO_NOT_USE))
    index, more = index[~full], {kind: 1.0 / part[~full] for kind, part in kept.items()}
    if not index.size:
        return
    added = sum(block.true[kind][0, index] * (more[kind] - 1.0) for kind in more)
    noise = effect.task.stream(name).normal_at(block.plane(0), index + block.start)
    block.sci[0, index] += np.sqrt(added) * noise
    for kind, factor in more.items():
        block.scale_variance(kind, factor.astype(block.sci.dtype), honest, index)
    block.flag(effect.use, 0, index, DQ.SATURATED, effect.task.dq_honest)


def pixels_of_a_detector(measurement: Measurement) -> None:
    """Refuse what has no image, or whose pixels lie on no detector.

    Raises
    ------
    NotApplicableError
        For spectra in tables, tiny images and resampled ones.
    """
    require_image(measurement)
    if measurement.resampled:
        raise NotApplicableError("its pixels are resampled and lie on no detector")


def electrons_per_unit(budget: Budget) -> float:
    """Return the electrons per science unit.

    Raises
    ------
    NotApplicableError
        When they are not known.
    """
    if budget.k is None:
        raise NotApplicableError("electrons per science unit are not known")
    return budget.k


@register(
    EffectSpec(
        name="ipc",
        title="Inter-pixel capacitance",
        code="C4",
        stage="ipc",
        model="S -> K*S with a 3 x 3 kernel K of sum 1: alpha for the four sides, diagonal x alpha for the corners",
        planes=("SCI", "ERR", "VAR_POISSON"),
        parameters=(
            Parameter(
                "alpha",
                "share of a pixel's signal that each of its four neighbours shows",
                severities=(0.0025, 0.0054, 0.013, 0.033, 0.1),
                high=0.15,
                source="0.54 % NIRCam short (pyNRC), 1.3 to 3.3 % MIRI (stpsf); levels are a proposal",
            ),
            Parameter(
                "diagonal",
                "share of each corner, relative to alpha",
                default=0.17,
                source="0.09 % over 0.54 %, the post-pixel coupling of NIRCam short (pyNRC)",
            ),
        ),
        source="the convolution rule: signal and photon noise are spread, read noise is not",
        test="sum of the kernel is 1 to 1e-6; neighbours' photon noise correlates by about 2 alpha",
        err=True,
    )
)
class InterpixelCapacitance(Effect):
    """Charge of a pixel seen in its neighbours."""

    per_frame = True

    def prepare(self, measurement: Measurement, budget: Budget) -> dict[str, Any]:
        """Refuse what has no detector pixels."""
        pixels_of_a_detector(measurement)
        kernel = self._kernel(self.task.number("alpha"))
        return {"centre": rounded(float(kernel[1, 1])), "noise_from": budget.read_method}

    def _kernel(self, side: float) -> NDArray[np.float64]:
        corner = side * self.task.number("diagonal")
        kernel = np.full((3, 3), corner)
        kernel[1, :] = kernel[:, 1] = side
        kernel[1, 1] = 1.0 - 4.0 * side - 4.0 * corner
        return kernel

    def reach(self, measurement: Measurement) -> int:
        """Return the rows of the kernel."""
        return 1

    def on_frame(self, block: Block) -> None:
        """Convolve."""
        alpha = self.task.number("alpha", block)
        if alpha:
            spread(block, self._kernel(alpha), self.task.stream(block.measurement.key), self.task.err_honest)


@register(
    EffectSpec(
        name="saturation",
        title="Saturation and residual non-linearity",
        code="C5",
        steady="it belongs to the detector",
        stage="digitization",
        model="S -> S (1 + strength beta S k) with S k the electrons of one integration, variances by the square of "
        "the slope 1 + 2 strength beta S k; above well / strength, the groups that saturate are lost: "
        "VAR_POISSON / (1-f), VAR_RNOISE / (1-f)^3 and the noise that says so; with fewer than two "
        "groups left the pixel is lost; a ramp is clipped",
        planes=("SCI", "ERR", "VAR_POISSON", "VAR_RNOISE", "DQ"),
        parameters=(
            Parameter(
                "strength",
                "by how much the well is smaller and the non-linearity larger",
                severities=(0.3, 1.0, 3.0, 10.0, 30.0),
                high=1e4,
                source="a proposal: 1 is the published detector",
            ),
            Parameter(
                "beta",
                "quadratic non-linearity per electron, of strength 1",
                default=-6e-7,
                low=-1e-4,
                high=1e-4,
                source="GalSim, Roman: -6e-7",
            ),
            Parameter(
                "well", "electrons that a pixel holds, at strength 1", unit="e-", default=WELL, low=100.0, high=1e7,
                source="NIRCam short 105 000 e-, long 83 000 e- (pyNRC)",
            ),
        ),
        source="GalSim's Roman non-linearity; the variance rules of a ramp whose last groups are lost",
        test="share of flagged pixels is that above the level; fitted beta",
        err=True,
        dq=True,
    )
)  # fmt: skip
class Saturation(Effect):
    """Wells that are full too early."""

    def prepare(self, measurement: Measurement, budget: Budget) -> dict[str, Any]:
        """Find the level in science units."""
        pixels_of_a_detector(measurement)
        k = electrons_per_unit(budget)
        if measurement.ramp and measurement.groups < 2:
            raise NotApplicableError("a ramp of one group has a bias that cannot be told from light")
        groups, method = groups_of(self.task.product, measurement)
        return {"well_e": rounded(self._well()), "level": rounded(self._well() / self._per_unit(measurement, k)),
                "groups": groups, "groups_from": method}  # fmt: skip

    def _well(self) -> float:
        return self.task.number("well") / self.task.number("strength")

    def _per_unit(self, measurement: Measurement, k: float) -> float:
        return k / integrations(self.task.product, measurement)

    def on_chunk(self, block: Block) -> None:
        """Bend the signal, then cut what does not fit into the well."""
        per_unit = self._per_unit(block.measurement, float(block.budget.k or 1.0))
        bend = self.task.number("beta") * self.task.number("strength")
        if block.measurement.ramp:
            self._bend_ramp(block, per_unit, bend)
            return
        electrons = np.nan_to_num(block.sci[0].astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0) * per_unit
        factor = np.maximum(1.0 + bend * np.maximum(electrons, 0.0), 0.0)
        slope = np.where(factor > 0, 1.0 + 2.0 * bend * np.maximum(electrons, 0.0), 0.0).astype(block.sci.dtype)
        scale(block, factor.astype(block.sci.dtype), self.task.err_honest, slope)
        block.flag(self.use, 0, np.abs(factor - 1.0) > _NONLINEAR, DQ.NONLINEAR, self.task.dq_honest)
        self._cut(block, electrons)

    def _cut(self, block: Block, electrons: NDArray[np.float64]) -> None:
        """Lose the groups, or the pixels, that are beyond the well."""
        well = self._well()
        index = np.flatnonzero(electrons > well)
        if not index.size:
            return
        groups, _ = groups_of(self.task.product, block.measurement)
        lose_groups(self, block, index, np.floor(groups * (well / electrons[index])), groups)

    def _bend_ramp(self, block: Block, gain: float, bend: float) -> None:
        """Bend and clip what has gathered since the first group."""
        first, most = block.sci[0].copy(), self._well() / gain
        with keeping(block, first):
            for group in range(1, block.groups):
                signal = block.sci[group] - first
                signal *= np.maximum(1.0 + (bend * gain) * np.maximum(signal, 0.0), 0.0).astype(signal.dtype)
                full = signal > most
                block.sci[group] = first + np.minimum(signal, signal.dtype.type(most))
                block.flag(self.use, group, full, DQ.SATURATED, self.task.dq_honest)


@register(
    EffectSpec(
        name="reciprocity_failure",
        title="Reciprocity failure",
        code="C6",
        steady="it belongs to the detector",
        stage="calibration",
        model="S -> S (rate / base)^(alpha / ln 10), rate in e-/s: bright pixels count more by alpha for each decade, "
        "and their noise by the slope, 1 + alpha / ln 10 times as much",
        planes=("SCI", "ERR", "VAR_POISSON", "VAR_RNOISE", "VAR_FLAT"),
        parameters=(
            Parameter(
                "alpha",
                "relative change of the signal for each decade of rate",
                severities=(0.002, 0.0065, 0.02, 0.05, 0.15),
                high=0.5,
                source="GalSim, Roman: 0.0065 per decade; levels are a proposal",
            ),
            Parameter(
                "base", "rate that is not changed", unit="e-/s", default=1.0, low=1e-6, high=1e9, source="GalSim, Roman"
            ),
        ),
        source="GalSim, addReciprocityFailure",
        test="slope of the change per decade of rate",
        err=True,
    )
)
class ReciprocityFailure(Effect):
    """A response that depends on the rate; below a hundredth of the base it stays that of a hundredth."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self._per_unit: dict[int, float] = {}

    def prepare(self, measurement: Measurement, budget: Budget) -> dict[str, Any]:
        """Find electrons per second and science unit."""
        pixels_of_a_detector(measurement)
        k = electrons_per_unit(budget)
        if measurement.ramp:
            raise NotApplicableError("a ramp holds counts, and its rates are not known yet")
        seconds = find_facts(self.task.product, measurement).frame_s
        if seconds is None:
            raise NotApplicableError("the header tells no exposure time, so there are no rates")
        self._per_unit[id(measurement)] = rounded(k / seconds)
        return {"electrons_per_second_and_unit": rounded(k / seconds)}

    def on_chunk(self, block: Block) -> None:
        """Multiply by the factor of each pixel's rate."""
        per_unit = self._per_unit[id(block.measurement)] / self.task.number("base")
        rate = np.nan_to_num(block.sci.astype(np.float64), nan=1.0, posinf=1.0, neginf=1.0) * per_unit
        index = self.task.number("alpha") / _LN10
        factor = power(np.maximum(rate, 0.01), index)
        slope = np.where(rate > 0.01, factor * (1.0 + index), factor).astype(block.sci.dtype)
        scale(block, factor.astype(block.sci.dtype), self.task.err_honest, slope)


@register(
    EffectSpec(
        name="crosstalk",
        title="Crosstalk of amplifiers",
        code="C7",
        steady="it belongs to the detector",
        stage="ipc",
        model="S += coefficient x the sum of the pixels that the other amplifiers read at the same moment",
        planes=("SCI",),
        parameters=(
            Parameter(
                "coefficient",
                "share of another amplifier's signal",
                severities=(1e-5, 1e-4, 1e-3, 1e-2, 0.05),
                high=0.5,
                source="1e-5 to 1e-4, commonly quoted for HAWAII-2RG; higher levels are a proposal",
            ),
        ),
        source="simultaneous readout of the outputs of a detector (FASTAXIS, SLOWAXIS, NOUTPUTS)",
        test="regression of the change on the sum of the mirrored pixels",
    )
)
class Crosstalk(Effect):
    """Ghosts of bright pixels at the mirrored place in the other amplifiers' stripes."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self._order: dict[int, tuple[NDArray[np.int64], bool]] = {}

    def prepare(self, measurement: Measurement, budget: Budget) -> dict[str, Any]:
        """Find which pixels are read together: all lines are read alike."""
        require_image(measurement)
        readout = find_readout(self.task.product, measurement)
        if readout is None:
            raise NotApplicableError("its pixels are resampled and lie on no detector")
        if readout.outputs < 2:
            raise NotApplicableError("one amplifier reads all of its pixels")
        along_x = abs(readout.fast) == 1
        line = replace(readout, rows=1) if along_x else replace(readout, columns=1)
        amplifier, _, place = line.places(0, readout.outputs * readout.width)
        order = np.empty((readout.outputs, readout.width), np.int64)
        order[amplifier, place] = np.arange(amplifier.size)
        self._order[id(measurement)] = order, along_x
        return readout.record()

    def reach(self, measurement: Measurement) -> int:
        """Look at no neighbours, but where amplifiers read along columns at the rows of all of them."""
        return 0

    def on_frame(self, block: Block) -> None:
        """Add what the other amplifiers read."""
        (order, along_x), coefficient = self._order[id(block.measurement)], self.task.number("coefficient")
        columns = block.measurement.frame[1]
        for lines, others in _along_rows(block, order) if along_x else _along_columns(block, order):
            for pixels, light in zip(block.sci[-len(others) :], others, strict=True):
                pixels.reshape(-1, columns)[lines] += light * block.sci.dtype.type(coefficient)


def _light(block: Block) -> NDArray[Any]:
    """Return what has gathered in pixels, (groups, rows, columns); of a ramp since its first group."""
    light = block.sci[1:] - block.sci[0] if block.measurement.ramp else block.sci.copy()
    np.nan_to_num(light, copy=False, nan=0.0, posinf=0.0, neginf=0.0)
    if block.inert is not None:
        light[:, block.inert] = 0.0
    return light.reshape(len(light), -1, block.measurement.frame[1])


def _along_rows(block: Block, order: NDArray[np.int64]) -> list[tuple[Any, NDArray[Any]]]:
    """Return (columns of an amplifier, light that the others read with each) for each amplifier."""
    light = _light(block)
    together = reduce(add, [light[..., places] for places in order])
    return [(np.s_[:, places], together - light[..., places]) for places in order]


def _along_columns(block: Block, order: NDArray[np.int64]) -> list[tuple[Any, NDArray[Any]]]:
    """Return (rows of a block, light that the others read with each), of amplifiers whose lines are columns."""
    rows, columns = block.measurement.frame
    place = np.full(rows, -1)
    place[order] = np.arange(order.shape[1])
    first = block.start // columns
    here = np.arange(first, first + block.size // columns)
    here = here[place[here] >= 0]
    needed = np.unique(order[:, place[here]])
    if not needed.size:
        return []
    runs = np.split(needed, np.flatnonzero(np.diff(needed) != 1) + 1)
    light = np.concatenate([_light(block.rows(slice(int(run[0]), int(run[-1]) + 1))) for run in runs], axis=1)
    together = reduce(add, [light[:, np.searchsorted(needed, places[place[here]])] for places in order])
    return [(here - first, together - light[:, np.searchsorted(needed, here)])]
