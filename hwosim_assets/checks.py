"""Great Expectations in Dagster: the checks of one asset as one step.

Holds: :func:`gx_checks`, which makes every rule of a suite an asset check. Keep out the rules
(``quality.suites``) and evaluating them (``quality.run``). Great Expectations takes seconds to
import, so that happens inside the step, once for all checks of an asset.

A critical rule blocks what lies downstream and fails with ERROR; a warning does not block and fails
with WARN, since a blocking check that warns lets the run go on and yet stops the automation for
ever; a remark always passes. A suite that cannot be evaluated raises: that is no verdict on data.

See https://docs.dagster.io/guides/test/asset-checks
"""

import warnings
from collections.abc import Callable, Iterable, Iterator

import dagster as dg

from hwosim_assets.assets.perturbed import perturbed_key
from hwosim_assets.lake.store import Lake
from hwosim_assets.lake.tables import Tables
from hwosim_assets.metadata import records
from hwosim_assets.partitions import jwst_program
from hwosim_assets.perturb.scenario import Scenario
from hwosim_assets.quality.history import Evaluation
from hwosim_assets.quality.inputs import SuiteInput, read_input
from hwosim_assets.quality.rules import Rule
from hwosim_assets.quality.run import RuleResult
from hwosim_assets.quality.suites import suite_named
from hwosim_assets.resources import LakeResource

__all__ = ["Load", "default_checks", "gx_checks"]

#: The tags in which Dagster keeps what an event's content is, and by which code it was made.
DATA_VERSION_TAG, CODE_VERSION_TAG = "dagster/data_version", "dagster/code_version"
#: Reads what a suite needs of one program, for the data version of its asset (none where none was recorded).
Load = Callable[[str, Lake, Tables, str | None], SuiteInput]


#: Which suite judges which asset.
SUITE_OF = {
    ("mast", "observations"): "mast_observations",
    ("mast", "products"): "mast_products",
    ("raw", "fits_files"): "raw_fits_files",
    ("catalog", "header_cards"): "header_cards",
    ("catalog", "products"): "products",
    ("catalog", "quarantine"): "quarantine",
}


def default_checks(scenarios: Iterable[Scenario]) -> list[dg.AssetChecksDefinition]:
    """Return the checks of the first code location: one step per asset, one check per rule."""
    staged = [gx_checks(dg.AssetKey(list(path)), suite, jwst_program) for path, suite in SUITE_OF.items()]
    perturbed = [
        gx_checks(perturbed_key(scenario.name), "perturbed", jwst_program, scenario=scenario.name)
        for scenario in scenarios
    ]
    return staged + perturbed


def gx_checks(
    asset_key: dg.AssetKey,
    suite: str,
    partitions_def: dg.PartitionsDefinition[str],
    *,
    load: Load | None = None,
    scenario: str = "",
) -> dg.AssetChecksDefinition:
    """Return the checks of one asset: one step, one check per rule, one record per program.

    Parameters
    ----------
    asset_key : dagster.AssetKey
        The asset; its name with slashes names the report.
    suite : str
        Name of the suite.
    partitions_def : dagster.PartitionsDefinition
        One partition per program. An asset with partitioned checks keeps one partition per run:
        Dagster records a check of a ranged run once, without a partition.
    load : callable, optional
        Reads what the suite needs; :func:`hwosim_assets.quality.inputs.read_input` by default.
    scenario : str, optional
        Identity of the scenario, for the suite ``perturbed``.

    Returns
    -------
    dagster.AssetChecksDefinition
        It requires the resource ``lake``.
    """
    rules = suite_named(suite).rules

    @dg.multi_asset_check(
        name=f"check_{'_'.join(asset_key.path)}",
        specs=[_spec(asset_key, rule, partitions_def) for rule in rules],
        can_subset=True,
    )
    def evaluate(context: dg.AssetCheckExecutionContext, lake: LakeResource) -> Iterator[dg.AssetCheckResult]:
        from hwosim_assets.quality.history import record_results
        from hwosim_assets.quality.report import write_report
        from hwosim_assets.quality.run import run_suite

        program = context.partition_key
        store, tables = lake.lake(), lake.tables()
        about = _evaluation(context, asset_key)
        if load:
            read = load(program, store, tables, about.data_version)
        else:
            read = read_input(suite, program, store, tables, scenario)
        found = run_suite(suite, read.rows, read.counts)
        name = asset_key.to_user_string()
        report = write_report(store, tables, name, program, found)
        record_results(tables, name, program, found, about, report.key)
        wanted = {key.name for key in context.selected_asset_check_keys}
        for result in found.rules:
            if result.name in wanted:
                yield _check_result(asset_key, result, report.url)

    return evaluate


def _evaluation(context: dg.AssetCheckExecutionContext, asset_key: dg.AssetKey) -> Evaluation:
    """Return the run, and the versions of the materialization that it looks at."""
    wanted = dg.AssetRecordsFilter(asset_key, asset_partitions=[context.partition_key])
    latest = context.instance.fetch_materializations(wanted, limit=1).records
    made = latest[0].asset_materialization if latest else None
    tags = (made.tags if made else None) or {}
    return Evaluation(context.run.run_id, tags.get(DATA_VERSION_TAG), tags.get(CODE_VERSION_TAG))


def _spec(asset_key: dg.AssetKey, rule: Rule, partitions_def: dg.PartitionsDefinition[str]) -> dg.AssetCheckSpec:
    with warnings.catch_warnings():  # partitioned checks are in preview: pinned, and tested here
        warnings.simplefilter("ignore", dg.PreviewWarning)
        return dg.AssetCheckSpec(
            rule.name,
            asset=asset_key,
            description=f"{rule.doc} ({rule.severity})",
            blocking=rule.severity == "critical",
            partitions_def=partitions_def,
            metadata={"severity": rule.severity},
        )


def _check_result(asset_key: dg.AssetKey, result: RuleResult, url: str) -> dg.AssetCheckResult:
    """Return a rule's result as Dagster records it; numbers as numbers, since those are plotted."""
    metadata: dict[str, dg.MetadataValue | str | int | float] = {
        "summary": _summary(result),
        "checked": result.checked,
        "unexpected": result.unexpected,
        **{name.replace("_", " "): value for name, value in result.found.items()},
        "report": dg.MetadataValue.url(url),
    }
    if result.examples:
        metadata["failures"] = records(result.examples)
    return dg.AssetCheckResult(
        asset_key=asset_key,
        check_name=result.name,
        passed=result.passed or result.severity == "info",
        severity=dg.AssetCheckSeverity.ERROR if result.severity == "critical" else dg.AssetCheckSeverity.WARN,
        description=_summary(result),
        metadata=metadata,
    )


def _summary(result: RuleResult) -> str:
    holds = "holds" if result.passed else "does not hold"
    if result.found:
        numbers = ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in result.found.items())
        return f"{result.doc.rstrip('.')}: {holds} ({numbers})."
    return f"{result.doc.rstrip('.')}: {holds} ({result.unexpected} of {result.checked} values break it)."
