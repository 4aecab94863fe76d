"""Virtual time."""

from __future__ import annotations

from kraken.sim.clock import VirtualClock


def test_calls_come_in_order_of_time_and_then_of_planning() -> None:
    clock = VirtualClock()
    calls: list[tuple[float, str, int]] = []

    def note(name: str, number: int) -> None:
        calls.append((clock.now, name, number))

    clock.at(2.0, note, "late", 1)
    clock.at(1.0, note, "first", 2)
    clock.at(1.0, note, "second", 3)
    clock.run(until=10.0)

    assert calls == [(1.0, "first", 2), (1.0, "second", 3), (2.0, "late", 1)]


def test_time_stands_still_after_the_horizon_and_after_stop() -> None:
    clock = VirtualClock()
    clock.at(1.0, lambda _one, _two: clock.stop())
    clock.at(2.0, lambda _one, _two: None)
    clock.run(until=10.0)
    assert clock.now == 1.0

    beyond = VirtualClock()
    beyond.at(5.0, lambda _one, _two: None)
    beyond.run(until=4.0)
    assert beyond.now == 0.0
