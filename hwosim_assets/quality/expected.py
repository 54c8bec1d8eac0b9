"""What a rule expects, in a person's words: the other half of "expected against found".

Holds: one phrase per form that a rule can take (``quality.rules``). Keep out evaluating it
(``quality.run``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from hwosim_assets.quality.rules import Rule

__all__ = ["in_words"]

#: Most values of a set that are listed.
_MOST = 12


def in_words(rule: Rule) -> str:
    """Return what a rule expects of the columns or counts that it reads.

    Returns
    -------
    str
        For example ``s_ra >= 0 and < 360; s_dec >= -90 and <= 90``.

    Raises
    ------
    KeyError
        If the rule has a form that has no phrase here.
    """
    phrases: dict[str, list[str]] = {}
    for item in rule.expectations:
        phrases.setdefault(_PHRASES[item.kind](item.arguments), []).append(" and ".join(item.columns()))
    return "; ".join(phrase.replace("{}", ", ".join(columns)) for phrase, columns in phrases.items())


def _between(arguments: Mapping[str, Any]) -> str:
    low, high = arguments.get("min_value"), arguments.get("max_value")
    below = "<" if arguments.get("strict_max") else "<="
    bounds = [f">= {low:g}"] if low is not None else []
    return "{} " + " and ".join([*bounds, *([f"{below} {high:g}"] if high is not None else [])])


def _in_set(arguments: Mapping[str, Any]) -> str:
    values = [str(value) for value in arguments["value_set"]]
    return (
        "{} one of " + ", ".join(values[:_MOST]) + (f" and {len(values) - _MOST} more" if len(values) > _MOST else "")
    )


def _ordered(arguments: Mapping[str, Any]) -> str:
    return f"{arguments['column_B']} <= {arguments['column_A']}"


def _equal(arguments: Mapping[str, Any]) -> str:
    return f"{arguments['column_A']} = {arguments['column_B']}"


_PHRASES: Mapping[str, Callable[[Mapping[str, Any]], str]] = MappingProxyType(
    {
        "ExpectColumnValuesToNotBeNull": lambda _: "{} present",
        "ExpectColumnValuesToBeNull": lambda _: "{} empty",
        "ExpectColumnValuesToBeUnique": lambda _: "{} unique",
        "ExpectCompoundColumnsToBeUnique": lambda arguments: f"{', '.join(arguments['column_list'])} unique together",
        "ExpectColumnValuesToMatchRegex": lambda arguments: "{} like " + str(arguments["regex"]),
        "ExpectColumnValuesToBeInSet": _in_set,
        "ExpectColumnValuesToBeBetween": _between,
        "ExpectColumnPairValuesAToBeGreaterThanB": _ordered,
        "ExpectColumnPairValuesToBeEqual": _equal,
    }
)
