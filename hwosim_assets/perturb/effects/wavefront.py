"""The shape of the mirrors as it drifts.

Holds: the effect D4: what a wavefront error adds to the wings of the PSF and takes from its core. Keep out
pointing (``pointing``) and the speckles of a coronagraph (``scene``).
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

import numpy as np

from hwosim_assets.perturb.convolve import rows_reached
from hwosim_assets.perturb.effect import Effect, NotApplicableError
from hwosim_assets.perturb.effects.axes import cosine_of_turns, wavelengths
from hwosim_assets.perturb.effects.kernels import require_image, spread
from hwosim_assets.perturb.effects.pointing import pixel_scale
from hwosim_assets.perturb.parameters import Parameter, rounded
from hwosim_assets.perturb.registry import register
from hwosim_assets.perturb.spec import EffectSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hwosim_assets.perturb.block import Block
    from hwosim_assets.perturb.budget import Budget
    from hwosim_assets.perturb.effect import Task
    from hwosim_assets.perturb.measurements import Measurement
    from hwosim_assets.perturb.product import Product

__all__ = ["WavefrontDrift", "halo_kernel", "strehl", "wavelength_of"]

#: Diameter of JWST's primary mirror, metres.
_DIAMETER = 6.5
_MAS_PER_RADIAN = 206_264_806.247
#: Where the scattered light goes: two rings (in lambda/D) of six directions, those of a hexagonal mirror's PSF.
_RINGS = (1.6, 2.7)
_DIRECTIONS = 6
#: Widest rings in pixels; a pixel scale that makes them wider is wrong.
_WIDEST = 512.0
_FILTER = re.compile(r"F(\d{3,4})(W2?|M|N|R|C)")


def strehl(wavefront_nm: float, wavelength_um: float) -> float:
    """Return the share of light that stays in the core, exp(-(2 pi sigma / lambda)^2) (Marechal)."""
    phase = 2.0 * math.pi * wavefront_nm / (1000.0 * wavelength_um)
    return rounded(math.exp(-min(phase * phase, 700.0)))


def wavelength_of(product: Product) -> float | None:
    """Return the wavelength of the filter in micrometres: F200W 2.00, F1000W 10.00; ``None`` where none says it."""
    found = []
    for keyword in ("FILTER", "PUPIL"):
        match = _FILTER.fullmatch(str(product.keyword(keyword) or "").strip().upper())
        if match:
            found.append(("WRCMN".index(match[2][0]), int(match[1]) / 100.0))
    # Of two filters in a row, the narrower decides.
    return max(found)[1] if found else None


def _ring(wave_um: float, pixel_mas: float) -> float:
    """Return lambda/D in pixels."""
    return rounded(wave_um * 1e-6 / _DIAMETER * _MAS_PER_RADIAN / pixel_mas)


def halo_kernel(core: float, radius_px: float, asymmetry: float, turns: float) -> NDArray[np.float64]:
    """Return a kernel of sum 1: a core, and two rings of six directions for the rest, stronger on one side.

    Parameters
    ----------
    core : float
        Weight in the middle, the Strehl ratio.
    radius_px : float
        lambda/D in pixels.
    asymmetry : float
        Relative amplitude of the change around the rings, 0 to 1.
    turns : float
        Direction in which they are brightest, in turns.
    """
    reach = max(1, math.floor(_RINGS[-1] * radius_px + 0.5))
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1))
    for place, ring in enumerate(_RINGS):
        around = (np.arange(_DIRECTIONS) + 0.5 * place) / _DIRECTIONS
        weights = 1.0 + asymmetry * cosine_of_turns(around - turns)
        across, down = cosine_of_turns(around), cosine_of_turns(around - 0.25)
        for weight, x, y in zip(weights.tolist(), across.tolist(), down.tolist(), strict=True):
            # A ring is at least one pixel away: what stays in the core is the Strehl ratio.
            length = max(ring * radius_px, 1.0)
            column, row = (math.floor(length * part + 0.5) for part in (x, y))
            kernel[reach + row, reach + column] += (1.0 - core) * weight / (len(_RINGS) * _DIRECTIONS)
    kernel[reach, reach] += core
    return kernel


@register(
    EffectSpec(
        name="wavefront_drift",
        title="Drift of the wavefront",
        code="D4",
        stage="optics",
        model="S -> s S + (1-s) H*S with the Strehl ratio s = exp(-(2 pi sigma/lambda)^2) of the added error and H two "
        "rings of six directions at 1.6 and 2.7 lambda/D, stronger on one side",
        planes=("SCI", "ERR", "VAR_POISSON"),
        parameters=(
            Parameter(
                "sigma",
                "root mean square of the wavefront error that comes to the product's own",
                unit="nm",
                high=1e4,
                severities=(5.0, 13.0, 40.0, 100.0, 220.0),
                source="severity table 2026.1; thermal 13 nm after 14 d, one micrometeoroid up to 280 nm (stpsf, JDox)",
            ),
            Parameter(
                "wavelength",
                "wavelength; 0 takes that of the filter or of the cube",
                unit="um",
                default=0.0,
                high=100.0,
                source="FILTER, PUPIL, or the wavelength axis",
            ),
            Parameter("asymmetry", "how much stronger the rings are on one side", default=0.3, source="a proposal"),
        ),
        source="Marechal's approximation; the convolution rule; the rings stand for JWST's PSF, they are not computed "
        "from modes of its segments",
        test="ratio of the core of a point source is the Strehl ratio; the period of an oscillation is recovered",
        err=True,
    )
)
class WavefrontDrift(Effect):
    """Light that goes from the core of the PSF to its wings; a ``when`` of the profile oscillation gives a period."""

    per_frame = True

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self._optics: dict[int, tuple[list[float], float]] = {}

    def prepare(self, measurement: Measurement, budget: Budget) -> dict[str, Any]:
        """Find wavelengths and pixel scale."""
        require_image(measurement)
        mas, method = pixel_scale(self.task.product, measurement)
        waves, where = self._waves(measurement)
        widest = _RINGS[-1] * _ring(max(waves), mas)
        if widest > _WIDEST:
            raise NotApplicableError(f"rings of {widest:.3g} pixels leave nothing of the scene (most: {_WIDEST:.0f})")
        self._optics[id(measurement)] = waves, mas
        return {"pixel_mas": mas, "pixel_mas_from": method, "wavelength_um": waves[0], "wavelength_from": where}

    def _waves(self, measurement: Measurement) -> tuple[list[float], str]:
        """Return (wavelength of each frame in micrometres, where it was found)."""
        chosen = self.task.number("wavelength")
        if chosen > 0:
            return [chosen] * measurement.frames, "parameter"
        one = wavelength_of(self.task.product)
        if one is not None:
            return [one] * measurement.frames, "filter"
        if measurement.resampled:
            values = wavelengths(self.task.product, measurement)
            if values.shape[1] == 1 and bool(np.all((values > 0.05) & (values < 100.0))):
                return [rounded(value) for value in values[:, 0].tolist()], "cube"
        raise NotApplicableError("no one wavelength belongs to a frame: no FILTER that names it, no cube")

    def _kernel(self, measurement: Measurement, wave: float, sigma: float) -> NDArray[np.float64]:
        radius = _ring(wave, self._optics[id(measurement)][1])
        turns = float(self.task.stream_of("", "direction").uniform(0, 0, 1)[0])
        return halo_kernel(strehl(sigma, wave), radius, self.task.number("asymmetry"), turns)

    def reach(self, measurement: Measurement) -> int:
        """Return the rows of the rings at the longest wavelength; how much light they get does not matter."""
        return rows_reached(self._kernel(measurement, max(self._optics[id(measurement)][0]), 1.0))

    def on_frame(self, block: Block) -> None:
        """Spread light into the wings."""
        wave, sigma = self._optics[id(block.measurement)][0][block.frame], self.task.number("sigma", block)
        if sigma == 0:
            return
        kernel = self._kernel(block.measurement, wave, sigma)
        spread(block, kernel, self.task.stream(block.measurement.key), self.task.err_honest)
