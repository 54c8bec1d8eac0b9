"""What a rule of a quality suite is, and the few forms a rule can take.

Holds: :class:`Rule`, :class:`Suite` and constructors that name a Great Expectations expectation in
the words of the field, without importing it. Add a constructor when a suite needs another
expectation. Keep out which rules an asset has (``quality.suites``) and how they are evaluated
(``quality.run``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

__all__ = [
    "MOST_RULES",
    "PLATFORM",
    "Expectation",
    "Rule",
    "Severity",
    "Suite",
    "at_least",
    "at_most",
    "between",
    "equal",
    "in_set",
    "is_null",
    "matches",
    "not_null",
    "ordered",
    "unique",
]

#: ``critical`` stops what lies downstream, ``warning`` does not, ``info`` is a remark and never fails.
Severity = Literal["critical", "warning", "info"]
#: Source of the rules about what the stages themselves guarantee.
PLATFORM = "HWOsim: docs/architecture.md, the rules that hold it together"
#: Most rules of a suite: the UI is made for fewer than fifty checks of an asset.
MOST_RULES = 30
Argument = str | int | float | bool | tuple[str, ...] | tuple[int, ...] | tuple[bool, ...] | None


@dataclass(frozen=True)
class Expectation:
    """One Great Expectations expectation by name.

    Attributes
    ----------
    kind : str
        Class name in ``great_expectations.expectations``.
    arguments : mapping
        Its keyword arguments; tuples become lists.
    """

    kind: str
    arguments: Mapping[str, Argument]

    def columns(self) -> tuple[str, ...]:
        """Return the columns that the expectation reads, in order."""
        named = [self.arguments[name] for name in ("column", "column_A", "column_B") if name in self.arguments]
        listed = self.arguments.get("column_list", ())
        return (*(str(name) for name in named), *(str(name) for name in (listed if isinstance(listed, tuple) else ())))


@dataclass(frozen=True)
class Rule:
    """One property that an asset should have.

    Attributes
    ----------
    name : str
        Snake case; the name of the Dagster asset check.
    severity : {"critical", "warning", "info"}
        What follows when the property is absent.
    doc : str
        The property as one sentence, with units.
    expectations : tuple of Expectation
        All of them must hold.
    over : {"rows", "counts"}
        Whether they read the asset's rows, or the one row of counts about the whole program.
    source : str
        Who promises it: the standard, the archive's documentation, or this platform.
    """

    name: str
    severity: Severity
    doc: str
    expectations: tuple[Expectation, ...]
    over: Literal["rows", "counts"] = "rows"
    source: str = PLATFORM

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9_]*", self.name):
            raise ValueError(f"a rule's name is snake case: {self.name!r}")

    def columns(self) -> tuple[str, ...]:
        """Return the columns that the rule reads, each once, in order."""
        return tuple(dict.fromkeys(name for item in self.expectations for name in item.columns()))


@dataclass(frozen=True)
class Suite:
    """The rules of one asset.

    Attributes
    ----------
    name : str
        Name of the suite.
    rules : tuple of Rule
        At most :data:`MOST_RULES`, names unique.
    identify : tuple of str
        Columns that name a row to a person; shown beside every unexpected value.
    """

    name: str
    rules: tuple[Rule, ...]
    identify: tuple[str, ...]
    _by_name: Mapping[str, Rule] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        by_name = {rule.name: rule for rule in self.rules}
        if len(by_name) != len(self.rules) or len(self.rules) > MOST_RULES:
            raise ValueError(f"suite {self.name}: rule names must be unique and at most {MOST_RULES}")
        object.__setattr__(self, "_by_name", MappingProxyType(by_name))

    def rule(self, name: str) -> Rule:
        """Return a rule by name.

        Raises
        ------
        KeyError
            If the suite has no rule of that name.
        """
        return self._by_name[name]

    def row_columns(self) -> tuple[str, ...]:
        """Return the columns of the asset's rows that the suite reads, ``identify`` first."""
        read = (name for rule in self.rules if rule.over == "rows" for name in rule.columns())
        return tuple(dict.fromkeys((*self.identify, *read)))

    def count_columns(self) -> tuple[str, ...]:
        """Return the counts that the suite reads."""
        return tuple(dict.fromkeys(name for rule in self.rules if rule.over == "counts" for name in rule.columns()))


def _each(kind: str, columns: tuple[str, ...], **arguments: Argument) -> tuple[Expectation, ...]:
    return tuple(Expectation(kind, MappingProxyType({"column": column, **arguments})) for column in columns)


def not_null(*columns: str) -> tuple[Expectation, ...]:
    """Expect a value in every row of these columns."""
    return _each("ExpectColumnValuesToNotBeNull", columns)


def is_null(*columns: str) -> tuple[Expectation, ...]:
    """Expect no value in any row: the columns hold what was found against it."""
    return _each("ExpectColumnValuesToBeNull", columns)


def unique(*columns: str) -> tuple[Expectation, ...]:
    """Expect that these columns together name a row once."""
    if len(columns) == 1:
        return _each("ExpectColumnValuesToBeUnique", columns)
    return (Expectation("ExpectCompoundColumnsToBeUnique", MappingProxyType({"column_list": columns})),)


def matches(pattern: str, *columns: str) -> tuple[Expectation, ...]:
    """Expect values that match a regular expression; absent values are not looked at."""
    return _each("ExpectColumnValuesToMatchRegex", columns, regex=pattern)


def in_set(values: tuple[str, ...] | tuple[int, ...] | tuple[bool, ...], *columns: str) -> tuple[Expectation, ...]:
    """Expect values of a set; absent values are not looked at."""
    return _each("ExpectColumnValuesToBeInSet", columns, value_set=values)


def between(low: float, high: float, *columns: str, below_high: bool = False) -> tuple[Expectation, ...]:
    """Expect values in ``[low, high]``, or ``[low, high)``; absent values are not looked at."""
    return _each("ExpectColumnValuesToBeBetween", columns, min_value=low, max_value=high, strict_max=below_high)


def at_least(low: float, *columns: str) -> tuple[Expectation, ...]:
    """Expect values of at least ``low``; absent values are not looked at."""
    return _each("ExpectColumnValuesToBeBetween", columns, min_value=low)


def at_most(high: float, *columns: str) -> tuple[Expectation, ...]:
    """Expect values of at most ``high``; absent values are not looked at."""
    return _each("ExpectColumnValuesToBeBetween", columns, max_value=high)


def ordered(first: str, second: str) -> tuple[Expectation, ...]:
    """Expect ``first <= second`` in every row that has both."""
    arguments: dict[str, Argument] = {"column_A": second, "column_B": first, "or_equal": True}
    return _pair("ExpectColumnPairValuesAToBeGreaterThanB", arguments)


def equal(first: str, second: str) -> tuple[Expectation, ...]:
    """Expect ``first == second`` in every row that has both."""
    return _pair("ExpectColumnPairValuesToBeEqual", {"column_A": first, "column_B": second})


def _pair(kind: str, arguments: dict[str, Argument]) -> tuple[Expectation, ...]:
    return (Expectation(kind, MappingProxyType({**arguments, "ignore_row_if": "either_value_is_missing"})),)
