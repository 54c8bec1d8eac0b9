"""The limits and patterns that several quality suites share.

Holds: constants. Keep out what one rule alone reads; that stands in the rule.
"""

from __future__ import annotations

__all__ = [
    "CAOM_LEVELS",
    "DATA_KINDS",
    "PROGRAM",
    "REFUSED_SHARE_FEW",
    "REFUSED_SHARE_LIMIT",
    "RIGHTS",
    "SHA256",
    "WAVELENGTH_M",
    "WAVELENGTH_NM",
]

#: Share of a program's files that a stage may refuse before what lies downstream is stopped.
REFUSED_SHARE_LIMIT = 0.9
#: Share above which a person should look.
REFUSED_SHARE_FEW = 0.1

#: ``\Z`` and not ``$``, which also matches before a line break at the end.
PROGRAM = r"^[0-9]{5}\Z"
SHA256 = r"^[0-9a-f]{64}\Z"
#: Light that JWST records, 0.6 to 28.8 um, with room for the wings of filters (metres).
WAVELENGTH_M = (4.0e-7, 3.2e-5)
WAVELENGTH_NM = (400.0, 32000.0)
#: CAOM calibration levels; -1 is a planned observation.
CAOM_LEVELS = (-1, 0, 1, 2, 3, 4)
#: What CAOM calls the kinds of data.
DATA_KINDS = ("image", "spectrum", "cube", "timeseries", "visibility", "measurements", "eventlist", "catalog")
RIGHTS = r"(?i)^(?:public|exclusive_access|restricted)\Z"
