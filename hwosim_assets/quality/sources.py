"""Who promises what the rules say: the documents that suites name as their sources.

Holds: constants. Keep out the sources of the rules about single files, which stand with them
(``catalog.file_rules``).
"""

from __future__ import annotations

__all__ = ["CAOM", "FITS", "FITS_SUMS", "JWST_NAMES", "MAST_FIELDS", "MAST_RIGHTS", "OBSCORE"]

CAOM = "CAOM 2.4: Observation and Plane"
FITS = "FITS standard 4.0, 3 and 4.4.1"
FITS_SUMS = "FITS standard 4.0, 4.4.2.7"
JWST_NAMES = "jwst: File naming"
MAST_FIELDS = "MAST: CAOM field descriptions"
MAST_RIGHTS = "JDox: JWST data rights"
OBSCORE = "IVOA ObsCore 1.1, 3 and B"
