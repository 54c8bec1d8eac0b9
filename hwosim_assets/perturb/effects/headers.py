"""Header cards that were lost or spoilt.

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
    from hwosim_assets.perturb.effect import Task
    from hwosim_assets.perturb.fitsfile import FitsFile, Hdu

#: What stays: structure, sums, comments, HIERARCH, and world coordinates.
_KEPT = re.compile(
    r"SIMPLE|BITPIX|NAXIS\d*|EXTEND|PCOUNT|GCOUNT|GROUPS|INHERIT|LONGSTRN|CHECKSUM|DATASUM|BSCALE|BZERO|BLANK|BUNIT|"
    r"EXTNAME|EXTVER|EXTLEVEL|COMMENT|HISTORY|HIERARCH|CONTINUE|END|"
    r"WCS.*|RADESYS|EQUINOX|SPECSYS|(CRPIX|CRVAL|CTYPE|CUNIT|CDELT|CROTA)\d+|(PC|CD|PV|PS)\d+_\d+|LONPOLE|LATPOLE"
)

__all__ = ["HeaderCorruption", "HeaderLoss", "is_asdf"]


def _drawn(task: Task, file: FitsFile, count: int) -> list[str]:
    """Return keywords of the primary header: those with the smallest random words, each keyword's word its own."""
    known = {word for word in file.hdus[0].keywords() if word and not _KEPT.fullmatch(word)}
    return sorted(known, key=lambda word: (int(task.stream(word).bits(0, 0, 1)[0]), word))[:count]


def _has_asdf(file: FitsFile) -> bool:
    return any(is_asdf(hdu) for hdu in file.hdus)


def is_asdf(hdu: Hdu) -> bool:
    """Return whether an HDU is the ASDF extension of a data model."""
    return (hdu.find("EXTNAME") or b"").startswith(b"EXTNAME = 'ASDF")


@register(
    EffectSpec(
        name="header_loss",
        title="Header loss",
        code="F6",
        steady="it belongs to the file",
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
            Parameter(
                "asdf",
                "whether the ASDF extension with the copy of the keywords stays, or is lost too with all that is in it",
                default="stays",
                choices=("stays", "lost"),
                source="stdatamodels finds a lost keyword in the copy",
            ),
        ),
        source="keywords that stdatamodels reads from the primary header",
        test="the difference of the headers is exactly the recorded list",
    )
)
class HeaderLoss(Effect):
    """Keywords that got lost.

    Readers of the FITS header miss them. Where the copy in the ASDF extension stays, stdatamodels still
    finds them there; each event says whether the file has such a copy.
    """

    def on_file(self, file: FitsFile) -> list[dict[str, Any]]:
        """Remove the keywords with the smallest random words, each keyword's word being its own."""
        events: list[dict[str, Any]] = []
        for hdu in [hdu for hdu in file.hdus if self.task.word("asdf") == "lost" and is_asdf(hdu)]:
            file.drop(hdu)
            events.append({"hdu": hdu.index, "lost": "ASDF"})
        asdf = _has_asdf(file) and not events
        for word in _drawn(self.task, file, int(self.task.number("keys"))):
            cards = [card.decode("latin-1").rstrip() for card in file.hdus[0].remove(word)]
            events.append({"hdu": 0, "keyword": word, "removed": cards, "asdf_copy_remains": asdf})
        return events


@register(
    EffectSpec(
        name="header_corruption",
        title="Header corruption",
        code="F6",
        steady="it belongs to the file",
        stage="header",
        model=(
            "values of the primary header are spoilt: text cut to half, numbers as text and text as numbers, "
            "NAN in place of a number, or the values of two keywords exchanged; structure and WCS stay"
        ),
        planes=("header",),
        parameters=(
            Parameter(
                "keys",
                "keywords that are drawn; one whose value cannot be spoilt in this way stays",
                unit="cards",
                high=10000,
                severities=(1, 2, 5, 10, 30),
                whole=True,
                source="severity table 2026.1; levels are a proposal",
            ),
            Parameter(
                "kind",
                "how they are spoilt",
                default="wrong_type",
                choices=("truncated", "wrong_type", "not_a_number", "swapped"),
                source="defects seen in headers of archives; the choice is a proposal",
            ),
        ),
        source="keywords that stdatamodels reads from the primary header",
        test="the difference of the headers is exactly the recorded list",
        breaks_format=True,
    )
)
class HeaderCorruption(Effect):
    """Keywords whose values are wrong: the FITS standard and the schema of the data model forbid many of them.

    Readers of the FITS header see them. The copy in the ASDF extension stays as it was; each event
    says whether the file has one.
    """

    def on_file(self, file: FitsFile) -> list[dict[str, Any]]:
        """Spoil the drawn keywords, in the order drawn."""
        primary, kind, asdf = file.hdus[0], str(self.task.word("kind")), _has_asdf(file)
        values = {}
        for word in _drawn(self.task, file, int(self.task.number("keys"))):
            value = _value(primary.find(word) or b"")
            if value:
                values[word] = value
        events = []
        for word, spoilt in _spoilt(values, kind).items():
            primary.replace_value(word, spoilt)
            events.append({"hdu": 0, "keyword": word, "was": values[word], "is": spoilt, "asdf_copy_remains": asdf})
        return events


_WHOLE_VALUE = re.compile(rb"[A-Z0-9_-]{1,8} *= +('(?:[^']|'')*'|[^ /]+)")


def _value(card: bytes) -> str:
    """Return the value of a card as it stands there; empty where it has none or goes on in another card."""
    found = _WHOLE_VALUE.match(card[:80])
    return found[1].decode("latin-1") if found and len(card) == 80 else ""


def _spoilt(values: dict[str, str], kind: str) -> dict[str, str]:
    """Return the spoilt values, without those that stay as they are."""
    words = list(values)
    if kind == "swapped":
        pairs = zip(words[::2], words[1::2], strict=False)
        changed = {one: values[other] for pair in pairs for one, other in (pair, pair[::-1])}
    else:
        changed = {word: _alone(value, kind) for word, value in values.items()}
    return {word: value for word, value in changed.items() if value != values[word]}


def _alone(value: str, kind: str) -> str:
    is_text = value.startswith("'")
    if kind == "truncated":
        text = value[1:-1].rstrip()
        return f"'{text[: len(text) // 2].rstrip(chr(39))}'" if is_text and text else value
    if kind == "not_a_number":
        # NaN is no number in a FITS header; what writes it all the same writes it as text.
        return value if is_text or value in "TF" else "'NaN'"
    return "0" if is_text else f"'{value}'"
