"""How good an answer is: the figures of one answer against its alternatives, as KILT's official script counts them.

``accuracy`` compares the text as it is; ``em`` and ``f1`` compare words in lower case without punctuation and articles
(Rajpurkar et al., EMNLP 2016); ``rougel`` compares the text as it is. Each is the best over the alternatives
(Petroni et al., NAACL 2021; ``kilt/eval_downstream.py``).
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Collection, Sequence

from mtbench.evaluation.rouge import rouge_l

ANSWER_METRICS = ("accuracy", "em", "f1", "rougel")
KILT_PREFIX = "KILT-"
"""Before a metric's name: it counts only where R-precision is 1."""

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalise(text: str) -> str:
    """Lower case, without ASCII punctuation, English articles and spaces beyond one between words."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_NO_PUNCTUATION)).split())


def word_f1(prediction: str, reference: str) -> float:
    """Harmonic mean of precision and recall over the words of both, as bags; 0 where they share none."""
    said, wanted = normalise(prediction).split(), normalise(reference).split()
    shared = sum((Counter(said) & Counter(wanted)).values())
    if not shared:
        return 0.0
    precision, recall = shared / len(said), shared / len(wanted)
    return (2 * precision * recall) / (precision + recall)


def answer_scores(prediction: str, alternatives: Collection[str]) -> dict[str, float]:
    """``accuracy``, ``em``, ``f1`` and ``rougel``, fractions of 1; ValueError without an alternative."""
    if not alternatives:
        raise ValueError("an answer is scored against one alternative or more")
    said = prediction.strip()
    return {
        "accuracy": float(said in alternatives),
        "em": float(any(normalise(said) == normalise(other) for other in alternatives)),
        "f1": max(word_f1(said, other) for other in alternatives),
        "rougel": max(rouge_l(said, other) for other in alternatives),
    }


def kilt_scores(scores: dict[str, float], rprecision: float) -> dict[str, float]:
    """``KILT-...`` of each score: the score where all pages of an evidence set were found first, else 0."""
    return {f"{KILT_PREFIX}{name}": value if rprecision == 1 else 0.0 for name, value in scores.items()}


def distinct_answers(answers: Sequence[str]) -> list[str]:
    """Alternatives as they are compared: without spaces around, empty and repeated ones left out, in their order."""
    return [answer for answer in dict.fromkeys(a.strip() for a in answers) if answer]
