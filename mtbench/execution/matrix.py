"""What a user asks for: a matrix of optimizers and seeds on one suite, and the request of each of its runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from mtbench.config import merge, split_assignments
from mtbench.errors import ConfigError, UsageError, shown
from mtbench.hyperparameters import hyperparameters
from mtbench.pipeline.request import RunRequest
from mtbench.protocols.expand import WHOLE, Part, ProtocolChoice
from mtbench.records.record import BASELINES, READERS, RETRIEVERS
from mtbench.records.values import Params
from mtbench.registry import add_plugin_files, get_optimizer
from mtbench.suite import Suite


@dataclass(frozen=True)
class RunMatrix:
    """Optimizers times seeds on one suite, before anything is looked up. UsageError for what no run can be.

    ``assignments``: the items of ``--set``. ``baselines``: rows to compare with, each once, with the first seed.
    ``reader``: answers behind every retriever but the untrained one, and the rows that only answer; a reader depends on
    its seed, so that each of these rows has all seeds then.
    """

    optimizers: Sequence[str]
    suite: str
    seeds: Sequence[int] = (0,)
    profile: str = "mini"
    assignments: Sequence[str] = ()
    encoder: str | None = None
    limit: int | None = None
    plugins: tuple[str, ...] = ()
    baselines: Sequence[str] = RETRIEVERS
    protocol: ProtocolChoice = field(default_factory=ProtocolChoice)
    reader: bool = False

    def __post_init__(self) -> None:
        if not self.optimizers:
            raise UsageError("name at least one optimizer; `mtbench ls optimizers` lists them")
        _check_seeds(self.seeds)
        if self.limit is not None and (isinstance(self.limit, bool) or not isinstance(self.limit, int)):
            raise UsageError(f"limit must be a whole number or None, got {shown(self.limit)}")
        chosen = split_assignments(self.assignments)[0].get("train", {}).keys() & {"tasks", "examples"}
        if chosen and not self.protocol.is_default:
            raise UsageError(
                f"--set train.{min(chosen)} and --protocol {','.join(self.protocol.names)} both choose a part of the "
                "tasks\n  Use --tasks and --examples."
            )

    def with_assignments(self, more: Sequence[str]) -> RunMatrix:
        """The same with further items of ``--set``, and without baselines."""
        return dataclasses.replace(self, assignments=[*self.assignments, *more], baselines=())

    def per_task_keys(self) -> set[str]:
        """The keys of ``--set`` and ``--grid`` that hold a number per task: ``weights`` and ``static.weights``."""
        add_plugin_files(list(self.plugins))
        found = set()
        for name in self.optimizers:
            if name not in BASELINES:
                own = [n for n, h in hyperparameters(get_optimizer(name)).items() if h.per_task]
                found |= {*own, *(f"{name}.{n}" for n in own)}
        return found

    def requests(self, suite: Callable[[RunRequest], Suite] | None = None) -> list[RunRequest]:
        """One request per run, baselines first, then protocol by protocol.

        ``suite`` looks a request's suite up, whose tasks protocols need. ConfigError for a hyperparameter that no named
        optimizer has; UsageError for a protocol that the suite has no tasks for.
        """
        settings, texts = split_assignments(self.assignments)
        params = assign_hyperparameters(self.optimizers, texts)
        common = RunRequest(
            self.optimizers[0],
            self.suite,
            profile=self.profile,
            settings=settings,
            encoder=self.encoder,
            limit=self.limit,
            plugins=self.plugins,
        )
        parts: Sequence[Part] = WHOLE
        if suite is not None and not self.protocol.is_default:
            parts = self.protocol.parts(suite(common), settings.get("train", {}).get("start"))
        runs = self._baseline_runs()
        for part in parts:
            names = ["naive"] if part.alone else list(dict.fromkeys(self.optimizers))
            runs += [(name, seed, part) for name in names for seed in self.seeds]
        requests = [
            dataclasses.replace(
                common,
                optimizer=name,
                seed=seed,
                params={} if part.alone else params.get(name, {}),
                settings=merge(settings, {"train": dict(part.train)}) if part.train else settings,
                protocol=part.protocol,
                reader=self.reader,
            )
            for name, seed, part in runs
        ]
        return [r.without_reader() if self.reader and r.optimizer == "untrained" else r for r in requests]

    def _baseline_runs(self) -> list[tuple[str, int, Part]]:
        """What stands beside the runs, by name, seed and part."""
        if not self.reader or not self.baselines:
            return [(name, self.seeds[0], WHOLE[0]) for name in self.baselines]
        names = [name for name in dict.fromkeys((*self.baselines, *READERS)) if name != "untrained"]
        kept = [("untrained", self.seeds[0], WHOLE[0])] if "untrained" in self.baselines else []
        return [*kept, *((name, seed, WHOLE[0]) for name in names for seed in self.seeds)]


def _check_seeds(seeds: Sequence[int]) -> None:
    if not seeds:
        raise UsageError("--seeds is empty: name at least one seed")
    for seed in seeds:
        if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**63:
            raise UsageError(f"--seeds: a seed is a whole number from 0 to 2^63 - 1, got {shown(seed)}")
    if len(set(seeds)) != len(seeds):
        raise UsageError(f"--seeds names a seed twice: {shown(list(seeds))}")


def assign_hyperparameters(optimizers: Sequence[str], texts: dict[str, str]) -> dict[str, Params]:
    """Give each ``KEY=VALUE`` to the named optimizers that have it; ``NAME.KEY`` to that one alone."""
    chosen: dict[str, Params] = {name: {} for name in optimizers if name not in BASELINES}
    declared = {name: hyperparameters(get_optimizer(name)) for name in chosen}
    for key, text in texts.items():
        owner, dot, field_name = key.rpartition(".")
        takers = [owner] if dot else [n for n in chosen if field_name in declared[n]]
        if dot and owner not in chosen:
            raise ConfigError(f"--set {key}: {owner!r} is neither a section of the settings nor a named optimizer")
        if not takers or field_name not in declared[takers[0]]:
            known = "; ".join(f"{n}: {', '.join(d)}" for n, d in declared.items())
            raise ConfigError(f"--set {key}={text}: none of the named optimizers has {field_name!r}. They have {known}")
        for name in takers:
            chosen[name][field_name] = declared[name][field_name].parse(text, name)
    return chosen
