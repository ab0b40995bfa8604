"""Joining a Ray cluster."""

from __future__ import annotations

import importlib.util
import logging
import os
import time

from mtbench.errors import EnvironmentMismatchError, UsageError

PASSED_ON = (
    "MTBENCH_PLUGINS",
    "MTBENCH_MIRROR",
    "HF_HUB_OFFLINE",
    "HF_HOME",
    "HF_HUB_CACHE",
    "MTBENCH_PREPARE_WORKERS",
)
"""Variables of this process that hold on the whole cluster."""

TRIES = 5
PAUSE = 1.0
"""Seconds between tries."""
LOST = "Starting Ray client server failed"


def join_cluster(address: str) -> None:
    """``ray.init`` at ``address`` (``HOST:PORT``, ``auto`` or ``ray://HOST:PORT``), quietly.

    Raises :class:`UsageError` where no cluster answers, :class:`EnvironmentMismatchError` where Ray's client is not
    installed.
    """
    import ray

    if address.startswith("ray://") and importlib.util.find_spec("grpc") is None:
        raise EnvironmentMismatchError("--address ray://... needs Ray's client: pip install 'ray[client]'")
    passed = {key: os.environ[key] for key in PASSED_ON if key in os.environ}
    environment = {"env_vars": passed} if passed else None
    for left in reversed(range(TRIES)):
        try:
            ray.init(address=address, runtime_env=environment, log_to_driver=False, logging_level=logging.ERROR)
            return
        except (ConnectionError, RuntimeError, ValueError) as error:
            # About one in fourteen servers that a head forks for ray:// clients dies in the fork: ray issue 63202.
            if LOST in str(error) and left:
                ray.shutdown()
                time.sleep(PAUSE)
                continue
            raise UsageError(
                f"no Ray cluster at --address {address}: {' '.join(str(error).split())[:300]}\n"
                "  Start one with `ray start --head` (and `ray start --address=HEAD:6379` on the other nodes), "
                "or leave --address out for a local Ray."
            ) from None
