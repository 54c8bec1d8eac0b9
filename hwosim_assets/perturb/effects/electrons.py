"""Electrons that come one by one: photon noise without its light, dark current, the gain register of an EMCCD.

Holds: the effects A2, A9 and A10. Keep out what reading does to a pixel's value (``reading``), white and correlated
noise (``noise``), and light itself (``optics``, ``scene``).
"""

from __future__ import annotations

import itertools
from functools import lru_cache
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from hwosim_assets.fits.dq import DQ
from hwosim_assets.perturb.effect import Effect, NotApplicableError
from hwosim_assets.perturb.effects.axes import detector_stream, frame_bits, on_detector
from hwosim_assets.perturb.exact import exp, log
from hwosim_assets.perturb.facts import find_facts
from hwosim_assets.perturb.parameters import Parameter, rounded
from hwosim_assets.perturb.published import detector_of
from hwosim_assets.perturb.registry import register
from hwosim_assets.perturb.rng import EXACT_POISSON, normal, poisson
from hwosim_assets.perturb.spec import EffectSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hwosim_assets.perturb.block import Block
    from hwosim_assets.perturb.budget import Budget
    from hwosim_assets.perturb.effect import Task
    from hwosim_assets.perturb.measurements import Measurement
    from hwosim_assets.perturb.rng import Stream

    Floats = NDArray[np.float64]

__all__ = ["DarkCurrent", "EmccdNoise", "PhotonNoise", "multiplied"]

_ADDED = ("SCI", "ERR", "VAR_POISSON")
_PROPOSAL = "a proposal"
#: Equally likely classes of a lognormal pattern. Inside a class pixels share its mean rate, but for the uppermost:
#: there, in the tail, each has its own.
_CLASSES = 64
#: The upper twelve bits of a random word look up a count.
_CELLS = 4096
#: From this number of electrons on, what leaves a gain register is drawn from a normal deviate (Wilson and Hilferty).
_MANY = 16.0


def _electrons(budget: Budget) -> float:
    if budget.k is None:
        raise NotApplicableError("electrons per science unit are not known")
    return budget.k


@register(
    EffectSpec(
        name="photon_noise",
        title="Photon noise of light that was subtracted",
        code="A2",
        stage="optics",
        model="S += (Poisson(s k) - s k) / k with s = level times the product's own background; k = e-/SCI unit: stray "
        "light or a brighter sky whose mean a background subtraction took away and whose noise it left",
        planes=_ADDED,
        parameters=(
            Parameter(
                "level",
                "mean of the light relative to the product's own background",
                high=1000.0,
                severities=(0.1, 0.5, 1.0, 4.0, 19.0),
                source="background x of severity table 2026.1, less the background itself",
            ),
        ),
        source="VAR_POISSON = (S + dark) / (t gain) in the JWST ramp fit (stcal)",
        test="mean 0 and var/mean 1 +- 4 sqrt(2/N); chi^2 of counts against the pmf at 4, 10, 20 and 100 e-",
        err=True,
    )
)
class PhotonNoise(Effect):
    """The noise of photons that are no longer in the signal."""

    per_frame = True

    def prepare(self, measurement: Measurement, budget: Budget) -> dict[str, Any]:
        """Find the electrons per pixel."""
        return {"electrons": self._mean(budget, self.task.number("level")), "level_from": budget.background_method}

    def _mean(self, budget: Budget, level: float) -> float:
        """Return the mean electrons; of a ramp, in one group."""
        k = _electrons(budget)
        if budget.background is None:
            raise NotApplicableError("its background is not positive, so there is no level to take a multiple of")
        return rounded(level * budget.background * k)

    def on_chunk(self, block: Block) -> None:
        """Add Poisson electrons less their mean; in a ramp, group after group on top of each other."""
        mean = self._mean(block.budget, self.task.number("level", block))
        if mean == 0:
            return
        stream = self.task.stream(block.measurement.key)
        per_electron = 1.0 / float(block.budget.k or 1.0)
        first = 1 if block.measurement.ramp else 0
        for group in range(first, block.groups):
            counts = stream.poisson(mean, block.plane(group), block.start, block.size)
            change = counts.astype(block.sci.dtype, copy=False)
            change -= mean
            change *= per_electron
            block.sci[group:] += change
        if not block.measurement.ramp:
            block.add_variance("poisson", mean * per_electron * per_electron, self.task.err_honest)


class _Pattern(NamedTuple):
    """A lognormal pattern of mean 1 in classes, and the Poisson counts of each class.

    Attributes
    ----------
    rates : float64 array, (classes,)
        Mean of the pattern in each class.
    counts : int8 array, (classes x 2^12,)
        Count for a class and the upper bits of a word, -1 where those do not decide it.
    """

    rates: Floats
    counts: NDArray[np.int8]


@lru_cache(maxsize=32)
def _pattern(spread: float, mean: float) -> _Pattern:
    """Return the tables for a standard deviation of ln(rate) and a mean number of electrons."""
    law = NormalDist()
    edges = [law.inv_cdf(place / _CLASSES) for place in range(1, _CLASSES)]
    below = [0.0, *(law.cdf(edge - spread) for edge in edges), 1.0]
    rates = np.array([rounded(_CLASSES * (high - low)) for low, high in itertools.pairwise(below)])
    means = np.minimum(rates * mean, EXACT_POISSON)
    chance = exp(-means)
    total, steps = chance.copy(), []
    for count in range(1, 100):
        steps.append(np.minimum(np.floor(total * _CELLS), _CELLS - 1).astype(np.intp))
        chance = chance * (means / count)
        total = total + chance
    # A cell that holds steps of the distribution decides nothing; elsewhere the count is that of the steps before.
    places = np.arange(_CLASSES) * _CELLS + np.array(steps)
    held = np.bincount(places.ravel(), minlength=_CLASSES * _CELLS).reshape(_CLASSES, _CELLS)
    counts = np.where(held > 0, -1, held.cumsum(axis=1)).astype(np.int8)
    counts[(rates * mean > EXACT_POISSON) | (np.arange(_CLASSES) == _CLASSES - 1)] = -1
    return _Pattern(rates, counts.ravel())


@register(
    EffectSpec(
        name="dark_current",
        title="Rise of the dark current",
        code="A9",
        stage="particles",
        model="S += Poisson(d t) / k, d = (factor - 1) x the detector's usual dark current x "
        "exp(spread z - spread^2/2), z ~ N(0, 1) fixed for each pixel of a detector (in 64 steps below the upper "
        "64th, which is the tail)",
        planes=(*_ADDED, "DQ"),
        parameters=(
            Parameter(
                "factor",
                "mean dark current relative to the usual one",
                low=1.0,
                high=1e5,
                severities=(1.5, 2.0, 5.0, 20.0, 100.0),
                identity=1.0,
                source="x 1 to 20 in the models of pyNRC and pyxel; levels are a proposal",
            ),
            Parameter("rate", "usual dark current; 0 takes the published one of the detector", unit="e-/s", default=0.0,
                      high=1e4, source="pyNRC, JexoSim and JDox: 0.002 (NIRCam short) to 0.2 e-/s (MIRI)"),
            Parameter("spread", "standard deviation of ln(rate) between pixels", default=0.4, high=2.0,
                      source="pyxel's test detectors: spatial noise factor 0.4"),
            Parameter("warm", "dark current of a WARM pixel, usual ones", default=10.0, low=1.0, high=1e6,
                      source=_PROPOSAL),
            Parameter("hot", "dark current of a HOT pixel, usual ones", default=100.0, low=1.0, high=1e6,
                      source=_PROPOSAL),
        ),
        source="mean signal with its Poisson noise; lognormal patterns as in pyxel's dark current",
        test="mean rate per second; var/mean of the electrons; shares of pixels in the tail; fixed for a detector",
        err=True,
        dq=True,
    )
)  # fmt: skip
class DarkCurrent(Effect):
    """A warmer detector: more electrons without light, unevenly."""

    per_frame = True

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self._mean: dict[int, float] = {}
        self._detector = ""

    def prepare(self, measurement: Measurement, budget: Budget) -> dict[str, Any]:
        """Find the electrons of a mean pixel in a frame, or in a group of a ramp."""
        product = self.task.product
        detector = on_detector(product, measurement)
        _electrons(budget)
        facts = find_facts(product, measurement)
        seconds = facts.group_s if measurement.ramp else facts.frame_s
        if seconds is None:
            raise NotApplicableError("the header tells no exposure time, which a dark current needs")
        rate, method = self._usual()
        self._mean[id(measurement)] = seconds * rate
        self._detector = detector
        return {"detector": detector, "usual_rate": rate, "rate_from": method, "seconds": seconds}

    def _usual(self) -> tuple[float, str]:
        """Return the usual dark current, e-/s, and where it is from."""
        rate = self.task.number("rate")
        if rate > 0:
            return rate, "scenario"
        words = (str(self.task.product.keyword(name) or "") for name in ("INSTRUME", "CHANNEL", "DETECTOR"))
        known = detector_of(*words)
        if known is None:
            raise NotApplicableError("no dark current is published for its detector; give `rate`")
        return known.dark, "published"

    def on_chunk(self, block: Block) -> None:
        """Add the electrons of each pixel."""
        factor = self.task.number("factor", block)
        mean = rounded((factor - 1.0) * self._mean[id(block.measurement)])
        if mean <= 0:
            return
        fixed = frame_bits(
            detector_stream(self.task, self._detector, "pixels"),
            self.task.product,
            block.measurement,
            block.start,
            block.size,
        )
        pattern = _pattern(self.task.number("spread"), mean)
        kind = (fixed >> np.uint32(26)).astype(np.intp)
        tail = np.flatnonzero(kind == _CLASSES - 1)
        rates = self._tail(fixed[tail])
        stream, per_electron = self.task.stream(block.measurement.key), 1.0 / float(block.budget.k or 1.0)
        first = 1 if block.measurement.ramp else 0
        for group in range(first, block.groups):
            words = stream.bits(block.plane(group), block.start, block.size)
            counts = _counts(words, kind, rates, mean, pattern).astype(block.sci.dtype, copy=False)
            counts *= per_electron
            block.sci[group:] += counts
        if not block.measurement.ramp:
            per_class = pattern.rates * (mean * per_electron * per_electron)
            amount = per_class.astype(block.sci.dtype).take(kind)
            amount[tail] = rates * (mean * per_electron * per_electron)
            block.add_variance("poisson", amount, self.task.err_honest)
        self._flag(block, pattern.rates[:-1], kind, tail, rates, factor)

    def _tail(self, fixed: NDArray[np.uint32]) -> Floats:
        """Return the rates of pixels of the tail, relative to the mean, from their fixed words."""
        spread = self.task.number("spread")
        return exp(spread * normal(fixed).astype(np.float64) - 0.5 * spread * spread)

    def _flag(
        self, block: Block, known: Floats, kind: NDArray[np.intp], tail: Any, rates: Floats, factor: float
    ) -> None:
        """Flag what is many times the usual dark current."""
        least = min(self.task.number("warm"), self.task.number("hot"))
        if 1.0 + (factor - 1.0) * float(known[-1]) < least:
            places, total = tail, 1.0 + (factor - 1.0) * rates
        else:
            places = np.arange(block.size)
            total = 1.0 + (factor - 1.0) * np.append(known, 0.0).take(kind)
            total[tail] = 1.0 + (factor - 1.0) * rates
        hot = total >= self.task.number("hot")
        warm = (total >= self.task.number("warm")) & ~hot
        for group in range(block.groups):
            block.flag(self.use, group, places[hot], DQ.HOT, self.task.dq_honest)
            block.flag(self.use, group, places[warm], DQ.WARM, self.task.dq_honest)


def _counts(
    words: NDArray[np.uint32], kind: NDArray[np.intp], tail: Floats, mean: float, pattern: _Pattern
) -> NDArray[np.float32]:
    """Return Poisson counts: where the class and the upper bits of a word do not tell, from the whole word."""
    counts = pattern.counts.take(kind * _CELLS + (words >> np.uint32(20))).astype(np.float32)
    near = np.flatnonzero(counts < 0)
    of = kind[near]
    means = pattern.rates[of] * mean
    means[of == _CLASSES - 1] = tail * mean
    counts[near] = poisson(words[near], means)
    return counts


def multiplied(stream: Stream, plane: int, start: int, electrons: Floats) -> Floats:
    """Return what leaves a gain register of high gain, over its gain: gamma deviates of that shape.

    Up to 16 electrons it is the sum of as many exponential deviates, exactly; above, n (1 - 1/9n + z/3 sqrt(n))^3
    (Wilson and Hilferty 1931), whose distribution is right to 5e-4.

    Parameters
    ----------
    stream : Stream
        Random bits; its sub-streams 2 to 18 are used.
    plane, start : int
        Address of the first pixel.
    electrons : float64 array, (pixels,)
        Not negative; whole where less than 16.
    """
    out = np.zeros(electrons.shape)
    many = np.flatnonzero(electrons >= _MANY)
    if many.size:
        n = electrons[many]
        z = stream.normal(plane, start, electrons.size, 2)[many].astype(np.float64)
        root = 1.0 - 1.0 / (9.0 * n) + z / (3.0 * np.sqrt(n))
        out[many] = n * root * root * root
    few = np.flatnonzero((electrons > 0) & (electrons < _MANY))
    product, left = np.ones(few.size), np.arange(few.size)
    for count in range(int(_MANY)):
        left = left[electrons[few[left]] > count]
        if not left.size:
            break
        product[left] *= stream.uniform(plane, start, electrons.size, 3 + count)[few[left]]
    out[few] = -log(product)
    return out


@register(
    EffectSpec(
        name="emccd_noise",
        title="EMCCD: clock-induced charge and the noise of the gain register",
        code="A10",
        stage="noise",
        model="S += (c + sqrt(excess) (Gamma(n) - n)) / k, c ~ Poisson(cic x readouts), n = c + the electrons of the "
        "signal, which are those that VAR_POISSON tells of; k = e-/SCI unit",
        planes=_ADDED,
        parameters=(
            Parameter(
                "cic",
                "clock-induced charge of one readout, electrons per pixel",
                severities=(0.0088, 0.01, 0.03, 0.1, 0.3),
                high=10.0,
                source="0.0088 to 0.01 for Roman's coronagraph (corgisim); higher levels are a proposal",
            ),
            Parameter(
                "excess",
                "variance that the gain register adds, relative to photon noise: 0 where photons are counted, 1 in "
                "analogue readout at high gain",
                severities=(0.05, 0.3, 0.8, 0.9, 1.0),
                source="excess noise factor sqrt(2) (emccd_detect); lower levels are a proposal",
            ),
            Parameter("readout", "exposure of one readout", unit="s", default=60.0, low=1e-3, high=1e5,
                      source="a proposal"),
        ),
        source="emccd_detect and corgisim: Poisson clock-induced charge, gamma statistics of the gain register",
        test="chi^2 of dark pixels against the compound distribution; variance of bright ones is (1 + excess) times "
        "that of photons",
        err=True,
    )
)  # fmt: skip
class EmccdNoise(Effect):
    """The frame as the sum of short readouts of an EMCCD."""

    per_frame = True

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self._readouts: dict[int, float] = {}

    def prepare(self, measurement: Measurement, budget: Budget) -> dict[str, Any]:
        """Find the clock-induced charge of a frame."""
        if measurement.sci.column or len(measurement.frame) < 2:
            raise NotApplicableError("a spectrum in a table has no detector pixels")
        if measurement.resampled:
            raise NotApplicableError("its pixels are resampled and lie on no detector")
        if measurement.ramp:
            raise NotApplicableError("an EMCCD is read once and not up a ramp")
        _electrons(budget)
        seconds = find_facts(self.task.product, measurement).frame_s
        if seconds is None:
            raise NotApplicableError("the header tells no exposure time, so the number of readouts is not known")
        readouts = rounded(max(seconds / self.task.number("readout"), 1.0))
        self._readouts[id(measurement)] = readouts
        return {"readouts": readouts, "cic_electrons": rounded(self.task.number("cic") * readouts)}

    def on_chunk(self, block: Block) -> None:
        """Add clock-induced charge, then the noise of multiplication."""
        k = float(block.budget.k or 1.0)
        mean = rounded(self.task.number("cic", block) * self._readouts[id(block.measurement)])
        excess = self.task.number("excess", block)
        stream, plane = self.task.stream(block.measurement.key), block.plane(0)
        light = block.true["poisson"][0].astype(np.float64) * (k * k)
        whole = light
        few = np.flatnonzero(light < 4.0 * _MANY)
        if few.size:
            whole = light.copy()
            whole[few] = np.floor(light[few] + stream.uniform(plane, block.start, block.size, 1)[few])
        charge = stream.poisson(mean, plane, block.start, block.size).astype(np.float64)
        total = whole + charge
        change = multiplied(stream, plane, block.start, total) - total
        change *= excess**0.5
        change += charge
        block.sci[0] += (change / k).astype(block.sci.dtype)
        added = block.true["poisson"] * excess + (mean * (1.0 + excess) / (k * k))
        block.add_variance("poisson", added, self.task.err_honest)
