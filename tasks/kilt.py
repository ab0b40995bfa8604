"""KILT: eight knowledge-intensive tasks over one Wikipedia of 36 million passages.

Tasks and gold pages: Petroni et al., KILT, NAACL 2021. Passages, training files and passage judgements: Maillard et
al., Multi-task Retrieval for Knowledge-Intensive Tasks, ACL 2021 (MT-DPR). Protocol: Zhang et al., TACL 2023.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from mtbench.records.values import Settings
from mtbench.suite import Corpus, Download, Suite, SuiteDefinition, Task

KILT_URL = "http://dl.fbaipublicfiles.com/KILT"
DPR_URL = "https://dl.fbaipublicfiles.com/ur"
TRIVIAQA_URL = "http://nlp.cs.washington.edu/triviaqa/data/triviaqa-rc.tar.gz"
QUESTIONS = ("triviaqa-rc/qa/wikipedia-dev.json", "triviaqa-rc/qa/wikipedia-train.json")
SAMPLE = 100_000

# name: title, family, prompt, query tokens, stem of the KILT dev file, stem of the DPR-style files, own options
TASKS: dict[str, tuple[str, str, str, int, str, str, dict[str, Any]]] = {
    "nq": ("Natural Questions", "qa", "NQ", 32, "nq-dev", "nq", {}),
    "triviaqa": (
        "TriviaQA", "qa", "TQA", 32, "triviaqa-dev_id", "triviaqa", {"question_files": list(QUESTIONS)},
    ),
    "hotpotqa": ("HotpotQA", "qa", "HOPO", 32, "hotpotqa-dev", "hotpotqa", {}),
    "wow": ("Wizard of Wikipedia", "dialogue", "WOW", 256, "wow-dev", "wow", {}),
    "trex": ("T-REx", "slot_filling", "TREX", 32, "trex-dev", "trex", {"sample": SAMPLE, "sample_seed": 42}),
    "fever": ("FEVER", "fact_checking", "FEVER", 64, "fever-dev", "fever", {}),
    "zsre": (
        "Zero-shot RE", "slot_filling", "ZSRE", 32, "structured_zeroshot-dev", "zeroshot",
        {"sample": SAMPLE, "sample_seed": 42},
    ),
    "aidayago2": (
        "AIDA CoNLL-YAGO", "entity_linking", "AIDA", 128, "aidayago2-dev", "aidayago2",
        {"mention_left_words": 64, "positives": "page"},
    ),
}  # fmt: skip
NO_DEV_PASSAGES = ("aidayago2",)


def kilt_task(name: str, corpus: str = "wikipedia") -> Task:
    """The declaration of one of the eight tasks."""
    title, family, prompt, length, kilt_stem, dpr_stem, options = TASKS[name]
    train = f"{dpr_stem}-train-multikilt.json"
    return Task(
        name=name,
        title=title,
        family=family,
        corpus=corpus,
        queries=train,
        train_qrels=train,
        dev_qrels="" if name in NO_DEV_PASSAGES else f"{dpr_stem}-dev-multikilt.json",
        kilt_dev=f"{kilt_stem}-kilt.jsonl",
        prompt=prompt,
        query_max_length=length,
        format="kilt",
        test=f"{kilt_stem.replace('-dev', '-test')}_without_answers-kilt.jsonl",
        options={"bleu_threshold": 0.5, **options},
    )


def kilt_downloads(name: str) -> tuple[Download, ...]:
    """Official files of one task."""
    task = kilt_task(name)
    files = [Download(str(task.kilt_dev), (f"{KILT_URL}/{task.kilt_dev}",))]
    files.append(Download(task.test, (f"{KILT_URL}/{task.test}",), optional=True))
    for file in (task.queries, task.dev_qrels):
        if file:
            files.append(Download(f"{file}.gz", (f"{DPR_URL}/data/retriever/{file}.gz",)))
    return tuple(files)


PASSAGES = Download("psgs_w100.tsv.gz", (f"{DPR_URL}/wikipedia_split/psgs_w100.tsv.gz",))


class Kilt(SuiteDefinition):
    """Eight tasks, one corpus, ranked by page R-precision."""

    name = "kilt"
    summary = "eight knowledge-intensive tasks over one Wikipedia (KILT, MT-DPR passages)"
    version = 2
    metric = "rprecision_page"
    generator = "mtbench.worlds.kilt_mini:generate"
    settings: ClassVar[Settings] = {"train": {"episodes": 8}}
    downloads = (
        PASSAGES,
        *(download for name in TASKS for download in kilt_downloads(name)),
        Download(
            "triviaqa-rc.tar.gz",
            (TRIVIAQA_URL,),
            size=2_665_779_500,
            sha256="ef94fac6db0541e5bb5b27020d067a8b13b1c1ffc52717e836832e02aaed87b9",
            unpack=True,
            unpack_into="triviaqa-rc",
            members=tuple(name.removeprefix("triviaqa-rc/") for name in QUESTIONS),
        ),
        Download(
            "kilt_knowledgesource.json",
            (f"{KILT_URL}/kilt_knowledgesource.json",),
            size=37_318_876_722,
            md5="d1dca62aa6ba889d2e842182e3114af5",
            optional=True,
        ),
    )
    licences: ClassVar[dict[str, str]] = {
        "KILT (task files, knowledge source)": "MIT",
        "Wikipedia text": "CC BY-SA 3.0 and GFDL",
        "MT-DPR passages and training files": "CC BY-NC 4.0 (as DPR's data); Wikipedia text CC BY-SA 3.0",
        "Natural Questions": "CC BY-SA 3.0",
        "TriviaQA": "code Apache-2.0; questions: none stated, the authors' university does not own their copyright",
        "HotpotQA": "CC BY-SA 4.0",
        "Wizard of Wikipedia": "CC BY 4.0",
        "T-REx": "CC BY-SA 4.0",
        "FEVER": "CC BY-SA 3.0",
        "Zero-shot RE": "see Levy et al. 2017",
        "AIDA CoNLL-YAGO": "Reuters news text, research use; annotations CC BY-SA 3.0",
        "mini profile": "generated text, MIT as mtbench",
    }
    sources: ClassVar[dict[str, str]] = {
        "KILT": "https://github.com/facebookresearch/KILT (Petroni et al., NAACL 2021)",
        "MT-DPR": "https://github.com/facebookresearch/DPR, issue 186 (Maillard et al., ACL 2021)",
        "TriviaQA": "http://nlp.cs.washington.edu/triviaqa (Joshi et al., ACL 2017)",
    }
    published_counts: ClassVar[dict[str, tuple[int, int]]] = {
        "nq": (77_000, 2_837),
        "triviaqa": (53_000, 5_359),
        "hotpotqa": (69_000, 5_600),
        "wow": (64_000, 3_054),
        "trex": (SAMPLE, 5_000),
        "fever": (71_000, 10_444),
        "zsre": (SAMPLE, 3_724),
        "aidayago2": (18_000, 4_784),
    }
    published_counts_note = (
        "Maillard et al. round to thousands and count after mapping with BLEU 0.5; Zhang et al. print 80,000 for "
        "Wizard of Wikipedia, whose KILT file has 63,734"
    )

    def suite(self, root: Path, profile: str) -> Suite:
        """The declaration over raw files in ``root``; the same files in both profiles, smaller in ``mini``."""
        return Suite(
            name=self.name,
            version=self.version,
            metric=self.metric,
            corpora=(Corpus("wikipedia", "psgs_w100.tsv", "psgs_w100"),),
            tasks=tuple(kilt_task(name) for name in TASKS),
            root=root,
            title="KILT",
            licences=self.licences,
            sources=self.sources,
        )
