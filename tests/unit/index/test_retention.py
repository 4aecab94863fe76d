"""Retention rules, one by one and together."""

from __future__ import annotations

import pytest

from kraken.core.errors import Invalid
from kraken.index.retention import DatedTag, RetentionRule, expired_tags

NOW = 1000.0
TAGS = [DatedTag(f"pr-{age}", NOW - age) for age in (10, 20, 30, 40)] + [DatedTag("v1", NOW - 500)]


def gone(*rules: RetentionRule, repository: str = "team/app") -> set[str]:
    return set(expired_tags(rules, repository, TAGS, NOW))


def test_without_a_rule_everything_stays() -> None:
    assert gone() == set()


def test_the_last_ones_are_kept_and_others_are_not_counted_among_them() -> None:
    assert gone(RetentionRule(tags="pr-.*", keep_last=2)) == {"pr-30", "pr-40"}


def test_the_young_are_kept() -> None:
    assert gone(RetentionRule(tags="pr-.*", keep_seconds=25)) == {"pr-30", "pr-40"}


def test_a_rule_keeps_what_any_of_its_two_limits_keeps() -> None:
    assert gone(RetentionRule(tags="pr-.*", keep_last=1, keep_seconds=25)) == {"pr-30", "pr-40"}
    assert gone(RetentionRule(tags="pr-.*", keep_last=3, keep_seconds=5)) == {"pr-40"}


def test_a_tag_stays_while_any_rule_about_it_keeps_it() -> None:
    strict, mild = RetentionRule(keep_seconds=15), RetentionRule(tags="pr-[34]0", keep_last=1)
    assert gone(strict) == {"pr-20", "pr-30", "pr-40", "v1"}
    assert gone(strict, mild) == {"pr-20", "pr-40", "v1"}


def test_a_rule_is_about_the_repositories_whose_whole_name_matches() -> None:
    rule = RetentionRule(repositories="team", tags="pr-.*", keep_last=1)
    assert gone(rule) == set()
    assert gone(rule, repository="team") == {"pr-20", "pr-30", "pr-40"}


def test_tags_of_one_age_are_kept_in_a_certain_order() -> None:
    tags = [DatedTag(name, NOW) for name in ("b", "a", "c")]
    assert set(expired_tags([RetentionRule(keep_last=2)], "r", tags, NOW)) == {"c"}


@pytest.mark.parametrize("rule", [{"repositories": "("}, {"tags": "*"}, {}])
def test_a_rule_that_cannot_be_meant_is_refused(rule: dict[str, str]) -> None:
    with pytest.raises(Invalid, match=r"keep_last|regular expression"):
        RetentionRule(**rule, **({"keep_last": 1} if rule else {}))  # type: ignore[arg-type] # text and a number
