"""The rules of what is delivered: ``perturbed/<scenario>`` and ``stream/<scenario>``.

Holds: two suites, shared by all scenarios. Keep out proving a stream message by message
(``hwosim_streaming.verify``): a rule here reads the outcome.
"""

from __future__ import annotations

from hwosim_assets.quality.patterns import SHA256
from hwosim_assets.quality.rules import (
    Rule,
    Suite,
    at_least,
    at_most,
    between,
    equal,
    in_set,
    matches,
    not_null,
    unique,
)

__all__ = ["PERTURBED", "STREAM"]

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
    ),
)
