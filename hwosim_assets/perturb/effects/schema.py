"""Products in another dress: other units, other column names, other number types.

Holds: effect F8. Keep out numbers that change their meaning for other reasons (``references``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hwosim_assets.perturb.effect import Effect, NotApplicableError
from hwosim_assets.perturb.parameters import Parameter
from hwosim_assets.perturb.registry import register
from hwosim_assets.perturb.spec import EffectSpec

if TYPE_CHECKING:
    from hwosim_assets.perturb.budget import Budget
    from hwosim_assets.perturb.fitsfile import FitsFile
    from hwosim_assets.perturb.measurements import Measurement

__all__ = ["SchemaDrift"]

#: Old and new names of the columns of spectra: those of pipeline versions before 1.5 or so had other names.
_NAMES = {"FLUX_ERROR": "ERROR", "BACKGROUND": "BACKGRND"}


@register(
    EffectSpec(
        name="schema_drift",
        title="Schema drift",
        code="F8",
        stage="file",
        model="columns of spectra are renamed, or floating image planes are stored in double precision",
        planes=("header", "SCI", "ERR", "VAR_POISSON", "VAR_RNOISE"),
        parameters=(
            Parameter(
                "changes",
                "how many columns are renamed, or planes stored wider",
                unit="cards",
                severities=(1, 2, 3, 4, 8),
                high=1000,
                whole=True,
                source="levels are a proposal",
            ),
        ),
        source="columns of extracted spectra changed their names between versions of the JWST pipeline",
        test="undoing what the record says restores the bytes",
    )
)
class SchemaDrift(Effect):
    """A file as another version of the pipeline would have written it; the numbers are the same."""

    def prepare(self, measurement: Measurement, budget: Budget) -> dict[str, Any]:
        """Refuse raw ramps of unsigned integers."""
        if measurement.ramp or not measurement.sci.dtype.startswith("float"):
            raise NotApplicableError("it holds no floating planes and no spectra")
        return {}

    def on_file(self, file: FitsFile) -> list[dict[str, Any]]:
        """Rename columns, or store planes wider, in file order."""
        left = int(self.task.number("changes"))
        events: list[dict[str, Any]] = []
        own = {plane.hdu for item in self.task.product.measurements for plane in item.planes()}
        for plane in self.task.product.planes:
            if len(events) >= left or plane.hdu not in own:
                continue
            hdu = file.hdus[plane.hdu]
            if plane.column in _NAMES:
                keyword = next(word for word in hdu.keywords() if _value(hdu.find(word)) == plane.column)
                hdu.replace_value(keyword, f"'{_NAMES[plane.column]:<8}'")
                events.append(
                    {"hdu": plane.hdu, "keyword": keyword, "before": plane.column, "value": _NAMES[plane.column]}
                )
            elif not plane.column and plane.dtype == "float32" and hdu.new_data is None:
                hdu.new_data = np.ascontiguousarray(plane.raw(file.data).astype(">f8")).tobytes()
                hdu.replace_value("BITPIX", "-64")
                events.append({"hdu": plane.hdu, "keyword": "BITPIX", "before": "-32", "value": "-64"})
        return events


def _value(card: bytes | None) -> str:
    """Return the text in a TTYPE card, else an empty text."""
    if card is None or not card.startswith(b"TTYPE"):
        return ""
    return card[10:80].decode("latin-1").split("'")[1].strip()
