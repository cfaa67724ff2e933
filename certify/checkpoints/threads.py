"""Work on many tensors at once, on as many threads as torch is set to use, within a bound of memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TypeVar

K = TypeVar("K")
T = TypeVar("T")

ROOM = 200 << 20
"""Bytes for each thread, beside the largest piece of work."""


def in_threads(work: Callable[[K], T], sizes: Mapping[K, int]) -> dict[K, T]:
    """Return ``work(key)`` for each key of ``sizes``, in their order; ``sizes`` says how many bytes each one holds.

    The largest are begun first. All are carried out before an error of the first key that has one is raised, so that
    neither results nor errors depend on the number of threads. Hashing, numpy and kernels release the interpreter lock.
    """
    import torch

    threads = min(torch.get_num_threads(), len(sizes))
    if threads <= 1:
        return {key: work(key) for key in sizes}
    room = max(sizes.values()) + threads * ROOM
    waiting = sorted(sizes, key=lambda key: -sizes[key])
    done: dict[K, Future[T]] = {}
    running: dict[Future[T], int] = {}
    with ThreadPoolExecutor(threads) as pool:  # its own each time: a fork meets no thread that it would wait for
        while waiting or running:
            held = sum(running.values())
            key = next((k for k in waiting if held + sizes[k] <= room), None) if len(running) < threads else None
            if key is not None:
                waiting.remove(key)
                done[key] = pool.submit(work, key)
                running[done[key]] = sizes[key]
                continue
            finished, _ = wait(running, return_when=FIRST_COMPLETED)
            running = {future: size for future, size in running.items() if future not in finished}
    return {key: done[key].result() for key in sizes}
