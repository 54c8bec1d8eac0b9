"""The rules of what is delivered: ``perturbed/<scenario>``, ``stream/<scenario>`` and the report.

Holds: two suites that all scenarios share, and that of ``report/data_quality``. Keep out proving a
stream message by message (``hwosim_streaming.verify``): a rule here reads the outcome.
"""

from __future__ import annotations

from hwosim_assets.quality.patterns import PROGRAM, SHA256
from hwosim_assets.quality.rules import (
    Rule,
    Suite,
    at_least,
    at_most,
    between,
    equal,
    in_set,
    is_null,
    matches,
    not_null,
    ordered,
    unique,
)

__all__ = ["PERTURBED", "REPORT", "STREAM"]

PERTURBED = Suite(
    "perturbed",
    identify=("product_name",),
    rules=(
        Rule(
            "datasets_made",
            "critical",
            "At least one product of the program was perturbed.",
            at_least(1, "perturbed"),
            over="counts",
        ),
        Rule(
            "counts_reconcile",
            "critical",
            "Every usable product is either perturbed or rejected with a reason.",
            equal("usable", "accounted"),
            over="counts",
        ),
        Rule(
            "truth_recorded",
            "critical",
            "Every perturbed product has a truth record of the same input, output and plan.",
            at_most(0, "without_truth"),
            over="counts",
        ),
        Rule(
            "required_columns_not_null",
            "critical",
            "Every dataset has its product, scenario, seed, severity scale, engine and hashes.",
            not_null(
                "program",
                "scenario",
                "product_name",
                "in_sha256",
                "out_sha256",
                "plan_sha256",
                "seed",
                "scale",
                "engine",
                "changed",
            ),
        ),
        Rule("product_name_unique", "critical", "A scenario perturbs a product once.", unique("product_name")),
        Rule(
            "sha256_pattern",
            "critical",
            "Input, output and plan are named by SHA-256.",
            matches(SHA256, "in_sha256", "out_sha256", "plan_sha256"),
        ),
        Rule(
            "input_file_current",
            "critical",
            "The input is the file that the catalog holds now.",
            equal("in_sha256", "catalog_sha256"),
        ),
        Rule(
            "change_matches_hashes",
            "critical",
            "A product counts as changed exactly when its bytes differ.",
            equal("changed", "bytes_differ"),
        ),
        Rule(
            "keys_say_nothing",
            "critical",
            "A delivered file lies under its own hash, so its address says nothing of what was done.",
            equal("key_folder", "hash_folder"),
        ),
        Rule("sizes_positive", "critical", "A delivered file has at least one byte.", at_least(1, "size_bytes")),
        Rule(
            "snr_not_gained",
            "warning",
            "No imperfection raises the median signal to noise by more than a tenth.",
            between(-0.1, 1.0, "snr_loss"),
        ),
        Rule(
            "some_product_changed",
            "info",
            "The scenario changed at least one product.",
            at_least(1, "changed_products"),
            over="counts",
        ),
        Rule(
            "truth_accounts",
            "critical",
            "The truth accounts for every difference between input and output, in the products that were compared.",
            is_null("unaccounted"),
        ),
        Rule(
            "severity_achieved",
            "warning",
            "Loss and throughput are those of the plan within five standard errors, in the products compared.",
            is_null("off_plan"),
            source="reference scale 2026.1: the effect's parameters",
        ),
        Rule(
            "planes_consistent",
            "warning",
            "Where errors and flags are honest, variances sum to ERR squared and lost pixels are flagged.",
            is_null("inconsistent"),
            source="jwst: ramp_fitting, output products; stdatamodels dqflags.py",
        ),
        Rule(
            "products_compared",
            "info",
            "At least one product was compared with its input, pixel by pixel.",
            at_least(1, "compared"),
            over="counts",
        ),
        Rule(
            "objects_present",
            "critical",
            "Every stored file lies in the lake, with the row's size.",
            at_most(0, "objects_absent"),
            over="counts",
        ),
        Rule("identity_kept", "critical", "A plan without effects changes nothing.", is_null("changed_by_nothing")),
        Rule(
            "scenario_named",
            "critical",
            "A row stands under the scenario of its plan.",
            equal("scenario", "scope_scenario"),
        ),
        Rule(
            "times_kept",
            "critical",
            "The stream time is the catalog's (MJD).",
            equal("stream_time_mjd", "catalog_time"),
        ),
    ),
)

STREAM = Suite(
    "stream",
    identify=("run_id",),
    rules=(
        Rule(
            "publication_recorded",
            "critical",
            "The program's stream was published.",
            at_least(1, "publications"),
            over="counts",
        ),
        Rule(
            "required_columns_not_null",
            "critical",
            "Every publication has its plan, run and counts.",
            not_null("plan_sha256", "run_id", "planned", "lost", "duplicated", "published", "consumed", "verified"),
        ),
        Rule(
            "every_message_reconciled",
            "critical",
            "Every message was consumed again and reconciled by id.",
            in_set((True,), "verified"),
        ),
        Rule(
            "counts_reconcile",
            "critical",
            "Planned - lost + duplicated = consumed.",
            equal("expected", "consumed"),
        ),
        Rule("plan_published", "critical", "Planned - lost + duplicated = published.", equal("expected", "published")),
        Rule("messages_planned", "critical", "The plan has at least one message.", at_least(1, "planned")),
        Rule("plan_sha256_pattern", "critical", "The plan is named by SHA-256.", matches(SHA256, "plan_sha256")),
        Rule("bytes_positive", "critical", "The messages have bytes.", at_least(1, "bytes")),
        Rule("time_taken_not_negative", "warning", "Publishing took time (s).", at_least(0, "seconds")),
        Rule(
            "lost_share_small", "warning", "At most half of the planned messages were lost.", at_most(0.5, "lost_share")
        ),
        Rule("nothing_lost", "info", "The transport lost no message.", at_most(0, "lost")),
        Rule("nothing_duplicated", "info", "The transport duplicated no message.", at_most(0, "duplicated")),
        Rule(
            "no_discrepancy",
            "critical",
            "Nothing that came back differs from what was sent: bytes, checksum, number, partition.",
            at_most(0, "discrepancies"),
        ),
        Rule(
            "order_kept",
            "critical",
            "Within a partition messages come in the order in which they were sent.",
            in_set((0,), "out_of_order"),
            source="Apache Kafka: guarantees; the plan's reordering is part of the plan",
        ),
        Rule("truth_published", "critical", "The truth of the products is on its own topic.", at_least(1, "truths")),
        Rule("products_named", "critical", "The publication names at least one product.", at_least(1, "products")),
        Rule(
            "offsets_ordered",
            "critical",
            "The first offset does not lie behind the last.",
            ordered("first_offset", "last_offset"),
            source="Apache Kafka: offsets",
        ),
        Rule(
            "lag_small",
            "warning",
            "99 of 100 messages went out at most ten seconds late (ms).",
            at_most(10_000, "late_p99_ms"),
        ),
        Rule(
            "files_ready",
            "warning",
            "For 95 of 100 files the stream waited at most a second until they were fetched, or perturbed (ms).",
            at_most(1_000, "waited_p95_ms"),
        ),
        Rule(
            "rate_kept",
            "warning",
            "Publishing took at most twice the planned time and half a minute (s).",
            ordered("seconds", "longest_seconds"),
        ),
        Rule(
            "receipt_kept",
            "critical",
            "Plan and receipt are named, so that the proof can be done again.",
            (*matches(r"^.+\.parquet\Z", "plan_key", "receipt_key"),),
        ),
    ),
)

REPORT = Suite(
    "report",
    identify=("asset",),
    rules=(
        Rule(
            "assets_reported",
            "critical",
            "At least one asset of the program has a report.",
            at_least(1, "reports"),
            over="counts",
        ),
        Rule(
            "stages_reported",
            "warning",
            "Every stage from the archive to the stream has a report.",
            at_most(0, "stages_without_report"),
            over="counts",
        ),
        Rule(
            "required_columns_not_null",
            "critical",
            "Every report has its suite, verdict, counts and objects.",
            not_null("program", "asset", "suite", "verdict", "rows", "rules", "html_key", "json_key"),
        ),
        Rule("asset_unique", "critical", "An asset has one latest report.", unique("asset")),
        Rule("program_pattern", "critical", "The program is five digits.", matches(PROGRAM, "program")),
        Rule(
            "verdict_known",
            "critical",
            "A verdict is passed, warned or failed.",
            in_set(("passed", "warned", "failed"), "verdict"),
        ),
        Rule(
            "verdict_follows_counts",
            "critical",
            "The verdict is failed where a critical rule is broken, warned where only warnings are.",
            equal("verdict", "due_verdict"),
        ),
        Rule(
            "counts_reconcile",
            "critical",
            "As many rules are named broken as are counted.",
            equal("broken", "named_broken"),
        ),
        Rule("broken_rules_known", "critical", "Every broken rule is one of its suite.", is_null("unknown_rules")),
        Rule(
            "rules_judged",
            "critical",
            "Every report judged at least one rule, and no more broke than there are.",
            (*at_least(1, "rules"), *ordered("broken", "rules")),
        ),
        Rule(
            "pages_present",
            "critical",
            "Page and JSON of every report lie in the lake.",
            at_most(0, "pages_absent"),
            over="counts",
        ),
        Rule("pages_in_place", "critical", "A page lies in its asset's and program's folder.", is_null("misplaced")),
        Rule("nothing_failed", "info", "No stage of the program failed.", at_most(0, "failed_stages"), over="counts"),
    ),
)
