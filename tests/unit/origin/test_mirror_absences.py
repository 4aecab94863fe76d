from __future__ import annotations

from kraken.origin.mirror_absences import MAX_ABSENCES, Absences


def test_an_absence_is_remembered_for_its_time_and_no_longer() -> None:
    absences: Absences[str] = Absences(seconds=10.0)
    absences.note("a", "404", now=100.0)

    assert absences.why("a", now=109.9) == "404"
    assert absences.why("b", now=100.0) is None
    assert absences.why("a", now=110.0) is None
    assert len(absences) == 0


def test_with_no_time_nothing_is_remembered() -> None:
    absences: Absences[str] = Absences(seconds=0.0)
    absences.note("a", "404", now=100.0)

    assert absences.why("a", now=100.0) is None


def test_the_oldest_makes_room() -> None:
    absences: Absences[int] = Absences(seconds=10.0)
    for key in range(MAX_ABSENCES):
        absences.note(key, "404", now=100.0)
    absences.note(0, "404 again", now=101.0)
    absences.note(-1, "404", now=101.0)

    assert len(absences) == MAX_ABSENCES
    assert absences.why(0, now=101.0) == "404 again"
    assert absences.why(1, now=101.0) is None
