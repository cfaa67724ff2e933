"""What scoring by likelihood costs: ours before and now, the floor, lm-eval: `python benchmarks/scoring.py`.

A Llama of 25 M weights made at random, items with four choices and prompts of about 290 tokens, the same token ids for
all. Each line is one scorer over all items, float32, in turns, the median of the rounds in processor seconds, which is
what an idle machine takes; wall time and load are in the record.

- rows: one row for every continuation in batches of 8,192 tokens, as draws were scored before prompts were shared.
- distinct rows, prefix tree: the ways of `certify/benchmarks/batches.py`.
- floor: every prompt once, without any continuation, the head at its last token, for the best of four batch sizes.
- lm-eval: the same ids through `HFLM._loglikelihood_tokens`, for the best of three batch sizes, where it is installed.

`--tiny` is a moment's look at whether it runs. `--json FILE` writes the record.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers

from certify.benchmarks.batches import Batching, Continuation, node_logits
from certify.records import WAYS

CHOICES = 4
FLOORS, LM_EVAL_BATCHES = (300, 600, 1200, 2400), (1, 4, 16)
Asked = list[tuple[int, Continuation]]


def model_of(tiny: bool) -> Any:
    """A Llama of 25 M weights, or of a few thousand."""
    torch.manual_seed(0)
    sizes = (16, 32, 2, 50) if tiny else (512, 1408, 6, 8192)
    hidden, wide, layers, vocabulary = sizes
    config = transformers.LlamaConfig(
        hidden_size=hidden, intermediate_size=wide, num_hidden_layers=layers, num_attention_heads=8,
        num_key_value_heads=4 if not tiny else 8, vocab_size=vocabulary, max_position_embeddings=1024,
        tie_word_embeddings=tiny, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    return transformers.LlamaForCausalLM(config).eval().requires_grad_(False)


def items_of(count: int, vocabulary: int, about: int) -> Asked:
    """Four choices of 3 to 8 tokens behind each of ``count`` prompts of about so many tokens, all at random."""
    rng, found = random.Random(0), list[Continuation]()
    for item in range(count):
        prompt = [rng.randrange(3, vocabulary) for _ in range(rng.randint(about * 5 // 6, about * 7 // 6))]
        for _ in range(CHOICES):
            ending = [rng.randrange(3, vocabulary) for _ in range(rng.randint(3, 8))]
            found.append(Continuation(item, (*prompt, *ending), len(prompt), len(ending)))
    return list(enumerate(found))


def likelihoods(model: Any, batching: Batching, asked: Asked) -> torch.Tensor:
    """Log-likelihoods of all continuations."""
    totals = torch.zeros(len(asked), dtype=torch.float64)
    with torch.inference_mode():
        for batch in batching.batches(asked, "cpu"):
            logits = node_logits(model, batch, batching.way).float()
            value = logits[batch.at, batch.target] - logits.logsumexp(1)[batch.at]
            totals.index_add_(0, batch.owner, value.double())
    return totals


def floor(model: Any, asked: Asked, tokens: int) -> None:
    """Run every prompt once, sorted by length, in batches of so many tokens."""
    prompts = sorted({c.ids[: c.start] for _, c in asked}, key=len)
    with torch.inference_mode():
        while prompts:
            count = max(1, tokens // len(prompts[0]))
            group, prompts = prompts[:count], prompts[count:]
            width = len(group[-1])
            model(torch.tensor([[*p, *[0] * (width - len(p))] for p in group]), use_cache=False, logits_to_keep=1)


def lm_eval_of(model: Any, asked: Asked, batch: int) -> Callable[[], torch.Tensor] | None:
    """Return lm-eval's scorer of the same ids; None where it is not installed."""
    try:
        from lm_eval.models.huggingface import HFLM
    except ImportError:
        return None
    from tokenizers import Tokenizer, models

    words = {f"w{i}": i for i in range(model.config.vocab_size)}
    core = Tokenizer(models.WordLevel(words, unk_token="w0"))
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=core, eos_token="w2", pad_token="w0")
    scorer = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=batch, device="cpu", max_length=1024)
    requests = [(("", ""), list(c.ids[: c.start]), list(c.ids[c.start :])) for _, c in asked]

    def run() -> torch.Tensor:
        found = scorer._loglikelihood_tokens(requests, disable_tqdm=True)
        return torch.tensor([value for value, _ in found], dtype=torch.float64)

    return run


def answers(totals: torch.Tensor) -> list[int]:
    """The likeliest choice of every item."""
    return totals.view(-1, CHOICES).argmax(1).tolist()


def measured(model: Any, asked: Asked, rounds: int) -> dict[str, Any]:
    """Time every scorer in turns, and hold what they found against one row at a time."""
    plans, vocabulary = {"rows": Batching("", 8192)}, model.config.vocab_size
    plans |= {way: Batching.of(model, asked, "cpu", vocabulary, way) for way in WAYS[1::-1]}
    scorers: dict[str, Callable[[], Any]] = {
        name: lambda plan=plan: likelihoods(model, plan, asked) for name, plan in plans.items()
    }
    scorers |= {f"floor {size}": lambda size=size: floor(model, asked, size) for size in FLOORS}
    for size in LM_EVAL_BATCHES:
        if (theirs := lm_eval_of(model, asked, size)) is not None:
            scorers[f"lm-eval {size}"] = theirs
    alone, seconds, wall, load = likelihoods(model, Batching("", 1), asked), {}, {}, [os.getloadavg()[0]]
    found = {}
    for _ in range(rounds):
        for name, scorer in scorers.items():
            start, clock = time.process_time(), time.perf_counter()
            found[name] = scorer()
            seconds.setdefault(name, []).append(time.process_time() - start)
            wall.setdefault(name, []).append(time.perf_counter() - clock)
        load.append(os.getloadavg()[0])
    lines = {
        name: {"seconds": seconds[name], "wall_seconds": wall[name], **_agreement(totals, alone)}
        for name, totals in found.items()
    }
    start = time.process_time()
    Batching.of(model, asked, "cpu", model.config.vocab_size)
    return {
        "lines": lines, "load": load, "trial_seconds": time.process_time() - start,
        "plans": {name: [str(plan), plan.tokens, len(plan.batches(asked, "cpu"))] for name, plan in plans.items()},
    }  # fmt: skip


def _agreement(found: torch.Tensor | None, alone: torch.Tensor) -> dict[str, Any]:
    if found is None:
        return {}
    differing = sum(a != b for a, b in zip(answers(found), answers(alone), strict=True))
    return {"largest_difference": float((found - alone).abs().max()), "answers_that_differ": differing}


def ratios(lines: dict[str, Any]) -> dict[str, float]:
    """How many times as long as the prefix tree each takes; floor and lm-eval at their best batch size."""
    median = {name: statistics.median(line["seconds"]) for name, line in lines.items()}
    best: dict[str, float] = {}
    for name, value in median.items():
        kind = name.split(" ")[0] if name.startswith(("floor", "lm-eval")) else name
        best[kind] = min(value, best.get(kind, value))
    return {kind: value / best["prefix tree"] for kind, value in best.items()}


def machine() -> dict[str, Any]:
    """What the times depend on."""
    cpu = Path("/proc/cpuinfo")
    lines = cpu.read_text().splitlines() if cpu.exists() else []
    return {
        "python": platform.python_version(), "torch": torch.__version__, "transformers": transformers.__version__,
        "system": platform.system(), "cores": os.cpu_count(), "threads": torch.get_num_threads(),
        "processor": next((x.split(":")[1].strip() for x in lines if x.startswith("model name")), platform.processor()),
    }  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table, and write the record if asked."""
    parser = argparse.ArgumentParser(description="What scoring by likelihood costs.")
    parser.add_argument("--items", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--json", type=Path, help="write a record with machine data to this file")
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    model = model_of(given.tiny)
    asked = items_of(given.items, model.config.vocab_size, 24 if given.tiny else 290)
    result = measured(model, asked, given.rounds)
    result |= {
        "parameters": sum(p.numel() for p in model.parameters()), "items": given.items, "choices": CHOICES,
        "tokens": sum(len(c.ids) - 1 for _, c in asked), "dtype": "float32", "rounds": given.rounds,
        "ratios": ratios(result["lines"]),
    }  # fmt: skip
    for name, line in result["lines"].items():
        note = f"{line['answers_that_differ']} answers differ" if "answers_that_differ" in line else ""
        print(f"{name:16} {statistics.median(line['seconds']):8.2f} s  {note}")
    print(", ".join(f"{name} {value:.2f}x" for name, value in result["ratios"].items()), "(prefix tree = 1)")
    if given.json:
        given.json.write_text(json.dumps({"machine": machine(), **result}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
