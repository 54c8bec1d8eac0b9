"""Wavelength ranges of JWST's filters, dispersers and IFU channels.

Holds: :func:`wavelength_range`. Ranges are in nm, between half-power points for filters and the
nominal coverage for dispersed light, from the instrument pages of the JWST user documentation
(NIRCam Filters, NIRISS Filters, MIRI Filters and Dispersers, NIRSpec Dispersers and Filters, MIRI
MRS). They serve searching; photometry needs the reference files.
"""

from __future__ import annotations

__all__ = ["wavelength_range"]

_NIRCAM = {
    "F070W": (624, 781), "F090W": (795, 1005), "F115W": (1013, 1282), "F140M": (1331, 1479), "F150W": (1331, 1668),
    "F150W2": (1007, 2380), "F162M": (1542, 1713), "F164N": (1635, 1653), "F182M": (1722, 1968), "F187N": (1863, 1885),
    "F200W": (1755, 2227), "F210M": (1992, 2201), "F212N": (2109, 2134), "F250M": (2412, 2595), "F277W": (2423, 3132),
    "F300M": (2831, 3157), "F322W2": (2432, 4013), "F323N": (3217, 3255), "F335M": (3177, 3537), "F356W": (3135, 3981),
    "F360M": (3426, 3814), "F405N": (4028, 4074), "F410M": (3866, 4302), "F430M": (4167, 4398), "F444W": (3881, 4982),
    "F460M": (4515, 4747), "F466N": (4627, 4681), "F470N": (4681, 4735), "F480M": (4662, 4973),
}  # fmt: skip
_NIRISS = {
    "F090W": (796, 1005), "F115W": (1013, 1283), "F140M": (1332, 1479), "F150W": (1330, 1671), "F158M": (1488, 1688),
    "F200W": (1751, 2226), "F277W": (2413, 3143), "F356W": (3140, 4068), "F380M": (3726, 3931), "F430M": (4182, 4395),
    "F444W": (3880, 5023), "F480M": (4668, 4971), "GR700XD": (600, 2800),
}  # fmt: skip
_MIRI = {
    "F560W": (5054, 6171), "F770W": (6581, 8687), "F1000W": (9023, 10891), "F1130W": (10953, 11667),
    "F1280W": (11588, 14115), "F1500W": (13527, 16640), "F1800W": (16519, 19502), "F2100W": (18477, 23159),
    "F2550W": (23301, 26733), "F2550WR": (23301, 26733), "F1065C": (10195, 10945), "F1140C": (10900, 11700),
    "F1550C": (15050, 15950), "F2300C": (20200, 25200), "P750L": (5000, 14000),
}  # fmt: skip
_NIRSPEC = {
    "PRISM": (600, 5300), "F070LP": (700, 1270), "F100LP": (970, 1890), "F170LP": (1660, 3170), "F290LP": (2870, 5270),
    "F110W": (1000, 1300), "F140X": (800, 2000), "CLEAR": (600, 5300),
}  # fmt: skip
_MRS = {
    "1": ((4900, 5740), (5660, 6630), (6530, 7650)),
    "2": ((7510, 8770), (8670, 10130), (10010, 11700)),
    "3": ((11550, 13470), (13340, 15570), (15410, 17980)),
    "4": ((17700, 20950), (20690, 24480), (24400, 27900)),
}
_BANDS = {"SHORT": (0,), "MEDIUM": (1,), "LONG": (2,)}
_FILTERS = {"NIRCAM": _NIRCAM, "NIRISS": _NIRISS, "MIRI": _MIRI, "NIRSPEC": _NIRSPEC}
_FGS = (600, 5000)


def wavelength_range(
    instrument: str, elements: tuple[str, ...], channel: str = "", band: str = ""
) -> tuple[float, float] | None:
    """Return the wavelength range of an instrument setting.

    Parameters
    ----------
    instrument : str
        ``NIRCAM``, ``NIRSPEC``, ``MIRI``, ``NIRISS`` or ``FGS``.
    elements : tuple of str
        FILTER, PUPIL and GRATING values; the narrowest known one counts, since a beam passes all.
    channel, band : str, optional
        MIRI MRS channel digits (``"12"``) and band (``SHORT``, ``MEDIUM``, ``LONG``).

    Returns
    -------
    tuple of float or None
        Shortest and longest wavelength in nm; ``None`` when nothing is known.
    """
    if instrument == "FGS":
        return (float(_FGS[0]), float(_FGS[1]))
    if instrument == "MIRI" and channel and set(channel) <= set(_MRS):
        indices = _BANDS.get(band, (0, 1, 2))
        ranges = [_MRS[digit][index] for digit in channel for index in indices]
        return (float(min(low for low, _ in ranges)), float(max(high for _, high in ranges)))
    known = [_FILTERS[instrument][name] for name in elements if name in _FILTERS.get(instrument, {})]
    if not known:
        return None
    low, high = min(known, key=lambda pair: pair[1] - pair[0])
    return (float(low), float(high))
