"""The rules on identity: is it a JWST product at all, and the one that its name says.

Holds: the rules on what a file calls itself. Keep out what it holds (``rules_structure``,
``rules_planes``) and what it says about the exposure (``rules_exposure``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from hwosim_assets.catalog.finding import Finding, Subject, found

__all__ = ["identity"]

#: Data models of ``stdatamodels`` that archive products are written from.
KNOWN_MODELS = frozenset({
    "AmiLgFitModel", "AmiLgModel", "AmiOIModel", "CombinedSpecModel", "CubeModel", "GuiderCalModel",
    "GuiderRawModel", "IFUCubeModel", "IFUImageModel", "ImageModel", "Level1bModel", "MRSMultiSpecModel",
    "MRSSpecModel", "MultiCombinedSpecModel", "MultiExposureModel", "MultiSlitModel", "MultiSpecModel", "QuadModel",
    "RampFitOutputModel", "RampModel", "SegmentationMapModel", "SlitModel", "SpecModel", "TSOMultiSpecModel",
    "TSOSpecModel", "TrapsFilledModel", "WFSSMultiCombinedSpecModel", "WFSSMultiSpecModel",
})  # fmt: skip
#: EXP_TYPE values of the core schema.
KNOWN_EXP_TYPES = frozenset({
    "FGS_DARK", "FGS_FOCUS", "FGS_IMAGE", "FGS_INTFLAT", "FGS_SKYFLAT", "FGS_ACQ1", "FGS_ACQ2", "FGS_FINEGUIDE",
    "FGS_ID-IMAGE", "FGS_ID-STACK", "FGS_TRACK", "MIR_4QPM", "MIR_CORONCAL", "MIR_DARKALL", "MIR_DARKIMG",
    "MIR_DARKMRS", "MIR_FLATIMAGE", "MIR_FLATIMAGE-EXT", "MIR_FLATMRS", "MIR_FLATMRS-EXT", "MIR_IMAGE",
    "MIR_LRS-FIXEDSLIT", "MIR_LRS-SLITLESS", "MIR_LYOT", "MIR_MRS", "MIR_TACONFIRM", "MIR_TACQ", "MIR_WFSS", "NIS_AMI",
    "NIS_DARK", "NIS_EXTCAL", "NIS_FOCUS", "NIS_IMAGE", "NIS_LAMP", "NIS_SOSS", "NIS_TACQ", "NIS_TACONFIRM",
    "NIS_WFSS", "NRC_CORON", "NRC_DARK", "NRC_FLAT", "NRC_FOCUS", "NRC_GRISM", "NRC_IMAGE", "NRC_WFSS", "NRC_LED",
    "NRC_WFSC", "NRC_TACONFIRM", "NRC_TACQ", "NRC_TSGRISM", "NRC_TSIMAGE", "NRS_AUTOFLAT", "NRS_AUTOWAVE",
    "NRS_BRIGHTOBJ", "NRS_CONFIRM", "NRS_DARK", "NRS_FIXEDSLIT", "NRS_FOCUS", "NRS_IFU", "NRS_IMAGE", "NRS_LAMP",
    "NRS_MIMF", "NRS_MSASPEC", "NRS_MSATA", "NRS_TACONFIRM", "NRS_TACQ", "NRS_TASLIT", "NRS_VERIFY", "NRS_WATA",
})  # fmt: skip
_PREFIXES = {"NIRCAM": "NRC_", "NIRSPEC": "NRS_", "MIRI": "MIR_", "NIRISS": "NIS_", "FGS": "FGS_"}
_DETECTORS = {"NRC": "NIRCAM", "NRS": "NIRSPEC", "MIR": "MIRI", "NIS": "NIRISS", "GUI": "FGS"}
#: The long-wave NIRCam detectors have two names.
_ALIASES = {"nrca5": "nrcalong", "nrcb5": "nrcblong"}
#: What VISIT_ID and OBS_ID repeat, and with how many digits.
_VISIT_PARTS = {"PROGRAM": 5, "OBSERVTN": 3, "VISIT": 3}


def identity(subject: Subject) -> Iterator[Finding]:
    """Yield what is wrong with a file's identity; rejections come first and end the list."""
    for rule in (_mission, _not_a_product, _model, _instrument):
        said = list(rule(subject))
        yield from said
        if any(item.severity == "reject" for item in said):
            return
    yield from _detector(subject)
    yield from _name(subject)
    yield from _visit(subject)


def _mission(subject: Subject) -> Iterator[Finding]:
    telescope = str(subject.primary("TELESCOP") or "").strip().upper()
    if not telescope:
        reason = "TELESCOP is missing from the primary header: nothing in the file says that JWST made it"
        yield found("telescope", reason)
    elif telescope != "JWST":
        yield found("telescope", f"TELESCOP is {telescope!r}: the file is not JWST's")


def _not_a_product(subject: Subject) -> Iterator[Finding]:
    facts = subject.facts
    reference = subject.primary("REFTYPE")
    if reference or (subject.primary("USEAFTER") and subject.primary("PEDIGREE")):
        kind = f"REFTYPE {reference}" if reference else "USEAFTER and PEDIGREE are set"
        yield found("reference_file", f"is a CRDS reference file ({kind}), not an observation")
    elif facts.product_type == "msa":
        yield found("supporting_file", "is a NIRSpec MSA configuration file: it supports observations and holds none")
    elif facts.file_name.startswith("hlsp_") or subject.primary("HLSPID") or subject.primary("HLSPLEAD"):
        yield found("community_product", "is a high-level product of the community, not of JWST's pipeline")


def _model(subject: Subject) -> Iterator[Finding]:
    facts = subject.facts
    model = str(facts.keywords.get("DATAMODL", ""))
    if not model:
        reason = (
            "DATAMODL is missing: the pipeline that makes JWST products always writes it, so this is a derived file"
        )
        yield found("data_model", reason)
        return
    if model not in KNOWN_MODELS:
        yield found("data_model_known", f"DATAMODL {model!r} is none of the known product models")
    if not facts.exp_type:
        yield found("exposure_type", "EXP_TYPE is missing: the observing mode cannot be told")
    elif facts.exp_type not in KNOWN_EXP_TYPES:
        yield found("exposure_type_known", f"EXP_TYPE {facts.exp_type!r} is none of JWST's exposure types")
    if not facts.product_type:
        yield found("product_type", "neither name nor headers tell what kind of JWST product it is")
    elif subject.kind is None:
        yield found("product_type", f"{facts.product_type!r} is none of the known JWST product types")


def _instrument(subject: Subject) -> Iterator[Finding]:
    facts = subject.facts
    if facts.instrument not in _PREFIXES:
        yield found("instrument", f"INSTRUME {facts.instrument!r} is none of JWST's instruments")
        return
    expected = _PREFIXES[facts.instrument]
    if facts.exp_type in KNOWN_EXP_TYPES and not facts.exp_type.startswith(expected):
        yield found("instrument_mode", f"EXP_TYPE {facts.exp_type} is not a mode of INSTRUME {facts.instrument}")
    owner = _DETECTORS.get(facts.detector[:3])
    if owner not in (None, facts.instrument):
        yield found("detector", f"DETECTOR {facts.detector} belongs to {owner}, INSTRUME is {facts.instrument}")


def _detector(subject: Subject) -> Iterator[Finding]:
    """Yield what is odd about the detector's name and, for NIRCam, where the detector stands."""
    detector = subject.facts.detector
    if not detector:
        yield found("detector_known", "DETECTOR is missing")
    elif _DETECTORS.get(detector[:3]) is None and detector != "MULTIPLE":
        yield found("detector_known", f"DETECTOR {detector!r} is none of JWST's detectors")
    if not detector.startswith("NRC"):
        return
    short = _ALIASES.get(detector.lower(), detector.lower())
    arms = {"MODULE": short[3:4].upper(), "CHANNEL": "LONG" if short.endswith("long") else "SHORT"}
    for keyword, due in arms.items():
        said = str(subject.facts.keywords.get(keyword, "")).strip().upper()
        if said not in ("", "N/A", "MULTIPLE", due):
            yield found("detector_arm", f"{keyword} is {said}, DETECTOR {detector} is {due}")


def _name(subject: Subject) -> Iterator[Finding]:
    facts, keywords = subject.facts, subject.facts.keywords
    listed = str(keywords.get("FILENAME", "")).strip()
    if not listed:
        yield found("file_name", "FILENAME is missing")
    elif listed not in (facts.file_name, facts.file_name.removesuffix(".gz")):
        yield found("file_name", f"FILENAME says {listed!r}")
    if facts.name is None:
        yield found("name_scheme", "the name follows none of the archive's schemes")
        return
    parts = {"PROGRAM": facts.name.program}
    if facts.name.stage == "exposure":
        parts |= {
            "OBSERVTN": facts.name.observation,
            "VISIT": facts.name.visit,
            "EXPOSURE": facts.name.exposure,
            "EXSEGNUM": facts.name.segment,
        }
    for keyword, in_name in parts.items():
        in_header = str(keywords.get(keyword, "")).strip()
        # padding is inconsistent in real headers, so numbers are compared
        both = in_name.isdigit() and in_header.isdigit()
        if both and int(in_name) != int(in_header):
            yield found("name_header", f"{keyword} is {in_header!r}, the file name says {in_name!r}")
    detector, in_header = facts.name.detector, facts.detector.lower()
    if detector and in_header and _ALIASES.get(detector, detector) != _ALIASES.get(in_header, in_header):
        yield found("name_header", f"DETECTOR is {facts.detector}, the file name says {detector}")


def _visit(subject: Subject) -> Iterator[Finding]:
    """Compare the ids that repeat program, observation and visit with the keywords that name these."""
    said = {name: str(subject.facts.keywords.get(name, "")).strip() for name in (*_VISIT_PARTS, "VISIT_ID", "OBS_ID")}
    due = [said[name].zfill(width) for name, width in _VISIT_PARTS.items()]
    if not all(part.strip("0").isdigit() for part in due):
        return  # ground tests and what was combined over visits
    repeated = {"visit_id": said["VISIT_ID"]}
    flight = re.match(r"V(\d{11})P", said["OBS_ID"])
    repeated["observation_id"] = flight[1] if flight else ""
    for rule, digits in repeated.items():
        keyword = "VISIT_ID" if rule == "visit_id" else "OBS_ID"
        if not digits.isdigit() or digits.zfill(11) == "".join(due):
            continue
        place = 0
        for (name, width), part in zip(_VISIT_PARTS.items(), due, strict=True):
            there = digits.zfill(11)[place : place + width]
            place += width
            if there != part:
                yield found(rule, f"{keyword} names {name} {there}, {name} is {said[name]!r}")
