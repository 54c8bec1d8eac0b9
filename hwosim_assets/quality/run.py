"""Great Expectations evaluates a suite over an Arrow table.

Holds: :func:`run_suite` and its result. This is the only module that speaks to Great Expectations,
and it imports it (and pandas) inside the function, since that takes 5 to 10 seconds and 250 MB.
Keep out the rules (``quality.suites``), where rows come from (``quality.inputs``) and what Dagster
makes of a result (``hwosim_assets.checks``).
"""

from __future__ import annotations

import datetime as dt
import functools
import gc
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from hwosim_assets.errors import HwosimError
from hwosim_assets.quality.rules import Expectation, Rule, Severity, Suite
from hwosim_assets.quality.suites import suite_named

if TYPE_CHECKING:
    from great_expectations.core import (
        ExpectationSuite,
        ExpectationSuiteValidationResult,
        ExpectationValidationResult,
    )
    from great_expectations.core.batch_definition import BatchDefinition

__all__ = ["EXAMPLES", "RuleResult", "SuiteNotRunError", "SuiteResult", "run_suite"]

#: Most examples of unexpected values that a rule's result carries.
EXAMPLES = 20


class SuiteNotRunError(HwosimError):
    """A suite could not be evaluated; that says nothing about the data."""


@dataclass(frozen=True)
class RuleResult:
    """What one rule found.

    Attributes
    ----------
    name, severity, doc
        As in the rule.
    passed : bool
        Whether the property holds; an ``info`` rule may be false without anything following.
    checked : int
        Values (for a rule over counts: counts) that were looked at, absent ones left out.
    unexpected : int
        Values that break the rule.
    examples : tuple of dict
        At most 20 of them: the columns that name the row, the column and the value.
    found : dict
        For a rule over counts, the counts it looked at.
    """

    name: str
    severity: Severity
    passed: bool
    checked: int
    unexpected: int
    examples: tuple[dict[str, object], ...]
    doc: str
    found: Mapping[str, float]


@dataclass(frozen=True)
class SuiteResult:
    """What a suite found.

    Attributes
    ----------
    suite : str
        Its name.
    rows : int
        Rows of the asset.
    rules : tuple of RuleResult
        In the suite's order.
    """

    suite: str
    rows: int
    rules: tuple[RuleResult, ...]

    @property
    def passed(self) -> bool:
        """Whether no critical rule is broken, so that what lies downstream may go on."""
        return not self.broken("critical")

    @property
    def verdict(self) -> str:
        """``passed``, ``warned`` (a warning is broken) or ``failed`` (a critical rule is)."""
        if not self.passed:
            return "failed"
        return "warned" if self.broken("warning") else "passed"

    def broken(self, severity: Severity) -> list[RuleResult]:
        """Return the rules of a severity that do not hold."""
        return [rule for rule in self.rules if not rule.passed and rule.severity == severity]


def run_suite(suite: str, rows: pa.Table, counts: Mapping[str, float] | None = None) -> SuiteResult:
    """Evaluate a suite.

    Parameters
    ----------
    suite : str
        Name of a suite.
    rows : pyarrow.Table
        The asset's rows; only the columns that the suite reads are converted.
    counts : mapping of str to float, optional
        Counts about the whole program, for the rules over counts.

    Returns
    -------
    SuiteResult
        One result per rule, in the suite's order.

    Raises
    ------
    SuiteNotRunError
        If a column or a count is absent, or Great Expectations itself fails: that is a fault of
        the platform and never a verdict on the data.
    """
    chosen = suite_named(suite)
    numbers = counts or {}
    _refuse_absent(chosen, rows, numbers)
    found = _evaluate(chosen, rows, numbers)
    results = tuple(_rule_result(chosen, rule, found[rule.name], numbers) for rule in chosen.rules)
    return SuiteResult(suite=suite, rows=rows.num_rows, rules=results)


def _refuse_absent(suite: Suite, rows: pa.Table, counts: Mapping[str, float]) -> None:
    absent = [name for name in suite.row_columns() if name not in rows.column_names]
    absent += [name for name in suite.count_columns() if name not in counts]
    if absent:
        raise SuiteNotRunError(
            f"quality suite {suite.name}",
            f"it reads {', '.join(absent)}, which it was not given",
            "hand in the rows and counts of hwosim_assets.quality.inputs",
        )


def _evaluate(
    suite: Suite, rows: pa.Table, counts: Mapping[str, float]
) -> dict[str, list[ExpectationValidationResult]]:
    import pandas as pd

    found: dict[str, list[ExpectationValidationResult]] = {rule.name: [] for rule in suite.rules}
    by_name = [(name, "ascending") for name in suite.identify]
    frames = {
        "rows": rows.select(list(suite.row_columns())).sort_by(by_name).to_pandas(),
        "counts": pd.DataFrame([dict(counts)]),
    }
    for over, frame in frames.items():
        batch = _any_dataframe().get_batch({"dataframe": frame})
        members = [rule for rule in suite.rules if rule.over == over]
        _gather(suite, batch.validate(_gx_suite(suite.name, members), result_format="BASIC"), found)
        broken = [rule for rule in members if any(item.result.get("unexpected_count") for item in found[rule.name])]
        if over == "rows" and broken:  # asking each rule which rows break it costs half as much again
            for rule in broken:
                found[rule.name].clear()
            named = batch.validate(_gx_suite(suite.name, broken), result_format=_naming_rows(suite))
            _gather(suite, named, found)
    return found


def _naming_rows(suite: Suite) -> dict[str, Any]:
    """Return the result format that says which rows break a rule."""
    return {
        "result_format": "SUMMARY",
        "partial_unexpected_count": EXAMPLES,
        "unexpected_index_column_names": list(suite.identify),
    }


@functools.cache
def _any_dataframe() -> BatchDefinition[Any]:
    """Return Great Expectations' handle for a data frame, made once per process; it keeps no data."""
    os.environ["GX_ANALYTICS_ENABLED"] = "false"  # older pins of Great Expectations reported home
    gc.collect()  # what is garbage now would be kept for ever with what is frozen below
    gc.disable()  # a fifth of the import's processor time goes into looking for garbage among what stays
    try:
        import great_expectations as gx
        from great_expectations.data_context.types.base import ProgressBarsConfig
    finally:
        gc.enable()
    gc.freeze()  # some 400 000 objects that stay: every full collection of the run would look through them

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    source = context.data_sources.add_pandas("hwosim")
    handle: BatchDefinition[Any] = source.add_dataframe_asset("frame").add_batch_definition_whole_dataframe("frame")
    return handle


def _gx_suite(name: str, rules: list[Rule]) -> ExpectationSuite:
    """Return the rules as a Great Expectations suite; ``meta`` leads a result back to its rule."""
    import great_expectations as gx

    made = gx.ExpectationSuite(name=name)
    for rule in rules:
        for number, item in enumerate(rule.expectations):
            expectation = getattr(gx.expectations, item.kind)
            arguments = {
                key: list(value) if isinstance(value, tuple) else value for key, value in item.arguments.items()
            }
            meta = {"rule": rule.name, "number": number}
            made.add_expectation(expectation(severity=rule.severity, meta=meta, notes=rule.doc, **arguments))
    return made


def _gather(
    suite: Suite,
    validated: ExpectationSuiteValidationResult,
    found: dict[str, list[ExpectationValidationResult]],
) -> None:
    for result in sorted(validated.results, key=lambda item: _meta(item)["number"]):
        rule = _meta(result)["rule"]
        failure = _exception_of(result.exception_info)
        if failure:
            raise SuiteNotRunError(
                f"quality suite {suite.name}, rule {rule}",
                f"Great Expectations could not evaluate it: {failure}",
                "see the run's log; this is a fault of the platform and not of the data",
            )
        found[rule].append(result)


def _meta(result: ExpectationValidationResult) -> Mapping[str, Any]:
    config = result.expectation_config
    if config is None or config.meta is None:
        raise SuiteNotRunError(
            "a Great Expectations result",
            "it names no expectation",
            "check the installed version of great-expectations",
        )
    return config.meta


def _exception_of(info: Mapping[str, Any] | None) -> str:
    """Return the message of an exception inside Great Expectations, which comes flat or by metric."""
    if not info:
        return ""
    if info.get("raised_exception"):
        return str(info.get("exception_message"))
    nested = (value for value in info.values() if isinstance(value, Mapping))
    return next((str(value.get("exception_message")) for value in nested if value.get("raised_exception")), "")


def _rule_result(
    suite: Suite, rule: Rule, results: list[ExpectationValidationResult], counts: Mapping[str, float]
) -> RuleResult:
    examples: list[dict[str, object]] = []
    checked = unexpected = 0
    for item, result in zip(rule.expectations, results, strict=True):
        detail = result.result
        checked += int(detail.get("element_count", 0)) - int(detail.get("missing_count", 0) or 0)
        unexpected += int(detail.get("unexpected_count", 0))
        examples += _examples(suite, rule, item, detail, counts)
    return RuleResult(
        name=rule.name,
        severity=rule.severity,
        passed=all(bool(result.success) for result in results),
        checked=checked,
        unexpected=unexpected,
        examples=tuple(examples[:EXAMPLES]),
        doc=rule.doc,
        found={name: _plain_number(counts[name]) for name in rule.columns()} if rule.over == "counts" else {},
    )


def _examples(
    suite: Suite, rule: Rule, item: Expectation, detail: Mapping[str, Any], counts: Mapping[str, float]
) -> list[dict[str, object]]:
    if not detail.get("unexpected_count"):
        return []
    if rule.over == "counts":
        return [{"column": name, "value": str(_plain_number(counts[name]))} for name in item.columns()]
    named: list[dict[str, object]] = []
    for row in detail.get("partial_unexpected_index_list") or []:
        values = [_plain(row.get(name)) for name in item.columns()]
        named.append(
            {
                **{name: _plain(row.get(name)) for name in suite.identify},
                "column": ", ".join(item.columns()),
                "value": ", ".join(str(value) for value in values),
            }
        )
    return named


def _plain_number(value: float) -> float:
    return int(value) if float(value).is_integer() else float(value)


def _plain(value: Any) -> str | int | float | bool | None:
    """Return a value of a pandas cell as something that JSON and a table can hold."""
    if hasattr(value, "item"):
        value = value.item()
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, str | int | float | bool):
        return value[:200] if isinstance(value, str) else value
    return value.isoformat() if isinstance(value, dt.datetime) else repr(value)[:200]
