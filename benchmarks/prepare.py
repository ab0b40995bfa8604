"""Preparing a large corpus: passages a second, peak memory, random reads; against Hugging Face's ``datasets``.

    python benchmarks/prepare.py [--passages 2000000] [--workers 2] [--no-peer] [--dir FOLDER]

Passages of 100 made-up words (Zipf's law) in psgs_w100's format are tokenised by a byte-pair tokenizer of 32,000
tokens. Each way is a fresh process; memory is the largest of a process's peaks, its workers told apart. Ours is built
at a quarter of the size too: memory must not grow with it, time must grow with it. ``datasets`` reads the same file,
maps the same tokenizer over it in as many processes, and is read at the same random rows.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

READS, WORDS, VOCABULARY, MAX_LENGTH, WIKIPEDIA = 20_000, 100, 50_000, 160, 36_000_000
BLOCK = 10_000


def make_words(seed: int = 0) -> list[str]:
    """Made-up words, frequent ones shorter."""
    rng = np.random.default_rng(seed)
    syllables = [c + v for c in "bcdfghklmnprstvw" for v in "aeiou"]
    lengths = 1 + (np.log10(np.arange(VOCABULARY) + 1)).astype(int) // 2 + rng.integers(0, 3, VOCABULARY)
    return ["".join(rng.choice(syllables, n)) for n in lengths]


def write_passages(path: Path, count: int) -> None:
    """``psgs_w100.tsv`` with three passages to a page."""
    words, rng = np.asarray(make_words(), object), np.random.default_rng(1)
    running = words[np.minimum(rng.zipf(1.3, 3_000_000), VOCABULARY) - 1].tolist()
    with path.open("w", encoding="utf-8") as stream:
        stream.write("id\ttext\ttitle\twikipedia_id\tstart\tend\n")
        for start in range(0, count, BLOCK):
            places = rng.integers(0, len(running) - WORDS, min(BLOCK, count - start)).tolist()
            rows = (" ".join(running[place : place + WORDS]) for place in places)
            stream.writelines(f"{i}\t{text}\tpage {i // 3}\t{i // 3}\t1\t1\n" for i, text in enumerate(rows, start))


def make_tokenizer(sample: Path, folder: Path) -> None:
    """A byte-pair tokenizer trained on the first passages."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    with sample.open(encoding="utf-8") as stream:
        texts = [line.split("\t")[1] for line, _ in zip(stream, range(20_000), strict=False)]
    backend = Tokenizer(models.BPE(unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ["<pad>", "</s>", "<unk>"]
    backend.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=32_000, special_tokens=special, show_progress=False)
    )
    backend.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    ).save_pretrained(str(folder))


def usage() -> dict[str, float]:
    """Largest resident set of this process and of its largest child (MiB), and CPU seconds of all."""
    own, child = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = own.ru_utime + own.ru_stime + child.ru_utime + child.ru_stime
    return {"memory": own.ru_maxrss / 1024, "worker_memory": child.ru_maxrss / 1024, "cpu": cpu}


def latencies(read: Any, count: int) -> dict[str, float]:
    """Microseconds of reading random rows, after one pass over the same rows has warmed the page cache."""
    rows = np.random.default_rng(2).integers(0, count, READS).tolist()
    for row in rows:
        read(row)
    took = np.empty(len(rows))
    for place, row in enumerate(rows):
        start = time.perf_counter()
        read(row)
        took[place] = time.perf_counter() - start
    return {"read_median": float(np.median(took) * 1e6), "read_p99": float(np.quantile(took, 0.99) * 1e6)}


def measure_ours(raw: Path, tokenizer: Path, out: Path, workers: int) -> dict[str, float]:
    """Build the prepared corpus and read it at random."""
    from transformers import PreTrainedTokenizerFast

    from mtbench.data.corpus_build import CorpusBuild
    from mtbench.data.prepared import PreparedCorpus
    from mtbench.data.tokenizing import TokenEncoder
    from mtbench.suite import Corpus, Suite

    corpus = Corpus("wikipedia", raw.name, "psgs_w100", MAX_LENGTH)
    suite = Suite("benchmark", 1, "recall@100", (corpus,), (), raw.parent)
    encoder = TokenEncoder.of(PreTrainedTokenizerFast.from_pretrained(str(tokenizer)))
    start = time.perf_counter()
    CorpusBuild(suite, corpus, out, encoder, MAX_LENGTH, workers).run()
    seconds = time.perf_counter() - start
    memory = usage()
    prepared = PreparedCorpus(out)
    tokens = latencies(prepared.tokens, len(prepared))
    texts = latencies(lambda i: (prepared.title(i), prepared.text(i)), len(prepared))
    size = sum(file.stat().st_size for file in out.iterdir())
    return {
        "passages": len(prepared), "seconds": seconds, "bytes": size, **memory, **tokens,
        "text_median": texts["read_median"], "token_sum": int(prepared.token_ids[::97].sum(dtype=np.int64)),
    }  # fmt: skip


def measure_datasets(raw: Path, tokenizer: Path, out: Path, workers: int) -> dict[str, float]:
    """The same with ``datasets``: read the file, map the tokenizer, read at random."""
    import datasets
    from transformers import PreTrainedTokenizerFast

    from mtbench.data.tokenizing import passage_text

    datasets.disable_progress_bars()
    encode = PreTrainedTokenizerFast.from_pretrained(str(tokenizer))

    def tokenise(batch: dict[str, list[str]]) -> dict[str, list[list[int]]]:
        texts = [
            passage_text(title or "", text or "") for title, text in zip(batch["title"], batch["text"], strict=True)
        ]
        found = encode(texts, truncation=True, max_length=MAX_LENGTH, return_attention_mask=False)
        return {"input_ids": found["input_ids"]}

    start = time.perf_counter()
    table = datasets.load_dataset("csv", data_files=str(raw), sep="\t", cache_dir=str(out), split="train")
    features = datasets.Features({**table.features, "input_ids": datasets.List(datasets.Value("uint16"))})
    table = table.map(tokenise, batched=True, num_proc=workers, features=features)
    seconds = time.perf_counter() - start
    memory = usage()
    ids = table.select_columns(["input_ids"]).with_format("numpy")
    plain = table.select_columns(["title", "text"])
    tokens = latencies(lambda i: ids[i]["input_ids"], len(table))
    texts = latencies(lambda i: plain[i], len(table))
    size = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
    return {
        "passages": len(table), "seconds": seconds, "bytes": size, **memory, **tokens,
        "text_median": texts["read_median"],
    }  # fmt: skip


def in_child(way: str, raw: Path, tokenizer: Path, out: Path, workers: int) -> dict[str, float]:
    """Measure in a fresh process."""
    command = [sys.executable, __file__, "--measure", way, str(raw), str(tokenizer), str(out), str(workers)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{way} failed:\n{done.stderr}")
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def show(name: str, r: dict[str, float]) -> None:
    """One row of the table."""
    rate = r["passages"] / r["seconds"]
    print(
        f"{name:<18}{r['passages']:>10,.0f}{r['seconds']:>9.1f}{r['cpu']:>9.1f}{rate:>10,.0f}"
        f"{WIKIPEDIA / rate / 3600:>9.2f}"
        f"{r['memory']:>9.0f}{r['worker_memory']:>9.0f}{r['bytes'] / 1e9:>8.2f}"
        f"{r['read_median']:>9.1f}{r['read_p99']:>9.1f}{r['text_median']:>9.1f}",
        flush=True,
    )


def main() -> None:
    """Write the passages, measure each way, print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--passages", type=int, default=2_000_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--no-peer", action="store_true", help="leave datasets out")
    parser.add_argument("--dir", type=Path, help="where to write; default: a temporary folder")
    parser.add_argument("--measure", nargs=5, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        way, *paths, workers = options.measure
        measure = measure_ours if way == "ours" else measure_datasets
        print(json.dumps(measure(*map(Path, paths), int(workers))))
        return
    with tempfile.TemporaryDirectory(dir=options.dir) as name:
        compare(Path(name), options.passages, options.workers, not options.no_peer)


def compare(folder: Path, passages: int, workers: int, peer: bool) -> None:
    """All measurements, largest last."""
    sizes = {"quarter": passages // 4, "whole": passages}
    for size, count in sizes.items():
        write_passages(folder / f"{size}.tsv", count)
    make_tokenizer(folder / "quarter.tsv", folder / "tokenizer")
    print(
        f"{workers} workers, load {os.getloadavg()[0]:.1f} at the start; "
        "memory in MiB, sizes in GB, reads in microseconds\n"
    )
    print(
        f"{'':<18}{'passages':>10}{'seconds':>9}{'CPU s':>9}{'a second':>10}{'36M, h':>9}{'memory':>9}"
        f"{'worker':>9}{'on disk':>8}{'tokens':>9}{'p99':>9}{'text':>9}"
    )
    for size in sizes:
        show(
            f"mtbench, {size}",
            in_child("ours", folder / f"{size}.tsv", folder / "tokenizer", folder / "out", workers),
        )
        shutil.rmtree(folder / "out")
    if not peer:
        return
    try:
        import datasets  # noqa: F401
    except ImportError as error:
        print(f"datasets: left out ({error})")
        return
    show(
        "datasets, whole",
        in_child("datasets", folder / "whole.tsv", folder / "tokenizer", folder / "hf", workers),
    )


if __name__ == "__main__":
    main()
