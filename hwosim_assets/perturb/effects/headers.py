"""Header cards that were lost.

Holds: effects of the stage ``header``. Keep out DATAPROB and other honest flags; they go with their effect.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from hwosim_assets.perturb.effect import Effect
from hwosim_assets.perturb.parameters import Parameter
from hwosim_assets.perturb.registry import register
from hwosim_assets.perturb.spec import EffectSpec

if TYPE_CHECKING:
    from hwosim_assets.perturb.fitsfile import FitsFile

#: What stays: structure, sums, comments, HIERARCH, and world coordinates.
_KEPT = re.compile(
    r"SIMPLE|BITPIX|NAXIS\d*|EXTEND|PCOUNT|GCOUNT|GROUPS|INHERIT|LONGSTRN|CHECKSUM|DATASUM|BSCALE|BZERO|BLANK|BUNIT|"
    r"EXTNAME|EXTVER|EXTLEVEL|COMMENT|HISTORY|HIERARCH|CONTINUE|END|"
    r"WCS.*|RADESYS|EQUINOX|SPECSYS|(CRPIX|CRVAL|CTYPE|CUNIT|CDELT|CROTA)\d+|(PC|CD|PV|PS)\d+_\d+|LONPOLE|LATPOLE"
)

__all__ = ["HeaderLoss"]


@register(
    EffectSpec(
        name="header_loss",
        title="Header loss",
        code="F6",
        stage="header",
        model="keywords of the primary header are removed, drawn without replacement; structure and WCS stay",
        planes=("header",),
        parameters=(
            Parameter(
                "keys",
                "keywords that are removed",
                unit="cards",
                high=10000,
                severities=(1, 2, 5, 10, 30),
                whole=True,
                source="severity table 2026.1; levels are a proposal",
            ),
        ),
        source="keywords that stdatamodels reads from the primary header",
        test="the difference of the headers is exactly the recorded list",
    )
)
class HeaderLoss(Effect):
    """Keywords that got lost.

    Readers of the FITS header miss them. The copy in the ASDF extension stays, so stdatamodels still
    finds them there; each event says whether the file has such a copy.
    """

    def on_file(self, file: FitsFile) -> list[dict[str, Any]]:
        """Remove the keywords with the smallest random words, each keyword's word being its own."""
        primary = file.hdus[0]
        known = {word for word in primary.keywords() if word and not _KEPT.fullmatch(word)}
        order = sorted((int(self.task.stream(word).bits(0, 0, 1)[0]), word) for word in known)
        asdf = any((hdu.find("EXTNAME") or b"").startswith(b"EXTNAME = 'ASDF") for hdu in file.hdus)
        events = []
        for _, word in order[: int(self.task.number("keys"))]:
            cards = [card.decode("latin-1").rstrip() for card in primary.remove(word)]
            events.append({"hdu": 0, "keyword": word, "removed": cards, "asdf_copy_remains": asdf})
        return events
