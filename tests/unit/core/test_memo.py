"""What was worked out before."""

from __future__ import annotations

import pytest

from kraken.core.memo import Memo


def test_what_was_worked_out_is_not_worked_out_again_until_the_memo_was_full() -> None:
    worked: list[int] = []

    def double(number: int) -> int:
        worked.append(number)
        return 2 * number

    memo = Memo(double, limit=2)

    assert [memo[number] for number in (1, 2, 1, 2)] == [2, 4, 2, 4]
    assert worked == [1, 2]
    assert memo[3] == 6
    assert memo == {3: 6}
    assert memo[1] == 2
    assert worked == [1, 2, 3, 1]


def test_a_failure_is_not_kept() -> None:
    memo = Memo(int, limit=2)

    with pytest.raises(ValueError, match="x"):
        memo["x"]
    assert memo == {}
    assert memo["7"] == 7
