"""What the swarms of a node share: the right to send, to write, and to ask for more.

The decisions are of `p2p.turns` and `p2p.request_budget`; here they are asked, and told to the swarms.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping

from kraken.core.metainfo import SwarmId
from kraken.observability.metrics import Metrics
from kraken.p2p.events import AllowanceChanged
from kraken.p2p.io.runner import SwarmRunner
from kraken.p2p.io.write_turns import Write, WriteTurns
from kraken.p2p.ledger import PeerKey
from kraken.p2p.priority import SMALL_RANK, Priority
from kraken.p2p.request_budget import Limits, share_out
from kraken.p2p.settings import PeerSettings, SwarmSettings
from kraken.p2p.turns import Turns
from kraken.runtime.threads import FILE_THREADS
from kraken.storage.io.blob_file import BlobFile


class SharedOut:
    """`Shares` of the swarms that run on one node. Used on the loop only."""

    def __init__(
        self,
        runners: Mapping[SwarmId, SwarmRunner],
        settings: PeerSettings,
        swarm_settings: SwarmSettings,
        metrics: Metrics,
    ) -> None:
        """Args: runners, those that share, as they come and go."""
        self._runners = runners
        self._settings = settings
        self._limits = Limits(settings.buffer_bytes, swarm_settings.requests_total)
        self._sharing: asyncio.Handle | None = None
        self._writes = WriteTurns(FILE_THREADS)
        self._slots = Turns[PeerKey](settings.upload_slots, settings.upload_slots // 8 or 1)
        self._slot_users: dict[PeerKey, SwarmRunner] = {}
        self._slots_given: deque[PeerKey] = deque()
        self._giving_slots = False
        metrics.p2p_requested_bytes.set_function(self._requested_bytes)
        metrics.p2p_writes_waiting.set_function(lambda: self._writes.waiting)
        metrics.p2p_uploads.labels(state="sent").set_function(lambda: self._slots.used)
        metrics.p2p_uploads.labels(state="waiting").set_function(lambda: self._slots.waiting)

    async def close(self) -> None:
        """Share out nothing any more, and wait until what is being written has been."""
        self._share_no_later()
        await self._writes.close()

    def demand_changed(self) -> None:
        self._share_no_later()
        wishes = {
            runner.swarm_id: runner.engine.wish(runner.priority)
            for runner in self._runners.values()
            if runner.priority is not None and not self._is_small(runner.blob)
        }
        shares = share_out(wishes, self._limits)
        for runner in self._runners.values():
            allowance = shares.get(runner.swarm_id)
            if allowance != runner.engine.allowance:
                runner.feed(AllowanceChanged(allowance))

    def appetite_changed(self) -> None:
        if self._sharing is None:
            self._sharing = asyncio.get_running_loop().call_soon(self.demand_changed)

    def rank(self, runner: SwarmRunner) -> int:
        if self._is_small(runner.blob):
            return SMALL_RANK
        return runner.priority or Priority.BACKGROUND  # nobody wants it any more, and still it comes

    def write(self, runner: SwarmRunner, write: Write, size: int) -> None:
        self._writes.add(write, runner.swarm_id, self.rank(runner), size)

    def ask_slot(self, runner: SwarmRunner, peer: PeerKey, length: int) -> None:
        rank = SMALL_RANK if self._is_small(runner.blob) else Priority.INTERACTIVE
        self._slot_users[peer] = runner
        self._give_slots(self._slots.asked(peer, runner.swarm_id, rank, length))

    def is_waiting_for_slot(self, peer: PeerKey) -> bool:
        return self._slots.is_waiting(peer)

    def end_slot(self, peer: PeerKey) -> None:
        self._slot_users.pop(peer, None)
        self._give_slots(self._slots.ended(peer))

    def _share_no_later(self) -> None:
        """What was to be shared out soon is shared out now, or never."""
        if self._sharing is not None:
            self._sharing.cancel()
            self._sharing = None

    def _give_slots(self, peers: list[PeerKey]) -> None:
        """Let those send whose turn it is. Who has sent at once frees a slot: that is seen to here, not deeper."""
        self._slots_given += peers
        if self._giving_slots:
            return
        self._giving_slots = True
        try:
            while self._slots_given:
                peer = self._slots_given.popleft()
                if peer in self._slot_users:
                    self._slot_users[peer].slot_given(peer)
        finally:
            self._giving_slots = False

    def _requested_bytes(self) -> int:
        return sum(it.engine.requested * it.blob.metainfo.pieces.piece_length for it in self._runners.values())

    def _is_small(self, blob: BlobFile) -> bool:
        return blob.size <= self._settings.small_bytes
