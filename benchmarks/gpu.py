"""Both engines on an accelerator: `python benchmarks/gpu.py --json benchmarks/results/gpu.json`.

First the bits: a backend that differs from the numpy text in one element is refused, and a draw at the demo's base has
the same digest on the device and on the CPU. Then copy bandwidth (the floor: every draw reads the base and writes the
copy once), the time of one draw for 0.5 and 7 billion bf16 weights with both samplers, as a multiple of that floor, and
the pairs (one draw, one item) per second against the plain forward: of the explicit engine in bf16 with 1 and 64 items
per draw, and of both engines in float32 with a draw for each item, since activation space computes in no 16-bit type.
Then the product: the demo's benchmarks scored, and each verb run as a user does, on the device and on the CPU, with
what differs between the two records. Last a folder of 7 billion bf16 weights, opened, loaded, scored and drawn as the
library does it. What was measured is written after each part, so that one that fails loses none before it. Refuses to
run without an accelerator: there is nothing to measure.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from certify.__main__ import main as certify
from certify.checkpoints import load_tokenizer, open_checkpoint
from certify.demo import DATA
from certify.measuring import Base
from certify.noise import noised, weight_noise
from certify.noise.activation import ActivationEngine, Layout
from certify.noise.backend import backend_for
from certify.noise.contract import Noise, Place
from certify.noise.law import lattice_pitch
from certify.noise.philox import noise_key
from certify.records import Seed, WeightNoise

SIGMA = 1e-3
SEED = Seed(value=f"{7:064x}")
SIZES = {"0.5 B": 500_000_000, "7 B": 7_000_000_000}
BENCHMARKS = ("addition", "prose")
GATE = "--sigma 0.03 --min-retention 0.95 --p1 0.98 --confidence 0.99"
BASE = f"--base {DATA}/base -b {DATA}/benchmarks/addition.jsonl"
KEPT = f"{DATA}/checkpoints/benign"
VERBS = {
    "gate": f"gate {KEPT} {BASE} {GATE} -o gate.json",
    "audit": f"audit {KEPT} {BASE} --max-drop 0.05 -o audit",
    "generate": f"audit {KEPT} --base {DATA}/base -b {DATA}/benchmarks/reversal.jsonl --max-drop 0.05 -o generate",
    "measure": f"measure {DATA}/base -b {DATA}/benchmarks/addition.jsonl --grid 0.01,0.05 -n 200 -o measured.json",
    "check": f"check {KEPT} {BASE} --measurement measured.json --max-drop 0.05 --also position -o check",
    "prompt": f"check prompt {BASE} --max-drop 0.05 -o prompt-checked",
    "skills": f"basin {DATA}/base -b {DATA}/benchmarks/addition.jsonl -b {DATA}/benchmarks/reversal.jsonl "
    "--grid 0.01,0.03,0.1 -n 300 -o skills.json",
    "cover": f"cover {DATA}/base -b {DATA}/benchmarks/addition.jsonl --family segment:{KEPT} --range 0,1.2 -n 1100 "
    "--max-drop 0.05 -o cover",
    "landscape": f"landscape {DATA}/base -b {DATA}/benchmarks/addition.jsonl --cases most --directions 2 --points 5 "
    "--refine 0 -o landscape",
}
LARGE = {"hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32,
         "num_key_value_heads": 32}  # fmt: skip
REPEATS = 7


def seconds(action: Callable[[], object], repeats: int = REPEATS) -> float:
    """Return the median time of ``action``, all its work on the device included, after one run that warms up."""
    action()
    times = []
    for _ in range(repeats):
        _settled()
        start = time.perf_counter()
        action()
        _settled()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def _settled() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def copy_bandwidth(device: torch.device) -> float:
    """Return bytes per second of a device-to-device copy, reads and writes counted."""
    source = torch.zeros(1 << 30, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * source.numel() / seconds(lambda: target.copy_(source))


def draw_time(device: torch.device, size: int, sampler: str, bandwidth: float) -> dict[str, Any]:
    """Return the time of one draw over ``size`` bf16 weights, and its multiple of the copy floor."""
    base = torch.zeros(size, dtype=torch.bfloat16, device=device)
    place = Place("weights", base, torch.empty_like(base))
    noise = Noise(noise_key(7, "E", sampler), 0, SIGMA, lattice_pitch(SIGMA, 12), sampler)  # type: ignore[arg-type]
    backend = backend_for(device, torch.bfloat16, sampler)  # type: ignore[arg-type]
    write = backend.noise([(place, noise)])
    taken, floor = seconds(lambda: write(3)), 4 * size / bandwidth
    return {"backend": backend.name, "seconds": taken, "floor_seconds": floor, "times_floor": taken / floor}


def llama(device: torch.device, dtype: torch.dtype, **size: int) -> LlamaForCausalLM:
    """Return a random Llama of half a billion weights, unless another size is asked for."""
    standard = {
        "hidden_size": 1536, "intermediate_size": 4096, "num_hidden_layers": 16, "num_attention_heads": 16,
        "num_key_value_heads": 8, "vocab_size": 32_000,
    }  # fmt: skip
    with torch.device(device):
        model = LlamaForCausalLM(LlamaConfig(**{**standard, **size}))
    return model.to(dtype).eval().requires_grad_(False)


def inputs_of(model: LlamaForCausalLM, rows: int, tokens: int) -> dict[str, Any]:
    """Return a batch of random items whose last position is scored."""
    ids = torch.randint(0, model.config.vocab_size, (rows, tokens), device=model.device)
    kept = torch.tensor([tokens - 1], device=model.device)
    return {"input_ids": ids, "logits_to_keep": kept, "use_cache": False}


def explicit_pairs(model: LlamaForCausalLM, tokens: int, items: int) -> dict[str, Any]:
    """Return pairs per second of the explicit engine and of the plain forward, ``items`` per draw."""
    batch, draws = inputs_of(model, items, tokens), iter(range(1 << 30))
    plain = seconds(lambda: model(**batch))
    with noised(model, law_of(model), SEED) as engine:
        whole = seconds(lambda: engine.at(next(draws))(**batch))
    return {
        "engine": "explicit", "parameters": model.num_parameters(), "dtype": str(model.dtype), "tokens": tokens,
        "items_per_draw": items, "batch": items, "plain_items_per_second": items / plain,
        "pairs_per_second": items / whole, "noise_share": 1 - plain / whole,
    }  # fmt: skip


def activation_pairs(model: LlamaForCausalLM, tokens: int, rows: int) -> dict[str, Any]:
    """Return pairs per second of the activation engine, a draw for each of ``rows`` items in one batch."""
    batch = inputs_of(model, rows, tokens)
    real = torch.ones(rows, tokens, dtype=torch.bool, device=model.device)
    last = torch.arange(rows, device=model.device), torch.full((rows,), tokens - 1, device=model.device)
    layout = Layout.even(range(rows), 1, real, last)
    plain = seconds(lambda: model(**batch))
    with ActivationEngine(model, law_of(model), SEED.integer) as engine:
        ids = batch["input_ids"]
        whole = seconds(lambda: engine.logits(layout, input_ids=ids, use_cache=False), repeats=3)
    return {
        "engine": "activation", "parameters": model.num_parameters(), "dtype": str(model.dtype), "tokens": tokens,
        "items_per_draw": 1, "batch": rows, "plain_items_per_second": rows / plain,
        "pairs_per_second": rows / whole, "noise_share": 1 - plain / whole,
    }  # fmt: skip


def law_of(model: LlamaForCausalLM) -> WeightNoise:
    """Noise on every weight."""
    return weight_noise({n: p.numel() for n, p in model.named_parameters()}, SIGMA)


def all_pairs(device: torch.device, rows: int = 64, **size: int) -> Iterator[dict[str, Any]]:
    """Yield one result for each engine, dtype and design."""
    with torch.no_grad():
        narrow = llama(device, torch.bfloat16, **size)
        for tokens, items in ((16, 1), (16, rows), (256, 1), (256, rows)):
            yield explicit_pairs(narrow, tokens, items)
        del narrow
        wide = llama(device, torch.float32, **size)
        for tokens in (16, 64, 256):
            yield explicit_pairs(wide, tokens, 1)
            yield activation_pairs(wide, tokens, rows)


def checked_bits(device: torch.device) -> dict[str, Any]:
    """Hold every sampler and dtype to the contract (refused otherwise), and one draw's digest to the CPU's."""
    backends = {
        f"{sampler}, {str(dtype).removeprefix('torch.')}": backend_for(device, dtype, sampler).name  # type: ignore[arg-type]
        for sampler in ("strict", "fast")
        for dtype in (torch.float32, torch.bfloat16, torch.float16)
    }
    digests = {place: digest_of_draw(place) for place in ("cpu", str(device))}
    return {"backends": backends, "digests_of_draw_3": digests, "equal": len(set(digests.values())) == 1}


def digest_of_draw(device: str) -> str:
    """Return the SHA-256 of all weights of the demo's base under draw 3 of the strict sampler."""
    base = Base.open(DATA / "base", DATA / "benchmarks" / "addition.jsonl", device)
    digest = hashlib.sha256()
    with noised(base.model, base.weight_law(SIGMA), SEED) as engine:
        for _, weight in sorted(engine.at(3).named_parameters()):
            digest.update(weight.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def demo_scores(name: str, device: torch.device) -> dict[str, Any]:
    """Score one of the demo's benchmarks at the base here and on the CPU."""
    rows = {}
    for place in ("cpu", str(device)):
        base = Base.open(DATA / "base", DATA / "benchmarks" / f"{name}.jsonl", place)
        taken = seconds(lambda base=base: base.scorer.score(base.model), repeats=3)  # type: ignore[misc]
        rows[place] = (list(base.scorer.score(base.model)), taken)
    (cpu, slow), (there, fast) = rows.values()
    differ = sum(a != b for a, b in zip(cpu, there, strict=True))
    return {
        "benchmark": name, "items": len(cpu), "cpu_items_per_second": len(cpu) / slow,
        "items_per_second": len(cpu) / fast, "answers_that_differ": differ,
    }  # fmt: skip


def compared_verbs(device: torch.device) -> dict[str, Any]:
    """Run each verb here and on the CPU: exit codes, seconds, and what the records of the two runs differ in."""
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for place in ("cpu", "device"):
            tuned_prompt(Path(folder, place, "prompt"))
        for verb, words in VERBS.items():
            cpu, slow, first = one_verb(Path(folder, "cpu"), words, "cpu")
            there, fast, second = one_verb(Path(folder, "device"), words, device.type)
            names = sorted({*first, *second})
            differ = [n for n in names if first.get(n) != second.get(n)]
            figures[verb] = {
                "exit": [cpu, there], "seconds": [slow, fast], "fields": len(names), "fields_that_differ": len(differ),
                "such_as": {n: [first.get(n), second.get(n)] for n in differ[:12]},
            }  # fmt: skip
    return figures


def tuned_prompt(folder: Path) -> None:
    """Write a prompt of five virtual tokens for the demo's base, as PEFT saves one."""
    import peft  # of an extra that the tests of this file do without

    base = LlamaForCausalLM.from_pretrained(DATA / "base")
    torch.manual_seed(7)
    kind = peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=5)
    peft.get_peft_model(base, kind).save_pretrained(str(folder))


def one_verb(folder: Path, words: str, place: str) -> tuple[int, float, dict[str, Any]]:
    """Run a verb in this process, in ``folder``; return its exit code, seconds, and what the last record says."""
    sys.argv = ["certify", *words.split(), "--device", place, "--draws-dir", str(folder / "draws")]
    start, code = time.perf_counter(), 0
    with contextlib.chdir(folder), contextlib.redirect_stdout(io.StringIO()):
        before = {file: file.stat().st_mtime_ns for file in Path().rglob("*.json")}
        try:
            certify()
        except SystemExit as stop:
            code = int(stop.code or 0)
        taken = time.perf_counter() - start
        written = [file for file in Path().rglob("*.json") if "draws" not in file.parts]
        fresh = [file for file in written if before.get(file) != file.stat().st_mtime_ns]
        said = {f"{file.name} {name}": leaf for file in fresh for name, leaf in leaves(json.loads(file.read_text()))}
    return code, taken, said


def leaves(document: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every value of a document with the way to it."""
    if isinstance(document, dict | list):
        pairs = document.items() if isinstance(document, dict) else enumerate(document)
        for key, value in pairs:
            yield from leaves(value, f"{name}.{key}" if name else str(key))
    else:
        yield name, document


def large_model(device: torch.device, items: int = 256, tokens: int = 256, draws: int = 5) -> dict[str, Any]:
    """Open, hash, load, score and draw 7 billion bf16 weights from a folder, as every verb does."""
    with tempfile.TemporaryDirectory() as folder:
        tokenizer = load_tokenizer(open_checkpoint(DATA / "base"))
        model = llama(device, torch.bfloat16, **LARGE)
        start = time.perf_counter()
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        written = time.perf_counter() - start
        parameters = model.num_parameters()
        del model
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        text = "".join(json.loads(line)["prompt"] for line in (DATA / "benchmarks" / "prose.jsonl").open())
        prompts = [text[i : i + tokens - 2] for i in range(items)]
        lines = [json.dumps({"prompt": p, "choices": list("abcd"), "answer": i % 4}) for i, p in enumerate(prompts)]
        Path(folder, "items.jsonl").write_text("\n".join(lines))
        start = time.perf_counter()
        base = Base.open(folder, Path(folder, "items.jsonl"), str(device))
        base.model  # noqa: B018  # hashed, loaded and compared
        _settled()
        loaded = time.perf_counter() - start
        plain = seconds(lambda: base.scorer.score(base.model), repeats=3)
        with noised(base.model, base.weight_law(SIGMA), SEED) as engine:
            times = []
            for draw in range(draws):
                start = time.perf_counter()
                base.scorer.score(engine.at(draw))
                _settled()
                times.append(time.perf_counter() - start)
    return {
        "parameters": parameters, "items": items, "tokens": tokens, "written_s": written, "opened_and_loaded_s": loaded,
        "plain_s": plain, "draw_s": statistics.median(times), "first_draw_s": times[0],
        "peak_memory_bytes": torch.cuda.max_memory_allocated(), "weights_bytes": 2 * parameters,
    }  # fmt: skip


def all_draws(device: torch.device, bandwidth: float) -> dict[str, Any]:
    """Time one draw of each size that fits twice into the device's memory, with both samplers."""
    fitting = {name: size for name, size in SIZES.items() if 4 * size <= 0.9 * torch.cuda.mem_get_info()[0]}
    return {
        f"{name}, bf16, {sampler}": draw_time(device, size, sampler, bandwidth)
        for name, size in fitting.items()
        for sampler in ("strict", "fast")
    }


def main() -> None:
    """Run everything that fits on the device, print it, and write the figures after each part."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("no accelerator here: not measured")
    device = torch.device("cuda")
    bandwidth = copy_bandwidth(device)
    parts: dict[str, Callable[[], Any]] = {
        "bits": lambda: checked_bits(device),
        "draws": lambda: all_draws(device, bandwidth),
        "pairs": lambda: list(all_pairs(device)),
        "scoring": lambda: [demo_scores(name, device) for name in BENCHMARKS],
        "verbs": lambda: compared_verbs(device),
        "large": lambda: large_model(device),
    }
    figures: dict[str, Any] = {
        "device": torch.cuda.get_device_name(), "torch": torch.__version__, "python": platform.python_version(),
        "copy_bytes_per_second": bandwidth,
    }  # fmt: skip
    for name, part in parts.items():
        start = time.perf_counter()
        figures[name] = part()
        print(f"{name} ({time.perf_counter() - start:.0f} s): {json.dumps(figures[name], indent=1)}", flush=True)
        if arguments.json:
            arguments.json.parent.mkdir(parents=True, exist_ok=True)
            arguments.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
