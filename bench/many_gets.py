"""The other load of the registry bench, as a process of its own: one URL, asked for again and again.

python -m bench.many_gets URL COUNT CLIENTS ACCEPT
"""

from __future__ import annotations

import asyncio
import sys

import aiohttp


async def get_all(url: str, count: int, clients: int, accept: str) -> None:
    """GET `url` so often, by clients that keep their connections. Raises: RuntimeError, if not all are 200."""
    turns = iter(range(count))
    async with aiohttp.ClientSession(headers={"Accept": accept}) as session:

        async def client() -> None:
            for _turn in turns:
                async with session.get(url) as answer:
                    if answer.status != 200 or not await answer.read():
                        raise RuntimeError(f"{url} was answered {answer.status}")

        await asyncio.gather(*(client() for _ in range(clients)))


if __name__ == "__main__":
    asyncio.run(get_all(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]))
