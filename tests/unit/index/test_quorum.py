"""A majority of answers, counted."""

from __future__ import annotations

import pytest
from tests.helpers.components import reachable

from kraken.core.errors import NotFound, OutOfSpace, Unavailable
from kraken.core.peers import Address
from kraken.index.quorum import Quorum

NODES = [Address("127.0.0.1", port) for port in (1, 2, 3)]


async def test_a_node_that_does_not_know_the_question_is_no_vote() -> None:
    """An older one answers 404: that is nothing that could be relied on to remove anything."""

    async def asking(node: Address) -> str:
        if node != NODES[0]:
            raise NotFound(f"{node} has no such path")
        return "yes"

    async with reachable("index", NODES) as (_, members):
        with pytest.raises(Unavailable, match=r"only 1 of 3 index nodes answered: 127\.0\.0\.1:[23] has no such path"):
            await Quorum(members).ask_majority(asking)


async def test_nodes_that_count_as_down_are_asked_when_a_majority_needs_them() -> None:
    async def asking(node: Address) -> Address:
        if node == NODES[0]:
            raise Unavailable("it is away")
        return node

    async with reachable("index", NODES) as (_, members):
        for _failure in range(3):
            members.report_failure(NODES[1])
        assert NODES[1] not in members.healthy()

        assert sorted(await Quorum(members).ask_majority(asking)) == NODES[1:]


async def test_everybody_is_told_although_a_majority_is_enough() -> None:
    told: list[Address] = []

    async def telling(node: Address) -> None:
        told.append(node)
        if node == NODES[2]:
            raise OutOfSpace("the disk is full")

    async with reachable("index", NODES) as (_, members):
        quorum = Quorum(members)
        assert await quorum.tell_all(telling) == [None, None]
        await quorum.close()
        assert sorted(told) == NODES
