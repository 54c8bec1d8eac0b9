from hwosim_assets.quality.expected import in_words
from hwosim_assets.quality.rules import Rule, in_set, matches, not_null, unique
from hwosim_assets.quality.suites import SUITES, suite_named


def test_every_rule_of_every_suite_says_what_it_expects_of_its_columns() -> None:
    for suite in SUITES.values():
        for rule in suite.rules:
            said = in_words(rule)
            assert "{}" not in said.replace("{0,", "")
            for column in rule.columns():
                assert column in said, (suite.name, rule.name, said)


def test_bounds_sets_pairs_and_keys_have_their_own_words() -> None:
    observations = suite_named("mast_observations")
    assert in_words(observations.rule("coordinates_in_range")) == "s_ra >= 0 and < 360; s_dec >= -90 and <= 90"
    assert in_words(observations.rule("times_ordered")) == "t_min <= t_max"
    many = tuple(str(number) for number in range(20))
    assert in_words(Rule("r", "info", "x", in_set(many, "a"))).endswith("10, 11 and 8 more")
    assert in_words(Rule("r", "info", "x", unique("a", "b"))) == "a, b unique together"
    assert in_words(Rule("r", "info", "x", not_null("a", "b") + matches("^x$", "a"))) == "a, b present; a like ^x$"
