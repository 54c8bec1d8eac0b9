"""Particles: cosmic rays and the storms of the Sun.

Holds: :func:`layers` of random events that are nested in their rate, :func:`hits`, the hits of a frame at a flux,
what charge that comes at once does to a ramp (:func:`settle`), and the effects B1 and B4. Keep out hot pixels
(``pixels``), large hits (``snowballs``) and what particles do to bits and packets (``bit_flips``, ``telemetry``).
"""

from __future__ import annotations

import math
from collections import OrderedDict
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from hwosim_assets.fits.dq import DQ
from hwosim_assets.perturb import compiled
from hwosim_assets.perturb.effect import Effect, NotApplicableError
from hwosim_assets.perturb.effects.axes import days_since, exposure_days, exposure_shares, on_detector, share_note
from hwosim_assets.perturb.effects.moments import Instant, Lasting
from hwosim_assets.perturb.effects.state import integrations
from hwosim_assets.perturb.exact import exp, log, power
from hwosim_assets.perturb.facts import find_facts
from hwosim_assets.perturb.parameters import Parameter, rounded
from hwosim_assets.perturb.registry import register
from hwosim_assets.perturb.rng import poisson
from hwosim_assets.perturb.spec import EffectSpec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from hwosim_assets.perturb.block import Block
    from hwosim_assets.perturb.budget import Budget
    from hwosim_assets.perturb.effect import Task
    from hwosim_assets.perturb.measurements import Measurement
    from hwosim_assets.perturb.rng import Stream

    Floats = NDArray[np.float64]

__all__ = ["CosmicRays", "Hits", "SolarParticleEvent", "deposits", "hits", "layers", "power_law", "settle", "step"]

#: Track lengths in the detector (um) and the index of their power law (Robberto's library, as Mirage and pyNRC use it).
SHORTEST, LONGEST, INDEX = 10.0, 2000.0, -4.33
#: Energy loss per um: Moyal distribution (eV/um); no track loses less than this.
LOSS, SPREAD, LEAST = 120.0, 50.0, 10.0
#: Energy for one electron (eV): 6 keV and 5200 electrons for a hit in flight (Rauscher and Fixsen, arXiv:2602.02134).
EV_PER_ELECTRON = 1.15
#: A frame with more hits than this is no exposure any more, and would take all memory.
MOST = 5_000_000
#: Frames whose hits are kept for the bands that are still to come: groups of a ramp go round in each band.
_KEPT = 64
_FLUX = "1.778 SUNMAX, 4.898 SUNMIN and 3046.8 FLARES of Robberto's library, 8 of the JWST ETC"


class Hits(NamedTuple):
    """Hits of a frame.

    Attributes
    ----------
    y, x : float64 array
        Where tracks begin, pixels.
    dy, dx : float64 array
        Where they go: a unit vector, isotropic in the plane of the detector.
    length : float64 array
        Of the track in that plane, um.
    electrons : float64 array
        Freed along it.
    u : float64 array
        When, as a share of the ramp.
    mark : float64 array
        Between 0 and 1, for what only a share of the hits suffers.
    """

    y: Floats
    x: Floats
    dy: Floats
    dx: Floats
    length: Floats
    electrons: Floats
    u: Floats
    mark: Floats


class Charge(NamedTuple):
    """Pixels along tracks, flat and ascending, and the electrons there."""

    pixels: NDArray[np.int64]
    electrons: Floats


class Slopes(NamedTuple):
    """What charge that came at once does to the slopes of a frame.

    Attributes
    ----------
    struck : int64 array
        Flat pixels, each once and ascending.
    added : floating array
        What stays in their slopes, science units.
    cut : int64 array
        Those of them whose ramps are cut.
    factor : float64 array
        By what the read variance of these grows.
    deviates : float32 array
        Of the noise that makes it grow.
    """

    struck: NDArray[np.int64]
    added: NDArray[Any]
    cut: NDArray[np.int64]
    factor: Floats
    deviates: NDArray[np.float32]


def hits(stream: Stream, plane: int, flux: float, exposure: float, shape: tuple[int, int]) -> Hits:
    """Return the hits of a frame; those of a smaller flux are among those of a larger one.

    Fluxes are cut into layers that double, each with hits of its own; of the topmost a hit appears when its
    mark lies below the part of the layer that is reached.

    Parameters
    ----------
    stream : Stream
        Of the product.
    plane : int
        Address of the frame.
    flux : float
        Hits per cm2 and second.
    exposure : float
        Area times time, cm2 s.
    shape : (int, int)
        Rows and columns.
    """
    found = [_layer(stream, plane, *layer, shape) for layer in layers(stream, plane, flux, exposure)]
    return Hits(*(np.concatenate([np.empty(0), *column]) for column in zip(*found, strict=True))) if found else _none()


def _none() -> Hits:
    return Hits(*(np.empty(0) for _ in Hits._fields))


def layers(stream: Stream, plane: int, amount: float, exposure: float) -> Iterator[tuple[int, int, NDArray[np.intp]]]:
    """Yield layers of random events: those of a smaller amount are among those of a larger one.

    Amounts are cut into layers that double, from 0 to 1, 1 to 2, 2 to 4 and on, each with events of its own; of the
    topmost an event appears when its mark lies below the part of the layer that is reached.

    Parameters
    ----------
    stream : Stream
        Of the events.
    plane : int
        Address of the frame.
    amount : float
        Events per unit of exposure.
    exposure : float
        How much of it there is.

    Yields
    ------
    sub : int
        Of this layer's words; the 29 from ``sub + 2`` on are free for properties of the events.
    count : int
        Events that the layer holds.
    kept : int array
        Those that appear.
    """
    low, high, number = 0.0, 1.0, 0
    while low < amount:
        share = min(1.0, (amount - low) / (high - low))
        sub = 32 * (number + 1)
        count = int(poisson(stream.bits(plane, 0, 1, sub), rounded((high - low) * exposure))[0])
        marks = stream.uniform(plane, 0, count, sub + 1) if share < 1.0 else np.zeros(count)
        yield sub, count, np.flatnonzero(marks < share)
        low, high, number = high, 2 * high, number + 1


def power_law(uniform: Floats, low: float, high: float, index: float) -> Floats:
    """Return numbers between two bounds whose density is a power, from uniform ones."""
    exponent = index + 1.0
    first, last = low**exponent, high**exponent
    return power(first + uniform * (last - first), rounded(1.0 / exponent))


def _layer(stream: Stream, plane: int, sub: int, count: int, kept: NDArray[np.intp], shape: tuple[int, int]) -> Hits:
    """Return the hits of one layer of flux."""

    def uniform(which: int) -> Floats:
        return stream.uniform(plane, 0, count, sub + which)[kept]

    y, x, u, mark = (uniform(which) for which in (2, 3, 4, 5))
    away = [stream.normal(plane, 0, count, sub + which)[kept].astype(np.float64) for which in (6, 7, 8)]
    norm = np.sqrt(away[0] * away[0] + away[1] * away[1])
    norm[norm == 0] = 1.0
    length = power_law(uniform(9), SHORTEST, LONGEST, INDEX)
    # If z is normal, -ln z^2 has the Moyal distribution.
    moyal = -log(np.maximum(away[2] * away[2], 1e-12))
    electrons = np.maximum(LOSS + SPREAD * moyal, LEAST) * length / EV_PER_ELECTRON
    return Hits(y * shape[0], x * shape[1], away[0] / norm, away[1] / norm, length, electrons, u, mark)


def deposits(
    found: Hits, shape: tuple[int, int], pitch_um: float
) -> tuple[NDArray[np.int64], Floats, NDArray[np.int64]]:
    """Return (flat pixels, electrons, which hit) along the tracks, in steps of half a pixel at the most."""
    if compiled.on():
        from hwosim_assets.perturb.compiled import scattered

        charge: tuple[NDArray[np.int64], Floats, NDArray[np.int64]] = scattered.tracks(found, shape, pitch_um)
        return charge
    steps = np.ceil(found.length / pitch_um * 2.0).astype(np.int64) + 1
    which = np.repeat(np.arange(steps.size), steps)
    place = np.arange(which.size) - np.repeat(np.cumsum(steps) - steps, steps)
    along = (place + 0.5) / steps[which] * found.length[which] / pitch_um
    y = np.floor(found.y[which] + along * found.dy[which]).astype(np.int64)
    x = np.floor(found.x[which] + along * found.dx[which]).astype(np.int64)
    inside = (y >= 0) & (y < shape[0]) & (x >= 0) & (x < shape[1])
    electrons = (found.electrons / steps)[which]
    return (y * shape[1] + x)[inside], electrons[inside], which[inside]


def _ascending(pixels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the stable order of pixels: each in one number with its place, they are sorted in a tenth of the time."""
    keys = (pixels << 32) | np.arange(pixels.size)
    keys.sort()
    return keys & 0xFFFFFFFF


def step(effect: Effect, block: Block, group: int, pixels: NDArray[np.int64], electrons: Floats) -> None:
    """Raise pixels of a ramp from a group on; nothing in a ramp tells that it is not light."""
    struck, which = np.unique(pixels, return_inverse=True)
    added = np.bincount(which, electrons, struck.size) / float(block.budget.k or 1.0)
    block.sci[group:, struck] += added.astype(block.sci.dtype)
    block.flag(effect.use, group, struck, int(DQ.JUMP_DET), effect.task.dq_honest)


def settle(
    effect: Effect,
    block: Block,
    pixels: NDArray[np.int64],
    electrons: Floats,
    u: Floats,
    missed: NDArray[np.bool_],
) -> None:
    """Let charge that came at once be cut out of ramps where it is found, and stay in the slope where it is not.

    Parameters
    ----------
    effect : Effect
        Who does it.
    block : Block
        Of slopes.
    pixels, electrons : int64 array, float64 array
        Where in the block, ascending, and how much.
    u : float64 array
        When, as a share of the ramp.
    missed : bool array
        What jump detection does not find.
    """
    change(effect, block, slopes(effect, block, Charge(pixels + block.start, electrons), u, missed))


def slopes(effect: Effect, block: Block, charge: Charge, u: Floats, missed: NDArray[np.bool_]) -> Slopes:
    """Return what charge does to slopes: of a frame, of which ``block`` is any part; see :func:`settle`."""
    struck, added, worst = _gathered(*charge, u, missed, float(block.budget.k or 1.0))
    is_cut = worst < 1.0
    cut = struck[is_cut]
    # A hit falls into one of the integrations that a slope is the mean of; by its read noise, n - 1 of n stay whole.
    several = integrations(effect.task.product, block.measurement)
    factor = several / (several - 1.0 + worst[is_cut])
    deviates = effect.task.stream(block.measurement.key).normal_at(block.plane(0), cut, 1)
    return Slopes(struck, added.astype(block.sci.dtype), cut, factor, deviates)


def change(effect: Effect, block: Block, found: Slopes) -> None:
    """Change the slopes of a block as was found for its frame."""
    light, honest, here = block.sci[0], effect.task.err_honest, block.here(found.struck)
    struck, added = found.struck[here] - block.start, found.added[here]
    here = block.here(found.cut)
    cut, factor, deviates = found.cut[here] - block.start, found.factor[here], found.deviates[here]
    accounts = block.accounts("read", honest) if compiled.on() else ()
    if accounts:
        from hwosim_assets.perturb.compiled import scattered

        scattered.settle(light, (struck, added), (cut, factor, deviates), accounts)
    else:
        light[struck] += added
        noise = np.sqrt(block.true["read"][0][cut].astype(np.float64) * (factor - 1.0)) * deviates
        light[cut] += noise.astype(light.dtype)
        block.scale_variance("read", factor.astype(light.dtype), honest, cut)
    block.flag(effect.use, 0, cut, int(DQ.JUMP_DET), effect.task.dq_honest)


def _gathered(
    pixels: NDArray[np.int64], electrons: Floats, u: Floats, missed: NDArray[np.bool_], k: float
) -> tuple[NDArray[np.int64], Floats, Floats]:
    """Return (pixels, each once; what stays in their slopes; what is left of their ramps' variance)."""
    if compiled.on():
        from hwosim_assets.perturb.compiled import scattered

        found: tuple[NDArray[np.int64], Floats, Floats] = scattered.gathered(pixels, electrons, u, missed, k)
        return found
    struck, which = np.unique(pixels, return_inverse=True)
    response = 6.0 * u * (1.0 - u) * electrons / k
    added: Floats = np.bincount(which[missed], response[missed], struck.size).astype(np.float64, copy=False)
    # A pixel hit twice keeps the worst cut; ramps are cut in three and more so rarely that it does not matter.
    cut = u * u * u + (1.0 - u) * (1.0 - u) * (1.0 - u)
    worst = np.ones(struck.size)
    np.minimum.at(worst, which[~missed], cut[~missed])
    return struck, added, worst


class _Particles(Effect):
    """Hits in the frames of a detector; who comes after says the flux of each frame."""

    per_frame = True

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self._exposure: dict[int, tuple[float, float]] = {}
        self._strongest = 0.0
        self._struck: OrderedDict[tuple[int, int], tuple[Hits, Charge | Slopes]] = OrderedDict()
        self._lock = Lock()

    def prepare(self, measurement: Measurement, budget: Budget) -> dict[str, Any]:
        """Find area, time and electrons per unit."""
        detector = on_detector(self.task.product, measurement)
        if budget.k is None:
            raise NotApplicableError("electrons per science unit are not known")
        facts = find_facts(self.task.product, measurement)
        seconds = facts.group_s if measurement.ramp else facts.frame_s
        if facts.pixel_cm2 is None or seconds is None:
            raise NotApplicableError("the detector's pixels or the exposure time are not known")
        exposure = facts.pixel_cm2 * measurement.pixels * seconds
        peak = max(self._flux(measurement, frame) for frame in range(measurement.frames))
        if peak * exposure > MOST:
            reason = f"{peak * exposure:.3g} hits in a frame are more than the {MOST:.0e} that are drawn"
            raise NotApplicableError(reason)
        self._strongest = max(self._strongest, peak)
        self._exposure[id(measurement)] = exposure, math.sqrt(facts.pixel_cm2) * 1e4
        return {"detector": detector, "cm2_s": rounded(exposure), "peak_flux": rounded(peak)}

    def _flux(self, measurement: Measurement, frame: int) -> float:
        """Return hits per cm2 and second in a frame."""
        raise NotImplementedError

    def reach(self, measurement: Measurement) -> int:
        """Look at no neighbours: where tracks go is known from their beginning."""
        return 0

    def on_frame(self, block: Block) -> None:
        """Let particles hit the frame, each group of a ramp by itself."""
        for group in range(1 if block.measurement.ramp else 0, block.groups):
            found, struck = self._strike(block, group)
            if isinstance(struck, Slopes):
                change(self, block, struck)
            else:
                here = block.here(struck.pixels)
                step(self, block, group, struck.pixels[here] - block.start, struck.electrons[here])
            if block.start == 0:
                columns = {name: getattr(found, name) for name in ("y", "x", "electrons", "u")}
                block.record(self.use, group=np.full(found.y.size, group), **columns)

    def _strike(self, block: Block, group: int) -> tuple[Hits, Charge | Slopes]:
        """Return the hits of a frame and their charge, or what it does to slopes: found once for all bands of it."""
        key = id(block.measurement), block.plane(group)
        with self._lock:
            if key not in self._struck:
                while len(self._struck) >= _KEPT:
                    self._struck.popitem(last=False)
                rows, columns = block.measurement.frame
                exposure, pitch = self._exposure[id(block.measurement)]
                stream, flux = self.task.stream(block.measurement.key), self._flux(block.measurement, block.frame)
                found = hits(stream, key[1], flux, exposure, (rows, columns))
                pixels, electrons, which = deposits(found, (rows, columns), pitch)
                order = _ascending(pixels)
                charge, which = Charge(pixels[order], electrons[order]), which[order]
                if block.measurement.ramp:
                    self._struck[key] = found, charge
                else:
                    missed = (found.mark < self.task.number("residual", block))[which]
                    self._struck[key] = found, slopes(self, block, charge, found.u[which], missed)
            return self._struck[key]


_RESIDUAL = Parameter(
    "residual",
    "share of the hits that jump detection misses and that stay in the slope",
    severities=(0.01, 0.03, 0.1, 0.3, 1.0),
    source="severity table 2026.1",
)
_PLANES = ("SCI", "ERR", "VAR_RNOISE", "DQ")
_MODEL = (
    "tracks in random directions, lengths from 10 to 2000 um with index -4.33, energy loss Moyal(120, 50 eV/um); "
    "of a hit at the share u of the ramp 6u(1-u) Q/k stays in the slope where it is missed, and where it is found the "
    "ramp of its integration, one of n, is cut: VAR_RNOISE n / (n - 1 + u^3 + (1-u)^3) and JUMP_DET"
)


@register(
    EffectSpec(
        name="cosmic_rays",
        title="Cosmic rays",
        code="B1",
        stage="particles",
        model=_MODEL,
        planes=_PLANES,
        parameters=(
            Parameter(
                "flux",
                "hits per cm2 and second",
                unit="/cm2/s",
                high=10000.0,
                severities=(1.778, 4.898, 8.0, 100.0, 3046.8),
                source=_FLUX,
            ),
            _RESIDUAL,
        ),
        source="Mirage, pyNRC, romanisim; step response of an unweighted ramp fit (stcal)",
        test="hits per cm2 and second, dispersion of counts, uniform places, isotropy, index of lengths, nested sets",
        err=True,
        dq=True,
    )
)
class CosmicRays(_Particles):
    """Galactic cosmic rays: the same flux in every frame unless a profile says otherwise."""

    def _flux(self, measurement: Measurement, frame: int) -> float:
        return float(self.task.numbers("flux", measurement)[frame])


@register(
    EffectSpec(
        name="solar_particle_event",
        title="Solar particle event",
        code="B4",
        stage="particles",
        model=_MODEL + "; the flux is F (s/tau) exp(1 - s/tau), s and tau as shares of the exposure since the onset",
        planes=(*_PLANES, "header"),
        parameters=(
            Parameter(
                "peak",
                "flux at the peak, hits per cm2 and second",
                unit="/cm2/s",
                high=10000.0,
                severities=(10.0, 30.0, 100.0, 500.0, 3046.8),
                source=_FLUX + "; levels are a proposal",
            ),
            Parameter(
                "onset", "begin as a share of the exposure", default=0.2, low=-10.0, high=10.0, source="a proposal"
            ),
            Parameter("tau", "time to the peak as a share of the exposure", default=0.2, low=1e-3, source="a proposal"),
            Instant(
                "onset_mjd",
                "begin (MJD or ISO, UTC), in place of `onset`; 0: `onset` counts",
                unit="d",
                default=0.0,
                high=1e6,
                source="a proposal",
            ),
            Lasting(
                "rise",
                "time to the peak in place of `tau`; 0: `tau` counts",
                unit="h",
                default=0.0,
                high=1e6,
                source="a proposal",
            ),
            _RESIDUAL,
        ),
        source="light curves of solar particle events; Robberto's library for the flux of flares",
        test="light curve of the hit rate; ENG_QUAL",
        err=True,
        dq=True,
        apart=((("onset_mjd",), ("onset",)), (("rise",), ("tau",))),
    )
)
class SolarParticleEvent(_Particles):
    """A storm that rises and decays; an honest header calls the engineering data suspect."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self._fluxes: dict[int, list[float]] = {}

    def prepare(self, measurement: Measurement, budget: Budget) -> dict[str, Any]:
        """Find the flux of each frame as well."""
        since = np.maximum(self._since(measurement), 0.0)
        fluxes = np.array(self.task.numbers("peak", measurement)) * since * exp(1.0 - since)
        self._fluxes[id(measurement)] = [rounded(flux) for flux in fluxes.tolist()]
        return super().prepare(measurement, budget) | share_note(self.task.product, measurement)

    def _since(self, measurement: Measurement) -> Floats:
        """Return how long after the onset each frame was exposed, in times to the peak."""
        onset_mjd, rise = self.task.number("onset_mjd"), self.task.number("rise") / 24.0
        if not onset_mjd and not rise:
            shares = exposure_shares(self.task.product, measurement)
            return (shares - self.task.number("onset")) / self.task.number("tau")
        product = self.task.product
        since = days_since(product, measurement, onset_mjd, self.task.number("onset"))
        return since / (rise or self.task.number("tau") * exposure_days(product, measurement))

    def _flux(self, measurement: Measurement, frame: int) -> float:
        return self._fluxes[id(measurement)][frame]

    def on_file(self, file: Any) -> list[dict[str, Any]]:
        """Set ENG_QUAL where it is there, the header is honest and there was a storm."""
        primary = file.hdus[0]
        card = primary.find("ENG_QUAL")
        if not self.task.dq_honest or card is None or not self._strongest:
            return []
        primary.replace_value("ENG_QUAL", "'SUSPECT'")
        before = card.decode("latin-1").rstrip()
        return [{"hdu": 0, "keyword": "ENG_QUAL", "before": before, "is": "SUSPECT"}]
