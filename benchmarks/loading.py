"""What it costs to know that the loaded model is the hashed one: seconds to hash, load and compare, in one run.

    python benchmarks/loading.py [layers]

A random Llama (hidden size 1024, bfloat16, two shards), each part timed three times, the least of them printed
beside one pass over the bytes, which is what hashing takes. transformers alone maps the files and reads nothing yet.
"""

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
import transformers

from certify.checkpoints import difference, load_model, open_checkpoint
from certify.checkpoints.model import check_loaded
from certify.checkpoints.probes import require_causal, rows_independent


def seconds(work: Callable[[], object], repeats: int = 3) -> float:
    """Return the least of several timings."""
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
    return best


def saved(folder: Path, layers: int) -> Path:
    """Write the model in two shards."""
    config = transformers.LlamaConfig(
        hidden_size=1024, intermediate_size=2816, num_hidden_layers=layers, num_attention_heads=16, vocab_size=32000
    )
    model = transformers.LlamaForCausalLM(config).to(torch.bfloat16)
    size = sum(p.numel() * 2 for p in model.parameters())
    model.save_pretrained(folder, max_shard_size=size // 2 + 2**20)
    return folder


def main(layers: int = 12) -> None:
    """Time each part and print it beside the floor."""
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as scratch:
        folder = saved(Path(scratch) / "model", layers)
        opened = open_checkpoint(folder)
        model = load_model(opened)
        hashing = seconds(lambda: open_checkpoint(folder).identity)
        alone = seconds(lambda: transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16))
        parts = {
            "hashing": hashing,
            "transformers alone, files mapped": alone,
            "certify, loading in all": seconds(lambda: load_model(open_checkpoint(folder))),
            "of it, comparing with the files": seconds(lambda: check_loaded(opened, model)),
            "of it, is it causal": seconds(lambda: require_causal(model, folder)),
            "are rows independent, once": seconds(lambda: rows_independent(model), 1),
            "distance from itself": seconds(lambda: difference(opened, open_checkpoint(folder))),
        }
        total = opened.identity.parameters
        print(f"{total:,} weights in bfloat16, {torch.get_num_threads()} threads, torch {torch.__version__}")
        for name, spent in parts.items():
            print(f"{name:34s} {spent:8.3f} s  {spent / hashing:6.2f} of hashing")


if __name__ == "__main__":
    main(*(int(value) for value in sys.argv[1:]))
