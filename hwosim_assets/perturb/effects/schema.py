"""Products in another dress: other units, names, number types, axes, byte order, another layout of their tables.

Holds: effect F8. Keep out numbers that change their meaning for other reasons (``references``) and how the layouts of
time-series spectra become each other (``layouts``).
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from hwosim_assets.perturb.effect import Effect, NotApplicableError
from hwosim_assets.perturb.effects.layouts import joined, parted, tables_of
from hwosim_assets.perturb.effects.references import scale
from hwosim_assets.perturb.fitsfile import Pieces
from hwosim_assets.perturb.parameters import Parameter
from hwosim_assets.perturb.published import detector_of
from hwosim_assets.perturb.registry import register
from hwosim_assets.perturb.spec import EffectSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hwosim_assets.perturb.block import Block
    from hwosim_assets.perturb.budget import Budget
    from hwosim_assets.perturb.effect import Task
    from hwosim_assets.perturb.fitsfile import FitsFile, Hdu
    from hwosim_assets.perturb.measurements import Measurement
    from hwosim_assets.perturb.planes import Plane

__all__ = ["SchemaDrift"]

#: Numbers of an image that are changed at once.
_PIECE = 1 << 18

#: Old and new names of the columns of spectra: those of pipeline versions before 1.5 or so had other names.
_NAMES = {"FLUX_ERROR": "ERROR", "BACKGROUND": "BACKGRND"}
#: Unit -> another of the same quantity, and how many of it make one; 1 sr is 4.2545e10 square arc seconds.
_UNITS = {
    "MJy/sr": ("uJy/arcsec2", 23.504430539097885),
    "MJy": ("Jy", 1e6),
    "Jy": ("mJy", 1e3),
    "mJy": ("uJy", 1e3),
}


@register(
    EffectSpec(
        name="schema_drift",
        title="Schema drift",
        code="F8",
        steady="it belongs to the file",
        stage="schema",
        model="names: columns of spectra are renamed, or floating image planes are stored in double precision; units: "
        "values, errors and variances in another unit (MJy/sr to uJy/arcsec2, MJy to Jy, Jy to mJy, DN/s to "
        "electron/s); layout: a table of all integrations becomes one for each, or the other way round; axes: rows and "
        "columns of images change places; byte_order: the bytes of each number come in the other order",
        planes=("header", "SCI", "ERR", "VAR_POISSON", "VAR_RNOISE", "VAR_FLAT"),
        parameters=(
            Parameter(
                "changes",
                "how many columns are renamed or planes stored wider; or how many measurements change",
                unit="cards",
                severities=(1, 2, 3, 4, 8),
                high=1000,
                whole=True,
                source="levels are a proposal",
            ),
            Parameter(
                "kind",
                "what changes",
                default="names",
                choices=("names", "units", "layout", "axes", "byte_order"),
                source="columns were renamed, and x1dints changed its layout, between versions of the JWST pipeline; "
                "units, axes and byte order are what readers and writers of other programs are seen to disagree on",
            ),
            Parameter(
                "header",
                "whether units in the header follow the values (honest) or stay (stale)",
                default="honest",
                choices=("honest", "stale"),
                source="the honesty switches, for headers",
            ),
        ),
        source="columns and tables of extracted spectra changed between versions of the JWST pipeline",
        test="undoing what the record says restores the bytes; of units, the values to a unit in the last place",
    )
)
class SchemaDrift(Effect):
    """A file as another version of the pipeline, or another program, would have written it."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self._left = int(task.number("changes"))
        self._units: dict[int, tuple[str, float]] = {}
        self._chosen: list[Measurement] = []

    def prepare(self, measurement: Measurement, budget: Budget) -> dict[str, Any]:
        """Refuse raw ramps of unsigned integers, and what the change has no meaning for."""
        if measurement.ramp or not measurement.sci.dtype.startswith("float"):
            raise NotApplicableError("it holds no floating planes and no spectra")
        kind = self.task.word("kind")
        if kind == "axes" and (measurement.sci.column or len(measurement.frame) < 2):
            raise NotApplicableError("a spectrum in a table has no two axes")
        if kind == "layout" and not tables_of(self.task.product):
            raise NotApplicableError("it holds no spectra of several integrations")
        unit = self._other_unit(measurement) if kind == "units" else None
        if len(self._chosen) < self._left:
            self._chosen.append(measurement)
            if unit is not None:
                self._units[id(measurement)] = unit
                return {"unit": unit[0], "factor": unit[1]}
        return {}

    def _other_unit(self, measurement: Measurement) -> tuple[str, float]:
        """Return (another unit, how many of it make one of the product's)."""
        said = measurement.sci.unit.strip()
        if said in _UNITS:
            return _UNITS[said]
        words = (str(self.task.product.keyword(name) or "") for name in ("INSTRUME", "CHANNEL", "DETECTOR"))
        detector = detector_of(*words)
        if said == "DN/s" and detector is not None:
            return "electron/s", detector.gain
        raise NotApplicableError(f"its unit {said!r} has no other that is known" if said else "it tells no unit")

    def on_chunk(self, block: Block) -> None:
        """Bring the values into the other unit."""
        unit = self._units.get(id(block.measurement))
        if unit is not None:
            scale(block, unit[1], 1.0)

    def on_file(self, file: FitsFile) -> list[dict[str, Any]]:
        """Change names, types, units, axes or layout, in file order."""
        return self._changes[str(self.task.word("kind"))](self, file)

    def _names(self, file: FitsFile) -> list[dict[str, Any]]:
        """Rename columns, or store planes wider."""
        events: list[dict[str, Any]] = []
        own = {plane.hdu for item in self.task.product.measurements for plane in item.planes()}
        for plane in self.task.product.planes:
            if len(events) >= self._left or plane.hdu not in own:
                continue
            hdu = file.hdus[plane.hdu]
            if plane.column in _NAMES:
                keyword = _keyword_of(hdu, plane.column)
                events.append(_set_word(hdu, keyword, plane.column, _NAMES[plane.column]))
            elif not plane.column and plane.dtype == "float32" and hdu.new_data is None:
                hdu.new_data = Pieces(8 * plane.size, partial(_wider, file, plane))
                hdu.replace_value("BITPIX", "-64")
                events.append({"hdu": plane.hdu, "keyword": "BITPIX", "before": "-32", "value": "-64"})
        return events

    def _unit_cards(self, file: FitsFile) -> list[dict[str, Any]]:
        """Say the unit of values and errors, and of variances where they have one."""
        events: list[dict[str, Any]] = []
        for item in self._chosen if self.task.word("header") == "honest" else ():
            unit = self._units[id(item)][0]
            for plane in (item.sci, item.err, *item.variances.values()):
                if plane is None or not plane.unit:
                    continue
                hdu = file.hdus[plane.hdu]
                keyword = f"TUNIT{_keyword_of(hdu, plane.column)[5:]}" if plane.column else "BUNIT"
                said = f"({unit})^2" if plane in item.variances.values() else unit
                events.append(_set_word(hdu, keyword, plane.unit, said))
        return events

    def _layout(self, file: FitsFile) -> list[dict[str, Any]]:
        """Part the table of all integrations, or join those of each."""
        found = tables_of(self.task.product)
        if not self._chosen or not found:
            return []
        return parted(file, found[0]) if len(found) == 1 else joined(file, found)

    def _axes(self, file: FitsFile) -> list[dict[str, Any]]:
        """Let rows and columns of images change places; the world coordinates stay as they are."""
        events: list[dict[str, Any]] = []
        for plane in self._planes():
            hdu = file.hdus[plane.hdu]
            if hdu.new_data is None and len(plane.shape) > 1:
                hdu.new_data = Pieces(plane.size * plane.stored.itemsize, partial(_turned, file, plane))
                for axis, length in (("NAXIS1", plane.shape[-2]), ("NAXIS2", plane.shape[-1])):
                    hdu.replace_value(axis, str(length))
                events.append({"hdu": plane.hdu, "keyword": "NAXIS1", "value": plane.shape[-2]})
        return events

    def _byte_order(self, file: FitsFile) -> list[dict[str, Any]]:
        """Swap the bytes of each number."""
        events: list[dict[str, Any]] = []
        for plane in self._planes():
            hdu = file.hdus[plane.hdu]
            if hdu.new_data is None and plane.stored.itemsize > 1:
                stored = plane.raw(file.data)
                step = max(_PIECE * len(stored) // stored.size, 1)
                for start in range(0, len(stored), step):
                    stored[start : start + step] = stored[start : start + step].byteswap()
                    file.release()
                hdu.touched = True
                events.append({"hdu": plane.hdu, "column": plane.column, "bytes": plane.stored.itemsize})
        return events

    def _planes(self) -> list[Plane]:
        """Return the planes of the chosen measurements, each once."""
        return list(dict.fromkeys(plane for item in self._chosen for plane in item.planes()))

    _changes: ClassVar[dict[str, Callable[[SchemaDrift, FitsFile], list[dict[str, Any]]]]] = {
        "names": _names,
        "units": _unit_cards,
        "layout": _layout,
        "axes": _axes,
        "byte_order": _byte_order,
    }


def _wider(file: FitsFile, plane: Plane) -> Iterator[bytes]:
    """Yield the numbers of an image in double precision."""
    stored = plane.raw(file.data).reshape(-1)
    for start in range(0, stored.size, _PIECE):
        yield stored[start : start + _PIECE].astype(">f8").tobytes()
        file.release()


def _turned(file: FitsFile, plane: Plane) -> Iterator[bytes]:
    """Yield the numbers of an image column by column."""
    for frame in plane.raw(file.data).reshape(-1, *plane.shape[-2:]):
        step = max(_PIECE // len(frame), 1)
        for start in range(0, frame.shape[1], step):
            yield frame[:, start : start + step].T.tobytes()
            file.release()


def _keyword_of(hdu: Hdu, column: str) -> str:
    """Return the TTYPE keyword of a column."""
    return next(word for word in hdu.keywords() if _name(hdu.find(word)) == column)


def _name(card: bytes | None) -> str:
    """Return the text in a TTYPE card, else an empty text."""
    if card is None or not card.startswith(b"TTYPE"):
        return ""
    return card[10:80].decode("latin-1").split("'")[1].strip()


def _set_word(hdu: Hdu, keyword: str, before: str, value: str) -> dict[str, Any]:
    hdu.replace_value(keyword, f"'{value:<8}'")
    return {"hdu": hdu.index, "keyword": keyword, "before": before, "value": value}
