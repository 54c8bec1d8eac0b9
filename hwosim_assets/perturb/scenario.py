"""Scenario files: strict, typed, with an identity that an override changes.

Holds: the model of a scenario file, its hashes, overrides, and finding the files of a folder. Light
on purpose (YAML and pydantic), since the code locations load it. Keep out the resolving of a
scenario against a product; that is ``perturb.plan``.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from hwosim_assets.errors import BadInputError
from hwosim_assets.perturb.choice import EffectChoice, nearest
from hwosim_assets.perturb.parameters import PRESETS, SCALE, parse_severity
from hwosim_assets.perturb.profiles import PROFILES
from hwosim_assets.perturb.registry import check_uses, spec_of
from hwosim_assets.perturb.schedule import Schedule
from hwosim_assets.perturb.stamp import Stamped
from hwosim_assets.perturb.stories import StoryName
from hwosim_assets.perturb.transport import Transport

__all__ = [
    "SHIPPED",
    "BrokenScenario",
    "Scenario",
    "ScenarioError",
    "ScenarioFile",
    "ScenarioSet",
    "find_scenarios",
    "load_scenario",
    "load_sweep",
]

#: The scenario files that come with the package.
SHIPPED = Path(__file__).parents[1] / "scenarios"

_NAME = re.compile(r"^[a-z][a-z0-9_]{0,62}$")
_LARGEST_FILE = 256 * 1024


class ScenarioError(BadInputError):
    """A scenario or its file cannot be used."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Sweep(_Section):
    """Scenarios derived from one: every combination of the values given.

    Attributes
    ----------
    severity : tuple of float
        0 to 5 (or ``none``, ``low``, ``medium``, ``high``), for every effect and transport fault.
    honesty : tuple of {"consistent", "stale", "biased"}
        For every effect that has the switch ``err``.
    flags : tuple of {"flagged", "silent"}
        For every effect that has the switch ``dq``.
    seed : tuple of int
        Root seeds.
    """

    severity: tuple[Annotated[float, BeforeValidator(parse_severity)], ...] = ()
    honesty: tuple[Literal["consistent", "stale", "biased"], ...] = ()
    flags: tuple[Literal["flagged", "silent"], ...] = ()
    seed: tuple[Annotated[int, Field(ge=0, lt=1 << 63)], ...] = ()

    @model_validator(mode="after")
    def _names_differ(self) -> Sweep:
        for axis in AXES:
            marks = [_mark(axis, value) for value in getattr(self, axis)]
            for mark in marks:
                if marks.count(mark) > 1:
                    raise ValueError(f"two values of {axis} give scenarios the same name (..._{mark}); leave one out")
        if not any(getattr(self, axis) for axis in AXES):
            raise ValueError(f"holds no values; give some to {', '.join(AXES)}, or leave it out")
        return self


#: What a sweep varies, in the order of the marks in a name.
AXES = ("severity", "honesty", "flags", "seed")


def _mark(axis: str, value: float | str | None) -> str:
    """Return how a value of a sweep stands in the name of its scenario."""
    if value is None:
        return ""
    if axis == "severity":
        return f"s{value:g}".replace(".", "p")
    return f"seed{value}" if axis == "seed" else str(value)


class ScenarioFile(Stamped):
    """What stands in a scenario file.

    Attributes
    ----------
    version : int
        Grows when the scenario changes.
    description : str
        One or two sentences for people.
    scale : str
        Version of the severity table.
    seed : int
        Root of all random streams.
    store : {"files", "none"}
        Whether perturbed files are kept in the lake, or made again when they are published.
    stamp : {"none", "hash", "full"}
        What perturbed files say of it themselves.
    valid_only : bool
        Whether effects that make a file invalid FITS are refused.
    profile : {"jwst", "hwo-coronagraph", "hwo-hri"}
        Whose instrument the severities are told of (``perturb.stories``).
    effects : tuple of EffectChoice
        What is done to the products.
    schedule : Schedule
        When messages are due.
    transport : Transport
        What happens to messages.
    sweep : Sweep or None
        Scenarios that are derived from this one, all combinations.
    """

    version: int = Field(ge=1)
    description: str = ""
    scale: Literal["2026.1"] = SCALE  # type: ignore[assignment]
    seed: int = Field(default=1, ge=0, lt=1 << 63)
    store: Literal["files", "none"] = "files"
    valid_only: bool = True
    profile: StoryName = "jwst"
    effects: tuple[EffectChoice, ...] = ()
    schedule: Schedule = Schedule()
    transport: Transport = Transport()
    sweep: Sweep | None = None

    @field_validator("effects")
    @classmethod
    def _labels_differ(cls, effects: tuple[EffectChoice, ...]) -> tuple[EffectChoice, ...]:
        check_uses(choice.effect for choice in effects)
        seen: set[tuple[str, str]] = set()
        for choice in effects:
            if (choice.effect, choice.label) in seen:
                raise ValueError(f"{choice.effect} stands twice; give each its own `label`")
            seen.add((choice.effect, choice.label))
        return effects

    @model_validator(mode="after")
    def _valid_files_only(self) -> ScenarioFile:
        for choice in self.effects:
            if self.valid_only and spec_of(choice.effect).breaks_format:
                raise ValueError(f"{choice.effect} makes files invalid; set `valid_only: false` to allow it")
        return self

    @model_validator(mode="after")
    def _sweep_varies_something(self) -> ScenarioFile:
        if self.sweep is None:
            return self
        specs = [spec_of(choice.effect) for choice in self.effects]
        acts = {
            "severity": bool(specs) or self.transport.at(1.0) != Transport(),
            "honesty": any(spec.err for spec in specs),
            "flags": any(spec.dq for spec in specs),
        }
        for axis, varies in acts.items():
            if getattr(self.sweep, axis) and not varies:
                raise ValueError(f"sweep.{axis} changes nothing here, so its scenarios would be the same")
        return self


def _sha256(value: object) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Scenario:
    """A named scenario, as written or with overrides.

    Attributes
    ----------
    name : str
        The name, which is the file's.
    content : ScenarioFile
        Everything the file says, with defaults filled in.
    named_sha256 : str
        Hash of the content that bears the name alone; empty means this one.
    """

    name: str
    content: ScenarioFile
    named_sha256: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        if not _NAME.match(self.name):
            raise ScenarioError(f"scenario {self.name!r}", "is not a name", f"names match {_NAME.pattern}")
        if not self.named_sha256:
            object.__setattr__(self, "named_sha256", self.sha256)

    @property
    def id(self) -> str:
        """The name, or ``name--<8 hex digits>`` when an override changed anything."""
        sha256 = self.sha256
        return self.name if sha256 == self.named_sha256 else f"{self.name}--{sha256[:8]}"

    @property
    def seed(self) -> int:
        """Root of all random streams."""
        return self.content.seed

    @property
    def description(self) -> str:
        """One or two sentences for people."""
        return self.content.description

    @property
    def store(self) -> str:
        """``files`` or ``none``."""
        return self.content.store

    @property
    def effects(self) -> tuple[EffectChoice, ...]:
        """What is done to the products."""
        return self.content.effects

    @property
    def schedule(self) -> Schedule:
        """When messages are due."""
        return self.content.schedule

    @property
    def transport(self) -> Transport:
        """What happens to messages."""
        return self.content.transport

    @property
    def sha256(self) -> str:
        """Hash of everything the scenario says."""
        return _sha256(self.content.model_dump(mode="json"))

    @property
    def effects_sha256(self) -> str:
        """Hash of what decides the perturbed bytes."""
        names = ("scale", "seed", "stamp", "valid_only", "profile", "effects")
        said = self.content.model_dump(mode="json")
        return _sha256({name: said[name] for name in names if name in said})

    @property
    def stream_sha256(self) -> str:
        """Hash of what decides the stream besides the perturbed bytes."""
        names = ("seed", "schedule", "transport")
        return _sha256({name: self.content.model_dump(mode="json")[name] for name in names})

    def with_overrides(
        self,
        severity: float | str | None = None,
        seed: int | None = None,
        rate_per_s: float | None = None,
        time_scale: float | None = None,
    ) -> Scenario:
        """Return this scenario with other numbers, under a derived identity when any differs.

        Parameters
        ----------
        severity : float or str, optional
            0 to 5 or a word for it (``none``, ``low``, ``medium``, ``high``), for every effect and every transport
            fault that the scenario has; explicit values of graded parameters give way to it.
        seed : int, optional
            Root of all random streams.
        rate_per_s, time_scale : float, optional
            Of the schedule.

        Raises
        ------
        ScenarioError
            When a number is out of bounds.
        """
        content = self.content
        update: dict[str, Any] = {}
        if severity is not None:
            try:
                number = parse_severity(severity)
            except ValueError as wrong:
                mend = f"give 0 to 5, or {', '.join(PRESETS)}"
                raise ScenarioError(f"scenario {self.name}", f"severity {wrong}", mend) from None
            update["effects"] = tuple(choice.at(number) for choice in content.effects)
            update["transport"] = content.transport.at(number)
        if seed is not None:
            update["seed"] = seed
        schedule = {"rate_per_s": rate_per_s, "time_scale": time_scale}
        given = {name: value for name, value in schedule.items() if value is not None}
        if given:
            update["schedule"] = {**content.schedule.model_dump(), **given}
        merged = {**{name: getattr(content, name) for name in ScenarioFile.model_fields}, **update}
        changed = _validated(self.name, ScenarioFile, merged)
        return self if changed == content else Scenario(self.name, changed, self.named_sha256)

    def swept(self) -> list[Scenario]:
        """Return the scenarios of the section ``sweep``, under names that say how they differ; else this one.

        Raises
        ------
        ScenarioError
            When a combination is not possible.
        """
        sweep = self.content.sweep
        if sweep is None:
            return [self]
        axes = [getattr(sweep, axis) or (None,) for axis in AXES]
        return [self._derived(*values) for values in itertools.product(*axes)]

    def alone(self) -> Scenario:
        """Return this scenario where one is needed.

        Raises
        ------
        ScenarioError
            When its section ``sweep`` stands for several.
        """
        if self.content.sweep is None:
            return self
        count = math.prod(max(len(getattr(self.content.sweep, axis)), 1) for axis in AXES)
        several = f"stands for {count} scenarios (`sweep`) where one is needed"
        mend = "write them with `hwosim scenario sweep NAME_OR_FILE --write FOLDER`, or take `sweep` out"
        raise ScenarioError(f"scenario {self.name}", several, mend)

    def _derived(self, severity: float | None, honesty: str | None, flags: str | None, seed: int | None) -> Scenario:
        values = (severity, honesty, flags, seed)
        marks = [_mark(axis, value) for axis, value in zip(AXES, values, strict=True)]
        effects = []
        for choice in self.content.effects:
            spec, update = spec_of(choice.effect), dict[str, Any]()
            if honesty is not None and spec.err:
                update |= {"err": honesty, "err_factor": None}
            if flags is not None and spec.dq:
                update |= {"dq": flags, "dq_share": type(choice).model_fields["dq_share"].default}
            effects.append(choice.model_copy(update=update))
        plain = self.content.model_copy(update={"sweep": None, "effects": tuple(effects)})
        name = "_".join([self.name, *(mark for mark in marks if mark)])
        chosen = Scenario(self.name, plain).with_overrides(severity=severity, seed=seed)
        return Scenario(name, chosen.content)

    def write(self, path: Path) -> None:
        """Write the scenario to a YAML file that says the same.

        Raises
        ------
        ScenarioError
            When the file cannot be written.
        """
        content = self.content.model_dump(mode="json", exclude={"effects"}, exclude_none=True)
        effects = [{choice.effect: choice.body()} for choice in self.effects]
        try:
            path.write_text(yaml.safe_dump({**content, "effects": effects}, sort_keys=False), encoding="utf-8")
        except OSError as error:
            reason = error.strerror or "cannot be written"
            raise ScenarioError(f"scenario file {path}", reason, "check path and free space") from error

    @classmethod
    def from_mapping(cls, name: str, content: Mapping[str, Any]) -> Scenario:
        """Return a scenario from what a file would say.

        Raises
        ------
        ScenarioError
            When a key or a value is not understood; names the key and suggests the right one.
        """
        return cls(name, _validated(name, ScenarioFile, content))

    @classmethod
    def from_file(cls, path: Path) -> Scenario:
        """Return the scenario of a YAML file; its name is the file's stem.

        Raises
        ------
        ScenarioError
            When the file cannot be read or says something that is not understood.
        """
        if not _NAME.match(path.stem):
            raise ScenarioError(
                f"scenario file {path.name!r}", "its name is not allowed", f"names match {_NAME.pattern}"
            )
        return cls.from_mapping(path.stem, _read_yaml(path))


def _validated(name: str, model: type[ScenarioFile], content: Mapping[str, Any]) -> ScenarioFile:
    try:
        return model.model_validate(content)
    except ValidationError as wrong:
        of_effects = any(error["loc"][:1] == ("effects",) for error in wrong.errors(include_url=False))
        mend = "see `hwosim effects` for what is known" if of_effects else "mend it there"
        raise ScenarioError(f"scenario {name}", "; ".join(_words(wrong)), mend) from None


def _words(wrong: ValidationError) -> list[str]:
    """Return one sentence for each mistake, with a suggestion for an unknown key."""
    sentences = []
    for error in wrong.errors(include_url=False)[:5]:
        where = ".".join(str(part) for part in error["loc"] if part not in PROFILES)
        if error["type"] == "extra_forbidden":
            key = str(error["loc"][-1])
            sentences.append(f"unknown key {where!r} ({nearest(key, _keys_beside(error['loc']))})")
        elif error["type"] == "value_error":
            sentences.append(f"{where}: {error['ctx']['error']}" if where else str(error["ctx"]["error"]))
        elif error["type"] == "missing":
            sentences.append(f"{where} is not given")
        elif error["type"].startswith("union_tag"):
            given = error["input"].get("profile")
            unknown = "no `profile` is given" if given is None else f"unknown profile {given!r}"
            sentences.append(f"{where}: {unknown}; {nearest(str(given), PROFILES)}")
        elif error["type"] in _SHAPES:
            sentences.append(f"{where}: needs {_SHAPES[error['type']]}, not {error['input']!r:.60}")
        else:
            sentences.append(f"{where}: {error['msg'][0].lower()}{error['msg'][1:]}, not {error['input']!r:.60}")
    return sentences


#: What pydantic's kinds of error ask for, in the words of YAML.
_SHAPES = {
    "tuple_type": "a list, `[...]`",
    "model_type": "keys and values, `{key: value, ...}`",
    "model_attributes_type": "keys and values, as `{profile: burst, start: 2022-07-01, length: 2 h}`",
    "string_type": "a text",
}


def _keys_beside(place: tuple[int | str, ...]) -> list[str]:
    """Return the keys that are allowed where an unknown one was found."""
    model: Any = ScenarioFile
    for part in place[:-1]:
        if part in PROFILES:
            model = PROFILES[str(part)]
        elif isinstance(part, str) and part in model.model_fields:
            inner = model.model_fields[part].annotation
            model = inner if isinstance(inner, type) and issubclass(inner, BaseModel) else EffectChoice
    return list(model.model_fields)


#: Tags of what YAML 1.1 would also count by sixties.
_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")


class _StrictLoader(yaml.SafeLoader):
    """YAML that refuses a key standing twice, and aliases: nine lines of them can stand for 10^9 values.

    Nor is ``-00:01:02.5`` the number -62.5, as YAML 1.1 has it, but a text, which no parameter takes for a declination.
    """

    def resolve(self, kind: type[yaml.Node], value: Any, implicit: Any) -> Any:
        tag = super().resolve(kind, value, implicit)  # type: ignore[no-untyped-call]  # types-PyYAML says nothing of it
        return self.DEFAULT_SCALAR_TAG if tag in _NUMBERS and ":" in value else tag

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases (*name) are not allowed")
        return super().compose_node(parent, index)


def _unique_mapping(loader: _StrictLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    keys = [loader.construct_object(key) for key, _ in node.value]
    for key in keys:
        if keys.count(key) > 1:
            raise yaml.YAMLError(f"the key {key!r} stands twice (line {node.start_mark.line + 1})")
    return loader.construct_mapping(node, deep=True)


_StrictLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _unique_mapping)


def _read_yaml(path: Path) -> Mapping[str, Any]:
    thing = f"scenario file {path}"
    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise ScenarioError(thing, f"is larger than {_LARGEST_FILE} bytes", "a scenario is a short text")
        value = yaml.load(path.read_text(encoding="utf-8"), _StrictLoader)  # noqa: S506 - a SafeLoader
    except OSError as error:
        raise ScenarioError(thing, error.strerror or "cannot be read", "check the path and its permissions") from error
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError, TypeError) as error:
        # YAML's own dates and numbers raise what Python's do: 2022-13-01, an integer of 5000 digits.
        raise ScenarioError(thing, f"is not YAML: {' '.join(str(error).split())}", "mend the file") from error
    if not isinstance(value, Mapping):
        raise ScenarioError(thing, "holds no mapping", "start with `version: 1` and `effects:`")
    return value


@dataclass(frozen=True)
class BrokenScenario:
    """A scenario file that cannot be used, and why."""

    path: Path
    name: str
    reason: str


@dataclass(frozen=True)
class ScenarioSet:
    """The scenarios of some folders, by name, and the files that are broken."""

    found: dict[str, Scenario]
    broken: list[BrokenScenario]


def find_scenarios(folders: Iterable[Path] = ()) -> ScenarioSet:
    """Return the shipped scenarios and those of further folders.

    Parameters
    ----------
    folders : iterable of Path
        Folders of ``*.yaml`` and ``*.yml`` files.

    Returns
    -------
    ScenarioSet
        A broken or oddly named file, one that stands for several scenarios (``sweep``), a name already taken and a
        missing folder are listed in ``broken``; nothing is raised for them.
    """
    found: dict[str, Scenario] = {}
    origin: dict[str, Path] = {}
    broken: list[BrokenScenario] = []
    for folder in (SHIPPED, *(folder for folder in folders if folder.resolve() != SHIPPED)):
        if not folder.is_dir():
            broken.append(BrokenScenario(folder, folder.name, "no such folder"))
            continue
        for path in sorted(path for path in folder.iterdir() if path.suffix in (".yaml", ".yml")):
            try:
                scenario = Scenario.from_file(path).alone()
            except BadInputError as error:
                broken.append(BrokenScenario(path, path.stem, f"{error.reason}; {error.mend}"))
                continue
            if scenario.name in found:
                broken.append(BrokenScenario(path, path.stem, f"{origin[path.stem]} already has this name"))
                continue
            found[scenario.name], origin[scenario.name] = scenario, path
    return ScenarioSet(found, broken)


def load_scenario(name_or_path: str, folders: Iterable[Path] = ()) -> Scenario:
    """Return a scenario by its name, or from the YAML file of that path.

    Raises
    ------
    ScenarioError
        When there is none, its file is broken, or it stands for several (``sweep``).
    """
    return _load(name_or_path, folders).alone()


def load_sweep(name_or_path: str, folders: Iterable[Path] = ()) -> list[Scenario]:
    """Return the scenarios that one stands for: those of its section ``sweep``, or itself.

    Raises
    ------
    ScenarioError
        When there is none of that name or path, its file is broken, or a combination is not possible.
    """
    return _load(name_or_path, folders).swept()


def _load(name_or_path: str, folders: Iterable[Path]) -> Scenario:
    """Return what a name or a path stands for: one scenario, or one with a section ``sweep``."""
    path = Path(name_or_path)
    if path.suffix in (".yaml", ".yml"):
        return Scenario.from_file(path)
    known = find_scenarios(folders)
    if name_or_path in known.found:
        return known.found[name_or_path]
    for item in known.broken:
        if item.name == name_or_path:
            if item.path.is_file():
                return Scenario.from_file(item.path)  # tells what is wrong with it, unless it is a sweep
            raise ScenarioError(f"scenario file {item.path}", item.reason, "mend the file")
    raise ScenarioError(f"scenario {name_or_path!r}", "is not known", nearest(name_or_path, sorted(known.found)))
