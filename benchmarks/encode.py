"""Passages per second against sentence-transformers' ``encode`` on the same model, side by side in one run.

    python benchmarks/encode.py --encoder FOLDER [--passages 400] [--rounds 3] [--threads 1]

FOLDER holds an encoder that both load (mean pooling). Without sentence-transformers installed, or without a folder,
only mtbench is measured, on a tiny T5. Texts have 20 to 120 words. Vectors must agree, or the comparison is refused.
"""

from __future__ import annotations

import argparse
import importlib.util
import time
from typing import Any

import numpy as np
import torch

from mtbench.config import EncoderConfig
from mtbench.model.encoder import build_encoder
from mtbench.model.tokenizer import load_tokenizer, train_tokenizer
from mtbench.retrieval.encode import Encoder

WORDS = ["time", "people", "water", "city", "river", "history", "music", "school", "field", "science", "house", "war"]


class Texts:
    """Token ids by row."""

    def __init__(self, rows: list[list[int]]) -> None:
        self.rows = [np.asarray(r) for r in rows]

    def __len__(self) -> int:
        return len(self.rows)

    def tokens(self, i: int) -> np.ndarray:
        """Ids of text i."""
        return self.rows[i]


def main() -> None:
    """Measures and prints one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoder")
    parser.add_argument("--passages", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--tokens", type=int, default=16_384, help="tokens per batch of mtbench (search.encode_tokens)")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    random = np.random.default_rng(0)
    texts = [" ".join(random.choice(WORDS, random.integers(20, 121))) for _ in range(options.passages)]
    settings = EncoderConfig(
        path=options.encoder or "tiny", pooling="mean" if options.encoder else "t5", precision=options.precision
    )
    tokenizer: Any = load_tokenizer(options.encoder) if options.encoder else train_tokenizer(texts, 300)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    encoder = Encoder(build_encoder(settings, tokenizer, 1, 0).to(device), tokenizer.pad_token_id or 0, options.tokens)

    def ours() -> np.ndarray:
        # tokenising counts, as it does inside the peer's encode
        ids = tokenizer(texts, truncation=True, max_length=256)["input_ids"]
        return encoder.vectors(Texts(ids), np.arange(len(texts)), "passage")

    runs: dict[str, Any] = {"mtbench": ours}
    if options.encoder and importlib.util.find_spec("sentence_transformers"):
        from sentence_transformers import SentenceTransformer

        peer = SentenceTransformer(options.encoder, device=device)
        peer.max_seq_length = 256
        runs["sentence-transformers"] = lambda: peer.encode(texts, batch_size=32, normalize_embeddings=True)
        mine, theirs = ours(), runs["sentence-transformers"]()
        mine = mine / np.linalg.norm(mine, axis=1, keepdims=True)
        assert np.abs(mine - theirs).max() < (1e-3 if options.precision == "fp32" else 3e-2), "the vectors differ"
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(options.rounds):
        for name, work in runs.items():
            start = time.perf_counter()
            work()
            times[name].append(time.perf_counter() - start)
    print("| encoder | passages per second | ratio |\n|---|---|---|")
    base = float(np.median(times["mtbench"]))
    for name, found in times.items():
        print(f"| {name} | {len(texts) / np.median(found):.0f} | {base / np.median(found):.2f} |")


if __name__ == "__main__":
    main()
