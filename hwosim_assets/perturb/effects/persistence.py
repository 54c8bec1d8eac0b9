"""What a detector still gives of earlier light, and what it holds back of the present.

Holds: persistence (C2), which needs an earlier exposure of the same pixels, and the settling of MIRI (C3). Keep out
defects that do not depend on light; those are ``state``.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from hwosim_assets.fits.dq import DQ
from hwosim_assets.perturb.budget import infer_budget
from hwosim_assets.perturb.effect import Effect, NotApplicableError
from hwosim_assets.perturb.effects.axes import on_detector, share_note
from hwosim_assets.perturb.effects.kernels import keeping
from hwosim_assets.perturb.effects.references import scale
from hwosim_assets.perturb.effects.signals import add_light
from hwosim_assets.perturb.exact import exp, power
from hwosim_assets.perturb.parameters import Parameter, rounded
from hwosim_assets.perturb.registry import register
from hwosim_assets.perturb.spec import EffectSpec
from hwosim_assets.perturb.times import FrameTimes, exposure_span, file_start, frame_times, segment_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hwosim_assets.perturb.block import Block
    from hwosim_assets.perturb.budget import Budget
    from hwosim_assets.perturb.effect import Earlier, Task
    from hwosim_assets.perturb.measurements import Measurement
    from hwosim_assets.perturb.planes import Plane

    Floats = NDArray[np.float64]

__all__ = ["Persistence", "PersistenceDeficit", "fermi", "released"]

_DAY = 86400.0
#: GalSim's Fermi profile of the Roman detectors: x0, dx, half a well (electrons), alpha.
_X0, _DX, _HALF, _ALPHA = 6e4, 5e4, 5e4, 0.045
#: Trap families: time constants (s) and their shares (MOONS, H4RG).
_TRAPS = tuple(zip((1.0, 10.0, 100.0, 1e3, 1e4), (0.307, 0.175, 0.188, 0.136, 0.194), strict=True))


def fermi(charge: Floats) -> Floats:
    """Return (x/x0)^alpha / (1 + exp(-(x - x0)/dx)) of charges in electrons, linear from 0 up to half a well."""
    x = np.maximum(charge, _HALF)
    curve = power(x / _X0, _ALPHA) / (1.0 + exp(-(x - _X0) / _DX))
    return np.asarray(curve * (np.clip(charge, 0.0, _HALF) / _HALF))


def released(model: str, seconds: float, gamma: float) -> float:
    """Return what came out from 1 s after the light until then, per unit of rate (fermi) or of trapped charge."""
    seconds = max(seconds, 1.0)
    if model == "traps":
        return rounded(math.fsum(share * (math.exp(-1.0 / tau) - math.exp(-seconds / tau)) for tau, share in _TRAPS))
    if gamma == 1.0:
        return rounded(1000.0 * math.log(seconds))
    low, high = (math.pow(value / 1000.0, 1.0 - gamma) for value in (1.0, seconds))
    return rounded(1000.0 * (high - low) / (1.0 - gamma))


@register(
    EffectSpec(
        name="persistence",
        title="Persistence of earlier exposures",
        code="C2",
        steady="it has a course in time of its own",
        stage="particles",
        model="S += Poisson(Q) / k, Q the charge that comes out during the frame: rate A (x/x0)^alpha "
        "(t/1000 s)^-gamma / (1 + exp(-(x - x0)/dx)), linear below half a well, or sums of traps; "
        "x what the pixel held before; never more in all than x",
        planes=("SCI", "ERR", "VAR_POISSON", "DQ"),
        parameters=(
            Parameter(
                "factor",
                "persistence relative to the published (times A, or times the trapped share)",
                low=0.0,
                high=1000.0,
                severities=(0.3, 1.0, 3.0, 10.0, 30.0),
                source="severity table 2026.1; levels are a proposal",
            ),
            Parameter("law", "how charge comes out", default="fermi", choices=("fermi", "traps"), source="a proposal"),
            Parameter("rate", "A: rate at 1000 s", unit="e-/s", default=0.017, high=100.0, source="GalSim, Roman"),
            Parameter("gamma", "decay index", default=1.0, low=0.1, high=3.0, source="GalSim, Roman"),
            Parameter("trapped", "share of the charge that is trapped (traps)", default=0.003, source="a proposal"),
            Parameter(
                "well", "charge of a saturated pixel", unit="e-", default=1e5, low=1.0, high=1e7,
                source="NIRCam: 83 000 to 105 000 e- (pyNRC)",
            ),
        ),
        source="Fermi profile: GalSim and romanisim (Roman); trap shares: MOONS H4RG (pyxel)",
        test="fitted gamma of successive frames; released <= held; refused without an earlier exposure",
        err=True,
        dq=True,
    )
)  # fmt: skip
class Persistence(Effect):
    """An afterimage of what was exposed before, with its photon noise; flagged where it exceeds the noise."""

    remembers = True

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self._held: dict[Plane, list[tuple[Floats, Floats, float]]] = {}

    def prepare(self, measurement: Measurement, budget: Budget) -> dict[str, Any]:
        """Find what the pixels held before."""
        detector = on_detector(self.task.product, measurement)
        if budget.k is None:
            raise NotApplicableError("electrons per science unit are not known")
        times = self._times(measurement)
        held, notes = [], []
        for before in self.task.earlier:
            if before.end * _DAY > float(times.start[0]) * _DAY + 1e-3:
                continue
            charge = self._charge(before, measurement, detector)
            if charge is not None:
                held.append((charge, self._strength(charge), before.end))
                since = rounded((float(times.start[0]) - before.end) * _DAY)
                notes.append({"product": before.product.name, "seconds": since})
        if not held:
            raise NotApplicableError("no earlier exposure of these pixels of the detector is known")
        self._held[measurement.sci] = held
        return {"detector": detector, "from": notes, "times_from": times.method}

    def _times(self, measurement: Measurement) -> FrameTimes:
        times = frame_times(self.task.product, measurement)
        if times is None:
            raise NotApplicableError("the time of the exposure is not known")
        return times

    def _strength(self, charge: Floats) -> Floats:
        factor = self.task.number("factor")
        if self.task.word("law") == "traps":
            return charge * min(self.task.number("trapped") * factor, 1.0)
        return fermi(charge) * (self.task.number("rate") * factor)

    def _charge(self, before: Earlier, measurement: Measurement, detector: str) -> Floats | None:
        """Return what each pixel held at the end of an earlier exposure, electrons; ``None`` for other pixels."""
        product, corner = before.product, ("SUBSTRT1", "SUBSTRT2")
        if product.keyword("DETECTOR") != detector:
            return None
        if [product.number(name) for name in corner] != [self.task.product.number(name) for name in corner]:
            return None
        for item in product.measurements:
            if item.sci.column or item.resampled or item.frame != measurement.frame or item.key != measurement.key:
                continue
            k = infer_budget(product, item).k
            if k is None:
                return None
            raw = item.sci.raw(product.payload).reshape(item.frames, item.groups, item.pixels)[-1]
            signal = item.sci.decode(raw[-1]).astype(np.float64)
            if item.ramp:
                with np.errstate(invalid="ignore"):  # infinities differ by nothing
                    signal = signal - item.sci.decode(raw[0]).astype(np.float64)
            else:
                k /= segment_of(product, item).each
            charge = np.clip(np.nan_to_num(signal * k, nan=0.0, posinf=0.0), 0.0, self.task.number("well"))
            if item.dq is not None and not item.ramp:
                flags = item.dq.raw(product.payload).reshape(item.frames, item.pixels)[-1]
                charge[(item.dq.decode(flags) & int(DQ.SATURATED)) != 0] = self.task.number("well")
            return charge
        return None

    def on_chunk(self, block: Block) -> None:
        """Add what comes out during the frame."""
        times = self._times(block.measurement)
        law, gamma = str(self.task.word("law")), self.task.number("gamma")
        part = slice(block.start, block.start + block.size)
        electrons = np.zeros(block.size)
        for charge, strength, end in self._held[block.measurement.sci]:
            came = [
                np.minimum(strength[part] * released(law, (float(edge[block.frame]) - end) * _DAY, gamma), charge[part])
                for edge in (times.start, times.end)
            ]
            electrons += came[1] - came[0]
        amount = electrons / (float(block.budget.k or 1.0) * block.groups)
        index = np.flatnonzero(amount > 0)
        if not index.size:
            return
        noise = np.sqrt(block.true["poisson"][-1] + block.true["read"][-1])
        seen = amount * block.groups > noise
        add_light(block, self.task.stream(block.measurement.key), index, amount[index], self.task.err_honest)
        block.flag(self.use, block.groups - 1, seen, DQ.PERSISTENCE, self.task.dq_honest)


@register(
    EffectSpec(
        name="persistence_deficit",
        title="Signal deficit while a detector settles",
        code="C3",
        steady="it has a course in time of its own",
        stage="calibration",
        model="S -> S (1 - p exp(-t/tau)), t since the exposure began plus `since`, averaged over each frame",
        planes=("SCI", "ERR", "VAR_POISSON", "VAR_RNOISE", "VAR_FLAT", "DQ"),
        parameters=(
            Parameter(
                "depth",
                "share p of the signal that is missing at first",
                severities=(0.005, 0.0169, 0.03, 0.06, 0.15),
                high=0.9,
                source="1.69 % initially (arXiv:2512.15477); other levels are a proposal",
            ),
            Parameter(
                "tau",
                "e-folding time",
                unit="s",
                default=8067.4,
                low=1.0,
                high=1e9,
                source="a tenth is left after 5.16 h (arXiv:2512.15477): 5.16 h / ln 10",
            ),
            Parameter("since", "how long it had settled before the exposure", unit="s", default=0.0, high=1e9,
                      source="a proposal"),
        ),
        source="arXiv:2512.15477 (MIRI); a calibration factor: variances by its square",
        test="fitted p and tau of the ratio of successive integrations",
        err=True,
        dq=True,
    )
)  # fmt: skip
class PersistenceDeficit(Effect):
    """Light that goes into traps until they are full; spectra in tables follow as images do."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self._factors: dict[int, list[float]] = {}

    def prepare(self, measurement: Measurement, budget: Budget) -> dict[str, Any]:
        """Refuse what has no time of its own."""
        if measurement.resampled:
            raise NotApplicableError("it is combined from exposures of several times")
        if measurement.ramp and measurement.groups < 2:
            raise NotApplicableError("a ramp of one group has a bias that cannot be told from light")
        times, span = frame_times(self.task.product, measurement), exposure_span(self.task.product, measurement)
        if times is None:
            raise NotApplicableError("the time of the exposure is not known")
        # EXPSTART may lie after the start of the first integration; nothing settles before it began.
        began = float(times.start.min())
        for start in (file_start(self.task.product, measurement), None if span is None else span.begin):
            began = began if start is None else min(began, start)
        factors = [self._factor(times, began, frame) for frame in range(measurement.frames)]
        self._factors[id(measurement)] = factors
        note = share_note(self.task.product, measurement)
        if note:
            note = {"settles_from": "the start of the file", "for": note["for"]}
        return {"first_factor": factors[0], "last_factor": factors[-1], "times_from": times.method, **note}

    def _factor(self, times: FrameTimes, began: float, frame: int) -> float:
        """Return the mean factor during a frame."""
        tau, since = self.task.number("tau"), self.task.number("since")
        begin, end = ((float(edge[frame]) - began) * _DAY + since for edge in (times.start, times.end))
        if end > begin:
            mean = math.exp(-begin / tau) * -math.expm1(-(end - begin) / tau) * tau / (end - begin)
        else:
            mean = math.exp(-begin / tau)
        return rounded(1.0 - self.task.number("depth") * mean)

    def on_chunk(self, block: Block) -> None:
        """Multiply by the factor of the frame; in a ramp, what came since its first group."""
        factor = self._factors[id(block.measurement)][block.frame]
        if block.measurement.ramp:
            base = block.sci[0].copy()
            with keeping(block, base):
                block.sci -= base
                block.sci *= factor
                block.sci += base
        else:
            scale(block, factor, self.task.err_honest)
        block.flag(self.use, block.groups - 1, slice(None), DQ.PERSISTENCE, self.task.dq_honest)
