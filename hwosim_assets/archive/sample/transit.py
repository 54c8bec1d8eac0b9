"""A planet in front of its star: how much light is left, when.

Holds: the orbit, quadratic limb darkening and the small-planet approximation (Mandel & Agol 2002,
ApJ 580, L171, section 5): the covered area times the star's brightness behind the planet. Keep out
detectors.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["Transit"]


@dataclass(frozen=True)
class Transit:
    """A transiting planet.

    Attributes
    ----------
    mid_time : float
        Mid-transit, MJD UTC at the telescope.
    period : float
        Days.
    radius_ratio : float
        Planet over star, where the atmosphere is transparent.
    axis_ratio : float
        Semi-major axis over stellar radius.
    inclination : float
        Degrees.
    u1, u2 : float
        Limb darkening.
    feature_depth : float
        Growth of the radius ratio at the middle of the absorption band, relative.
    feature_centre, feature_width : float
        The band (carbon dioxide), µm; a Gaussian.
    """

    mid_time: float
    period: float
    radius_ratio: float
    axis_ratio: float
    inclination: float
    u1: float = 0.20
    u2: float = 0.15
    feature_depth: float = 0.04
    feature_centre: float = 4.3
    feature_width: float = 0.12

    def radius(self, wavelength: float) -> float:
        """Return the radius ratio at a wavelength in µm."""
        offset = (wavelength - self.feature_centre) / self.feature_width
        return self.radius_ratio * (1.0 + self.feature_depth * math.exp(-0.5 * offset * offset))

    def separation(self, mjd: float) -> float:
        """Return the distance of the centres on the sky, stellar radii; infinite behind the star."""
        phase = 2.0 * math.pi * (mjd - self.mid_time) / self.period
        if math.cos(phase) <= 0.0:
            return math.inf
        tilt = math.cos(math.radians(self.inclination)) * math.cos(phase)
        return self.axis_ratio * math.hypot(math.sin(phase), tilt)

    def light(self, mjd: float, wavelength: float) -> float:
        """Return the relative flux at a time (MJD UTC) and a wavelength (µm)."""
        distance, radius = self.separation(mjd), self.radius(wavelength)
        covered = _overlap(distance, radius) / math.pi
        if covered == 0.0:
            return 1.0
        mu = math.sqrt(max(0.0, 1.0 - min(1.0, distance) ** 2))
        brightness = 1.0 - self.u1 * (1.0 - mu) - self.u2 * (1.0 - mu) ** 2
        return round(1.0 - covered * brightness / (1.0 - self.u1 / 3.0 - self.u2 / 6.0), 12)


def _overlap(distance: float, radius: float) -> float:
    """Return the area that a circle of a radius < 1 shares with the unit circle at a distance."""
    if distance >= 1.0 + radius:
        return 0.0
    if distance <= 1.0 - radius:
        return math.pi * radius * radius
    planet = (distance**2 + radius**2 - 1.0) / (2.0 * distance * radius)
    star = (distance**2 + 1.0 - radius**2) / (2.0 * distance)
    edge = (1.0 + radius - distance) * (distance + radius - 1.0) * (distance + 1.0 - radius) * (distance + 1.0 + radius)
    return radius**2 * math.acos(planet) + math.acos(star) - 0.5 * math.sqrt(edge)
