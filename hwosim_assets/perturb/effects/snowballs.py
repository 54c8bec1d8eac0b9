"""Large hits: snowballs of near-infrared detectors and showers of MIRI.

Holds: the effects B2 and B3. Keep out single particles (``particles``), whose layers of nested events and whose rule
for charge that comes at once these share.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from hwosim_assets.fits.dq import DQ
from hwosim_assets.perturb.effect import Effect, NotApplicableError
from hwosim_assets.perturb.effects.axes import cosine_of_turns, on_detector
from hwosim_assets.perturb.effects.frames import FrameCache
from hwosim_assets.perturb.effects.particles import layers, power_law, settle, step
from hwosim_assets.perturb.effects.persistence import fermi, released
from hwosim_assets.perturb.effects.signals import add_light
from hwosim_assets.perturb.effects.state import WELL, groups_of, integrations, lose_groups
from hwosim_assets.perturb.facts import find_facts
from hwosim_assets.perturb.parameters import Parameter, rounded
from hwosim_assets.perturb.published import detector_of
from hwosim_assets.perturb.registry import register
from hwosim_assets.perturb.rng import poisson
from hwosim_assets.perturb.spec import EffectSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hwosim_assets.perturb.block import Block
    from hwosim_assets.perturb.budget import Budget
    from hwosim_assets.perturb.effect import Task
    from hwosim_assets.perturb.measurements import Measurement
    from hwosim_assets.perturb.rng import Stream

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]

__all__ = ["ShowerList", "Showers", "SnowballList", "Snowballs", "disc", "ellipse", "showers", "snowballs"]

#: Area of the detectors that published rates are for, cm2: 2048 x 2048 pixels of 18 um, 1024 x 1024 of 25 um.
NEAR_INFRARED_CM2 = (2048 * 18e-4) ** 2
MIRI_CM2 = (1024 * 25e-4) ** 2
#: Radii of saturated cores (pixels) and the index of their power law; 5 pixels is min_jump_area of the jump step.
SMALLEST, LARGEST, RADII = 1.3, 40.0, -3.0
#: A halo ends at so many radii of its core (the jump step's expand_factor).
REACH = 2.0
#: Areas of showers (pixels), from extend_min_area of the jump step on, and the index of their power law.
LEAST_AREA, MOST_AREA, AREAS = 90.0, 9000.0, -2.0
#: Shortest over longest axis of a shower is at least this.
FLATTEST = 0.3
#: How long a shower glows, s: the jump step masks 15 s after one.
GLOW = 15.0
#: Rate of persistence at 1000 s of a full well, e-/s, before the Fermi profile (GalSim, Roman).
_PERSISTENCE = 0.017
#: More in a frame than this is no exposure any more.
MOST = 100_000


class SnowballList(NamedTuple):
    """Snowballs of a frame.

    Attributes
    ----------
    y, x : float64 array
        Centres, pixels.
    radius : float64 array
        Of the saturated core, pixels.
    u : float64 array
        When, as a share of the ramp.
    mark : float64 array
        Between 0 and 1, for what only a share of them suffers.
    """

    y: Floats
    x: Floats
    radius: Floats
    u: Floats
    mark: Floats


class ShowerList(NamedTuple):
    """Showers of a frame.

    Attributes
    ----------
    y, x : float64 array
        Centres, pixels.
    area : float64 array
        Pixels.
    ratio : float64 array
        Shortest over longest axis.
    turn : float64 array
        Direction of the longest axis, in turns from x towards y.
    peak : float64 array
        Brightness of the centre as a share of the largest.
    u : float64 array
        When, as a share of the ramp.
    address : int64 array
        Of the words of its photon noise.
    """

    y: Floats
    x: Floats
    area: Floats
    ratio: Floats
    turn: Floats
    peak: Floats
    u: Floats
    address: Integers


class _Struck(NamedTuple):
    """Pixels of a frame that snowballs strike, ascending; in a pixel that several strike, these in their order.

    Attributes
    ----------
    core, core_of : int64 array
        Flat pixels of saturated cores, and by which snowball.
    halo, halo_of : int64 array
        The same of halos.
    profile : float64 array
        Charge of a halo, relative to its inner edge.
    late : int64 array
        Pixels of earlier integrations' cores, each once.
    released : float64 array
        Electrons that they release.
    """

    core: Integers
    core_of: Integers
    halo: Integers
    halo_of: Integers
    profile: Floats
    late: Integers
    released: Floats


def snowballs(stream: Stream, plane: int, rate: float, exposure: float, shape: tuple[int, int]) -> SnowballList:
    """Return the snowballs of a frame; those of a smaller rate are among those of a larger one.

    Parameters
    ----------
    stream : Stream
        Of the product.
    plane : int
        Address of the frame.
    rate : float
        Snowballs per second on a detector of 2048 x 2048 pixels.
    exposure : float
        Seconds times the area in such detectors.
    shape : (int, int)
        Rows and columns.
    """
    found = [np.empty((5, 0))]
    for sub, count, kept in layers(stream, plane, rate, exposure):
        y, x, radius, u, mark = (stream.uniform(plane, 0, count, sub + which)[kept] for which in range(2, 7))
        found.append(np.array([y * shape[0], x * shape[1], power_law(radius, SMALLEST, LARGEST, RADII), u, mark]))
    return SnowballList(*np.concatenate(found, axis=1))


def showers(stream: Stream, plane: int, rate: float, exposure: float, shape: tuple[int, int]) -> ShowerList:
    """Return the showers of a frame, as :func:`snowballs`, per second on a detector of MIRI."""
    found, addresses = [np.empty((7, 0))], [np.empty(0, np.int64)]
    for sub, count, kept in layers(stream, plane, rate, exposure):
        drawn = [stream.uniform(plane, 0, count, sub + which)[kept] for which in range(2, 9)]
        y, x, area, ratio, turn, peak, u = drawn
        area, ratio = power_law(area, LEAST_AREA, MOST_AREA, AREAS), FLATTEST + (1.0 - FLATTEST) * ratio
        found.append(np.array([y * shape[0], x * shape[1], area, ratio, turn, peak, u]))
        addresses.append((sub << 32) + kept)
    y, x, area, ratio, turn, peak, u = np.concatenate(found, axis=1)
    return ShowerList(y, x, area, ratio, turn, peak, u, np.concatenate(addresses))


def disc(y: float, x: float, radius: float, shape: tuple[int, int]) -> tuple[Integers, Floats]:
    """Return (flat pixels within a radius, their distances from the centre)."""
    rows, columns = _box(y, x, radius, shape)
    distance = np.sqrt((rows - y) * (rows - y) + (columns - x) * (columns - x))
    inside = distance < radius
    return (rows * shape[1] + columns)[inside], distance[inside]


def ellipse(
    y: float, x: float, area: float, ratio: float, turn: float, shape: tuple[int, int]
) -> tuple[Integers, Floats]:
    """Return (flat pixels of an ellipse, square of their distances from the centre relative to the edge)."""
    longest = math.sqrt(area / (math.pi * ratio))
    rows, columns = _box(y, x, longest, shape)
    cosine, sine = cosine_of_turns(np.array([turn, turn - 0.25]))
    along = ((columns - x) * cosine + (rows - y) * sine) / longest
    across = ((rows - y) * cosine - (columns - x) * sine) / (longest * ratio)
    square = along * along + across * across
    inside = square < 1.0
    return (rows * shape[1] + columns)[inside], square[inside]


def _box(y: float, x: float, reach: float, shape: tuple[int, int]) -> tuple[Integers, Integers]:
    """Return rows and columns of the pixels around a place, inside the frame."""
    top, left = max(math.floor(y - reach), 0), max(math.floor(x - reach), 0)
    bottom, right = min(math.ceil(y + reach) + 1, shape[0]), min(math.ceil(x + reach) + 1, shape[1])
    return np.arange(top, max(bottom, top))[:, None], np.arange(left, max(right, left))[None, :]


class _Rare(Effect):
    """What falls on a detector now and then: per second and area."""

    per_frame = True

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self._exposure: dict[int, tuple[float, float]] = {}

    def _prepared(self, measurement: Measurement, budget: Budget, detector_cm2: float) -> dict[str, Any]:
        """Find area, time and electrons per unit."""
        if budget.k is None:
            raise NotApplicableError("electrons per science unit are not known")
        facts = find_facts(self.task.product, measurement)
        group = facts.group_s if measurement.groups > 1 else None
        seconds = (group or 0.0) * (measurement.groups - 1) if measurement.ramp else facts.frame_s
        if facts.pixel_cm2 is None or not seconds:
            raise NotApplicableError("the detector's pixels or the exposure time are not known")
        share = facts.pixel_cm2 * measurement.pixels / detector_cm2
        if max(self.task.numbers("rate", measurement)) * share * seconds > MOST:
            raise NotApplicableError(f"more than {MOST} in a frame are no exposure any more")
        self._exposure[id(measurement)] = seconds, rounded(seconds * share)
        return {"seconds": rounded(seconds), "detectors": rounded(share)}

    def reach(self, measurement: Measurement) -> int:
        """Look at no neighbours: where they fall is known."""
        return 0


def _group(block: Block, u: float) -> int:
    """Return the first group of a ramp that shows what fell at a share of it."""
    return min(1 + math.floor(u * (block.groups - 1)), block.groups - 1)


@register(
    EffectSpec(
        name="snowballs",
        title="Snowballs",
        code="B2",
        stage="particles",
        model="a disc of radius r, index -3, saturated from the share u of the ramp on (its later groups are lost: "
        "VAR_POISSON / u, VAR_RNOISE / u^3; with fewer than two groups before it, the pixel); a halo of halo x well "
        "(r/d)^3 to 2 r, which is cut out of the ramp where it is found, and of which 6u(1-u) Q/k stays in the slope "
        "where it is missed; in later integrations the core shows its persistence, flagged for a while",
        planes=("SCI", "ERR", "VAR_POISSON", "VAR_RNOISE", "DQ"),
        parameters=(
            Parameter(
                "rate",
                "snowballs per second on a detector of 2048 x 2048 pixels",
                unit="/s",
                high=100.0,
                severities=(0.01, 0.05, 0.1, 0.3, 1.0),
                source="severity table 2026.1; about one in 20 s in flight (JDox), and very variable",
            ),
            Parameter(
                "residual",
                "share of the halos that jump detection misses",
                severities=(0.01, 0.03, 0.1, 0.3, 1.0),
                source="severity table 2026.1, as for cosmic rays",
            ),
            Parameter(
                "halo", "charge at the inner edge of the halo, of a full well; also halo over core in charge",
                default=0.2, source="a proposal",
            ),
            Parameter(
                "memory", "how long cores are flagged PERSISTENCE in later integrations", unit="s", default=4000.0,
                high=1e6, source="jwst jump step: 4000 s",
            ),
        ),
        source="JDox, snowballs and showers; jwst jump step (min_jump_area 5, expand_factor 2)",
        test="snowballs per second and detector, dispersion of counts, index of radii, halo over core, memory",
        err=True,
        dq=True,
    )
)  # fmt: skip
class Snowballs(_Rare):
    """Alpha particles and the like in near-infrared detectors."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self._fallen: dict[tuple[int, int], SnowballList] = {}
        self._struck = FrameCache(self._strike)

    def prepare(self, measurement: Measurement, budget: Budget) -> dict[str, Any]:
        """Refuse MIRI, which has none, and draw those of all frames."""
        detector = on_detector(self.task.product, measurement)
        if str(self.task.product.keyword("INSTRUME")).strip() == "MIRI":
            raise NotApplicableError("snowballs fall on near-infrared detectors; MIRI has showers")
        found = self._prepared(measurement, budget, NEAR_INFRARED_CM2)
        stream, (rows, columns) = self.task.stream(measurement.key), measurement.frame
        _, exposure = self._exposure[id(measurement)]
        for frame, rate in enumerate(self.task.numbers("rate", measurement)):
            fallen = snowballs(stream, frame, rate, exposure, (rows, columns))
            self._fallen[id(measurement), frame] = fallen
        groups, method = groups_of(self.task.product, measurement)
        return {"detector": detector, **found, "groups": groups, "groups_from": method}

    def on_frame(self, block: Block) -> None:
        """Let what fell before still glow, then fall on the frame."""
        struck = self._struck.of(block)
        self._afterglow(block, struck)
        fallen = self._fallen[id(block.measurement), block.frame]
        if not fallen.y.size:
            return
        halo, core = block.here(struck.halo), block.here(struck.core)
        self._halos(block, fallen, struck.halo[halo] - block.start, struck.halo_of[halo], struck.profile[halo])
        self._cores(block, fallen, struck.core[core] - block.start, struck.core_of[core])
        if block.start == 0:
            electrons = (1.0 + self.task.number("halo")) * WELL * math.pi * fallen.radius * fallen.radius
            block.record(self.use, y=fallen.y, x=fallen.x, radius=fallen.radius, u=fallen.u, electrons=electrons)

    def _strike(self, block: Block) -> _Struck:
        """Return the pixels of a frame that are struck."""
        fallen = self._fallen[id(block.measurement), block.frame]
        rows, columns = block.measurement.frame
        places, owners = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        near, profiles = [np.empty(0, bool)], [np.empty(0)]
        for number, (y, x, radius) in enumerate(zip(fallen.y, fallen.x, fallen.radius, strict=True)):
            pixels, distance = disc(y, x, REACH * radius, (rows, columns))
            core = distance < radius
            ratio = radius / np.where(core, radius, distance)
            places.append(pixels)
            owners.append(np.full(pixels.size, number))
            near.append(core)
            profiles.append(ratio * ratio * ratio)
        found, which, core, profile = (np.concatenate(column) for column in (places, owners, near, profiles))
        order = np.argsort(found, kind="stable")
        inner, outer = order[core[order]], order[~core[order]]
        return _Struck(found[inner], which[inner], found[outer], which[outer], profile[outer], *self._released(block))

    def _halos(self, block: Block, fallen: SnowballList, pixels: Integers, which: Integers, profile: Floats) -> None:
        electrons = profile * (self.task.number("halo") * WELL)
        if not block.measurement.ramp:
            missed = (fallen.mark < self.task.number("residual", block))[which]
            settle(self, block, pixels, electrons, fallen.u[which], missed)
            return
        for number in np.unique(which):
            mine = which == number
            step(self, block, _group(block, float(fallen.u[number])), pixels[mine], electrons[mine])

    def _cores(self, block: Block, fallen: SnowballList, pixels: Integers, which: Integers) -> None:
        """Saturate cores from their moment on; where two meet, from the earlier on."""
        struck, place = np.unique(pixels, return_inverse=True)
        begins = np.ones(struck.size)
        np.minimum.at(begins, place, fallen.u[which])
        if not block.measurement.ramp:
            groups, _ = groups_of(self.task.product, block.measurement)
            others = integrations(self.task.product, block.measurement) - 1.0
            lose_groups(self, block, struck, np.floor(groups * begins), groups, others)
            return
        well = WELL / float(block.budget.k or 1.0)
        full = (block.sci[0, struck] + well).astype(block.sci.dtype)
        begin = np.minimum(1 + np.floor(begins * (block.groups - 1)), block.groups - 1)
        for group in range(1, block.groups):
            now = begin <= group
            block.sci[group, struck[now]] = np.maximum(block.sci[group, struck[now]], full[now])
            block.flag(self.use, group, struck[now], DQ.SATURATED, self.task.dq_honest)

    def _released(self, block: Block) -> tuple[Integers, Floats]:
        """Return (pixels of the cores of earlier integrations, the electrons that they release in this one)."""
        seconds, _ = self._exposure[id(block.measurement)]
        shape, memory = block.measurement.frame, self.task.number("memory")
        rate = _PERSISTENCE * float(fermi(np.array([WELL]))[0])
        pixels, electrons = [np.empty(0, np.int64)], [np.empty(0)]
        for back in range(1, block.frame + 1):
            if (back - 1) * seconds >= memory:
                break
            fallen = self._fallen[id(block.measurement), block.frame - back]
            for y, x, radius, u in zip(fallen.y, fallen.x, fallen.radius, fallen.u.tolist(), strict=True):
                since = (back - u) * seconds
                if since < memory:
                    core, _ = disc(y, x, radius, (shape[0], shape[1]))
                    came = rate * (released("fermi", since + seconds, 1.0) - released("fermi", since, 1.0))
                    pixels.append(core)
                    electrons.append(np.full(core.size, came))
        late, place = np.unique(np.concatenate(pixels), return_inverse=True)
        return late, np.bincount(place, np.concatenate(electrons), late.size).astype(np.float64, copy=False)

    def _afterglow(self, block: Block, struck: _Struck) -> None:
        """Add what cores of earlier integrations release, with its photon noise."""
        if not struck.late.size:
            return
        here = block.here(struck.late)
        late, amount = struck.late[here] - block.start, struck.released[here]
        amount = amount / (float(block.budget.k or 1.0) * max(block.groups - 1, 1))
        stream = self.task.stream(f"{block.measurement.key} afterglow")
        add_light(block, stream, late, amount, self.task.err_honest)
        block.flag(self.use, block.groups - 1, late, DQ.PERSISTENCE, self.task.dq_honest)


@register(
    EffectSpec(
        name="showers",
        title="Showers of MIRI",
        code="B3",
        stage="particles",
        model="an ellipse of area A, index -2, of charge Q = Poisson(peak b (1 - rho^2) 15 s), b between 0 and 1 and "
        "rho the distance from its centre relative to the edge, that comes at the share u of the ramp and stays in the "
        "slope: S += 6u(1-u) Q/k, VAR_POISSON with it",
        planes=("SCI", "ERR", "VAR_POISSON", "DQ"),
        parameters=(
            Parameter(
                "rate",
                "showers per second on a detector of MIRI (1024 x 1024 pixels)",
                unit="/s",
                high=100.0,
                severities=(0.005, 0.025, 0.05, 0.15, 0.5),
                source="half of the rate of snowballs (JDox)",
            ),
            Parameter(
                "peak", "brightness of the centre of the brightest", unit="DN/s", default=4.0, high=1e4,
                source="at most 4 DN/s (JDox)",
            ),
        ),
        source="JDox, snowballs and showers; jwst jump step (extend_min_area 90, 15 s after a shower)",
        test="showers per second and detector, index of areas from 90 pixels on, axis ratios, charge and its noise",
        err=True,
        dq=True,
        usual_dq="silent",
    )
)  # fmt: skip
class Showers(_Rare):
    """Diffuse patches in MIRI; the pipeline misses most, so that they are silent unless ``dq: flagged`` is given."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self._gain = 0.0
        self._glowing = FrameCache(self._glow)

    def prepare(self, measurement: Measurement, budget: Budget) -> dict[str, Any]:
        """Refuse all but MIRI."""
        detector = on_detector(self.task.product, measurement)
        published = detector_of("MIRI", "", "")
        if published is None or str(self.task.product.keyword("INSTRUME")).strip() != "MIRI":
            raise NotApplicableError("showers fall on MIRI; near-infrared detectors have snowballs")
        self._gain = published.gain
        return {"detector": detector, "gain": self._gain, **self._prepared(measurement, budget, MIRI_CM2)}

    def on_frame(self, block: Block) -> None:
        """Let showers fall."""
        fallen, charges = self._glowing.of(block)
        if not fallen.y.size:
            return
        if not block.measurement.ramp:
            # A frame with a shower gets a new ERR, also where none of its bands falls.
            block.add_variance("poisson", 0.0, self.task.err_honest, np.empty(0, np.intp))
        columns, reach = block.measurement.frame[1], np.sqrt(fallen.area / (math.pi * fallen.ratio)) + 1.0
        top, bottom = block.start // columns, (block.start + block.size - 1) // columns
        for number in np.flatnonzero((fallen.y + reach >= top) & (fallen.y - reach <= bottom)).tolist():
            pixels, mean = self._patch(block.measurement, fallen, number)
            here = block.here(pixels)
            charge = charges[number][here].astype(np.float64)
            self._fall(block, float(fallen.u[number]), pixels[here] - block.start, mean[here], charge)
        if block.start == 0:
            names = ("y", "x", "area", "ratio", "turn", "u")
            electrons = np.array([charge.sum(dtype=np.float64) for charge in charges])
            block.record(self.use, **{name: getattr(fallen, name) for name in names}, electrons=electrons)

    def _glow(self, block: Block) -> tuple[ShowerList, list[NDArray[np.float32]]]:
        """Return the showers of a frame, and how many electrons came in each pixel of each."""
        stream, item = self.task.stream(block.measurement.key), block.measurement
        _, exposure = self._exposure[id(item)]
        rate = self.task.numbers("rate", item)[block.frame]
        fallen = showers(stream, block.frame, rate, exposure, (item.frame[0], item.frame[1]))
        charges = []
        for number, address in enumerate(fallen.address.tolist()):
            _, mean = self._patch(item, fallen, number)
            charges.append(poisson(stream.bits(block.frame, 0, mean.size, address), mean))
        return fallen, charges

    def _patch(self, measurement: Measurement, fallen: ShowerList, number: int) -> tuple[Integers, Floats]:
        """Return (flat pixels of a shower, ascending; the mean of the electrons in each)."""
        y, x, area, ratio, turn, peak = (float(column[number]) for column in fallen[:6])
        pixels, square = ellipse(y, x, area, ratio, turn, (measurement.frame[0], measurement.frame[1]))
        return pixels, peak * (self.task.number("peak") * self._gain * GLOW) * (1.0 - square)

    def _fall(self, block: Block, u: float, pixels: Integers, mean: Floats, charge: Floats) -> None:
        k, kind = float(block.budget.k or 1.0), block.sci.dtype
        if block.measurement.ramp:
            group = _group(block, u)
            block.sci[group:, pixels] += (charge / k).astype(kind)
            block.flag(self.use, group, pixels, DQ.JUMP_DET, self.task.dq_honest)
            return
        response = 6.0 * u * (1.0 - u) / k
        block.sci[0, pixels] += (charge * response).astype(kind)
        amount = (mean * (response * response)).astype(kind)
        block.add_variance("poisson", amount, self.task.err_honest, pixels)
        block.flag(self.use, 0, pixels, DQ.JUMP_DET, self.task.dq_honest)
