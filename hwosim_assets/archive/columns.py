"""What the local archive says about its columns, in the forms that astroquery reads.

Holds: the column configurations of the CAOM services and the column list of the JWST mission
search, with types, units and short descriptions. Keep out the rows (``caom``).
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from hwosim_assets.archive.schema import OBSERVATION_COLUMNS, PRODUCT_COLUMNS

__all__ = ["MISSION_COLUMNS", "columns_config", "field_type", "mission_column_list"]

#: Words of the ``fields`` of a portal reply.
_FIELD_TYPES = {pa.string(): "string", pa.float64(): "float", pa.int64(): "int", pa.bool_(): "boolean"}
#: Words of a column configuration; astroquery filters "double" and "float" columns by [min, max].
_CONFIG_TYPES = {pa.string(): "char", pa.float64(): "double", pa.int64(): "int", pa.bool_(): "boolean"}
#: Columns whose values are lists.
SEPARATED = frozenset({"obs_collection", "project", "filters", "wavelength_region", "target_classification"})

_ABOUT: dict[str, tuple[str, str, str]] = {  # label, unit, description
    "intentType": ("Observation type", "", "science or calibration"),
    "obs_collection": ("Mission", "", "always JWST here"),
    "provenance_name": ("Provenance", "", "the pipeline that made the products"),
    "instrument_name": ("Instrument", "", "instrument and mode, for example NIRCAM/IMAGE"),
    "project": ("Project", "", "always JWST here"),
    "filters": ("Filters", "", "optical elements"),
    "wavelength_region": ("Waveband", "", "INFRARED"),
    "target_name": ("Target", "", "name of the target"),
    "target_classification": ("Target class", "", "kind of target"),
    "obs_id": ("Observation ID", "", "name of the observation given by the mission"),
    "s_ra": ("RA", "deg", "right ascension, ICRS"),
    "s_dec": ("Dec", "deg", "declination, ICRS"),
    "dataproduct_type": ("Product type", "", "image, spectrum, cube, timeseries, measurements, visibility"),
    "proposal_pi": ("PI", "", "principal investigator"),
    "calib_level": ("Calibration level", "", "1 uncalibrated, 2 calibrated, 3 combined"),
    "t_min": ("Start", "MJD", "start of the observation"),
    "t_max": ("End", "MJD", "end of the observation"),
    "t_exptime": ("Exposure time", "s", "effective exposure time"),
    "em_min": ("Shortest wavelength", "nm", "lower end of the band"),
    "em_max": ("Longest wavelength", "nm", "upper end of the band"),
    "obs_title": ("Title", "", "title of the program"),
    "t_obs_release": ("Release", "MJD", "when it became public"),
    "proposal_id": ("Program", "", "program number without leading zeros"),
    "proposal_type": ("Program type", "", "GO, GTO, CAL and so on"),
    "sequence_number": ("Sequence", "", "sequence number"),
    "s_region": ("Footprint", "deg", "STC-S polygon or circle"),
    "jpegURL": ("Preview", "", "URI of a preview"),
    "dataURL": ("Data", "", "URI of the main product"),
    "dataRights": ("Rights", "", "PUBLIC, EXCLUSIVE_ACCESS or RESTRICTED"),
    "mtFlag": ("Moving target", "", "whether the target moves"),
    "srcDen": ("Source density", "", "density of sources"),
    "obsid": ("Product group ID", "", "number of the observation in this archive"),
    "objID": ("Object ID", "", "number of the footprint in this archive"),
    "distance": ("Distance", "arcsec", "from the position asked for to the footprint, 0 inside"),
    "obsID": ("Product group ID", "", "number of the observation in this archive"),
    "description": ("Description", "", "what the product is"),
    "type": ("Type", "", "S simple, D derived"),
    "dataURI": ("URI", "", "what the download service takes"),
    "productType": ("Product kind", "", "SCIENCE, AUXILIARY, PREVIEW or INFO"),
    "productGroupDescription": ("Group", "", "whether it is among the recommended products"),
    "productSubGroupDescription": ("Subgroup", "", "file suffix in capitals"),
    "productDocumentationURL": ("Documentation", "", "URL of documentation"),
    "prvversion": ("Pipeline version", "", "CAL_VER"),
    "productFilename": ("File", "", "file name"),
    "size": ("Size", "bytes", "of the file"),
    "parent_obsid": ("Parent", "", "observation under which the product is listed"),
}

#: Columns of the JWST mission search: type, sortable, in the default output, description.
MISSION_COLUMNS: dict[str, tuple[str, bool, bool, str]] = {
    "ArchiveFileID": ("long", True, True, "number of the file set as it is now in this archive"),
    "fileSetName": ("char", True, True, "exposure without its detector, or stage-3 name"),
    "productLevel": ("char", True, True, "levels present, for example 1b, 2a, 2b"),
    "targprop": ("char", True, True, "proposer's name of the target"),
    "targ_ra": ("double", True, True, "target right ascension, deg ICRS"),
    "targ_dec": ("double", True, True, "target declination, deg ICRS"),
    "instrume": ("char", True, True, "instrument"),
    "exp_type": ("char", True, True, "exposure type"),
    "opticalElements": ("char", False, True, "filters, pupils, gratings"),
    "date_obs": ("char", True, True, "start of the observation, UTC"),
    "duration": ("float", True, True, "duration, s"),
    "program": ("long", True, True, "program number"),
    "observtn": ("long", True, True, "observation number"),
    "visit": ("long", True, True, "visit number"),
    "publicReleaseDate": ("char", True, True, "when it became public"),
    "pi_name": ("char", True, True, "principal investigator"),
    "proposal_type": ("char", False, True, "GO, GTO, CAL and so on"),
    "proposal_cycle": ("long", False, True, "cycle"),
    "targtype": ("char", True, True, "FIXED, MOVING or GENERIC"),
    "access": ("char", False, True, "PUBLIC or EXCLUSIVE_ACCESS"),
    "cal_ver": ("char", False, True, "version of the calibration pipeline"),
    "ang_sep": ("float", False, True, "separation from the position asked for, arcmin"),
    "s_region": ("char", True, True, "footprint, STC-S"),
    "includedLevels": ("char", False, False, "levels included in the search"),
    "search_pos": ("char", False, False, "position asked for"),
}


def field_type(name: str, kind: pa.DataType) -> dict[str, str]:
    """Return a column as a portal reply declares it."""
    return {"name": name, "type": _FIELD_TYPES[kind]}


def columns_config(service: str) -> dict[str, dict[str, Any]]:
    """Return the column configuration of a CAOM service.

    Parameters
    ----------
    service : str
        ``Mast.Caom.Products`` or one of the observation services (``Mast.Caom.Cone`` …).

    Returns
    -------
    dict
        By column; empty for a service that this archive does not have, as MAST answers.
    """
    if service == "Mast.Caom.Products":
        columns = PRODUCT_COLUMNS
    elif service.startswith("Mast.Caom."):
        columns = OBSERVATION_COLUMNS | {"distance": pa.float64()}
    else:
        return {}
    config: dict[str, dict[str, Any]] = {"_selected_": {"text": "selected", "type": "boolean", "hidden": True}}
    for order, (name, kind) in enumerate(columns.items()):
        label, unit, description = _ABOUT[name]
        word = "type" if kind == pa.bool_() else "vot.datatype"
        config[name] = {"text": label, "order": order, word: _CONFIG_TYPES[kind], "vot.description": description}
        if unit:
            config[name]["unit"] = unit
        if name in SEPARATED:
            config[name]["separator"] = ";"
    return config


def mission_column_list() -> list[dict[str, str]]:
    """Return the columns of the JWST mission search as its ``column_list`` service tells them."""
    words = {"long": "number", "float": "number", "double": "number", "char": "string"}
    return [
        {
            "field_name": name,
            "description": description,
            "column_name": name,
            "queryable": "yes",
            "qual_type": words[kind],
            "default_output": "yes" if default else "no",
            "indexed": "yes" if sortable else "no",
            "datatype": kind,
        }
        for name, (kind, sortable, default, description) in MISSION_COLUMNS.items()
    ]
