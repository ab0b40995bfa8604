"""KILT's retrieval figures, equal to its official script (Petroni et al., NAACL 2021; ``kilt/eval_retrieval.py``).

Every rule here is that script's, its surprising ones included: ids are compared as stripped text, so that ``7`` and
``"7"`` are one page; a page that repeats counts once, where it stands first; an evidence set counts at the rank of
its last page and as one point; an output with an *empty* provenance list is an evidence set that nothing can find,
an output without a provenance list is none.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from mtbench.data.files import iter_json_lines
from mtbench.errors import DataError, UsageError

RANK_KEYS = ("wikipedia_id",)
DEFAULT_KS = (1, 5, 10, 20)

Record = dict[str, Any]
Check = Callable[[Record, str | PathLike[str], int], Record]


@dataclass(frozen=True)
class KiltScores:
    """Means and per-query values (fractions of 1, in the order of the gold file) of each official metric."""

    metrics: dict[str, float]
    ids: list[str]
    per_query: dict[str, list[float]]
    unused: int
    """Predictions whose id the gold file does not have; the official script leaves them out too."""


def score_files(
    gold: str | PathLike[str],
    guess: str | PathLike[str],
    ks: Sequence[int] = DEFAULT_KS,
    rank_keys: Sequence[str] = RANK_KEYS,
) -> KiltScores:
    """Score a KILT prediction file against a KILT gold file.

    Raises :class:`DataError` (file and line) for what the official script refuses: a gold query without prediction, a
    repeated id, a gold line without outputs, a prediction with no or several outputs that carry provenance.
    """
    references, predictions, unused = matched_records(gold, guess, lambda record, *_: record, _check_guess)
    scores = [query_metrics(predictions[key], record, ks, rank_keys) for key, record in references.items()]
    per_query = {name: [one[name] for one in scores] for name in metric_names(ks)}
    means = {name: sum(values) / len(values) for name, values in per_query.items()}
    return KiltScores(means, list(references), per_query, unused)


def matched_records(
    gold: str | PathLike[str], guess: str | PathLike[str], check_gold: Check, check_guess: Check
) -> tuple[dict[str, Record], dict[str, Record], int]:
    """Gold records and predictions by id, each checked further by what is given, and how many are not used.

    Raises :class:`DataError` for a gold file without lines and a gold query without prediction.
    """
    references = read_records(gold, _checked(check_gold))
    predictions = read_records(guess, _checked(check_guess))
    if not references:
        raise DataError("the gold file has no lines", path=gold, remedy="Give a KILT file with one query per line.")
    missing = [key for key in references if key not in predictions]
    if missing:
        raise DataError(
            f"no prediction for {len(missing)} of {len(references)} gold queries, the first is id {missing[0]!r}",
            path=guess,
            remedy=f"Every id of {gold} needs a line; a query without results has an empty provenance list.",
        )
    return references, predictions, len(predictions) - len(references)


def _checked(further: Check) -> Check:
    """The check of what every KILT line has, and then another."""

    def check(record: Record, path: str | PathLike[str], line: int) -> Record:
        _outputs(record, path, line)
        return further(record, path, line)

    return check


def metric_names(ks: Sequence[int]) -> list[str]:
    """Names as in the official output. It leaves out recall@1 and success_rate@1; they are given here as well."""
    kinds = ("precision", "recall", "success_rate")
    return ["Rprec", *(f"{kind}@{k}" for k in sorted(set(ks)) for kind in kinds)]


def parse_ks(text: str) -> list[int]:
    """``"1,5,10"`` to ``[1, 5, 10]``; :class:`UsageError` unless these are positive whole numbers."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts or not all(re.fullmatch(r"[0-9]+", part) and int(part) > 0 for part in parts):
        raise UsageError(f"--ks takes positive whole numbers with commas between them, not {text!r}")
    return sorted({int(part) for part in parts})


def query_metrics(
    guess: Mapping[str, Any],
    gold: Mapping[str, Any],
    ks: Sequence[int] = DEFAULT_KS,
    rank_keys: Sequence[str] = RANK_KEYS,
) -> dict[str, float]:
    """The official figures of one query (``get_ranking_metrics``), fractions of 1, by name."""
    found = page_ids(guess["output"], rank_keys)[0]
    scores = {"Rprec": rprecision(found, page_ids(gold["output"], rank_keys))}
    points, num_sets = rank_points(found, gold["output"], rank_keys)
    for k in ks:
        complete = points[:k].count(True)
        scores[f"precision@{k}"] = complete / k
        scores[f"recall@{k}"] = complete / num_sets if num_sets else 0.0
        scores[f"success_rate@{k}"] = float(complete > 0)
    return scores


def rprecision(found: Sequence[str], gold_sets: Iterable[Sequence[str]]) -> float:
    """Best R-precision over the gold sets; ``found`` and every set must be free of repetitions."""
    return max(
        (sum(page in gold for page in found[: len(gold)]) / (len(gold) or 1) for gold in gold_sets),
        default=0.0,
    )


def page_ids(outputs: Iterable[Mapping[str, Any]], rank_keys: Sequence[str] = RANK_KEYS) -> list[list[str]]:
    """Per output the distinct page ids of its provenance, in order; items that lack a key are left out."""
    return [
        list(
            dict.fromkeys(
                _joined(item, rank_keys)
                for item in output.get("provenance", ())
                if all(key in item for key in rank_keys)
            )
        )
        for output in outputs
    ]


def rank_points(
    found: Sequence[str], gold_outputs: Iterable[Mapping[str, Any]], rank_keys: Sequence[str] = RANK_KEYS
) -> tuple[list[bool | int], int]:
    """The ranking as points (``get_rank``), and the number of distinct evidence sets.

    True is an evidence set found whole, at the place of its last page; False a page of no set; a number is a set
    found in part, which moves up as more of it is found. Without any page found there is nothing to rank: ([], 0).
    """
    if not found:
        return [], 0
    distinct: list[set[str]] = []
    for output in gold_outputs:
        if "provenance" in output:
            evidence = {_joined(item, rank_keys) for item in output["provenance"]}
            if evidence not in distinct:
                distinct.append(evidence)
    num_sets = len(distinct)
    # Identity matters below: False == 0 and True == 1, so set numbers start at 2.
    points: list[bool | int] = []
    for page in found:
        hit = False
        for number, evidence in enumerate(distinct, start=2):
            if page in evidence:
                hit = True
                if number in points:
                    points.remove(number)
                evidence.remove(page)
                points.append(number if evidence else True)
        if not hit:
            points.append(False)
    return points, num_sets


def read_records(path: str | PathLike[str], check: Check) -> dict[str, Record]:
    """The lines of a KILT file by id (as stripped text), each passed through ``check(record, path, line)``."""
    records: dict[str, Record] = {}
    for line, record in iter_json_lines(Path(path)):
        if "id" not in record:
            raise DataError('the record has no "id"', path=path, line=line)
        key = str(record["id"]).strip()
        if key in records:
            raise DataError(f"id {key!r} occurs twice in the file", path=path, line=line)
        records[key] = check(record, path, line)
    return records


def read_predictions(path: str | PathLike[str]) -> dict[str, Record]:
    """The lines of a prediction file by id, each with its one output that carries provenance."""
    return read_records(path, _check_guess)


def _joined(item: Mapping[str, Any], rank_keys: Sequence[str]) -> str:
    return "+".join(str(item[key]).strip() for key in rank_keys if key in item)


def _outputs(record: Record, path: str | PathLike[str], line: int) -> list[Record]:
    outputs = record.get("output")
    if not isinstance(outputs, list) or not outputs:
        raise DataError(f'id {record["id"]!r} has no "output" list', path=path, line=line)
    for output in outputs:
        items = output.get("provenance", []) if isinstance(output, dict) else None
        if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
            raise DataError('an output must be an object and its "provenance" a list of objects', path=path, line=line)
    return outputs


def _check_guess(record: Record, path: str | PathLike[str], line: int) -> Record:
    """Keep the one output that carries provenance (answers beside it are for the downstream scores)."""
    ranked = [output for output in _outputs(record, path, line) if "provenance" in output]
    if len(ranked) != 1:
        raise DataError(
            f"id {record['id']!r} has {len(ranked)} outputs with provenance, it must be exactly one",
            path=path,
            line=line,
            remedy="Put all pages found, best first, into the provenance list of one output.",
        )
    return {**record, "output": ranked}
