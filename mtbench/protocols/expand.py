"""From protocols to runs: the settings that each run of a protocol has beside those that all have."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mtbench.errors import UnknownNameError, UsageError, shown
from mtbench.protocols.catalogue import PROTOCOLS
from mtbench.protocols.tasks import trainable_tasks
from mtbench.suite import Suite

MULTITASK = "multitask"
FUSIONS = ("uniform", "deviation")
LIST_COMMAND = "mtbench ls protocols"


@dataclass(frozen=True)
class Part:
    """What the runs of one part of a protocol have in common: settings of the section ``train``."""

    protocol: str | None = None
    train: tuple[tuple[str, str | int], ...] = ()
    alone: bool = False
    """Trained with naive whatever the optimizers are: one run for all of them."""


WHOLE = (Part(),)
"""Of the default protocol: all tasks."""


@dataclass(frozen=True)
class ProtocolChoice:
    """Protocols as a user names them: ``tasks`` that they are about (empty: each in turn), and for few-shot the numbers
    of ``examples`` and the ``starts``. UsageError for what does not fit together, whatever the suite.
    """

    names: Sequence[str] = (MULTITASK,)
    tasks: Sequence[str] = ()
    examples: Sequence[int] = ()
    starts: Sequence[str] = ()
    fusions: Sequence[str] = ()

    def __post_init__(self) -> None:
        if not self.names:
            raise UsageError(f"--protocol is empty; `{LIST_COMMAND}` lists them")
        for name in self.names:
            if name not in PROTOCOLS:
                raise UnknownNameError("protocol", str(name), PROTOCOLS, LIST_COMMAND)
        chosen = [PROTOCOLS[name] for name in self.names]
        if self.tasks and not any(protocol.by_task for protocol in chosen):
            raise UsageError("--tasks chooses among the runs of per-task, leave-one-out and few-shot; name a protocol")
        self._check_examples()
        self._check_fusions()
        for start in self.starts:
            if not any(start in protocol.starts for protocol in chosen):
                fitting = ", ".join(dict.fromkeys(s for protocol in chosen for s in protocol.starts))
                raise UsageError(
                    f"--start {start}: {' and '.join(self.names)} can start from {fitting or 'the encoder alone'}"
                )

    def _check_examples(self) -> None:
        if bool(self.examples) != ("few-shot" in self.names):
            raise UsageError(
                "--examples belongs to --protocol few-shot"
                if self.examples
                else "--protocol few-shot needs --examples, such as 128,1024"
            )
        for count in self.examples:
            if isinstance(count, bool) or not isinstance(count, int) or count < 1:
                raise UsageError(f"--examples: a number of examples is a whole number above 0, got {shown(count)}")

    def _check_fusions(self) -> None:
        if self.fusions and "fused" not in self.names:
            raise UsageError("--fusion belongs to --protocol fused")
        unknown = next((kind for kind in self.fusions if kind not in FUSIONS), None)
        if unknown is not None:
            raise UsageError(f"--fusion {unknown!r}: choose {', '.join(FUSIONS)}")

    @property
    def is_default(self) -> bool:
        """Whether nothing but runs on all tasks is asked for."""
        return tuple(self.names) == (MULTITASK,)

    def parts(self, suite: Suite, start: str | None = None) -> list[Part]:
        """The parts of all protocols on ``suite``. ``start``: the setting ``train.start`` where it is given.

        UsageError for a task that the suite lacks or cannot train, and for leave-one-out with nothing left.
        """
        tasks = self._chosen(suite)
        found: list[Part] = []
        for name in dict.fromkeys(self.names):
            if name in ("leave-one-out", "few-shot", "fused") and len(trainable_tasks(suite)) < 2:
                raise UsageError(
                    f"--protocol {name}: suite {suite.label} has one task to train on, so there is no other"
                )
            found += self._parts_of(name, tasks, start)
        return found

    def _parts_of(self, name: str, tasks: Sequence[str], start: str | None) -> Iterator[Part]:
        protocol = PROTOCOLS[name]
        own = [s for s in self.starts if s in protocol.starts]
        if name == MULTITASK:
            yield Part()
        elif name == "leave-one-out":
            yield from (Part(name, (("tasks", f"-{task}"), ("start", "encoder"))) for task in tasks)
        elif name == "fused":
            for chosen in own or [start or "encoder"]:
                yield from (Part(name, (("fusion", k), ("start", chosen)), True) for k in self.fusions or FUSIONS[:1])
        elif name == "per-task":
            for chosen in own or [start or "encoder"]:
                yield from (Part(name, (("tasks", task), ("start", chosen)), True) for task in tasks)
        else:
            given = start if start not in (None, "warmup") else "leave-one-out"  # the shared warm-up has seen all tasks
            for chosen in own or [str(given)]:
                for count in self.examples:
                    for task in tasks:
                        train = (("tasks", task), ("examples", count), ("start", chosen))
                        yield Part(name, train, chosen != "leave-one-out")

    def _chosen(self, suite: Suite) -> tuple[str, ...]:
        known = trainable_tasks(suite)
        for name in self.tasks:
            if name not in known:
                close = difflib.get_close_matches(name, known, n=1)
                hint = f" Did you mean {close[0]!r}?" if close else ""
                raise UsageError(
                    f"--tasks {name}: no task of suite {suite.label} that can be trained.{hint} "
                    f"There are {', '.join(known)}"
                )
        return tuple(name for name in known if not self.tasks or name in self.tasks)
