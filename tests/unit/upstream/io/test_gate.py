from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import pytest
from structlog.testing import capture_logs
from tests.helpers.blobs import ManualClock

from kraken.core.errors import KrakenError, NotFound, Rejected, Unavailable
from kraken.observability.logs import get_logger
from kraken.observability.metrics import Metrics
from kraken.upstream.errors import Denied, LeftAlone, LoginRefused, Throttled, Unreachable
from kraken.upstream.io.gate import Gate
from kraken.upstream.settings import UpstreamSettings

NAME = "docker.io"
SETTINGS = UpstreamSettings(NAME, failures_to_open=2, open_seconds=5.0, throttle_wait_seconds=2.0, max_connections=2)


@dataclass
class Site:
    """A gate whose sleep moves the clock, and an upstream that answers what the test put in line."""

    settings: UpstreamSettings = SETTINGS
    clock: ManualClock = field(default_factory=ManualClock)
    metrics: Metrics = field(default_factory=lambda: Metrics("test", "gate"))
    answers: list[str | KrakenError] = field(default_factory=list)
    asked: int = 0

    def __post_init__(self) -> None:
        self.gate = Gate(self.settings, self.clock, get_logger("test", "gate"), self.metrics, self.sleep)

    async def sleep(self, seconds: float) -> None:
        self.clock.move(seconds)

    async def answer(self) -> str:
        self.asked += 1
        answer = self.answers.pop(0)
        if isinstance(answer, KrakenError):
            raise answer
        return answer

    async def outcome(self, of: Callable[[Callable[[], Awaitable[str]]], Awaitable[str]]) -> str | type[KrakenError]:
        try:
            return await of(self.answer)
        except KrakenError as error:
            return type(error)

    def count(self, result: str) -> float:
        return self.metrics.value("kraken_upstream_requests_total", upstream=NAME, result=result)

    @property
    def up(self) -> float:
        return self.metrics.value("kraken_upstream_up", upstream=NAME)


async def test_an_upstream_that_does_not_answer_is_left_alone_and_then_tried() -> None:
    site = Site(answers=[Unreachable("no route"), Unreachable("no route"), "back"])
    with capture_logs() as logs:
        for expected in (Unreachable, Unreachable, LeftAlone):
            assert await site.outcome(site.gate.request) is expected
        assert (site.asked, site.up) == (2, 0.0)
        with pytest.raises(LeftAlone, match="no route") as caught:
            await site.gate.request(site.answer)
        assert caught.value.retry_after == 5.0

        site.clock.move(5.0)
        assert await site.outcome(site.gate.request) == "back"

    assert (site.asked, site.up) == (3, 1.0)
    assert [line["event"] for line in logs] == ["upstream_down", "upstream_up"]
    assert (site.count("failed"), site.count("not_sent"), site.count("ok")) == (2, 2, 1)


@pytest.mark.parametrize(
    ("answer", "result"),
    [
        (NotFound("404"), "not_found"),
        (Denied("403"), "denied"),
        (Rejected("400"), "failed"),
        (Unavailable("500"), "failed"),
    ],
)
async def test_an_answer_is_one_whatever_it_says(answer: KrakenError, result: str) -> None:
    site = Site(answers=[Unreachable("no route"), answer, Unreachable("no route"), "ok"])

    outcomes = [await site.outcome(site.gate.request) for _ in range(4)]

    assert outcomes == [Unreachable, type(answer), Unreachable, "ok"]
    assert site.count(result) >= 1


async def test_a_refused_password_neither_opens_nor_closes() -> None:
    site = Site(answers=[Unreachable("no route"), LoginRefused("no"), Unreachable("no route")])
    for _ in range(3):
        await site.outcome(site.gate.request)

    assert await site.outcome(site.gate.request) is LeftAlone


async def test_a_request_that_takes_too_long_got_no_answer() -> None:
    site = Site(UpstreamSettings(NAME, answer_seconds=0.01, failures_to_open=1))

    with pytest.raises(Unreachable, match=r"did not answer within 0\.01 s"):
        await site.gate.request(asyncio.Event().wait)
    assert site.up == 0.0


async def test_a_caller_that_goes_away_leaves_the_trial_to_the_next() -> None:
    site = Site(answers=[Unreachable("no route"), Unreachable("no route"), "back"])
    for _ in range(2):
        await site.outcome(site.gate.request)
    site.clock.move(5.0)
    trial = asyncio.ensure_future(site.gate.request(asyncio.Event().wait))
    await asyncio.sleep(0)
    assert await site.outcome(site.gate.request) is LeftAlone

    trial.cancel()
    await asyncio.wait([trial])

    assert await site.outcome(site.gate.request) == "back"


async def test_a_short_wait_that_the_upstream_wants_is_kept_and_others_fail_meanwhile() -> None:
    site = Site(answers=[Throttled("429", retry_after=2.0), "ok"])
    seen: list[str | type[KrakenError]] = []

    async def sleep(seconds: float) -> None:
        seen.append(await site.outcome(site.gate.request))
        site.clock.move(seconds)

    site.gate._sleep = sleep
    assert await site.outcome(site.gate.question) == "ok"
    assert seen == [LeftAlone]
    assert (site.asked, site.count("throttled"), site.count("not_sent")) == (2, 1, 1)


async def test_a_long_wait_is_told_and_nothing_is_sent_until_it_is_over() -> None:
    site = Site(answers=[Throttled("429: limit reached", retry_after=30.0), "ok"])
    with pytest.raises(Throttled) as told:
        await site.gate.question(site.answer)
    assert told.value.retry_after == 30.0

    site.clock.move(20.0)
    with pytest.raises(LeftAlone, match="another 10 s: 429: limit reached") as left:
        await site.gate.question(site.answer)
    assert (left.value.retry_after, site.asked) == (10.0, 1)

    site.clock.move(10.0)
    assert await site.gate.question(site.answer) == "ok"
    assert site.up == 1.0


async def test_who_is_told_to_wait_twice_gives_up() -> None:
    site = Site(answers=[Throttled("429", retry_after=1.0), Throttled("429", retry_after=1.0)])

    assert await site.outcome(site.gate.question) is Throttled
    assert site.asked == 2


async def test_questions_wait_for_each_other_and_not_for_ever() -> None:
    site = Site(UpstreamSettings(NAME, max_connections=2, answer_seconds=0.01))
    site.answers = [Throttled("429", retry_after=1.0)]

    async def sleep(_seconds: float) -> None:
        await asyncio.Event().wait()

    site.gate._sleep = sleep
    held = asyncio.ensure_future(site.gate.question(site.answer))
    while not site.asked:
        await asyncio.sleep(0)

    with pytest.raises(Unavailable, match="too many questions wait for docker"):
        await site.gate.question(site.answer)
    assert (site.asked, site.count("failed"), site.count("not_sent")) == (1, 0, 0)
    held.cancel()
    await asyncio.wait([held])
