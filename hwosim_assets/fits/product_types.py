"""The kinds of JWST products: suffix, level, what they promise to hold.

Holds: :data:`PRODUCT_TYPES`, after the JWST pipeline's "Stages" and "Science products" pages and the
CAOM levels of MAST. Keep out how a promise is checked; that is ``catalog.validate``.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["PRODUCT_TYPES", "ProductType"]


@dataclass(frozen=True)
class ProductType:
    """One kind of JWST product.

    Attributes
    ----------
    suffix : str
        As in the file name.
    calib_level : int
        CAOM level of exposure products: 1 uncalibrated, 2 calibrated, 3 combined. Kinds made both
        per exposure and per association (``i2d``, ``s2d``, ``s3d``, ``x1d``) stand with 2; the
        file's own level comes from ``describe``.
    dms_level : str
        ``1b``, ``2a``, ``2b``, ``2c`` or ``3``; empty for files that support others.
    dataproduct_type : str
        ObsCore word: image, spectrum, cube, timeseries, measurements, visibility.
    title : str
        For people.
    hdus : tuple of str
        EXTNAMEs that every product of this kind holds, in flight as in old builds.
    usual_hdus : tuple of str
        EXTNAMEs that current builds write as well; older or re-run products may lack them.
    units : tuple of str
        Values of BUNIT that occur in SCI; empty when the kind has none.
    main : str
        EXTNAME of the HDU that holds the measurement; empty when there is none.
    ndim : tuple of int
        Numbers of axes that ``main`` may have.
    """

    suffix: str
    calib_level: int
    dms_level: str
    dataproduct_type: str
    title: str
    hdus: tuple[str, ...]
    usual_hdus: tuple[str, ...] = ()
    units: tuple[str, ...] = ()
    main: str = "SCI"
    ndim: tuple[int, ...] = ()


_COUNTS = ("DN", "ADU", "counts")
_SLOPES = ("DN/s", "ADU/s", "electron/s")
#: MJy for NIRSpec and NIRISS-SOSS point sources; WFSS, SOSS and AMI stay in DN/s.
_FLUXES = ("MJy/sr", "MJy", "DN/s", "Jy", "mJy/arcsec^2", "mJy/arcsec2", "Jy/arcsec^2", "electron/s")
_ERRORS = ("SCI", "ERR")
_VARIANCES = ("VAR_POISSON", "VAR_RNOISE")
_CAL_VARIANCES = (*_VARIANCES, "VAR_FLAT")

_ALL = (
    ProductType("uncal", 1, "1b", "image", "uncalibrated ramps", ("SCI",), ("GROUP", "INT_TIMES"), _COUNTS, ndim=(4,)),
    ProductType(
        "ramp", 2, "2a", "image", "corrected ramps", ("SCI", "PIXELDQ", "GROUPDQ"), ("GROUP",), _COUNTS, ndim=(4,)
    ),
    ProductType("rate", 2, "2a", "image", "count rates", (*_ERRORS, "DQ"), _VARIANCES, _SLOPES, ndim=(2,)),
    ProductType(
        "rateints",
        2,
        "2a",
        "image",
        "count rates per integration",
        (*_ERRORS, "DQ"),
        (*_VARIANCES, "INT_TIMES"),
        _SLOPES,
        ndim=(3,),
    ),
    ProductType("dark", 2, "2a", "image", "dark-subtracted ramps", ("SCI",), (), _COUNTS, ndim=(4,)),
    ProductType("fitopt", 2, "2a", "image", "ramp-fit details", ("SLOPE",), main="SLOPE"),
    ProductType("trapsfilled", 2, "2a", "image", "filled charge traps", ("SCI",), ndim=(3,)),
    ProductType("cal", 2, "2b", "image", "calibrated exposure", (*_ERRORS, "DQ"), _CAL_VARIANCES, _FLUXES, ndim=(2,)),
    ProductType(
        "calints",
        2,
        "2b",
        "image",
        "calibrated integrations",
        (*_ERRORS, "DQ"),
        (*_CAL_VARIANCES, "INT_TIMES"),
        _FLUXES,
        ndim=(3,),
    ),
    ProductType("bsub", 2, "2b", "image", "background-subtracted", (*_ERRORS, "DQ"), _VARIANCES, _SLOPES, ndim=(2, 3)),
    ProductType("crf", 2, "2c", "image", "cosmic-ray flagged", (*_ERRORS, "DQ"), _CAL_VARIANCES, _FLUXES, ndim=(2,)),
    ProductType(
        "crfints",
        2,
        "2c",
        "image",
        "cosmic-ray flagged integrations",
        (*_ERRORS, "DQ"),
        _CAL_VARIANCES,
        _FLUXES,
        ndim=(3,),
    ),
    ProductType(
        "i2d", 2, "2b", "image", "rectified image", ("SCI", "ERR", "CON", "WHT"), _CAL_VARIANCES, _FLUXES, ndim=(2,)
    ),
    ProductType(
        "s2d", 2, "2b", "spectrum", "rectified 2-D spectrum", ("SCI", "WHT", "CON"), ("ERR",), _FLUXES, ndim=(2,)
    ),
    ProductType("s3d", 2, "2b", "cube", "spectral cube", (*_ERRORS, "DQ", "WMAP"), (), _FLUXES, ndim=(3,)),
    ProductType("x1d", 2, "2b", "spectrum", "extracted spectrum", ("EXTRACT1D",), main="EXTRACT1D"),
    ProductType("x1dints", 2, "2b", "timeseries", "spectra per integration", ("EXTRACT1D",), main="EXTRACT1D"),
    ProductType("c1d", 3, "3", "spectrum", "combined spectrum", ("COMBINE1D",), main="COMBINE1D"),
    ProductType("segm", 3, "3", "image", "segmentation map", ("SCI",), ndim=(2,)),
    ProductType("ami-oi", 3, "3", "visibility", "interferometric observables", ("OI_VIS2", "OI_T3"), main="OI_VIS2"),
    ProductType(
        "amimulti-oi", 3, "3", "visibility", "observables per integration", ("OI_VIS2", "OI_T3"), main="OI_VIS2"
    ),
    ProductType("aminorm-oi", 3, "3", "visibility", "normalised observables", ("OI_VIS2", "OI_T3"), main="OI_VIS2"),
    ProductType("psfstack", 3, "3", "image", "stacked PSF references", (*_ERRORS, "DQ"), (), _FLUXES, ndim=(3,)),
    ProductType("psfalign", 3, "3", "image", "aligned PSF references", (*_ERRORS, "DQ"), (), _FLUXES, ndim=(3, 4)),
    ProductType("psfsub", 3, "3", "image", "PSF-subtracted integrations", (*_ERRORS, "DQ"), (), _FLUXES, ndim=(3,)),
    ProductType("wfscmb", 3, "3", "image", "combined wavefront-sensing pair", (*_ERRORS, "DQ"), (), _FLUXES, ndim=(2,)),
    ProductType(
        "msa", 1, "", "measurements", "NIRSpec MSA configuration", ("SHUTTER_INFO", "SOURCE_INFO"), main="SHUTTER_INFO"
    ),
)

#: The kinds of JWST FITS products by suffix.
PRODUCT_TYPES: dict[str, ProductType] = {kind.suffix: kind for kind in _ALL}
