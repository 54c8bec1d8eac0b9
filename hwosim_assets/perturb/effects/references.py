"""Reference data that no longer describe the instrument: flat, photometry, wavelengths, dark, fringes.

Holds: the effects of calibration drift E1 and E3 to E6. Keep out light that is really lost; that is
``calibration``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from hwosim_assets.fits.dq import DQ
from hwosim_assets.perturb import compiled
from hwosim_assets.perturb.effect import Effect, NotApplicableError
from hwosim_assets.perturb.effects.axes import (
    cosine_of_turns,
    detector_corner,
    detector_shape,
    detector_stream,
    frame_normal,
    noise_level,
    on_detector,
    wavelengths,
)
from hwosim_assets.perturb.effects.headers import is_asdf
from hwosim_assets.perturb.effects.kernels import shift_spectrum
from hwosim_assets.perturb.parameters import Parameter, rounded
from hwosim_assets.perturb.registry import register
from hwosim_assets.perturb.spec import EffectSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hwosim_assets.perturb.block import Block
    from hwosim_assets.perturb.budget import Budget
    from hwosim_assets.perturb.effect import Task
    from hwosim_assets.perturb.fitsfile import FitsFile
    from hwosim_assets.perturb.measurements import Measurement

__all__ = ["DarkReferenceDrift", "FlatDrift", "Fringing", "PhotomStep", "WavelengthShift"]

#: In the tag of such an object, of any version.
_GWCS = b"stsci.edu:gwcs/wcs-"
_CONTEXT = re.compile(rb"'jwst_(\d{4,6})\.pmap *'")
_SCALED = ("SCI", "ERR", "VAR_POISSON", "VAR_RNOISE", "VAR_FLAT")
_LIGHT_KM_S = 299792.458
_HEADER = Parameter(
    "header",
    "whether keywords tell of the change (honest) or stay (stale)",
    default="honest",
    choices=("honest", "stale"),
    source="the honesty switches, for headers",
)


def scale(block: Block, factor: NDArray[Any] | float, honest: float, slope: NDArray[Any] | float | None = None) -> None:
    """Multiply by a factor c: SCI by c, ERR and the roots of all variances by d(cS)/dS.

    That slope is c itself where c is a calibration factor and does not depend on the signal.
    """
    # A cube's frame has one wavelength, so one factor; the loop takes one for each pixel without a look at how many
    if compiled.on() and isinstance(factor, np.ndarray) and factor.shape == (block.size,) and slope is None:
        poisson, read = (block.accounts(kind, honest) for kind in ("poisson", "read"))
        if poisson and read:
            from hwosim_assets.perturb.compiled import effects

            effects.scale(block.sci[0], factor, poisson + read + block.flat_accounts(honest))
            return
    block.sci *= factor
    response = factor if slope is None else slope
    square = response * response
    for kind in ("poisson", "read"):
        block.scale_variance(kind, square, honest)
    block.scale_flat_variance(square, honest)


def _calibrated(measurement: Measurement, what: str) -> None:
    if measurement.ramp:
        raise NotApplicableError(f"a ramp is not corrected for {what} yet")


@register(
    EffectSpec(
        name="flat_drift",
        title="Flat-field drift",
        code="E1",
        stage="calibration",
        model="S -> c S with c = 1 + rms (sqrt(1-w^2) z + w L(x,y)), z white and L a quadratic, both of mean 0 and "
        "unit rms over the detector and fixed for each",
        planes=(*_SCALED, "DQ"),
        parameters=(
            Parameter(
                "rms",
                "standard deviation of the error of the flat",
                severities=(0.002, 0.005, 0.01, 0.03, 0.1),
                high=0.2,
                source="severity table 2026.1; PRNU 3 % rms, flat known to 0.5 % (JexoSim)",
            ),
            Parameter(
                "smooth",
                "share w of the standard deviation that is smooth over the detector (L-flat)",
                default=0.5,
                source="a proposal",
            ),
        ),
        source="a wrong calibration factor c: SCI and ERR by c, variances by c^2",
        test="standard deviation of the ratio; the same in all frames of a detector",
        err=True,
        dq=True,
    )
)
class FlatDrift(Effect):
    """A flat field that is not that of the detector any more; every frame of a detector has the same error."""

    per_frame = True

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self._detector = ""
        self._smooth: dict[tuple[int, float], _Smooth] = {}

    def prepare(self, measurement: Measurement, budget: Budget) -> dict[str, Any]:
        """Refuse what has no flat or no detector."""
        _calibrated(measurement, "the flat field")
        self._detector = on_detector(self.task.product, measurement)
        return {"detector": self._detector}

    def on_chunk(self, block: Block) -> None:
        """Multiply by the pattern of the detector."""
        rms = self.task.number("rms", block)
        if rms == 0:
            return
        key = id(block.measurement), rms
        smooth = self._smooth.get(key)
        if smooth is None:
            smooth = _smooth_part(self.task, block.measurement, self._detector, rms)
            self._smooth = {key: smooth}
        stream = detector_stream(self.task, self._detector, "pixels")
        deviates = frame_normal(stream, self.task.product, block.measurement, block.start, block.size)
        factor = flat_pattern(deviates, block.start, smooth)
        scale(block, factor, self.task.err_honest)
        block.flag(self.use, 0, slice(None), DQ.UNRELIABLE_FLAT, self.task.dq_honest)


class _Smooth(NamedTuple):
    """The smooth part of a flat's error over a frame: row for row one curve and a multiple of another.

    Attributes
    ----------
    slope, level : float32 array, (columns,)
        What is multiplied by y, and what is added.
    height, more : float32 array, (rows,)
        y (-1 to 1 over the detector), and what is added in the row.
    white : float32
        Standard deviation of the part that is not smooth.
    """

    slope: NDArray[np.float32]
    level: NDArray[np.float32]
    height: NDArray[np.float32]
    more: NDArray[np.float32]
    white: np.float32


def _smooth_part(task: Task, measurement: Measurement, detector: str, rms: float) -> _Smooth:
    """Return the smooth part: the products of two Legendre polynomials of degree 2 and less, with drawn weights."""
    rows, columns = measurement.frame
    (x0, y0), (height, width) = detector_corner(task.product), detector_shape(task.product, measurement, detector)
    u = (np.arange(x0, x0 + columns) + 0.5) / (width / 2) - 1.0
    v = (np.arange(y0, y0 + rows) + 0.5) / (height / 2) - 1.0
    drawn = detector_stream(task, detector, "smooth").normal(0, 0, 5).astype(np.float64)
    smooth = task.number("smooth")
    a, b, c, d, e = drawn * (rms * smooth / float(np.sqrt((drawn * drawn).sum())))
    level = (a * 3**0.5 * u + d * 1.25**0.5 * (3 * u * u - 1)).astype(np.float32)
    slope = (c * 3.0 * u).astype(np.float32)
    more = (b * 3**0.5 * v + e * 1.25**0.5 * (3 * v * v - 1)).astype(np.float32)
    return _Smooth(slope, level, v.astype(np.float32), more, np.float32(rms * (1.0 - smooth * smooth) ** 0.5))


def flat_pattern(deviates: NDArray[np.float32], start: int, smooth: _Smooth) -> NDArray[np.float32]:
    """Return the factors c of consecutive pixels of a frame from their fixed deviates, which become them."""
    columns = smooth.slope.size
    top, bottom = start // columns, -(-(start + deviates.size) // columns)
    height, more = smooth.height[top:bottom], smooth.more[top:bottom]
    if compiled.on():
        from hwosim_assets.perturb.compiled import effects

        curves = smooth.slope, smooth.level
        effects.flat_pattern(deviates, start - top * columns, curves, (height, more), smooth.white)
        return deviates
    curve = height[:, None] * smooth.slope
    curve += smooth.level
    curve += more[:, None]
    deviates *= smooth.white
    deviates += curve.reshape(-1)[start - top * columns :][: deviates.size]
    deviates += np.float32(1.0)
    return deviates


@register(
    EffectSpec(
        name="photom_step",
        title="Step of the photometric calibration",
        code="E3",
        stage="calibration",
        model="S -> (1 + step) S; an honest header has PHOTMJSR and PHOTUJA2 scaled too, and names the next CRDS "
        "context",
        planes=(*_SCALED, "header"),
        parameters=(
            Parameter(
                "step",
                "change of the calibration factor",
                severities=(0.005, 0.02, 0.05, 0.1, 0.5),
                high=1.0,
                source="severity table 2026.1; levels are a proposal",
            ),
            _HEADER,
        ),
        source="a wrong calibration factor c; keywords of the JWST photom step",
        test="the ratio is 1 + step, from the MJD of the step on; PHOTMJSR follows where honest",
        err=True,
    )
)
class PhotomStep(Effect):
    """Another photometric reference file; a ``when`` of the profile ``step`` gives the time it came."""

    per_frame = True

    def prepare(self, measurement: Measurement, budget: Budget) -> dict[str, Any]:
        """Refuse ramps."""
        _calibrated(measurement, "photometry")
        return {"factor": rounded(1.0 + self.task.number("step"))}

    def on_chunk(self, block: Block) -> None:
        """Multiply by the factor."""
        step = self.task.number("step", block)
        if step:
            scale(block, 1.0 + step, self.task.err_honest)

    def on_file(self, file: FitsFile) -> list[dict[str, Any]]:
        """Scale the conversion keywords of every header that has them."""
        if self.task.word("header") == "stale":
            return []
        wanted = {item.sci.hdu for item in self.task.product.measurements if not item.ramp}
        context = [_next_context(file)] if wanted and self.task.number("step") else []
        return [event for event in context if event] + [
            event
            for hdu in file.hdus
            if hdu.index in wanted or (hdu.index == 0 and wanted)
            for keyword in ("PHOTMJSR", "PHOTUJA2")
            if (event := scale_card(file, hdu.index, keyword, 1.0 + self.task.number("step")))
        ]


def _next_context(file: FitsFile) -> dict[str, Any] | None:
    """Let the header name the CRDS context after its own; return the event, or ``None`` where it names none."""
    primary = file.hdus[0]
    card = primary.find("CRDS_CTX")
    found = None if card is None else _CONTEXT.search(card[10:80])
    if card is None or found is None:
        return None
    value = f"jwst_{int(found[1]) + 1:0{len(found[1])}d}.pmap"
    primary.replace_value("CRDS_CTX", f"'{value}'")
    return {"hdu": 0, "keyword": "CRDS_CTX", "before": card.decode("latin-1").rstrip(), "value": value}


def scale_card(file: FitsFile, hdu: int, keyword: str, factor: float) -> dict[str, Any] | None:
    """Multiply the number in a card; return the event, or ``None`` when there is no such number."""
    card = file.hdus[hdu].find(keyword)
    before = None if card is None else card_number(card)
    if card is None or before is None:
        return None
    return set_card(file, hdu, keyword, rounded(before * factor))


def card_number(card: bytes) -> float | None:
    """Return the finite number in a card image, or ``None``."""
    try:
        value = float(card[10:80].split(b"/")[0].strip().replace(b"D", b"E"))
    except ValueError:
        return None
    return value if np.isfinite(value) else None


def has_gwcs(file: FitsFile) -> bool:
    """Return whether the file has a gwcs: coordinates that stdatamodels has from the ASDF extension and not from cards.

    No effect edits them.
    """
    return any(
        _GWCS in bytes(file.content[hdu.data_offset : hdu.data_offset + hdu.data_bytes])
        for hdu in file.hdus
        if is_asdf(hdu)
    )


def set_card(file: FitsFile, hdu: int, keyword: str, value: float) -> dict[str, Any]:
    """Set the number in a card that is there; return the event for the truth record."""
    card = file.hdus[hdu].find(keyword) or b""
    text = repr(float(value)).upper()
    file.hdus[hdu].replace_value(keyword, text)
    return {"hdu": hdu, "keyword": keyword, "before": card.decode("latin-1").rstrip(), "value": float(value)}


@register(
    EffectSpec(
        name="wavelength_shift",
        title="Drift of the wavelength solution",
        code="E4",
        stage="header",
        model="axis: lambda -> lambda (1 + v/c) + shift dlambda/dpx in the wavelength column, CRVAL3 (1 + v/c) + shift "
        "CDELT3 and CDELT3 (1 + v/c) of a cube (a gwcs in the ASDF extension stays, and the record says so); "
        "flux: S(p) -> S(p - shift), interpolated, with the read noise that this smooths put back",
        planes=("WAVELENGTH", "header", "SCI", "ERR", "VAR_POISSON", "DQ"),
        parameters=(
            Parameter(
                "shift",
                "shift along the dispersion",
                unit="px",
                severities=(0.02, 0.1, 0.3, 1.0, 3.0),
                high=100.0,
                source="severity table 2026.1; levels are a proposal",
            ),
            Parameter(
                "applied",
                "to the wavelengths (axis), while fluxes stay with their pixels; or to the fluxes of a spectrum",
                default="axis",
                choices=("axis", "flux"),
                source="a solution that drifted, or a spectrum brought onto a grid by a solution that did",
            ),
            Parameter(
                "velocity",
                "velocity v that stretches the wavelengths of the axis, whatever severity (above 0) and `when` say",
                unit="km/s",
                default=0.0,
                low=-1000.0,
                high=1000.0,
                alone=True,
                source="none by default; 30: the Earth's motion around the Sun left in",
            ),
        ),
        source="a dispersion solution that is off by a shift",
        test="cross-correlation of the spectra on one wavelength grid gives the shift",
        err=True,
        dq=True,
        apart=((("applied",), ("velocity",)),),
    )
)
class WavelengthShift(Effect):
    """Wavelengths, or fluxes, that are off; each event says whether a gwcs remains that does not follow."""

    per_frame = True

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self._chosen: list[Measurement] = []

    def prepare(self, measurement: Measurement, budget: Budget) -> dict[str, Any]:
        """Refuse what tells no wavelengths."""
        values = wavelengths(self.task.product, measurement)
        if measurement.sci.column == "" and values.shape[1] > 1:
            raise NotApplicableError("the wavelengths of a spectral image follow from its WCS, which is not edited")
        if max(values.shape) < 3:
            raise NotApplicableError("fewer than three wavelengths have no dispersion")
        if self._moves_flux and len(measurement.frame) > 1:
            raise NotApplicableError("the wavelengths of its pixels are those of its frames, which are not mixed")
        self._chosen.append(measurement)
        velocity = self.task.number("velocity")
        return {"shift_px": self.task.number("shift")} | ({"velocity_km_s": velocity} if velocity else {})

    @property
    def _stretch(self) -> float:
        """Factor of the wavelengths."""
        return 1.0 + self.task.number("velocity") / _LIGHT_KM_S

    @property
    def _moves_flux(self) -> bool:
        return self.task.word("applied") == "flux"

    def reach(self, measurement: Measurement) -> int:
        """Look at no rows: a spectrum whose fluxes move has one axis and comes whole, and nothing else moves."""
        return 0

    def on_frame(self, block: Block) -> None:
        """Move the fluxes of a spectrum."""
        shift = self.task.number("shift", block) if self._moves_flux else 0.0
        if shift:
            lost = shift_spectrum(block, shift, self.task.stream(block.measurement.key), self.task.err_honest)
            block.lose(self.use, 0, lost, self.task.dq_honest, bits=int(DQ.DO_NOT_USE))

    def on_file(self, file: FitsFile) -> list[dict[str, Any]]:
        """Shift every wavelength column once, and CRVAL3 of cubes."""
        events: list[dict[str, Any]] = []
        remains, done = {"gwcs_remains": has_gwcs(file)}, set[int]()
        for item in () if self._moves_flux else self._chosen:
            if not item.sci.column:
                step = self.task.product.number("CDELT3") or 0.0
                first = self.task.product.number("CRVAL3") or 0.0
                moved = {"CRVAL3": first * self._stretch + self.task.number("shift") * step}
                if self._stretch != 1.0:
                    moved["CDELT3"] = step * self._stretch
                for keyword, value in moved.items():
                    if file.hdus[item.sci.hdu].find(keyword) is not None:
                        events.append(set_card(file, item.sci.hdu, keyword, rounded(value)) | remains)
                continue
            if item.sci.hdu not in done:  # which fluxes and surface brightness share
                done.add(item.sci.hdu)
                events += [event | remains for event in self._move_columns(file, item.sci.hdu)]
        return events

    def _move_columns(self, file: FitsFile, hdu: int) -> list[dict[str, Any]]:
        """Move the wavelength columns of a table."""
        events, shift = [], self.task.number("shift")
        for plane in self.task.product.planes_by_hdu[hdu]:
            named = plane.column.upper() in ("WAVELENGTH", "WAVE")
            if named and plane.dtype.startswith("float") and plane.shape[-1] > 2:
                values = plane.read(self.task.product.payload)
                moved = shifted_wavelengths(values.astype(np.float64), shift, self._stretch)
                plane.raw(file.data)[...] = plane.encode(moved.astype(values.dtype))
                file.hdus[hdu].touched = True
                events.append({"hdu": hdu, "column": plane.column, "shift_px": shift})
        return events


def shifted_wavelengths(values: NDArray[np.float64], shift: float, stretch: float) -> NDArray[np.float64]:
    """Return wavelengths times ``stretch``, moved by ``shift`` of their own local steps; invalid ones (0, NaN) stay."""
    with np.errstate(invalid="ignore"):
        moved = values * stretch + shift * np.gradient(values, axis=-1)
    return np.where(np.isfinite(moved) & (values > 0) & (moved > 0), moved, values)


@register(
    EffectSpec(
        name="dark_reference_drift",
        title="Drift of the dark reference",
        code="E5",
        stage="calibration",
        model="S += amplitude sigma T with T white of unit rms, fixed for each detector; sigma the median of ERR",
        planes=("SCI", "DQ"),
        parameters=(
            Parameter(
                "amplitude",
                "rms of the residual pattern, in units of the noise of a typical pixel",
                severities=(0.1, 0.3, 1.0, 3.0, 10.0),
                high=1000.0,
                source="no published table; levels are a proposal",
            ),
        ),
        source="an additive reference pattern that the pipeline did not take away; a `when` gives a(t)",
        test="regression of the difference on the template gives the amplitude",
        dq=True,
    )
)
class DarkReferenceDrift(Effect):
    """A dark reference that is out of date; uncertainties say nothing of it, as in the pipeline."""

    per_frame = True

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self._levels: dict[str, float] = {}

    def prepare(self, measurement: Measurement, budget: Budget) -> dict[str, Any]:
        """Find the noise that the amplitude is relative to."""
        _calibrated(measurement, "the dark current")
        detector = on_detector(self.task.product, measurement)
        level = noise_level(self.task.product, measurement, budget)
        self._levels[measurement.key] = level
        return {"detector": detector, "rms": rounded(level * self.task.number("amplitude"))}

    def on_chunk(self, block: Block) -> None:
        """Add the pattern of the detector."""
        rms = rounded(self._levels[block.measurement.key] * self.task.number("amplitude", block))
        if rms == 0:
            return
        detector = on_detector(self.task.product, block.measurement)
        stream = detector_stream(self.task, detector, "pixels")
        pattern = frame_normal(stream, self.task.product, block.measurement, block.start, block.size)
        block.sci += pattern * np.float32(rms)
        block.flag(self.use, 0, slice(None), DQ.UNRELIABLE_DARK, self.task.dq_honest)


@register(
    EffectSpec(
        name="fringing",
        title="Fringing residual",
        code="E6",
        stage="calibration",
        model="S -> S (1 + A cos(2 pi (D / lambda + phase))), D the optical path of one round trip",
        planes=_SCALED,
        parameters=(
            Parameter(
                "amplitude",
                "relative amplitude A",
                severities=(0.005, 0.01, 0.02, 0.05, 0.1),
                high=0.9,
                source="0.5 to 5 % remain after correction (MIRI; not checked); level 5 is a proposal",
            ),
            Parameter(
                "path",
                "optical path D of one round trip, in the unit of the wavelengths (um)",
                low=1.0,
                high=1e6,
                default=3500.0,
                source="2 n d of a MIRI detector substrate: n = 3.4, d = 0.5 mm; an assumption",
            ),
        ),
        source="interference in a plane-parallel layer; MIRI MRS fringes",
        test="the period in 1/lambda is 1/D; the amplitude of the ratio is A",
        err=True,
    )
)
class Fringing(Effect):
    """Fringes that the correction left; the phase belongs to the product."""

    per_frame = True

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self._waves: dict[int, NDArray[np.float64]] = {}

    def prepare(self, measurement: Measurement, budget: Budget) -> dict[str, Any]:
        """Compute the fringes of amplitude 1 at each wavelength."""
        values = wavelengths(self.task.product, measurement)
        phase = rounded(float(self.task.stream("phase").bits(0, 0, 1)[0]) / 2**32)
        with np.errstate(divide="ignore", invalid="ignore"):
            turns = np.where(values > 0, self.task.number("path") / values + phase, np.nan)
        waves = cosine_of_turns(turns)
        self._waves[id(measurement)] = np.where(np.isfinite(waves), waves, 0.0)
        return {"phase_turns": phase}

    def on_chunk(self, block: Block) -> None:
        """Multiply by the factor of each pixel's wavelength."""
        amplitude = self.task.number("amplitude", block)
        if amplitude == 0:
            return
        waves = self._waves[id(block.measurement)][block.frame]
        if waves.size > 1:
            waves = waves[block.start : block.start + block.size]
        factors = 1.0 + amplitude * waves
        scale(block, factors.astype(block.sci.dtype), self.task.err_honest)
