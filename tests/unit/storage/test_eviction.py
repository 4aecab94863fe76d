from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kraken.core.digest import Digest
from kraken.storage.eviction import CacheSettings, Eviction, EvictionPolicy
from kraken.storage.ports import StoredBlob

PLENTY = 10**12
A, B, C = (Digest.of(name) for name in (b"a", b"b", b"c"))


def blob(digest: Digest, size: int, used_at: float, *, in_use: bool = False, complete: bool = True) -> StoredBlob:
    return StoredBlob(digest, size, used_at, complete, in_use)


def policy(max_bytes: int = 100, low_water: float = 1.0, min_free_bytes: int = 0) -> EvictionPolicy:
    return EvictionPolicy(CacheSettings(max_bytes, low_water, min_free_bytes))


def test_nobody_leaves_while_the_budget_holds() -> None:
    stored = [blob(A, 60, 1.0)]

    assert policy().room_for(40, stored, PLENTY) == Eviction((), enough=True)
    assert policy().room_for(41, stored, PLENTY) == Eviction((A,), enough=True)


def test_the_least_recently_used_leaves_first() -> None:
    stored = [blob(A, 30, 3.0), blob(B, 30, 1.0), blob(C, 30, 2.0)]

    assert policy().room_for(50, stored, PLENTY) == Eviction((B, C), enough=True)


def test_open_and_pinned_blobs_stay() -> None:
    stored = [blob(A, 30, 1.0, in_use=True), blob(B, 30, 2.0), blob(C, 30, 3.0)]

    assert policy().room_for(20, stored, PLENTY, frozenset({B})) == Eviction((C,), enough=True)
    assert policy().room_for(90, stored, PLENTY, frozenset({B})) == Eviction((C,), enough=False)


def test_a_forgotten_partial_blob_leaves_like_any_other() -> None:
    stored = [blob(A, 60, 1.0, complete=False), blob(B, 30, 2.0)]

    assert policy().room_for(20, stored, PLENTY) == Eviction((A,), enough=True)


def test_once_over_the_budget_blobs_leave_down_to_the_low_water_mark() -> None:
    stored = [blob(A, 40, 1.0), blob(B, 10, 2.0), blob(C, 45, 3.0)]

    assert policy(low_water=0.5).room_for(5, stored, PLENTY) == Eviction((), enough=True)
    assert policy(low_water=0.5).room_for(6, stored, PLENTY) == Eviction((A, B, C), enough=True)


def test_blobs_leave_when_the_disk_is_short_although_the_budget_holds() -> None:
    stored = [blob(A, 10, 1.0), blob(B, 10, 2.0)]

    assert policy(min_free_bytes=50).room_for(5, stored, free_bytes=55) == Eviction((), enough=True)
    assert policy(min_free_bytes=50).room_for(5, stored, free_bytes=54) == Eviction((A,), enough=True)
    assert policy(min_free_bytes=50).room_for(5, stored, free_bytes=20) == Eviction((A, B), enough=False)


def test_a_blob_larger_than_the_budget_never_fits() -> None:
    assert policy().room_for(101, [], PLENTY) == Eviction((), enough=False)


@given(
    st.lists(st.tuples(st.integers(0, 50), st.floats(0, 10), st.booleans()), max_size=12),
    st.integers(0, 120),
    st.floats(0, 1),
)
def test_what_is_open_never_leaves_and_enough_is_the_truth(
    blobs: list[tuple[int, float, bool]], incoming: int, low_water: float
) -> None:
    stored = [
        blob(Digest.of(bytes([number])), size, used_at, in_use=in_use)
        for number, (size, used_at, in_use) in enumerate(blobs)
    ]
    eviction = policy(low_water=low_water).room_for(incoming, stored, PLENTY)
    left = [each for each in stored if each.digest not in eviction.victims]

    assert all(not each.in_use for each in stored if each.digest in eviction.victims)
    assert eviction.enough == (sum(each.size for each in left) + incoming <= 100)
