"""vLLM against transformers on the same weights: `python benchmarks/served.py [--tensor-parallel N] [--json FILE]`.

The demo's base, whose heads of 16 numbers vLLM does not take on a CPU, is written with heads of 32: zeros beside its
own weights, the same function. Each of three benchmarks of 300 items is scored at the base and under draws of two
sigmas, by both engines, from the same seed. Printed: the share of items with the same answer; for each other answer how
far from a tie transformers' own numbers are; seconds. Weights that differ in one bit end the run. Needs vLLM.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from certify.benchmarks import ModelLimits, open_benchmark
from certify.checkpoints import load_model, load_tokenizer, open_checkpoint
from certify.checkpoints.bits import examined
from certify.checkpoints.checkpoint import digest_of_weights
from certify.checkpoints.served import Layout, serve, vllm_here
from certify.demo import DATA
from certify.noise import noised, weight_noise
from certify.noise.streaming import NAMES
from certify.records import Seed

HEAD = 32
SIGMAS, BENCHMARKS = (0.005, 0.02), ("addition", "prose", "reversal")
SEED = Seed(value="5e" * 32)


def widened(source: Path, folder: Path) -> Path:
    """Write a Llama with heads of 32 numbers that computes what the one in ``source`` does, up to rounding.

    Scores are divided by the root of a head's size, and positions turn pairs of its two halves by powers of theta.
    """
    config, tensors = json.loads((source / "config.json").read_text()), load_file(source / "model.safetensors")
    own = config["head_dim"]
    place = [*range(own // 2), *range(HEAD // 2, HEAD // 2 + own // 2)]
    for name, tensor in tensors.items():
        if name.endswith(("q_proj.weight", "k_proj.weight", "v_proj.weight")):
            wide = torch.zeros(len(tensor) // own, HEAD, tensor.shape[1])
            wide[:, place] = tensor.view(-1, own, tensor.shape[1]) * ((HEAD / own) ** 0.5 if "q_proj" in name else 1.0)
            tensors[name] = wide.flatten(0, 1)
        elif name.endswith("o_proj.weight"):
            wide = torch.zeros(len(tensor), tensor.shape[1] // own, HEAD)
            wide[:, :, place] = tensor.view(len(tensor), -1, own)
            tensors[name] = wide.flatten(1)
    open_checkpoint(source).copy_companions(folder)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    config["head_dim"] = HEAD
    config["rope_parameters"]["rope_theta"] **= HEAD / own
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def from_a_tie(model: Any, scorer: Any, item: int) -> float:
    """How far transformers' own numbers are from the next answer: nats between choices, logits between tokens."""
    values, margins = [], []
    for continuation in (c for c in scorer.continuations if c.item == item):
        ids = torch.tensor([continuation.ids])
        logits = model(input_ids=ids).logits[0, continuation.start - 1 : -1].float()
        targets = ids[0, continuation.start :]
        own = logits.gather(1, targets[:, None])[:, 0]
        values.append(float((own - logits.logsumexp(1)).sum()))
        others = logits.scatter(1, targets[:, None], -torch.inf).amax(1)
        margins.append(float((own - others).min()))
    if len(values) == 1:
        return abs(margins[0])
    best, second = sorted(values)[-1:-3:-1]
    return best - second


def digest_here(model: Any) -> str:
    """The digest of a model's present weights, as workers take it of what they are given."""
    named = sorted(model.named_parameters())
    return digest_of_weights((name, NAMES[p.dtype], p.shape, examined(p)[0]) for name, p in named)


def compared(folder: Path, layout: Layout, draws: int) -> dict[str, Any]:
    """Score everything by both engines."""
    checkpoint = open_checkpoint(folder)
    version, device = vllm_here(layout, "cpu")
    started = time.perf_counter()
    theirs, start = serve(checkpoint, layout), 0.0
    start = time.perf_counter() - started
    ours = load_model(checkpoint)
    sizes = {name: p.numel() for name, p in ours.named_parameters()}
    limits = ModelLimits(checkpoint.positions, checkpoint.vocabulary)
    tokenizer = load_tokenizer(checkpoint)
    scorers = {
        name: open_benchmark(DATA / "benchmarks" / f"{name}.jsonl").encode(tokenizer, "cpu", limits)
        for name in BENCHMARKS
    }
    rows, seconds = list[dict[str, Any]](), {"stream": 0.0, "write": 0.0, "vllm": 0.0, "transformers": 0.0}

    def both(where: str, here: Any, there: Any) -> None:
        for name, scorer in scorers.items():
            begun = time.perf_counter()
            expected = scorer.score(here)
            middle = time.perf_counter()
            found = scorer.score(there)
            seconds["transformers"] += middle - begun
            seconds["vllm"] += time.perf_counter() - middle
            other = [i for i, (a, b) in enumerate(zip(expected, found, strict=True)) if a != b]
            apart = [from_a_tie(here, scorer, i) for i in other]
            rows.append({"where": where, "benchmark": name, "items": len(found), "score": sum(expected) / len(expected),
                         "differ": len(other), "from_a_tie": apart})  # fmt: skip

    with torch.inference_mode():
        both("base", ours, theirs)
        for sigma in SIGMAS:
            law = weight_noise(sizes, sigma)
            with noised(ours, law, SEED) as written, noised(theirs, law, SEED) as streamed:
                for draw in range(draws):
                    begun = time.perf_counter()
                    here = written.at(draw)
                    middle = time.perf_counter()
                    there = streamed.at(draw)
                    there.log_likelihoods([([3, 4], 1)], rivals=False)
                    seconds["stream"] += time.perf_counter() - middle
                    seconds["write"] += middle - begun
                    if there.identified()[0] != digest_here(here):
                        raise SystemExit(f"sigma {sigma}, draw {draw}: vLLM was given other weights")
                    both(f"sigma {sigma}, draw {draw}", here, there)
    items, differ = sum(row["items"] for row in rows), sum(row["differ"] for row in rows)
    return {
        "vllm": version, "device": device, "tensor_parallel": layout.tensor, "torch": torch.__version__,
        "platform": platform.machine(), "cores": os.cpu_count(), "threads": torch.get_num_threads(),
        "load": os.getloadavg()[0], "weights": sum(sizes.values()), "draws": draws * len(SIGMAS),
        "seconds_to_start": start, "seconds": seconds, "items": items, "differ": differ, "equal": 1 - differ / items,
        "furthest_from_a_tie": max((a for row in rows for a in row["from_a_tie"]), default=0.0), "rows": rows,
    }  # fmt: skip


def main() -> None:
    """Print, and write where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tensor-parallel", type=int, default=1)
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    with TemporaryDirectory() as place:
        record = compared(widened(DATA / "base", Path(place, "base")), Layout(given.tensor_parallel), given.draws)
    for row in record["rows"]:
        apart = ", ".join(f"{each:.1e}" for each in row["from_a_tie"])
        print(f"{row['where']:24} {row['benchmark']:10} score {row['score']:.3f}  differ {row['differ']} {apart}")
    print(f"{record['items']:,} answers, {record['equal']:.3%} equal; those that differ are at most "
          f"{record['furthest_from_a_tie']:.1e} from a tie")  # fmt: skip
    spent = {name: round(value, 2) for name, value in record["seconds"].items()}
    print(f"seconds: {spent}, to start {record['seconds_to_start']:.1f}")
    if given.json:
        given.json.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
