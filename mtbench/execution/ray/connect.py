"""Starting a Ray of this process, or joining a cluster."""

from __future__ import annotations

import importlib.util
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

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

QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}
"""No telemetry, no tables of Ray's own; read when Ray is imported."""

OBJECT_STORE = 150 * 2**20
"""Bytes of shared memory for a local Ray: only plain values cross it."""

TRIES = 5
PAUSE = 1.0
"""Seconds between tries."""
LOST = ("Starting Ray client server failed", "start_specific_server")
"""In what a head says whose new server has died: by itself, or in the traceback of whoever watched it start."""


@contextmanager
def quiet_ray() -> Iterator[None]:
    """Enter before Ray is imported; at the end the environment and the log level are as they were."""
    added = {key: value for key, value in QUIET.items() if key not in os.environ}
    logger = logging.getLogger("ray.tune")
    level = logger.level
    os.environ.update(added)
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)
        for key in added:
            os.environ.pop(key, None)


def start_ray() -> None:
    """A Ray of this process; also where RAY_ADDRESS is set, because only --address joins a cluster."""
    import ray

    ray.init(
        address="local",
        include_dashboard=False,
        object_store_memory=OBJECT_STORE,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )


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
            if left and any(words in str(error) for words in LOST):
                ray.shutdown()
                time.sleep(PAUSE)
                continue
            raise UsageError(
                f"no Ray cluster at --address {address}: {_said(error)}\n"
                "  Start one with `ray start --head` (and `ray start --address=HEAD:6379` on the other nodes), "
                "or leave --address out for a local Ray."
            ) from None


def _said(error: Exception) -> str:
    """What it says, in one line; of another machine's traceback its last line, which is the error."""
    text = str(error).strip()
    if "Traceback (most recent call last)" in text:
        text = text.splitlines()[-1]
    return " ".join(text.split())[:300]
