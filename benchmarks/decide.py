"""How long until one gate is decided: pytest-basin against the two valid loops that a user would write.

Run `python benchmarks/decide.py` for the table, `--cases tiny` for a moment's look, `--json FILE` for a record with
machine data. The question in every case: does the checkpoint keep 0.95 of the base's score under weight noise,
alpha = 0.01, power 0.9 at a noise-averaged score of p1? Each design answers it validly, from the same loaded model
and the same encoded items:

- gate: `certify gate --futility` (Candidate.sequential): plan, proof of exactness, batches of draws in activation
  space (or the explicit engine, where that refuses), until Wald's test decides. Strict normals.
- pairs: copy.deepcopy(model) and p.add_(torch.randn_like(p) * sigma) for each draw, one random item, n from exact
  binomial power planning (the smallest that has the power), Clopper-Pearson at the end.
- tables: the same copy, all items under it in one batch, n from Hoeffding's inequality at the same alpha and power.

torch's float32 normals end at 5.77 sigma; the loops get logits at the last position only and no gradients. Seconds
are processor seconds of one thread, which is what an idle machine takes; wall time is in the record, too. All three
take turns in every round; medians over the rounds. Where a loop was timed on fewer than its n draws, its seconds are
those times n, and the table says on how many. A gate's length varies with its draws, and is longest for a checkpoint
near p1: the last figure of a line holds each loop against a gate of the mean length there.
"""

import argparse
import contextlib
import copy
import json
import math
import os
import platform
import shutil
import statistics
import tempfile
import time
import warnings
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
import transformers
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers

import certify
from certify.checkpoints import open_checkpoint
from certify.evidence.sequential import ScoreRequirement, gate_plan
from certify.measuring import Base
from certify.measuring.candidate import Candidate
from certify.measuring.item_trials import EngineChoice
from certify.measuring.pilot import pilot_draws
from certify.measuring.run import Run
from certify.statistics import draws_for_power

RETENTION, P1, ALPHA, POWER = 0.95, 0.98, 0.01, 0.9
PILOT = 4  # draws, all items each, that estimate the checkpoint's score under the noise
DEMO = Path(certify.__file__).parent / "demo" / "data"
TARGET = 10.0


@dataclass(frozen=True)
class Case:
    """A model, tokens and number of its items, the noise, and how many draws of the loops are timed (pairs 0: all).

    sigma was chosen beforehand so that a checkpoint keeps nearly all of its score.
    """

    model: str
    tokens: int
    items: int
    sigma: float
    pairs: int
    tables: int


CASES = {
    "tiny": Case("tiny", 4, 20, 0.003, pairs=20, tables=4),
    "demo": Case("demo", 0, 300, 0.03, pairs=0, tables=500),
    "5M-8": Case("5M", 8, 100, 6e-4, pairs=0, tables=100),
    "5M-32": Case("5M", 32, 100, 6e-4, pairs=0, tables=50),
    "124M-8": Case("124M", 8, 100, 2e-4, pairs=50, tables=10),
    "124M-32": Case("124M", 32, 100, 2e-4, pairs=100, tables=5),
}


def model_of(size):
    """A random model: GPT-2's 124M layout, a Llama of 5.4M weights, or a tiny one."""
    torch.manual_seed(0)
    if size == "124M":
        return transformers.GPT2LMHeadModel(transformers.GPT2Config())
    wide = size == "5M"
    return transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            hidden_size=256 if wide else 16, intermediate_size=688 if wide else 32, vocab_size=2048 if wide else 50,
            num_hidden_layers=6 if wide else 2, num_attention_heads=8 if wide else 4,
            num_key_value_heads=4 if wide else 2,
        )
    )  # fmt: skip


def folders(case, where):
    """A base, a checkpoint a little away from it, and items that the base answers: its own greedy next tokens.

    Of four times as many random prompts those with the clearest answers, as a trained model's are.
    """
    if case.model == "demo":
        return DEMO / "base", DEMO / "checkpoints" / "benign", DEMO / "benchmarks" / "addition.jsonl"
    model = model_of(case.model).eval()
    size, base = model.config.vocab_size, where / "base"
    core = Tokenizer(models.WordLevel({f"w{i}": i for i in range(size)}, unk_token="w0"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    with quiet():
        model.save_pretrained(base)
        transformers.PreTrainedTokenizerFast(tokenizer_object=core).save_pretrained(base)
    ids = torch.randint(0, size, (4 * case.items, case.tokens), generator=torch.Generator().manual_seed(0))
    best = torch.cat([model(row[None]).logits[:, -1].topk(2).values for row in ids])
    ids = ids[(best[:, 0] - best[:, 1]).argsort(descending=True)[: case.items]]
    answers = [int(model(row[None]).logits[0, -1].argmax()) for row in ids]
    text = [
        {"prompt": " ".join(f"w{i}" for i in row), "target": f" w{answer}"}
        for row, answer in zip(ids.tolist(), answers, strict=True)
    ]
    (where / "own.jsonl").write_text("".join(json.dumps(item) + "\n" for item in text), encoding="utf-8")
    shutil.copytree(base, where / "checkpoint")
    tensors = load_file(base / "model.safetensors")
    save_file(
        {name: t + 1e-5 if t.ndim == 1 else t for name, t in tensors.items()},
        where / "checkpoint" / "model.safetensors",
        metadata={"format": "pt"},
    )
    return base, where / "checkpoint", where / "own.jsonl"


@contextlib.contextmanager
def quiet():
    """No progress bars of transformers."""
    transformers.utils.logging.disable_progress_bar()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


class Loop:
    """What a user would write: a noised copy for each draw, scored on one random item or on all of them."""

    def __init__(self, candidate, sigma, seed):
        self.model, self.sigma = candidate.model, sigma
        rows = [(c.ids[: c.start], c.ids[c.start :]) for c in candidate.base.scorer.continuations]
        self.rows = [(torch.tensor([prompt + target[:-1]]), torch.tensor(target)) for prompt, target in rows]
        self.chosen = np.random.default_rng(seed)
        torch.manual_seed(seed)

    def noised(self):
        """A copy with noise on every weight."""
        copied = copy.deepcopy(self.model)
        for parameter in copied.parameters():
            parameter.add_(torch.randn_like(parameter) * self.sigma)
        return copied

    def pairs(self, n):
        """1 or 0 for each of n draws: whether a random item is right."""
        return [self.pair() for _ in range(n)]

    def tables(self, n):
        """The mean score of all items for each of n draws."""
        return [self.table() for _ in range(n)]

    def pair(self):
        """1 or 0: one random item under one draw."""
        ids, target = self.rows[self.chosen.integers(len(self.rows))]
        logits = self.noised()(ids, logits_to_keep=len(target), use_cache=False).logits[0]
        return float((logits.argmax(-1) == target).all())

    def table(self):
        """The mean score of all items under one draw; items of one length share a batch."""
        model, right = self.noised(), 0
        for ids, target in self.batches():
            logits = model(ids, logits_to_keep=target.shape[1], use_cache=False).logits
            right += int((logits.argmax(-1) == target).all(-1).sum())
        return right / len(self.rows)

    def batches(self):
        """The items, grouped by shape."""
        groups = {}
        for ids, target in self.rows:
            groups.setdefault((ids.shape, target.shape), []).append((ids[0], target))
        return [tuple(torch.stack(part) for part in zip(*own, strict=True)) for own in groups.values()]


def hoeffding_draws(p0, p1):
    """Draws at which Hoeffding's lower bound at alpha exceeds p0 with the power, for every law with mean p1."""
    return math.ceil((math.sqrt(math.log(1 / ALPHA)) + math.sqrt(math.log(1 / (1 - POWER)))) ** 2 / 2 / (p1 - p0) ** 2)


class Clock:
    """Processor and wall seconds of each design, one entry for each round, scaled to its whole number of draws."""

    def __init__(self):
        self.seconds, self.wall = {}, {}

    def run(self, name, call, scale=1.0):
        """What a call returns; its time is kept."""
        wall, start = time.perf_counter(), time.process_time()
        found = call()
        self.seconds.setdefault(name, []).append((time.process_time() - start) * scale)
        self.wall.setdefault(name, []).append((time.perf_counter() - wall) * scale)
        return found

    def of(self, name):
        """Both, for the record."""
        return {"seconds": self.seconds[name], "wall_seconds": self.wall[name]}


def measure(case, rounds, where):
    """Time the three designs on one case."""
    base_folder, checkpoint, benchmark = folders(case, where)
    base = Base.open(base_folder, benchmark)
    candidate = Candidate(base, open_checkpoint(checkpoint))
    noisy = pilot_draws(Base.open(checkpoint, benchmark), case.sigma, PILOT)  # the checkpoint as its own base
    requirement = ScoreRequirement(unit="retention", limit=RETENTION, base=base.scores)
    p0 = requirement.level(base.benchmark.chance)
    pairs_n, pairs_k = draws_for_power(p0, P1, ALPHA, POWER)[:2]
    tables_n = hoeffding_draws(p0, P1)
    timed = {"pairs": case.pairs or pairs_n, "tables": case.tables}
    shares = {k: [len(part) for part in np.array_split(range(n), rounds)] for k, n in timed.items()}
    law, loop, clock, load = base.weight_law(case.sigma), Loop(candidate, case.sigma, 1), Clock(), [os.getloadavg()[0]]

    before_draws = []

    def note(indices, label):
        before_draws.append(time.process_time())
        return indices

    def gate(user_seed):
        plan, engine = gate_plan(p0, P1, alpha=ALPHA, power=POWER, futility=True), EngineChoice(engine="activation")
        run = Run(track=note)  # is called when plan and proof are done
        return candidate.sequential(law, requirement, plan, engine=engine, user_seed=user_seed, run=run)

    gate(rounds), loop.pair(), loop.table()  # warm up; these draws are not used
    records, right, means = [], [], []
    for turn in range(rounds):
        pairs, tables = shares["pairs"][turn], shares["tables"][turn]
        start = time.process_time()
        records.append(clock.run("gate", partial(gate, turn)))
        before_draws[-1] -= start
        right += clock.run("pairs", partial(loop.pairs, pairs), pairs_n / pairs)
        means += clock.run("tables", partial(loop.tables, tables), tables_n / tables)
        load.append(os.getloadavg()[0])
    drawn, own = [r.judgement.drawn for r in records], {"dtype": "float32", "threads": torch.get_num_threads()}
    plan = records[0].evidence.plan
    return {
        "model": case.model, "parameters": base.checkpoint.identity.parameters,
        "tokens": sorted({ids.shape[1] for ids, _ in loop.rows}), "items": len(loop.rows), "sigma": case.sigma,
        "p0": p0, "p1": P1, "alpha": ALPHA, "power": POWER, "rounds": rounds, **own,
        "base_score": requirement.base_score, "checkpoint_score_under_noise": noisy.mean,
        "pilot_draws": len(noisy.scores), "load": load,
        "gate": {
            "engine": records[0].evidence.engine.name, "sampler": "strict", "items_per_draw": 1,
            "draws_together": "16, 32, then 64", "verdicts": [r.verdict for r in records], "draws": drawn,
            "guarded": sum(r.judgement.unclear for r in records), "cap": plan.cap, "power": plan.power,
            "expected_draws_at_p1": plan.outcome(P1).expected_draws, "seconds_before_draws": before_draws[1:],
            **clock.of("gate"),
        },
        "pairs": {
            "engine": "deepcopy", "sampler": "torch float32", "items_per_draw": 1, "n": pairs_n,
            "right_needed": pairs_k, "timed_on": timed["pairs"], "right": int(sum(right)), **clock.of("pairs"),
        },
        "tables": {
            "engine": "deepcopy", "sampler": "torch float32", "items_per_draw": len(loop.rows), "n": tables_n,
            "timed_on": timed["tables"], "mean": statistics.mean(means), **clock.of("tables"),
        },
    }  # fmt: skip


def at_p1(gate):
    """Seconds of a gate of the mean length at p1: what comes before the draws, and so many draws."""
    rounds = zip(gate["seconds"], gate["seconds_before_draws"], gate["draws"], strict=True)
    each = statistics.median((whole - before) / draws for whole, before, draws in rounds)
    return statistics.median(gate["seconds_before_draws"]) + each * gate["expected_draws_at_p1"]


def ratios(result):
    """How many times as long as the gate each loop takes, by medians; "at p1": as a gate of the mean length there."""
    gate, found = result["gate"], {}
    for name in ("pairs", "tables"):
        loop = statistics.median(result[name]["seconds"])
        found[name], found[f"{name} at p1"] = loop / statistics.median(gate["seconds"]), loop / at_p1(gate)
    return found


def show(result):
    """Print one case."""
    tokens = "-".join(str(t) for t in sorted({min(result["tokens"]), max(result["tokens"])}))
    print(
        f"{result['model']}, {result['parameters']:,} weights, {result['items']} items of {tokens} tokens, "
        f"sigma {result['sigma']:g}: base {result['base_score']:.3f}, checkpoint under noise "
        f"{result['checkpoint_score_under_noise']:.4f} ({result['pilot_draws']} pilot draws); p0 {result['p0']:.4f}"
    )
    ratio = ratios(result)
    for name in ("gate", "pairs", "tables"):
        own, seconds = result[name], statistics.median(result[name]["seconds"])
        if name == "gate":
            note = f"{statistics.median(own['draws']):g} draws (median), {own['engine']}: {', '.join(own['verdicts'])}"
        else:
            note = f"{own['n']:,} draws, {own['items_per_draw']} items each, timed on {own['timed_on']:,}"
            note += f"; {ratio[name]:.1f}x the gate, {ratio[f'{name} at p1']:.1f}x one of mean length at p1"
            note += "" if ratio[name] >= TARGET else f": target {TARGET:g}x MISSED"
        print(f"    {name:7} {seconds:10.2f} s  {note}")


def machine():
    """What the times depend on."""
    cpu = Path("/proc/cpuinfo")
    lines = cpu.read_text().splitlines() if cpu.exists() else []
    return {
        "python": platform.python_version(), "torch": torch.__version__, "transformers": transformers.__version__,
        "system": platform.system(), "cores": os.cpu_count(), "threads": torch.get_num_threads(),
        "processor": next((x.split(":")[1].strip() for x in lines if x.startswith("model name")), platform.processor()),
    }  # fmt: skip


def main():
    """Print the table, and write the record if asked."""
    parser = argparse.ArgumentParser(description="Time until one gate is decided.")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=[name for name in CASES if name != "tiny"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write a record with machine data to this file")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    results = []
    for name in asked.cases:
        with tempfile.TemporaryDirectory() as where, torch.no_grad():
            results.append(measure(CASES[name], asked.rounds, Path(where)))
        show(results[-1])
    if asked.json:
        record = {"machine": machine(), "results": [{**r, "ratios": ratios(r)} for r in results]}
        asked.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
