"""One owner for each GPU: a group for xdist, a lock between processes, and what ``--basin-require-gpu`` asks."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

AUTO = "auto"
HINT = (
    "several workers may load the models onto the same GPU, where they take turns: give `--dist loadgroup`, so that "
    "one worker owns it"
)


def wanted(device: str) -> bool:
    """Whether a torch device is a GPU of CUDA's (or ``auto``, which takes all there are)."""
    return device == AUTO or device.partition(":")[0] == "cuda"


def visible() -> list[str] | None:
    """Return the GPUs that the caller's CUDA_VISIBLE_DEVICES lists, None where it is not set: then all are visible."""
    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if listed is None:
        return None
    names = [name.strip() for name in listed.split(",")]
    invalid = next((i for i, name in enumerate(names) if name in ("", "-1")), len(names))
    return names[:invalid]  # CUDA ignores what follows an invalid entry


def owned(device: str) -> str | None:
    """Return the name under which the machine knows a device, whatever this process calls it; ``all`` for ``auto``.

    None: no GPU, or none with this index. Imports no torch.
    """
    if not wanted(device):
        return None
    listed = visible()
    if device == AUTO:
        return None if listed == [] else "all"
    index = device.partition(":")[2] or "0"
    if listed is None:
        return index
    return listed[int(index)] if index.isdigit() and int(index) < len(listed) else None


def group(items: Iterable[pytest.Item], device: str) -> None:
    """Mark gates on one GPU as one group, unless they are in one; for ``--dist loadgroup``."""
    name = owned(device)
    if name is None:
        return
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(f"basin-gpu:{name}"))


def shared(config: pytest.Config, device: str) -> bool:
    """Whether this is one of several xdist workers that would use the same GPU at the same time."""
    workers = getattr(config, "workerinput", {}).get("workercount", 1)
    return workers > 1 and not config.option.loadgroup and owned(device) is not None


@contextmanager
def alone(device: str, folder: Path, waiting: Callable[[str], None]) -> Iterator[None]:
    """Keep the device to this process, among all that use the same folder of locks; does nothing without a GPU.

    ``waiting`` is told when another process has it: groups are a wish, and the lock is what holds (pytest-xdist 3.8.0
    does not group under pytest 9.2, its issue 1386).
    """
    name = owned(device)
    if name is None:
        yield
        return
    from filelock import FileLock, Timeout

    names = [name] if name != "all" else visible() or [str(i) for i in range(count())]
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as held:
        for each in sorted(names):  # in one order everywhere, so that two processes never wait for each other
            lock = FileLock(folder / f"gpu-{each}.lock")
            try:
                lock.acquire(timeout=0)
            except Timeout:
                waiting(f"waited for GPU {each}, which another worker or run had")
                lock.acquire()
            held.callback(lock.release)
        yield


def count() -> int:
    """Return how many GPUs torch can use in this process."""
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def missing(device: str) -> str:
    """Return why a gate on this device would not run on a GPU, or nothing."""
    if not wanted(device):
        return f"the device is {device!r}: name a GPU with --basin-device=cuda:0"
    found, index = count(), device.partition(":")[2] or "0"
    if found == 0:
        listed = os.environ.get("CUDA_VISIBLE_DEVICES")
        return "torch finds none" + ("" if listed is None else f" (CUDA_VISIBLE_DEVICES={listed!r})")
    if not index.isdigit() or int(index) >= found:
        return f"device {device!r} is beyond the {found} that torch finds"
    return ""
