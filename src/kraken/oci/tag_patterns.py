"""Which tags of which repositories a rule is about."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

from kraken.core.errors import Invalid
from kraken.core.settings import setting


@dataclass(frozen=True)
class TagPattern:
    """Tags whose repository and name match two regular expressions, each as a whole."""

    repositories: str = setting(
        ".*", meaning="The repositories that the rule is about, as a regular expression for the whole name."
    )
    tags: str = setting(".*", meaning="The tags that the rule is about, as a regular expression for the whole tag.")

    def __post_init__(self) -> None:
        for key in ("repositories", "tags"):
            try:
                re.compile(getattr(self, key))
            except re.error as error:
                raise Invalid(f"{key}: {getattr(self, key)!r} is not a regular expression: {error}") from error

    def is_about_repository(self, repository: str) -> bool:
        return self._repositories.fullmatch(repository) is not None

    def is_about_tag(self, tag: str) -> bool:
        """Whether a tag matches, in a repository that does."""
        return self._tags.fullmatch(tag) is not None

    def is_about(self, repository: str, tag: str) -> bool:
        return self.is_about_repository(repository) and self.is_about_tag(tag)

    @cached_property
    def _repositories(self) -> re.Pattern[str]:
        return re.compile(self.repositories)

    @cached_property
    def _tags(self) -> re.Pattern[str]:
        return re.compile(self.tags)
