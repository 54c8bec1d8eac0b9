"""Files as MAST lists them: CAOM observations and products, JWST file sets, programs.

Holds: :func:`list_files`, which groups described files by ``obs_id`` and by file set and writes
their rows in MAST's columns. What a header does not tell (release date, target classification)
stays null. Keep out reading the files (``folder``) and answering questions (``portal``,
``mission``).
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from hwosim_assets.fits.describe import Description
from hwosim_assets.fits.product_types import PRODUCT_TYPES

__all__ = ["EXCLUSIVE", "PUBLIC", "ArchivedFile", "Listing", "ProgramState", "data_uri", "list_files"]

PUBLIC, EXCLUSIVE = "PUBLIC", "EXCLUSIVE_ACCESS"
Row = dict[str, Any]
#: EXP_TYPEs of calibration exposures: darks, flats, lamps, LEDs, focus sweeps.
_CALIBRATION = re.compile(r"_(?:.*DARK.*|.*FLAT.*|LAMP|LED|FOCUS|AUTOWAVE|EXTCAL|CORONCAL)$")
_INSTRUMENTS = frozenset({"NIRCAM", "NIRSPEC", "MIRI", "NIRISS", "FGS"})


@dataclass(frozen=True)
class ArchivedFile:
    """A file that the archive serves.

    Attributes
    ----------
    path : Path
        Where it lies.
    size, mtime_ns : int
        Bytes; time of last change, ns.
    exclusive : bool
        Whether it is refused without a token.
    facts : Description
        What it is.
    """

    path: Path
    size: int
    mtime_ns: int
    exclusive: bool
    facts: Description

    @property
    def name(self) -> str:
        """The archive file name."""
        return self.path.name

    @property
    def etag(self) -> str:
        """Strong entity tag, quotes included."""
        return f'"{self.size:x}-{self.mtime_ns:x}"'

    @property
    def rights(self) -> str:
        """MAST's ``dataRights``."""
        return EXCLUSIVE if self.exclusive else PUBLIC

    @property
    def file_set(self) -> str:
        """JWST file set: the exposure without its detector, or the ``obs_id`` of what is not an exposure."""
        name = self.facts.name
        if name is None or name.stage != "exposure":
            return self.facts.obs_id
        return "_".join(name.file_name.split("_")[:3]).split("-seg")[0]


@dataclass(frozen=True)
class ProgramState:
    """A program of the archive.

    Attributes
    ----------
    fingerprint : str
        SHA-256 over the names, tags and rights of its files.
    observations, products : int
        How many it has.
    """

    fingerprint: str
    observations: int
    products: int


@dataclass(frozen=True)
class Listing:
    """What the archive lists.

    Attributes
    ----------
    observations : list of dict
        CAOM observations, 33 columns, in order of program and ``obs_id``.
    products : dict of int to list of dict
        CAOM products, 20 columns, by ``obsid``.
    file_sets : list of dict
        Rows of the mission search.
    members : dict of str to list of ArchivedFile
        Files by file set.
    programs : dict of str to ProgramState
        By five-digit program.
    """

    observations: list[Row]
    products: dict[int, list[Row]]
    file_sets: list[Row]
    members: dict[str, list[ArchivedFile]]
    programs: dict[str, ProgramState]


def list_files(files: Iterable[ArchivedFile]) -> Listing:
    """List files as MAST would.

    Parameters
    ----------
    files : iterable of ArchivedFile
        Names are unique.

    Returns
    -------
    Listing
        Independent of the files' order.
    """
    ordered = sorted(files, key=lambda file: (file.facts.program, file.facts.obs_id, file.name))
    observations: list[Row] = []
    products: dict[int, list[Row]] = {}
    programs: dict[str, ProgramState] = {}
    for program, of_program in groupby(ordered, key=lambda file: file.facts.program):
        of_program_files = list(of_program)
        first = len(observations)
        for obs_id, group in groupby(of_program_files, key=lambda file: file.facts.obs_id):
            members = list(group)
            observation = _observation(program, obs_id, members)
            observations.append(observation)
            products[observation["obsid"]] = [_product(file, observation) for file in members]
        programs[program] = ProgramState(
            _fingerprint(of_program_files), len(observations) - first, len(of_program_files)
        )
    by_set = sorted(ordered, key=lambda file: (file.facts.program, file.file_set, file.name))
    members_of: dict[str, list[ArchivedFile]] = {}
    file_sets = []
    for (_, file_set), group in groupby(by_set, key=lambda file: (file.facts.program, file.file_set)):
        members = list(group)
        members_of.setdefault(file_set, []).extend(members)
        file_sets.append(_file_set(file_set, members))
    return Listing(observations, products, file_sets, members_of, programs)


def data_uri(name: str) -> str:
    """Return the archive URI of a JWST file name."""
    return f"mast:JWST/product/{name}"


def _number_of(*parts: str) -> int:
    """Return a lasting 15-digit number for a name (MAST's ids are numbers; JSON keeps 53 bits)."""
    return 10**14 + int.from_bytes(hashlib.sha256("\n".join(parts).encode()).digest()[:8], "big") % (9 * 10**14)


def _fingerprint(files: Sequence[ArchivedFile]) -> str:
    states = sorted(f"{file.name} {file.etag} {file.rights}" for file in files)
    return hashlib.sha256("\n".join(states).encode()).hexdigest()


def _main(files: Sequence[ArchivedFile]) -> ArchivedFile:
    """Return the file that stands for a group: the one of the highest level."""
    return max(files, key=lambda file: (file.facts.calib_level or 0, file.facts.dms_level, file.name))


def _first(files: Sequence[ArchivedFile], fact: str) -> Any:
    """Return a fact of the first file that tells it, the main one asked first."""
    main = _main(files)
    for file in (main, *files):
        value = getattr(file.facts, fact)
        if value not in (None, ""):
            return None if isinstance(value, float) and not math.isfinite(value) else value
    return None


def _keyword(files: Sequence[ArchivedFile], keyword: str) -> Any:
    """Return a header keyword of the first file that has it, the main one asked first."""
    for file in (_main(files), *files):
        value = file.facts.keywords.get(keyword)
        if value not in (None, ""):
            return None if isinstance(value, float) and not math.isfinite(value) else value
    return None


def _observation(program: str, obs_id: str, files: Sequence[ArchivedFile]) -> Row:
    levels = [file.facts.calib_level for file in files if file.facts.calib_level is not None]
    starts = [file.facts.t_min for file in files if file.facts.t_min is not None]
    ends = [file.facts.t_max for file in files if file.facts.t_max is not None]
    exp_type = _first(files, "exp_type")
    return {
        "intentType": "calibration" if exp_type and _CALIBRATION.search(exp_type) else "science",
        "obs_collection": "JWST",
        "provenance_name": "CALJWST",
        "instrument_name": _first(files, "instrument_name") or _first(files, "instrument"),
        "project": "JWST",
        "filters": _first(files, "filters"),
        "wavelength_region": "INFRARED" if _first(files, "instrument") in _INSTRUMENTS else None,
        "target_name": _first(files, "target_name"),
        "target_classification": None,
        "obs_id": obs_id,
        "s_ra": _first(files, "s_ra"),
        "s_dec": _first(files, "s_dec"),
        "dataproduct_type": _first(files, "dataproduct_type"),
        "proposal_pi": _keyword(files, "PI_NAME"),
        "calib_level": max(levels, default=None),
        "t_min": min(starts, default=None),
        "t_max": max(ends, default=None),
        "t_exptime": _first(files, "t_exptime"),
        "em_min": _first(files, "em_min"),
        "em_max": _first(files, "em_max"),
        "obs_title": _keyword(files, "TITLE"),
        "t_obs_release": None,
        "proposal_id": str(int(program)),
        "proposal_type": _keyword(files, "CATEGORY"),
        "sequence_number": None,
        "s_region": _first(files, "s_region"),
        "jpegURL": None,
        "dataURL": data_uri(_main(files).name),
        "dataRights": EXCLUSIVE if any(file.exclusive for file in files) else PUBLIC,
        "mtFlag": _keyword(files, "TARGTYPE") == "MOVING",
        "srcDen": None,
        "obsid": _number_of("observation", program, obs_id),
        "objID": _number_of("object", program, obs_id),
    }


def _product(file: ArchivedFile, observation: Row) -> Row:
    facts = file.facts
    kind = PRODUCT_TYPES.get(facts.product_type)
    made_of = "exposure/target" if facts.dms_level in {"2b", "3"} else "exposure"
    combined = facts.calib_level == 3
    return {
        "obsID": observation["obsid"],
        "obs_collection": "JWST",
        "dataproduct_type": facts.dataproduct_type or None,
        "obs_id": facts.obs_id,
        "description": f"{made_of} (L{facts.dms_level}): {kind.title}" if kind else None,
        "type": "D" if combined else "S",
        "dataURI": data_uri(file.name),
        "productType": "SCIENCE",
        "productGroupDescription": "Minimum Recommended Products" if combined else None,
        "productSubGroupDescription": facts.product_type.upper() or None,
        "productDocumentationURL": None,
        "project": "CALJWST",
        "prvversion": facts.cal_ver or None,
        "proposal_id": observation["proposal_id"],
        "productFilename": file.name,
        "size": file.size,
        "parent_obsid": observation["obsid"],
        "dataRights": file.rights,
        "calib_level": facts.calib_level,
        "filters": facts.filters or None,
    }


def _file_set(file_set: str, files: Sequence[ArchivedFile]) -> Row:
    """Return a row of the mission search, whose columns are header keywords."""
    program = files[0].facts.program
    name = files[0].facts.name
    number = _number_of("file set", program, file_set, *sorted(f"{file.name} {file.etag}" for file in files))
    time = str(_keyword(files, "TIME-OBS") or "")
    date = str(_first(files, "date_obs") or "")
    elements = sorted({file.facts.filters for file in files if file.facts.filters})
    return {
        "ArchiveFileID": number,
        "fileSetName": file_set,
        "productLevel": ", ".join(sorted({file.facts.dms_level for file in files if file.facts.dms_level})) or None,
        "targprop": _keyword(files, "TARGPROP"),
        "targ_ra": _keyword(files, "TARG_RA"),
        "targ_dec": _keyword(files, "TARG_DEC"),
        "instrume": _first(files, "instrument"),
        "exp_type": _first(files, "exp_type"),
        "opticalElements": ", ".join(elements) or None,
        "date_obs": (date if "T" in date or not time else f"{date}T{time}") or None,
        "duration": _keyword(files, "DURATION"),
        "program": int(program),
        "observtn": int(name.observation) if name and name.observation else None,
        "visit": int(name.visit) if name and name.visit else None,
        "publicReleaseDate": None,
        "pi_name": _keyword(files, "PI_NAME"),
        "proposal_type": _keyword(files, "CATEGORY"),
        "proposal_cycle": None,
        "targtype": _keyword(files, "TARGTYPE"),
        "access": EXCLUSIVE if any(file.exclusive for file in files) else PUBLIC,
        "cal_ver": _first(files, "cal_ver"),
        "s_region": _first(files, "s_region"),
        "ang_sep": None,
        "search_key": str(number),
        "search_pos": None,
        "includedLevels": None,
    }
