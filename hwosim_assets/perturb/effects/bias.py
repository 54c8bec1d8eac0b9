"""Offsets that change from frame to frame: drifting pedestals, the picture frame, reset (kTC) noise.

Holds: the effects A5 to A7. Keep out noise that changes while a frame is read (``correlated``) and the random series in
time themselves (``series``).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from hwosim_assets.fits.dq import DQ
from hwosim_assets.perturb.effect import Effect, NotApplicableError
from hwosim_assets.perturb.effects.axes import detector_corner, detector_shape, detector_stream, on_detector
from hwosim_assets.perturb.effects.correlated import Lanes, read_level, require_readout
from hwosim_assets.perturb.effects.series import octave_weights, octaves_at, relaxing
from hwosim_assets.perturb.exact import exp
from hwosim_assets.perturb.facts import find_facts
from hwosim_assets.perturb.parameters import Parameter, rounded
from hwosim_assets.perturb.registry import register
from hwosim_assets.perturb.spec import EffectSpec
from hwosim_assets.perturb.times import frame_times

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hwosim_assets.perturb.block import Block
    from hwosim_assets.perturb.budget import Budget
    from hwosim_assets.perturb.effect import Task
    from hwosim_assets.perturb.measurements import Measurement
    from hwosim_assets.perturb.product import Product

    Floats = NDArray[np.float64]

__all__ = ["PedestalDrift", "PictureFrame", "ResetNoise", "frame_template", "group_seconds"]

#: One read of a full NIRCam frame, and the longest time over which picture frames are followed: 2^15 of them, 4 days.
_READ_S = 10.73677
_OCTAVES = 16


def group_seconds(product: Product, measurement: Measurement) -> Floats:
    """Return the middle of each frame, or of each group of a ramp, in seconds since MJD 0.

    Returns
    -------
    float64 array, (frames, groups)

    Raises
    ------
    NotApplicableError
        When the file tells no time that could be one.
    """
    times = frame_times(product, measurement)
    if times is None:
        raise NotApplicableError("the file does not tell when it was exposed")
    if measurement.ramp:
        seconds = find_facts(product, measurement).group_s or 0.0
        found = times.start[:, None] * 86400.0 + (np.arange(measurement.groups) + 0.5) * seconds
    else:
        found = times.mid[:, None] * 86400.0
    if not (np.isfinite(found).all() and found.min() >= 0 and found.max() < 1e11):
        raise NotApplicableError("the times of its frames are no dates")
    return found


def _add(block: Block, group: int, down: Floats, across: Floats) -> None:
    """Add what is the sum of a number for each row and a number for each column of the frame."""
    columns, dtype = block.measurement.frame[1], block.sci.dtype
    top, bottom = block.start // columns, -(-(block.start + block.size) // columns)
    rows = down[top:bottom].astype(dtype)[:, None] + across.astype(dtype)
    block.sci[group] += rows.reshape(-1)[block.start - top * columns :][: block.size]


@register(
    EffectSpec(
        name="pedestal_drift",
        title="Drift of the pedestals",
        code="A5",
        stage="noise",
        model="S += amplitude sigma x_a(t), for each amplifier a series of rms 1 whose values correlate by "
        "exp(-dt / tau) (Ornstein and Uhlenbeck) at the time t of the integration, or of the group of a ramp; it "
        "belongs to the detector, so that its exposures follow each other. ERR says nothing of it, as in the pipeline",
        planes=("SCI", "DQ"),
        parameters=(
            Parameter(
                "amplitude",
                "rms in units of the read noise of a typical pixel",
                severities=(0.1, 0.3, 0.8, 3.0, 10.0),
                high=1000.0,
                source="0.8 is NGHXRG's (4 e- against 5.2 e- white); other levels are a proposal",
            ),
            Parameter(
                "tau",
                "time over which a pedestal is forgotten",
                unit="s",
                default=1000.0,
                low=1.0,
                high=1e8,
                source="a proposal; NIRCam settles in 5 to 15 min (Schlawin et al. 2023)",
            ),
        ),
        source="NGHXRG v2.6 (declares it); DQ UNRELIABLE_BIAS",
        test="variance of the medians of amplifiers; their autocorrelation exp(-dt / tau)",
        dq=True,
    )
)
class PedestalDrift(Effect):
    """An offset of each amplifier that wanders from integration to integration."""

    per_frame = True

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self._offsets: dict[int, tuple[Lanes, Floats]] = {}

    def prepare(self, measurement: Measurement, budget: Budget) -> dict[str, Any]:
        """Find the offsets of all frames."""
        lanes = Lanes.of(require_readout(self.task.product, measurement))
        level = read_level(self.task.product, measurement, budget)
        detector = on_detector(self.task.product, measurement)
        seconds = group_seconds(self.task.product, measurement) / self.task.number("tau")
        stream = detector_stream(self.task, detector, "pedestals")
        found = np.stack([relaxing(stream, lane, seconds.reshape(-1)) for lane in range(lanes.count)])
        self._offsets[id(measurement)] = lanes, level * found.reshape(lanes.count, *seconds.shape)
        return {"sigma": level, "noise_from": budget.read_method, "detector": detector, **lanes.readout.record()}

    def on_chunk(self, block: Block) -> None:
        """Add the offset of each pixel's amplifier."""
        lanes, offsets = self._offsets[id(block.measurement)]
        amplitude = self.task.number("amplitude", block)
        rows, columns = block.measurement.frame
        for group in range(block.groups):
            along = amplitude * offsets[lanes.lane, block.frame, group]
            if abs(lanes.readout.fast) == 1:
                _add(block, group, np.zeros(rows), along)
            else:
                _add(block, group, along, np.zeros(columns))
        if not block.measurement.ramp:
            block.flag(self.use, 0, slice(None), DQ.UNRELIABLE_BIAS, self.task.dq_honest)


def frame_template(task: Task, detector: str, shape: tuple[int, int], width: float) -> tuple[Floats, Floats]:
    """Return the picture frame of a detector as (a number for each row, a number for each column) to be summed.

    Its four sides glow each as strongly as is drawn for the detector, and fall off exponentially inwards; the mean over
    the detector is 0 and the rms 1.

    Parameters
    ----------
    task : Task
        Whose streams.
    detector : str
        Which detector.
    shape : (int, int)
        Its rows and columns.
    width : float
        Pixels after which a side has fallen to 1/e.
    """
    strengths = 0.5 + detector_stream(task, detector, "sides").uniform(0, 0, 4)
    parts = []
    for length, near, far in zip(shape, strengths[:2], strengths[2:], strict=True):
        place = np.arange(length, dtype=np.float64)
        side = near * exp(-place / width) + far * exp((place + 1.0 - length) / width)
        parts.append(side - math.fsum(side.tolist()) / length)
    rms = math.sqrt(sum(math.fsum((part * part).tolist()) / part.size for part in parts))
    return parts[0] / rms, parts[1] / rms


@register(
    EffectSpec(
        name="picture_frame",
        title="Picture frame",
        code="A6",
        stage="noise",
        model="S += amplitude sigma T(x, y) p(t), T the glow of the detector's four edges, of mean 0 and rms 1 over "
        "it, p a pink series of rms 1 over 4 days; both belong to the detector. ERR says nothing of it, as in the "
        "pipeline",
        planes=("SCI",),
        parameters=(
            Parameter(
                "amplitude",
                "rms over the detector in units of the read noise of a typical pixel",
                severities=(0.01, 0.02, 0.04, 0.3, 3.0),
                high=1000.0,
                source="0.04 is NGHXRG's (0.2 e- against 5.2 e- white); other levels are a proposal",
            ),
            Parameter(
                "width", "pixels after which an edge has faded to 1/e", unit="px", default=100.0, low=1.0, high=1e4,
                source="a proposal",
            ),
        ),
        source="NGHXRG v2.6 (PCA-zero pattern), with a pattern of its own for each detector",
        test="the first principal component of a series of frames is T; its rms; slope of the spectrum in time",
    )
)  # fmt: skip
class PictureFrame(Effect):
    """Edges that breathe."""

    per_frame = True

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self._found: dict[int, tuple[Floats, Floats, Floats]] = {}

    def prepare(self, measurement: Measurement, budget: Budget) -> dict[str, Any]:
        """Find the pattern and how strong it is in each frame."""
        require_readout(self.task.product, measurement)
        detector = on_detector(self.task.product, measurement)
        level = read_level(self.task.product, measurement, budget)
        seconds = group_seconds(self.task.product, measurement)
        steps = np.floor(seconds.reshape(-1) / _READ_S).astype(np.int64)
        stream = detector_stream(self.task, detector, "time")
        strength = level * octaves_at(stream, 0, steps, octave_weights(_OCTAVES)).reshape(seconds.shape)
        (x0, y0), (rows, columns) = detector_corner(self.task.product), measurement.frame
        shape = detector_shape(self.task.product, measurement, detector)
        down, across = frame_template(self.task, detector, shape, self.task.number("width"))
        self._found[id(measurement)] = down[y0 : y0 + rows], across[x0 : x0 + columns], strength
        strongest = rounded(float(np.abs(strength).max()) * self.task.number("amplitude"))
        return {"sigma": level, "noise_from": budget.read_method, "detector": detector, "strongest": strongest}

    def on_chunk(self, block: Block) -> None:
        """Add the pattern."""
        down, across, strength = self._found[id(block.measurement)]
        amplitude = self.task.number("amplitude", block)
        for group in range(block.groups):
            here = amplitude * strength[block.frame, group]
            _add(block, group, here * down, here * across)


@register(
    EffectSpec(
        name="reset_noise",
        title="Reset (kTC) noise",
        code="A7",
        stage="noise",
        model="S += rms z / k in all groups of an integration, z white and of rms 1; a slope fitted to them does not "
        "change by it, so it is for ramps only",
        planes=("SCI",),
        parameters=(
            Parameter(
                "rms",
                "noise of the reset that is added",
                unit="e-",
                severities=(10.0, 20.0, 37.6, 100.0, 400.0),
                high=1e5,
                source="37.6 and 36.8 e- NIRCam (pyNRC), 29 e- (NGHXRG); other levels are a proposal",
            ),
        ),
        source="sqrt(kTC) of the pixel's capacitance; pyNRC, NGHXRG v2.6",
        test="variance of the first group; the same in all groups of an integration, another in the next",
    )
)
class ResetNoise(Effect):
    """Each integration starts from another level in each pixel."""

    per_frame = True

    def prepare(self, measurement: Measurement, budget: Budget) -> dict[str, Any]:
        """Refuse what is no ramp."""
        if not measurement.ramp:
            raise NotApplicableError("only a ramp has the level of its reset in it; a slope or a sum has not")
        if budget.k is None:
            raise NotApplicableError("electrons per science unit are not known")
        return {"electrons_per_unit": budget.k, "electrons_from": budget.k_method}

    def on_chunk(self, block: Block) -> None:
        """Add the same level to all groups."""
        stream = self.task.stream(block.measurement.key)
        level = stream.normal(block.frame, block.start, block.size)
        level *= np.float32(self.task.number("rms", block) / float(block.budget.k or 1.0))
        block.sci += level
