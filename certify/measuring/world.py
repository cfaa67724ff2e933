"""Several processes on one run: each takes its share of the pending draws; a ledger on disk joins them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from certify.errors import InvalidPlan


@dataclass(frozen=True)
class World:
    """This process's rank among ``size``."""

    rank: int = 0
    size: int = 1

    def share(self, pending: Sequence[int]) -> Sequence[int]:
        """Return the pending draws that this process takes.

        Assigned by number, not by place among the pending: ranks need not agree on what is pending already.
        """
        return [i for i in pending if i % self.size == self.rank]

    def wait(self) -> None:
        """Return when every process is here."""
        if self.size > 1:
            from accelerate import PartialState

            PartialState().wait_for_everyone()


def join_world(processes: int, device: str) -> World:
    """Return this process's place among the ``processes`` that were asked for.

    Start them with ``torchrun --nproc_per_node N -m certify ...``. Launchers are known to fall back to one process
    without a word (``accelerate launch --cpu``), so the number is compared with what was asked for.

    Raises:
        InvalidPlan: another number of processes is running.
    """
    started = int(os.environ.get("WORLD_SIZE", "1"))
    if processes == 1 and started == 1:
        return World()
    size, rank = started, 0
    if started > 1:
        from accelerate import PartialState

        state = PartialState(cpu=device == "cpu")
        size, rank = state.num_processes, state.process_index
    if size != processes:
        raise InvalidPlan(
            f"{processes} processes were asked for and {size} are running; start them with `torchrun --nproc_per_node "
            f"{processes} -m certify ... --processes {processes}`"
        )
    return World(rank, size)
