"""What a product measures: science arrays with the planes that say how well, and what became of them.

Holds: :class:`Measurement` and the rules that find them in any JWST product: SCI extensions with
their ERR, DQ and VAR companions, spectra in tables, ramps. Keep out the numbers in them
(``perturb.budget``) and what is done to them (``perturb.effects``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hwosim_assets.perturb.planes import Plane

__all__ = ["VARIANCES", "Measurement", "find_measurements"]

VARIANCES = ("VAR_POISSON", "VAR_RNOISE", "VAR_FLAT")

#: Planes of resampled products that are 0 where there are no data.
_WEIGHTS = ("WHT", "CON", "WMAP")

#: Columns of a spectrum table: value -> (error columns, prefix of the variance columns).
_SPECTRA: dict[str, tuple[tuple[str, ...], str]] = {
    "FLUX": (("FLUX_ERROR", "ERROR", "ERR", "FLUX_UNCERTAINTY", "UNCERTAINTY"), "FLUX_VAR_"),
    "SURF_BRIGHT": (("SB_ERROR",), "SB_VAR_"),
}
#: Columns of a spectrum that are lost with it.
_BACKGROUND = ("BACKGROUND", "BKGD_")
_WAVELENGTHS = ("WAVELENGTH", "WAVE")
_LARGEST_RAMP_AXES = 4


@dataclass(frozen=True)
class Measurement:
    """One science array and its companions, all of one shape.

    Attributes
    ----------
    key : str
        Name of its random streams, so that FLUX and SURF_BRIGHT of one table share their noise.
    sci : Plane
        The science values.
    err, dq : Plane or None
        Uncertainty and integer flags.
    variances : dict of str to Plane
        Those of :data:`VARIANCES` that are present.
    weights : tuple of Plane
        Planes of resampled products that are 0 where a pixel holds no data.
    blanked : tuple of Plane
        Further floating planes that are NaN where a pixel is invalid (the background of a spectrum).
    ramp : bool
        Whether it is a 4-D ramp (integration, group, y, x), whose groups belong together.
    resampled : bool
        Whether pixels share noise with their neighbours (i2d, s2d, s3d).
    """

    key: str
    sci: Plane
    err: Plane | None
    dq: Plane | None
    variances: dict[str, Plane]
    weights: tuple[Plane, ...]
    blanked: tuple[Plane, ...]
    ramp: bool
    resampled: bool

    @property
    def groups(self) -> int:
        """Number of groups of a ramp, 1 otherwise."""
        return self.sci.shape[1] if self.ramp else 1

    @property
    def frame(self) -> tuple[int, ...]:
        """Shape of one 2-D frame, or ``(n,)`` for spectra and 1-D arrays."""
        shape = self.sci.shape
        if self.sci.column:
            return (self.sci.size // max(self.frames, 1),)
        return shape[-2:] if len(shape) > 1 else shape

    @property
    def frames(self) -> int:
        """Number of frames: integrations, wavelengths of a cube, rows of vectors; ramps count integrations."""
        shape = self.sci.shape
        if self.sci.column:
            return shape[0] if len(shape) > 1 else 1
        total = 1
        for length in shape[:-2]:
            total *= length
        return total // self.groups

    @property
    def pixels(self) -> int:
        """Number of elements of one frame."""
        total = 1
        for length in self.frame:
            total *= length
        return total

    def planes(self) -> list[Plane]:
        """Return every plane of this measurement."""
        companions = [self.err, self.dq, *self.variances.values(), *self.weights, *self.blanked]
        return [self.sci, *(plane for plane in companions if plane is not None)]


def find_measurements(planes: Sequence[Plane]) -> list[Measurement]:
    """Return the measurements among the planes of a file, in file order.

    Parameters
    ----------
    planes : sequence of Plane
        Images and columns of all HDUs in file order.

    Returns
    -------
    list of Measurement
        Of every SCI extension (or, without any, DATA, or an image in the primary HDU), and of every
        table with a flux and a wavelength column.
    """
    images = [plane for plane in planes if not plane.column]
    science = [plane for plane in images if plane.extname.upper() == "SCI"]
    if not science:
        science = [plane for plane in images if plane.extname.upper() == "DATA"]
    if not science:
        science = [plane for plane in images if plane.hdu == 0]
    found = [_image(sci, _beside(sci, science, images), copy) for sci, copy in _numbered(science)]
    tables: dict[int, list[Plane]] = {}
    for plane in planes:
        if plane.column:
            tables.setdefault(plane.hdu, []).append(plane)
    for copy, columns in enumerate(tables.values()):
        found += _spectra(columns, copy)
    return sorted(found, key=lambda item: item.sci.hdu)


def _numbered(science: list[Plane]) -> list[tuple[Plane, int]]:
    """Return each science plane with its count among those of the same name and version."""
    return [(sci, sum(1 for other in science[:place] if other.name == sci.name)) for place, sci in enumerate(science)]


def _beside(sci: Plane, science: list[Plane], images: list[Plane]) -> list[Plane]:
    """Return the images of the same version and shape that belong to this science plane.

    EXTVER is not unique in every file; among equals, those before the next science plane of the
    same version count.
    """
    later = [other.hdu for other in science if other.extver == sci.extver and other.hdu > sci.hdu]
    limit = min(later, default=None)
    earlier = any(other.extver == sci.extver and other.hdu < sci.hdu for other in science)
    return [
        plane
        for plane in images
        if plane.extver == sci.extver
        and _squeezed(plane.shape) == _squeezed(sci.shape)
        and (limit is None or plane.hdu < limit)
        and (not earlier or plane.hdu > sci.hdu)
    ]


def _squeezed(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(length for length in shape if length != 1)


def _image(sci: Plane, companions: list[Plane], copy: int) -> Measurement:
    names = {plane.extname.upper(): plane for plane in reversed(companions)}
    flags = [names[name] for name in ("DQ", "GROUPDQ") if name in names and _is_integer(names[name])]
    ramp = len(sci.shape) == _LARGEST_RAMP_AXES
    weights = tuple(names[name] for name in _WEIGHTS if name in names)
    return Measurement(
        key=f"{sci.name}" + (f"#{copy}" if copy else ""),
        sci=sci,
        err=_floating(names.get("ERR"), sci),
        dq=flags[0] if flags else None,
        variances={name: names[name] for name in VARIANCES if _floating(names.get(name), sci) is not None},
        weights=weights,
        blanked=(),
        ramp=ramp,
        resampled=bool(weights),
    )


def _floating(plane: Plane | None, sci: Plane) -> Plane | None:
    """Return an uncertainty plane when it has the same kind of numbers as the science plane."""
    return plane if plane is not None and (plane.dtype.startswith("float") or plane.dtype == sci.dtype) else None


def _is_integer(plane: Plane) -> bool:
    return plane.dtype.startswith(("int", "uint"))


def _spectra(columns: list[Plane], copy: int) -> list[Measurement]:
    names = {plane.column.upper(): plane for plane in reversed(columns)}
    if not any(name in names for name in _WAVELENGTHS):
        return []
    found = []
    for name, (errors, prefix) in _SPECTRA.items():
        sci = names.get(name)
        if sci is None or not sci.dtype.startswith("float"):
            continue
        same = {key: plane for key, plane in names.items() if plane.shape == sci.shape}
        dq = same.get("DQ")
        variances = {f"VAR_{kind}": f"{prefix}{kind}" for kind in ("POISSON", "RNOISE", "FLAT")}
        found.append(
            Measurement(
                key=f"{sci.extname},{sci.extver}#{copy}",
                sci=sci,
                err=next((same[error] for error in errors if error in same), None),
                dq=dq if dq is not None and _is_integer(dq) else None,
                variances={kind: same[column] for kind, column in variances.items() if column in same},
                weights=(),
                blanked=tuple(plane for key, plane in same.items() if key.startswith(_BACKGROUND)),
                ramp=False,
                resampled=False,
            )
        )
    return found
