"""Wisps and claws: light from off the field that comes by way of the telescope's structure, always at the same place.

Holds: the part of D7 whose shape belongs to the detector. Keep out reflections of what the frame shows (``scene``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hwosim_assets.perturb.effect import Effect, NotApplicableError
from hwosim_assets.perturb.effects.axes import detector_stream, detector_xy, on_detector
from hwosim_assets.perturb.effects.signals import add_light
from hwosim_assets.perturb.exact import exp
from hwosim_assets.perturb.parameters import Parameter, rounded
from hwosim_assets.perturb.registry import register
from hwosim_assets.perturb.spec import EffectSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hwosim_assets.perturb.block import Block
    from hwosim_assets.perturb.budget import Budget
    from hwosim_assets.perturb.effect import Task
    from hwosim_assets.perturb.measurements import Measurement

    Floats = NDArray[np.float64]

__all__ = ["Wisps", "wisp_template"]

#: Streaks of a detector.
_ARCS = 4
#: Side of a detector in pixels, and the radius of curvature and length of a streak in units of it.
_SIDE = 2048.0
_RADIUS, _LENGTH = (0.3, 1.5), (0.05, 0.2)


@register(
    EffectSpec(
        name="wisps",
        title="Wisps and claws",
        code="D7",
        stage="optics",
        model="S += Poisson(k s) / k, s = strength B T(x, y), B the product's background, T the brightest of four "
        "curved streaks, each Gaussian across and along it and 1 in its middle; they belong to the detector",
        planes=("SCI", "ERR", "VAR_POISSON"),
        parameters=(
            Parameter(
                "strength",
                "brightness of the middle of a streak relative to the background",
                severities=(0.01, 0.03, 0.1, 0.3, 1.0),
                high=100.0,
                source="wisps of NIRCam are some percent of the background (not checked); levels are a proposal",
            ),
            Parameter("width", "standard deviation across a streak", unit="px", default=20.0, low=1.0, high=1000.0,
                      source="a proposal"),
        ),
        source="scaled templates, as wisps of NIRCam are taken away; the streaks are drawn, not those of its detectors",
        test="regression of the difference on the template gives the strength; the same for all frames of a detector",
        err=True,
    )
)  # fmt: skip
class Wisps(Effect):
    """Streaks that stay where they are while the scene moves."""

    per_frame = True

    def prepare(self, measurement: Measurement, budget: Budget) -> dict[str, Any]:
        """Find detector and background."""
        detector = on_detector(self.task.product, measurement)
        if budget.k is None:
            raise NotApplicableError("electrons per science unit are not known")
        if budget.background is None:
            raise NotApplicableError("its background is not positive, so there is no level to take a share of")
        peak = rounded(self.task.number("strength") * budget.background)
        return {"detector": detector, "peak": peak, "level_from": budget.background_method}

    def on_chunk(self, block: Block) -> None:
        """Add the streaks with their photon noise."""
        peak = self.task.number("strength", block) * float(block.budget.background or 0.0)
        if peak == 0:
            return
        detector = on_detector(self.task.product, block.measurement)
        x, y = detector_xy(self.task.product, block.measurement, block.start, block.size)
        amount = peak * wisp_template(self.task, detector, x.astype(np.float64), y.astype(np.float64))
        index = np.flatnonzero(amount > 0)
        if index.size:
            stream = self.task.stream(block.measurement.key)
            add_light(block, stream, index, amount[index], self.task.err_honest)


def wisp_template(task: Task, detector: str, x: Floats, y: Floats) -> Floats:
    """Return the streaks of a detector at some of its pixels, 1 at the brightest.

    Parameters
    ----------
    task : Task
        Whose streams and width.
    detector : str
        Which detector.
    x, y : float64 array
        On the detector, from 0.
    """
    drawn = [detector_stream(task, detector, "streaks").uniform(0, 0, _ARCS, sub) for sub in range(6)]
    total, width = np.zeros(x.shape), task.number("width")
    for middle_x, middle_y, to_x, to_y, curved, long in zip(*(each.tolist() for each in drawn), strict=True):
        # From the middle of the streak towards the centre of its circle.
        away = (to_x - 0.5, to_y - 0.5)
        norm = max((away[0] * away[0] + away[1] * away[1]) ** 0.5, 1e-3)
        radius = _SIDE * (_RADIUS[0] + curved * (_RADIUS[1] - _RADIUS[0]))
        length = _SIDE * (_LENGTH[0] + long * (_LENGTH[1] - _LENGTH[0]))
        from_x, from_y = x - middle_x * _SIDE, y - middle_y * _SIDE
        centre_x, centre_y = from_x - radius * away[0] / norm, from_y - radius * away[1] / norm
        across = (np.sqrt(centre_x * centre_x + centre_y * centre_y) - radius) / width
        along = (from_x * from_x + from_y * from_y) / (length * length)
        np.maximum(total, exp(-0.5 * (across * across + along)), out=total)
    return np.where(total > 1e-4, total, 0.0)
