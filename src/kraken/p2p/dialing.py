"""Whom to connect to: candidates from the tracker, tried one after the other.

A refusal means only that the other side is full: the next candidate is dialled at once, and nobody is
banned for it. (A rule of "refused is lost until the next announce" halves the speed of a whole fleet.)
"""

from __future__ import annotations

import random
from collections.abc import Collection

from kraken.core.peers import Address, PeerId, Role
from kraken.p2p.values import Value

MAX_CANDIDATES = 200


class Candidate(Value, frozen=True):
    """A peer that the tracker named; `peer_id` is None when it did not say."""

    address: Address
    role: Role
    peer_id: PeerId | None = None


class Dial(Value, frozen=True):
    """Order: connect to this peer, then report that it joined or that the dial failed."""

    candidate: Candidate


class DialPlan:
    """The outgoing connections of one swarm: at most `dial` to agents at a time, and a few to origins."""

    def __init__(self, dial: int, rng: random.Random) -> None:
        self._dial = dial
        self._rng = rng
        self._candidates: dict[Address, Candidate] = {}
        self._dialling: dict[Address, Candidate] = {}
        self._connected: dict[Address, Candidate] = {}

    @property
    def exhausted(self) -> bool:
        """Whether only the tracker can bring more peers: nobody is left to dial, nor being dialled."""
        return not self._candidates and not self._dialling

    @property
    def knows_agents(self) -> bool:
        """Whether any other agent of the swarm is known."""
        known = (*self._candidates.values(), *self._dialling.values(), *self._connected.values())
        return any(candidate.role is Role.AGENT for candidate in known)

    def offered(self, candidates: list[Candidate]) -> None:
        """The tracker named peers. Those already at hand are passed over; the newest are kept."""
        self._rng.shuffle(candidates)
        for candidate in candidates:
            if candidate.address not in self._dialling and candidate.address not in self._connected:
                self._candidates.pop(candidate.address, None)
                self._candidates[candidate.address] = candidate
        while len(self._candidates) > MAX_CANDIDATES:
            del self._candidates[next(iter(self._candidates))]

    def dials(self, room: int, known: Collection[PeerId] = ()) -> list[Dial]:
        """Whom to dial now, when `room` more connections may be opened.

        Args: known, peers that would refuse it, for they are connected already: they have dialled us.
        """
        orders: list[Dial] = []
        for address, candidate in list(self._candidates.items()):
            if len(orders) >= room:
                break
            if candidate.peer_id in known:
                del self._candidates[address]
                continue
            if candidate.role is Role.AGENT and self._agents() >= self._dial:
                continue
            del self._candidates[address]
            self._dialling[address] = candidate
            orders.append(Dial(candidate))
        return orders

    def joined(self, address: Address) -> None:
        """The dial succeeded."""
        candidate = self._dialling.pop(address, None)
        if candidate is not None:
            self._connected[address] = candidate

    def ended(self, address: Address) -> None:
        """The dial failed, or the connection that it opened is gone."""
        self._dialling.pop(address, None)
        self._connected.pop(address, None)

    def _agents(self) -> int:
        busy = (*self._dialling.values(), *self._connected.values())
        return sum(candidate.role is Role.AGENT for candidate in busy)
