"""MS MARCO, ZESHEL, FEVER and Natural Questions, each with a corpus of its own, ranked by recall@100.

The second suite of Zhang et al., TACL 2023 (section 4.3, table 4). ZESHEL trains on eight worlds and is judged on four
others; every mention searches its own world. FEVER is BEIR's, on document level; NQ is KILT's, on MT-DPR's passages.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from mtbench.suite import Corpus, Download, Suite, SuiteDefinition, Task

MSMARCO_URLS = (
    "https://msmarco.z22.web.core.windows.net/msmarcoranking/collectionandqueries.tar.gz",
    "https://msmarco.blob.core.windows.net/msmarcoranking/collectionandqueries.tar.gz",
)
ROCKETQA_URL = "https://rocketqa.bj.bcebos.com/corpus/marco.tar.gz"
BEIR_URL = "https://public.ukp.informatik.tu-darmstadt.de/thakur/BEIR/datasets/fever.zip"
BEIR_HUB = "hf://datasets/BeIR"
KILT_URL = "http://dl.fbaipublicfiles.com/KILT"
DPR_URL = "https://dl.fbaipublicfiles.com/ur"
ZESHEL_MANUAL = (
    "Follow the link in the README of https://github.com/lajanugen/zeshel (a shared drive with a form) and unpack "
    "documents/ and mentions/ into the folder zeshel/."
)
TITLES = "msmarco/para.title.txt"
TRAIN_WORLDS = (
    "american_football", "doctor_who", "fallout", "final_fantasy",
    "military", "pro_wrestling", "starwars", "world_of_warcraft",
)  # fmt: skip
DEV_WORLDS = ("coronation_street", "elder_scrolls", "ice_hockey", "muppets")


def _world_files(worlds: tuple[str, ...]) -> list[str]:
    return [f"zeshel/documents/{world}.json" for world in worlds]


def _zeshel_corpus(name: str, worlds: tuple[str, ...]) -> Corpus:
    files = _world_files(worlds)
    return Corpus(name, files[0], "zeshel", options={"documents_files": files})


ZESHEL_FILES = (
    *_world_files(TRAIN_WORLDS + DEV_WORLDS),
    "zeshel/mentions/train.json",
    "zeshel/mentions/val.json",
)
CORPORA = (
    Corpus("msmarco", "msmarco/collection.tsv", "msmarco"),
    _zeshel_corpus("zeshel_train", TRAIN_WORLDS),
    _zeshel_corpus("zeshel_dev", DEV_WORLDS),
    Corpus("fever", "fever/corpus.jsonl"),
    Corpus("wikipedia", "nq/psgs_w100.tsv", "psgs_w100"),
)
TASKS = (
    Task(
        name="msmarco",
        title="MS MARCO",
        family="ad_hoc",
        prompt="MSMARCO",
        corpus="msmarco",
        format="msmarco",
        queries="msmarco/queries.train.tsv",
        train_qrels="msmarco/qrels.train.tsv",
        dev_qrels="msmarco/qrels.dev.small.tsv",
        options={"dev_queries_file": "msmarco/queries.dev.small.tsv"},
    ),
    Task(
        name="zeshel",
        title="ZESHEL",
        family="entity_linking",
        prompt="ZESHEL",
        corpus="zeshel_train",
        dev_corpus="zeshel_dev",
        format="zeshel",
        queries="zeshel/mentions/train.json",
        train_qrels="zeshel/mentions/train.json",
        dev_qrels="zeshel/mentions/val.json",
        query_max_length=128,
        options={"context_words": 180},
    ),
    Task(
        name="fever",
        title="FEVER (BEIR)",
        family="fact_checking",
        prompt="FEVER",
        corpus="fever",
        queries="fever/queries.jsonl",
        train_qrels="fever/qrels/train.tsv",
        dev_qrels="fever/qrels/dev.tsv",
        query_max_length=64,
    ),
    Task(
        name="nq",
        title="Natural Questions (KILT)",
        family="qa",
        prompt="NQ",
        corpus="wikipedia",
        format="kilt",
        queries="nq/nq-train-multikilt.json",
        train_qrels="nq/nq-train-multikilt.json",
        dev_qrels="nq/nq-dev-multikilt.json",
        kilt_dev="nq/nq-dev-kilt.jsonl",
        options={"bleu_threshold": 0.5},
    ),
)


class Mixed(SuiteDefinition):
    """Four tasks of four kinds, a corpus each."""

    name = "mixed"
    summary = "MS MARCO, ZESHEL, FEVER and NQ, each with its own corpus"
    version = 1
    metric = "recall@100"
    generator = "mtbench.worlds.mixed_mini:generate"
    downloads = (
        Download(
            "msmarco/collectionandqueries.tar.gz",
            MSMARCO_URLS,
            size=1_057_717_952,
            md5="31644046b18952c1386cd4564ba2ae69",
            unpack=True,
            members=(
                "collection.tsv", "queries.train.tsv", "queries.dev.small.tsv",
                "qrels.train.tsv", "qrels.dev.small.tsv",
            ),
        ),
        Download("msmarco/marco.tar.gz", (ROCKETQA_URL,), unpack=True, members=("marco/para.title.txt",)),
        *(Download(file, (), manual=ZESHEL_MANUAL) for file in ZESHEL_FILES),
        Download(
            "fever.zip",
            (BEIR_URL,),
            size=1_236_988_269,
            md5="5a818580227bfb4b35bb6fa46d9b6c03",
            unpack=True,
            members=("fever/corpus.jsonl", "fever/queries.jsonl", "fever/qrels/train.tsv", "fever/qrels/dev.tsv"),
            instead=(
                Download("fever/corpus.jsonl.gz", (f"{BEIR_HUB}/fever/corpus.jsonl.gz",)),
                Download("fever/queries.jsonl.gz", (f"{BEIR_HUB}/fever/queries.jsonl.gz",)),
                Download("fever/qrels/train.tsv", (f"{BEIR_HUB}/fever-qrels/train.tsv",)),
                Download("fever/qrels/dev.tsv", (f"{BEIR_HUB}/fever-qrels/dev.tsv",)),
            ),
        ),
        Download("nq/psgs_w100.tsv.gz", (f"{DPR_URL}/wikipedia_split/psgs_w100.tsv.gz",)),
        Download("nq/nq-dev-kilt.jsonl", (f"{KILT_URL}/nq-dev-kilt.jsonl",)),
        Download("nq/nq-train-multikilt.json.gz", (f"{DPR_URL}/data/retriever/nq-train-multikilt.json.gz",)),
        Download("nq/nq-dev-multikilt.json.gz", (f"{DPR_URL}/data/retriever/nq-dev-multikilt.json.gz",)),
    )  # fmt: skip
    licences: ClassVar[dict[str, str]] = {
        "MS MARCO": "non-commercial research only (Microsoft's terms)",
        "ZESHEL (Fandom text)": "CC BY-SA (its page names no version)",
        "FEVER": "CC BY-SA 3.0; the copy of BEIR: CC BY-SA 4.0",
        "Natural Questions": "CC BY-SA 3.0",
        "Wikipedia text": "CC BY-SA 3.0 and GFDL",
        "MT-DPR passages and training files": "CC BY-NC 4.0 (as DPR's data)",
        "mini profile": "generated text, MIT as mtbench",
    }
    sources: ClassVar[dict[str, str]] = {
        "MS MARCO": "https://microsoft.github.io/msmarco (Bajaj et al., 2016); titles: RocketQA (Qu et al., 2021)",
        "ZESHEL": "https://github.com/lajanugen/zeshel (Logeswaran et al., ACL 2019)",
        "FEVER": "https://github.com/beir-cellar/beir (Thorne et al., NAACL 2018; Thakur et al., NeurIPS 2021)",
        "NQ": "https://github.com/facebookresearch/KILT (Petroni et al., NAACL 2021)",
    }
    published_counts: ClassVar[dict[str, tuple[int, int]]] = {
        "msmarco": (502_939, 6_980),
        "zeshel": (49_275, 10_000),
        "fever": (109_810, 6_666),
        "nq": (77_000, 2_837),
    }
    published_counts_note = "counts are of queries with a relevant passage; those of NQ are rounded in the paper"

    def suite(self, root: Path, profile: str) -> Suite:
        """The declaration over raw files in ``root``; MS MARCO's titles are used where their file is."""
        titles = next((name for name in (TITLES, "msmarco/marco/para.title.txt") if (root / name).is_file()), None)
        msmarco, *others = CORPORA
        if titles is not None:
            msmarco = replace(msmarco, options={"titles_file": titles})
        tasks: tuple[Task, ...] = TASKS
        if profile == "mini":  # its documents are shorter than the real window, which would hold all of one
            tasks = tuple(replace(t, options={"context_words": 32}) if t.name == "zeshel" else t for t in TASKS)
        return Suite(
            name=self.name,
            version=self.version,
            metric=self.metric,
            corpora=(msmarco, *others),
            tasks=tasks,
            root=root,
            title="MS MARCO, ZESHEL, FEVER, NQ",
            licences=self.licences,
            sources=self.sources,
        )
