"""What somebody probably meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_CLOSE = 0.6


def suggestion(wrong: str, valid: Iterable[str]) -> str:
    """A clause that names the valid word nearest to `wrong`: a question where it is close, a remark where not."""
    words = list(valid)
    if not words:
        return "nothing is valid here"
    best = max(words, key=lambda word: _likeness(wrong, word))
    if _likeness(wrong, best) >= _CLOSE:
        return f"did you mean {best}?"
    return f"the nearest valid one is {best}"


def _likeness(wrong: str, word: str) -> float:
    whole = difflib.SequenceMatcher(None, wrong, word).ratio()
    # A right name in a wrong place is close, too: max_bytes for cache.max_bytes.
    leaf = difflib.SequenceMatcher(None, wrong.rpartition(".")[2], word.rpartition(".")[2]).ratio()
    return max(whole, leaf - 0.1)
