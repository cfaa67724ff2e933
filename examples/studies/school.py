"""One tiny school for every study: pre-train a model on two skills, measure its basin, teach it a third."""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "demo_models"))
from folders import character_tokenizer, untrained_model, write_base, write_benchmark
from methods import METHODS, AdamW
from results import RESULTS, Json
from skills import SKILLS, Item
from torch import Tensor
from training import Classroom, Exam, Recipe, copy_of, loss_on, rate
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast
from transformers.utils import logging as transformers_logging

from certify.benchmarks import open_benchmark
from certify.benchmarks.jsonl import JsonlBenchmark
from certify.evidence.position import Basin
from certify.measuring import Base
from certify.measuring.at_base import measure_basin

OLD, NEW = "reversal", "shift"
ITEMS = 300
ITEM_SEED = 20250516
LESSONS_BEFORE = {OLD: 48, "prose": 16}


@dataclass(frozen=True)
class School:
    """What is taught, for how long, and how it is examined; the same for every model of a study."""

    folder: Path
    pretraining: int = 1000
    fine_tuning: int = 400
    every: int = 20
    items: int = ITEMS

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerFast:
        """One token per character."""
        return character_tokenizer()

    @cached_property
    def _items(self) -> Mapping[str, list[Item]]:
        return {name: SKILLS[name].benchmark(self.items, ITEM_SEED) for name in (OLD, NEW)}

    @cached_property
    def exams(self) -> Mapping[str, Exam]:
        """Both skills' benchmark items, which training never sees."""
        return {name: Exam(items, self.tokenizer) for name, items in self._items.items()}

    @cached_property
    def classroom(self) -> Classroom:
        """Where batches are drawn."""
        return Classroom(self.tokenizer, frozenset(item.prompt for items in self._items.values() for item in items))

    @cached_property
    def benchmark(self) -> JsonlBenchmark:
        """The old skill's benchmark as the product reads it."""
        write_benchmark(SKILLS[OLD], self._items[OLD], self.folder)
        return open_benchmark(self.folder / f"{OLD}.jsonl")

    def pretraining_of(
        self, method: str, seed: int, hidden: int = 64, looks: int = 4
    ) -> Iterator[tuple[int, LlamaForCausalLM]]:
        """Train a model from nothing by one method, and yield it ``looks`` times, evenly over the steps.

        The batches and the number of steps are the same for every method.
        """
        torch.manual_seed(seed)
        model = untrained_model(self.tokenizer, hidden)
        recipe = Recipe(LESSONS_BEFORE, self.pretraining, 4e-3, 0.0, seed)
        trained = METHODS[method](model, recipe.learning_rate, seed)
        for done in self._teach(model, trained, recipe, recipe.steps // looks):
            yield done, model

    @torch.no_grad()
    def loss(self, model: LlamaForCausalLM) -> float:
        """The loss of pre-training, nats for each token, without noise and on items that training never sees."""
        return float(loss_on(model, *self._unseen))

    @cached_property
    def _unseen(self) -> tuple[Tensor, Tensor]:
        """Unseen items of both lessons, as many of each as a batch has relative to the other."""
        count = self.items * LESSONS_BEFORE["prose"] // LESSONS_BEFORE[OLD]
        prose = SKILLS["prose"].benchmark(count, ITEM_SEED)
        return self.classroom.encoded([*((i, False) for i in self._items[OLD]), *((i, True) for i in prose)])

    def _teach(self, model: LlamaForCausalLM, method: AdamW, recipe: Recipe, every: int) -> Iterator[int]:
        """Train for the recipe's steps; yield the number done after each ``every`` of them, in evaluation mode."""
        rng = random.Random(recipe.seed)
        schedule = torch.optim.lr_scheduler.LambdaLR(method.optimizer, lambda step: rate(step, recipe))
        for done in range(1, recipe.steps + 1):
            inputs, labels = self.classroom.batch(recipe.lessons, rng)
            model.train()
            method.optimizer.zero_grad()
            with method.training():
                method.backward(lambda inputs=inputs, labels=labels: loss_on(model, inputs, labels))
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            method.optimizer.step()
            schedule.step()
            if done % every == 0:
                model.eval()
                yield done

    def basin(self, model: LlamaForCausalLM, grid: Sequence[float]) -> Basin:
        """Return the model's basin on the old skill: at each sigma of the grid every item under a draw of its own."""
        write_base(model, self.tokenizer, self.folder / "model")
        return measure_basin(Base.open(self.folder / "model", self.benchmark), grid)

    def fine_tuned(self, model: LlamaForCausalLM, seed: int) -> Json:
        """Teach the new skill by AdamW, without replay of the old one. The model is left fine-tuned.

        Returns the steps at which both skills were examined; scores and negative log-likelihoods (nats for each
        answer) of the old skill and of the new one; and how far the weights had moved in the end,
        ||delta|| / sqrt(d).
        """
        before = copy_of(model)
        recipe = Recipe({NEW: 64}, self.fine_tuning, 5e-4, 0.0, seed)
        method = AdamW(model, recipe.learning_rate, seed)
        steps, seen = [0], [self._examined(model)]
        for done in self._teach(model, method, recipe, self.every):
            steps.append(done)
            seen.append(self._examined(model))
        after = copy_of(model)
        moved = sum(float((after[n] - before[n]).double().square().sum()) for n in before)
        alpha_star = (moved / sum(w.numel() for w in before.values())) ** 0.5
        columns = dict(zip(("old", "old_nll", "new", "new_nll"), map(list, zip(*seen, strict=True)), strict=True))
        return {"steps": steps, **columns, "alpha_star": alpha_star}

    def _examined(self, model: LlamaForCausalLM) -> tuple[float, ...]:
        """Score and negative log-likelihood of the old skill, then of the new one."""
        return *self.exams[OLD].judged(model), *self.exams[NEW].judged(model)


def command_line(study: Callable[[Path, School], Json], name: str, about: str | None) -> None:
    """Run a study from its command line; results are kept under ``name``."""
    parser = argparse.ArgumentParser(description=(about or "").splitlines()[0])
    parser.add_argument("--results", type=Path, default=RESULTS / f"{name}.json")
    arguments = parser.parse_args()
    transformers_logging.disable_progress_bar()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        study(arguments.results, School(Path(folder)))
