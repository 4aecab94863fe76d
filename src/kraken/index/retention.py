"""Retention rules: which tags of a repository have had their time.

A tag that no rule is about stays. One that several rules are about stays while any of them keeps it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kraken.core.errors import Invalid
from kraken.core.settings import Unit, setting
from kraken.oci.tag_patterns import TagPattern


@dataclass(frozen=True, slots=True)
class DatedTag:
    """A tag, and when it was pushed: UTC seconds."""

    tag: str
    pushed_at: float


@dataclass(frozen=True)
class RetentionRule(TagPattern):
    """A rule for the tags whose repository and name match. What it does not keep is removed."""

    keep_last: int = setting(0, low=0, meaning="So many of these tags are kept: those that were pushed last.")
    keep_seconds: float = setting(
        0.0, unit=Unit.SECONDS, low=0, meaning="A tag is kept for so long after it was pushed; 30d is thirty days."
    )

    def __post_init__(self) -> None:
        TagPattern.__post_init__(self)
        if not self.keep_last and not self.keep_seconds:
            raise Invalid("a retention rule needs keep_last or keep_seconds: without them it would remove every tag")

    def sorted_out(self, tags: Sequence[DatedTag], now: float) -> tuple[set[str], set[str]]:
        """Those of the tags that this rule keeps, and those that it lets go. Args: now, UTC seconds."""
        mine = [it for it in tags if self.is_about_tag(it.tag)]
        mine.sort(key=lambda it: (-it.pushed_at, it.tag))
        gone = {it.tag for it in mine[self.keep_last :] if now - it.pushed_at >= self.keep_seconds}
        return {it.tag for it in mine} - gone, gone


def expired_tags(
    rules: Sequence[RetentionRule], repository: str, tags: Sequence[DatedTag], now: float
) -> dict[str, RetentionRule]:
    """The tags of a repository that some rule is about and none keeps, each with the first rule that lets it go."""
    kept: set[str] = set()
    gone: dict[str, RetentionRule] = {}
    for rule in rules:
        if rule.is_about_repository(repository):
            keeps, lets_go = rule.sorted_out(tags, now)
            kept |= keeps
            gone = dict.fromkeys(sorted(lets_go), rule) | gone
    return {tag: rule for tag, rule in gone.items() if tag not in kept}
