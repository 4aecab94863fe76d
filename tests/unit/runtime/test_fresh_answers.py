"""Questions that many ask at once."""

from __future__ import annotations

import asyncio

import pytest

from kraken.runtime.fresh_answers import FreshAnswers


class Oracle:
    """Answers with the number of the question, when it is told to."""

    def __init__(self) -> None:
        self.asked = 0
        self.gates: list[asyncio.Event] = []

    async def ask(self) -> int:
        self.asked += 1
        mine, gate = self.asked, asyncio.Event()
        self.gates.append(gate)
        await gate.wait()
        if mine < 0:
            raise ValueError
        return mine


async def turn() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_who_comes_while_a_question_is_asked_gets_the_answer_to_the_next_one() -> None:
    oracle, answers = Oracle(), FreshAnswers[str, int]()
    first = asyncio.create_task(answers.get("tag", oracle.ask))
    await turn()
    later = [asyncio.create_task(answers.get("tag", oracle.ask)) for _ in range(5)]
    await turn()
    assert oracle.asked == 1

    oracle.gates[0].set()
    await turn()
    assert (first.result(), oracle.asked) == (1, 2)
    latest = asyncio.create_task(answers.get("tag", oracle.ask))
    await turn()
    oracle.gates[1].set()
    assert await asyncio.gather(*later) == [2] * 5
    await turn()
    oracle.gates[2].set()
    assert await latest == 3


async def test_questions_do_not_wait_for_each_other_and_are_asked_anew_each_time() -> None:
    oracle, answers = Oracle(), FreshAnswers[str, int]()
    for expected in (1, 2):
        task = asyncio.create_task(answers.get("tag", oracle.ask))
        other = asyncio.create_task(answers.get(f"other {expected}", asyncio.Event().wait))  # never answers
        await turn()
        oracle.gates[-1].set()
        assert await task == expected
        assert not other.done()
    await answers.close()


async def test_a_failure_is_told_to_those_who_share_it_and_not_to_the_next() -> None:
    answers = FreshAnswers[str, int]()

    async def fail() -> int:
        raise LookupError

    async def succeed() -> int:
        return 7

    first = asyncio.create_task(answers.get("tag", fail))
    second = asyncio.create_task(answers.get("tag", succeed))
    with pytest.raises(LookupError):
        await first
    assert await second == 7


async def test_who_goes_away_takes_nothing_from_the_others() -> None:
    oracle, answers = Oracle(), FreshAnswers[str, int]()
    first = asyncio.create_task(answers.get("tag", oracle.ask))
    await turn()
    second, third = (asyncio.create_task(answers.get("tag", oracle.ask)) for _ in range(2))
    await turn()
    first.cancel()
    second.cancel()
    await turn()
    oracle.gates[0].set()
    await turn()
    oracle.gates[1].set()

    assert await third == 2
