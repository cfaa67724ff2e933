"""The process that speaks to Ray for a driver, and ends with it: ``python -m certify.cluster.broker FD``."""

from __future__ import annotations

import os
import sys
from functools import partial
from multiprocessing.connection import Connection
from threading import Lock
from typing import Any

from certify.cluster.crew import Gone
from certify.cluster.member import Member

SMALL = 80 << 20  # bytes, about the least that Ray takes: nothing large passes through its store


def main() -> None:
    """Connect, say what the cluster has, and pass on what driver and actors say, until the driver's end is closed."""
    line, lock = Connection(int(sys.argv[1])), Lock()
    address, actors, words, folder = line.recv()
    os.environ.update(RAY_USAGE_STATS_ENABLED="0", RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO="0")
    os.environ.setdefault("RAY_agent_register_timeout_ms", "120000")  # 15 s are too few where much else runs
    try:
        import ray

        resources = _connected(ray, address, actors)
    except (Exception, SystemExit) as error:  # whatever Ray raises that finds no cluster, or cannot start one
        line.send(" ".join(str(error).split()) or type(error).__name__)
        return
    line.send(resources)
    hired: dict[int, Any] = {}

    def pass_on(number: int, future: Any) -> None:
        error = future.exception()
        said = future.result() if error is None else Gone(_why(error))
        with lock:
            line.send((number, said))

    try:
        while True:
            number, said = line.recv()
            if number in hired:
                future = hired[number].exchange.remote(said).future()
            else:
                hired[number] = ray.remote(num_cpus=1, num_gpus=said)(Member).remote()
                future = hired[number].start.remote(words, folder).future()
            future.add_done_callback(partial(pass_on, number))
    except (EOFError, OSError):
        for actor in hired.values():
            ray.kill(actor)
        ray.shutdown()


def _connected(ray: Any, address: str, actors: int | None) -> dict[str, float]:
    """Return what the cluster has; a local one is started, which Ray gives up after 30 s of a busy machine."""
    own: dict[str, Any] = {"num_cpus": actors, "object_store_memory": SMALL, "include_dashboard": False}
    for last in (False, False, True):
        try:
            ray.init(address, log_to_driver=False, **own if address == "local" else {})
            break
        except Exception as error:
            if last or "timed out during startup" not in str(error):
                raise
            ray.shutdown()
    return dict(ray.cluster_resources())


def _why(error: BaseException) -> str:
    """Say in a few words what ended an actor; Ray's own paragraphs name ids that nobody knows."""
    first = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {first[:120]}"


if __name__ == "__main__":
    main()
