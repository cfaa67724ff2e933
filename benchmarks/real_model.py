"""What the verbs cost on a model of a real size: `python benchmarks/real_model.py --json FILE`.

A Llama in the shape of SmolLM2-135M with random weights, a copy moved a little, and four-choice items of two lengths:
"short" (4 to 8 tokens before 1 or 2), "long" (40 to 70 tokens before 1
to 12). Each verb is a process of its own on one thread, and is charged its processor seconds, its peak memory and the
parts of its time; sigmas are given, since a model of chance says nothing to a pilot. "floor" is what the plain forwards
of a verb take at the rate measured here: each prompt and each ending once for every time that its item is scored.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

SIGMAS = (0.0005, 0.001, 0.002, 0.003, 0.004)
LENGTHS = {"short": ((4, 8), (1, 2)), "long": ((40, 70), (1, 12))}
VOCABULARY = 49152
PARTS = {
    "opening, hashing": ("checkpoint.py", "identity"),
    "difference, hashing": ("difference.py", "difference"),
    "loading, comparing": ("model.py", "load_model"),
    "is a tree exact": ("scoring.py", "batching"),
    "choosing the engine": ("engine_choice.py", "choose_engine"),
    "of it, the proof": ("item_trials.py", "prove_widest"),
    "draws": ("at_base.py", "measure_basin"),
    "scoring without noise": ("scores.py", "item_scores"),
    "segment": ("candidate.py", "segment"),
    "estimate": ("costs.py", "foretell"),
}
"""A function for each part of the time, by file and name: processor seconds in it and in what it calls."""


def write_models(folder: Path, dtype: str, layers: int) -> None:
    """Write base and tuned: random weights, and the same moved by a hundredth of their spread."""
    import torch
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers

    transformers.logging.disable_progress_bar()
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        hidden_size=576, intermediate_size=1536, num_hidden_layers=layers, num_attention_heads=9, num_key_value_heads=3,
        vocab_size=VOCABULARY, max_position_embeddings=2048, tie_word_embeddings=True, rope_theta=100000.0,
        bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    model = transformers.LlamaForCausalLM(config).to(getattr(torch, dtype))
    core = Tokenizer(models.WordLevel({"<unk>": 0, **{f"w{i}": i for i in range(1, VOCABULARY)}}, "<unk>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=core, unk_token="<unk>")
    for name in ("base", "tuned"):
        if name == "tuned":
            with torch.no_grad():
                for p in model.parameters():
                    p.add_(0.01 * p.std() * torch.randn_like(p))
        model.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)


def write_items(file: Path, length: str, count: int) -> None:
    """Write items with four choices of random words."""
    rng, (prompts, endings) = random.Random(0), LENGTHS[length]

    def words(between: tuple[int, int]) -> str:
        return " ".join(f"w{rng.randrange(3, VOCABULARY)}" for _ in range(rng.randint(*between)))

    lines = [
        json.dumps({"prompt": words(prompts), "choices": [" " + words(endings) for _ in range(4)], "answer": 0})
        for _ in range(count)
    ]
    file.write_text("\n".join(lines) + "\n")


def verbs(folder: Path, length: str) -> dict[str, list[str]]:
    """The commands, in the order in which one needs another's files."""
    items, grid = str(folder / f"{length}.jsonl"), ",".join(map(str, SIGMAS))
    base, tuned, measured = str(folder / "base"), str(folder / "tuned"), str(folder / f"{length}-measured.json")
    asked = ["-b", items, "--draws-dir", str(folder / f"{length}-draws")]
    return {
        "basin": ["basin", base, *asked, "--grid", grid, "-n", "0", "-o", str(folder / f"{length}-basin.json")],
        "measure, again": ["measure", base, *asked, "--grid", grid, "-n", "0", "-o", measured],
        "check": ["check", tuned, *asked, "--base", base, "--require", "point,position", "--measurement", measured],
    }  # fmt: skip


def carried_out(command: Sequence[str], found: Path) -> dict[str, Any]:
    """Run a verb in a process of its own, and return what it took."""
    clock = time.perf_counter()
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    whole = [sys.executable, __file__, "--child", str(found), *command]
    child = subprocess.Popen(whole, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    said = (child.stdout.read() if child.stdout else "").strip().splitlines()
    _, status, used = os.wait4(child.pid, 0)
    code = os.waitstatus_to_exitcode(status)
    if code not in (0, 1, 3):
        raise SystemExit("\n".join([f"{' '.join(command)}: exit {code}", *said]))
    return {
        "seconds": used.ru_utime + used.ru_stime, "system": used.ru_stime, "wall": time.perf_counter() - clock,
        "peak": used.ru_maxrss * 1024, "exit": code, "said": said, **json.loads(found.read_text()),
    }  # fmt: skip


def child(found: Path, command: Sequence[str]) -> None:
    """Run one verb here, under a profiler that counts processor seconds, and leave its parts."""
    import cProfile
    import pstats

    start = time.process_time()
    import torch  # noqa: F401
    import transformers

    from certify.__main__ import main as certify

    _ = transformers.AutoTokenizer, transformers.LlamaForCausalLM  # which it imports when asked for them
    importing = time.process_time() - start
    profiler = cProfile.Profile(time.process_time)
    sys.argv = ["certify", *command]
    try:
        profiler.runcall(certify)
    finally:
        table: Any = pstats.Stats(profiler).stats  # type: ignore[attr-defined]
        parts = {
            part: sum(row[3] for (file, _, function), row in table.items() if (Path(file).name, function) == where)
            for part, where in PARTS.items()
        }
        if os.environ.get("CERTIFY_PROFILE"):
            profiler.dump_stats(os.environ["CERTIFY_PROFILE"])
        found.write_text(json.dumps({"parts": {"importing": importing, **parts}}))


def distinct_tokens(file: Path) -> int:
    """Return how many tokens a pass over the items has to compute: what an item's choices share counts once."""
    seen = 0
    for line in file.read_text().splitlines():
        item = json.loads(line)
        rows = [(item["prompt"] + choice).split()[:-1] for choice in item["choices"]]
        seen += len({tuple(row[: end + 1]) for row in rows for end in range(len(row))})
    return seen


def rate(folder: Path) -> dict[str, float]:
    """Return seconds for a token in a plain forward, without the head: the best of batches of several sizes."""
    import torch
    import transformers

    torch.set_num_threads(1)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype="auto").eval()
    best = float("inf")
    with torch.inference_mode():
        for rows in (4, 16, 4, 16, 4, 16):
            start = time.process_time()
            model.model(torch.randint(3, VOCABULARY, (rows, 64)), use_cache=False)
            best = min(best, (time.process_time() - start) / (64 * rows))
    weights = sum(p.numel() for p in model.model.layers.parameters())
    return {"seconds_a_token": best, "flop_a_second": 2 * weights / best}


def machine() -> dict[str, Any]:
    """What the times depend on."""
    import torch
    import transformers

    cpu = Path("/proc/cpuinfo")
    lines = cpu.read_text().splitlines() if cpu.exists() else []
    return {
        "python": platform.python_version(), "torch": torch.__version__, "transformers": transformers.__version__,
        "system": platform.system(), "cores": os.cpu_count(), "threads": 1,
        "processor": next((x.split(":")[1].strip() for x in lines if x.startswith("model name")), platform.processor()),
    }  # fmt: skip


def main() -> None:
    """Print the table, and write the record if asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--items", type=int, default=160)
    parser.add_argument("--length", choices=LENGTHS, default="short")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--layers", type=int, default=30, help="fewer for a moment's look")
    parser.add_argument("--verb", action="append", help="only this one; repeatable, in order")
    parser.add_argument("--folder", type=Path, help="where the models lie, or are written (a temporary folder)")
    parser.add_argument("--json", type=Path, help="write a record with machine data to this file")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.folder or Path(scratch)
        items = folder / f"{given.length}.jsonl"
        if not (folder / "tuned").is_dir():
            write_models(folder, given.dtype, given.layers)
        write_items(items, given.length, given.items)
        speed, tokens = rate(folder / "base"), distinct_tokens(items)
        weights = sum(file.stat().st_size for file in (folder / "base").glob("*.safetensors"))
        found, passes = {}, {"basin": len(SIGMAS) + 1, "measure, again": 0, "check": 4}
        print(f"{given.items} {given.length} items of {tokens / given.items:.1f} distinct tokens, {given.dtype}, "
              f"{speed['flop_a_second'] / 1e9:.0f} GFLOP/s, load {os.getloadavg()[0]:.1f}")  # fmt: skip
        for verb, command in verbs(folder, given.length).items():
            if given.verb and verb not in given.verb:
                continue
            line = found[verb] = carried_out(command, folder / "found.json")
            line |= {"floor": passes[verb] * tokens * speed["seconds_a_token"], "load": os.getloadavg()[0]}
            print(f"{verb:16} {line['seconds']:8.1f} s (floor {line['floor']:.1f}), "
                  f"peak {line['peak'] / weights:.2f} x the weights ({line['peak'] / 1e9:.2f} GB)")  # fmt: skip
            for part, seconds in line["parts"].items():
                if seconds > 0.05:
                    print(f"    {part:24} {seconds:8.1f} s")
    if given.json:
        record = {"machine": machine(), "items": given.items, "length": given.length, "dtype": given.dtype,
                  "distinct_tokens": tokens, "bytes": weights, **speed, "verbs": found}  # fmt: skip
        given.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(Path(sys.argv[2]), sys.argv[3:])
    else:
        main()
