"""Token distances: exact, streamed in bounded memory, and a heuristic; what replacing tokens amounts to."""

from __future__ import annotations

import json
import tracemalloc
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import models
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from scipy.special import ndtr

from certify.checkpoints import Checkpoint
from certify.errors import CheckpointError, InvalidInput
from certify.landscape.embedding import Embedding, open_embedding
from certify.landscape.tokens import BINS, TokenDistances, block_rows, token_distances
from certify.statistics.laws import mahalanobis, strong_lower

VECTORS = {
    v["id"]: v
    for v in json.loads((Path(__file__).parents[1] / "theory_vectors.json").read_text(encoding="utf-8"))["vectors"]
}
SMALL = 60_000  # bytes: blocks of 24 rows at width 12


def weights_file(folder: Path, rows: torch.Tensor) -> Path:
    path = folder / "model.safetensors"
    save_file({"embed.weight": rows.contiguous(), "other": torch.zeros(3)}, path)
    return path


def random_rows(rows: int, width: int = 12, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(0)).to(dtype)


def brute_force(rows: torch.Tensor) -> dict[tuple[int, int], float]:
    """Every pair's distance by subtraction in float64."""
    wide = rows.double().numpy()
    return {
        (i, j): float(np.sqrt(np.square(wide[i] - wide[j]).sum()))
        for i in range(len(wide))
        for j in range(i + 1, len(wide))
    }


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64], ids=str)
def test_streamed_distances_are_those_of_brute_force(tmp_path: Path, dtype: torch.dtype) -> None:
    """Histogram, count below rho and nearest pairs, over blocks whose last one is not full."""
    rows = random_rows(137, dtype=dtype)
    truth = brute_force(rows)
    rho = sorted(truth.values())[60] + 1e-9
    found = token_distances(weights_file(tmp_path, rows), tensor="embed.weight", rho=rho, listed=40, memory=SMALL)
    assert block_rows(12, SMALL) == 24
    assert (found.tokens, found.unused, found.width, found.pairs) == (137, 0, 12, 137 * 136 // 2)
    counts, _ = np.histogram(list(truth.values()), bins=np.array(found.edges))
    assert found.counts == tuple(counts)
    assert sum(found.counts) == found.pairs
    assert found.below == 61
    nearest = sorted((distance, *pair) for pair, distance in truth.items())[:40]
    assert [(p.distance, p.first, p.second) for p in found.nearest] == nearest
    assert "Heuristic" in found.label


def test_the_result_does_not_depend_on_the_blocks(tmp_path: Path) -> None:
    """One block or thirty: the same pairs are counted once each."""
    path = weights_file(tmp_path, random_rows(480))
    several, one = (token_distances(path, tensor="embed.weight", rho=1.5, memory=m) for m in (45_000, 2**26))
    assert (several.counts, several.below, several.nearest) == (one.counts, one.below, one.nearest)


def test_equal_rows_are_at_distance_zero_in_the_order_of_ids(tmp_path: Path) -> None:
    """Float error of inner products neither separates duplicates nor loses any."""
    rows = random_rows(60)
    rows[[5, 17, 40, 41]] = rows[2].clone()
    found = token_distances(weights_file(tmp_path, rows), tensor="embed.weight", rho=1e-5, memory=SMALL)
    same = (2, 5, 17, 40, 41)
    assert [(p.first, p.second, p.distance) for p in found.nearest] == [
        (i, j, 0.0) for i in same for j in same if i < j
    ]
    assert found.below == 10
    assert found.counts[0] >= 10


def test_a_pair_exactly_rho_apart_is_below(tmp_path: Path) -> None:
    """The edge is decided by subtraction, though inner products of such long rows are off by 1e-9 there."""
    rows = torch.zeros(3, 4, dtype=torch.float64)
    rows[:, 0] = torch.tensor([1e3, 1e3 + 0.5, 1e3 - 0.5 - 1e-12], dtype=torch.float64)
    found = token_distances(weights_file(tmp_path, rows), tensor="embed.weight", rho=0.5)
    assert (found.below, [(p.first, p.second) for p in found.nearest]) == (1, [(0, 1)])


class Generated(Embedding):
    """Rows made when asked for, so that every byte is Python's to count."""

    asked = 0

    def block(self, start: int, stop: int) -> Any:
        Generated.asked = max(Generated.asked, stop - start)
        return np.sin(np.arange(start * self.width, stop * self.width, dtype=np.float64)).reshape(-1, self.width)

    @cached_property
    def texts(self) -> dict[int, str]:
        return {}


@pytest.mark.parametrize("rho", [1e-3, 1e3], ids=["no pair below", "every pair below"])
def test_memory_stays_below_its_bound(rho: float) -> None:
    """4,000 rows would be 128 MB as one table of pairs; 2 MB are allowed and kept, beside 32 bytes for each token."""
    embedding, memory = Generated(SimpleNamespace(name="x"), "w", 4000, 32), 2 * 2**20  # type: ignore[arg-type]
    token_distances(Generated(embedding.checkpoint, "w", 64, 32), rho=rho)  # imports and caches are paid here
    Generated.asked = 0
    tracemalloc.start()
    found = token_distances(embedding, rho=rho, memory=memory)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert Generated.asked == block_rows(32, memory) == 152
    assert peak <= memory + 32 * 4000
    assert found.below == (found.pairs if rho > 1 else 0)


def test_blocks_fit_what_is_kept_of_them() -> None:
    """Six arrays of (rows, width) and ten of (rows, rows) fit, and one more row would not."""
    for width, memory in ((12, 10**5), (4096, 2**28), (64, 2**21)):
        rows = block_rows(width, memory)
        assert 8 * (6 * rows * width + 10 * rows**2) <= memory < 8 * (6 * (rows + 1) * width + 10 * (rows + 1) ** 2)
    with pytest.raises(InvalidInput, match="memory = 1000 bytes"):
        block_rows(64, 1000)


def test_only_the_embedding_is_read_and_unused_rows_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder with a tokenizer: its tokens' names, no other tensor, and no rows that no token has."""
    model = models.llama(tied=False)
    model.resize_token_embeddings(24)
    folder = models.save_folder(tmp_path / "base", model)
    monkeypatch.setattr(Checkpoint, "read", lambda self, name: pytest.fail(f"{name} was read whole"))
    found = token_distances(folder, rho=100.0, listed=3)
    assert (found.model, found.tensor) == ("base", "model.embed_tokens.weight")
    assert (found.tokens, found.unused) == (len(models.CHARACTERS) + 2, 24 - len(models.CHARACTERS) - 2)
    vocabulary = models.tokenizer().get_vocab()
    assert all(p.texts == tuple(t for i in (p.first, p.second) for t in vocabulary if vocabulary[t] == i)
               for p in found.nearest)  # fmt: skip


def test_the_record_is_a_file(tmp_path: Path) -> None:
    """Written whole, with its schema, and read back equal."""
    found = token_distances(weights_file(tmp_path, random_rows(30)), tensor="embed.weight")
    value = json.loads(found.to_json(tmp_path / "t.json").read_text())
    assert value["schema"] == "pytest-basin/token-distances"
    assert len(value["counts"]) == BINS
    assert TokenDistances.model_validate(value) == found


BAD = {
    "no config": ({}, None, "no config.json to find the embedding by"),
    "no such tensor": ({}, "embd", r"no tensor 'embd'; name the embedding, e.g. one of embed.weight"),
    "not a matrix": ({}, "other", r"'other' is F32 of shape \[3\]"),
    "rho": ({"rho": 0.0}, "embed.weight", "rho"),
    "memory": ({"memory": 1000}, "embed.weight", "blocks of 16 rows"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused_by_name(tmp_path: Path, name: str) -> None:
    """What, where, which value."""
    arguments, tensor, message = BAD[name]
    with pytest.raises((CheckpointError, InvalidInput), match=message):
        token_distances(weights_file(tmp_path, random_rows(30)), tensor=tensor, **arguments)


def test_rows_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    """A NaN would silently leave the histogram."""
    rows = random_rows(30)
    rows[7, 3] = float("nan")
    with pytest.raises(CheckpointError, match=r"'embed\.weight' holds NaN or Inf"):
        token_distances(weights_file(tmp_path, rows), tensor="embed.weight")


def untied(folder: Path, rows: dict[int, list[float]]) -> Embedding:
    """The embedding of an untied model, all zero but for the given rows' first columns."""
    model = models.llama(tied=False)
    table = model.get_input_embeddings().weight.data.zero_()
    for i, values in rows.items():
        table[i, : len(values)] = torch.tensor(values)
    return open_embedding(models.save_folder(folder, model))


class TestReplacing:
    """The sound version of Thm 4.5, and what it refuses."""

    def test_the_move_is_the_root_sum_of_the_replaced_rows(self, tmp_path: Path) -> None:
        """Distances .1, .1 and .2 give the bound of the reference value T2."""
        embedding = untied(tmp_path / "m", {5: [0.1], 6: [0.0, 0.1], 7: [0.0, 0.0, 0.2]})
        norm = embedding.replacing([[2, 3, 4, 9], [2, 2, 8]], {2: 5, 3: 6, 4: 7})
        assert norm == pytest.approx(float(np.sqrt(0.06)), rel=1e-6)  # rows are float32
        reference = VECTORS["T2"]
        p, sigma, distances = (reference["inputs"][k] for k in ("p", "sigma", "distances"))
        assert strong_lower(p, norm / sigma) == pytest.approx(reference["expected"], rel=1e-6)
        assert strong_lower(p, mahalanobis(distances, sigma)) == pytest.approx(reference["expected"], rel=1e-9)

    def test_the_papers_counterexample_is_refused(self, tmp_path: Path) -> None:
        """(A, B) becomes (B, B): both positions would share one noisy row, and the paper's bound is false (T1)."""
        embedding = untied(tmp_path / "m", {2: [0.0], 3: [1.0]})
        with pytest.raises(InvalidInput, match="item 0 already holds token 3"):
            embedding.replacing([[2, 3]], {2: 3})
        a, sigma = 1.0, 1.0
        rng = np.random.default_rng(0)
        noisy = np.array([0.0, a]) + sigma * rng.standard_normal((20_000, 2))  # one noisy row for each token
        base, claimed, truth = VECTORS["T1"]["expected"]
        assert base == pytest.approx(ndtr(a / (np.sqrt(2) * sigma)), abs=1e-12)
        assert claimed == pytest.approx(strong_lower(base, a / sigma), abs=1e-12)
        assert np.mean(noisy[:, 0] < noisy[:, 1]) == pytest.approx(base, abs=0.016)  # five standard errors
        assert np.mean(noisy[:, 1] < noisy[:, 1]) == truth == 0.0 < claimed

    def test_a_swap_is_sound(self, tmp_path: Path) -> None:
        """(A, B) becomes (B, A): each row keeps noise of its own, in law and in the bound."""
        embedding = untied(tmp_path / "m", {2: [0.0], 3: [0.5]})
        assert embedding.replacing([[2, 3]], {2: 3, 3: 2}) == pytest.approx(np.sqrt(0.5), rel=1e-6)
        noisy = np.array([0.0, 0.5]) + np.random.default_rng(1).standard_normal((20_000, 2))
        truth = np.mean(noisy[:, 1] < noisy[:, 0])
        base = float(ndtr(0.5 / np.sqrt(2)))
        assert truth >= strong_lower(base, np.sqrt(0.5)) - 0.016

    @pytest.mark.parametrize(
        ("items", "replaced", "message"),
        [
            ([[2, 3]], {2: 5, 3: 5}, "two tokens are replaced by the same one"),
            ([[2]], {2: 99}, "token 99 is not in the embedding of 18 rows"),
            ([[9], [2, 5]], {2: 5}, "item 1 already holds token 5"),
        ],
    )
    def test_what_would_share_a_row_is_refused(
        self, tmp_path: Path, items: list[list[int]], replaced: dict[int, int], message: str
    ) -> None:
        """Each refusal names the item or the token."""
        with pytest.raises(InvalidInput, match=message):
            untied(tmp_path / "m", {}).replacing(items, replaced)

    def test_tied_embeddings_and_files_without_config_are_refused(self, tmp_path: Path) -> None:
        """A tied row also changes the output layer; without config.json nobody knows."""
        tied = open_embedding(models.save_folder(tmp_path / "tied", models.llama(tied=True)))
        with pytest.raises(InvalidInput, match="tied to the output layer"):
            tied.replacing([[2]], {2: 3})
        alone = open_embedding(weights_file(tmp_path, random_rows(30)), "embed.weight")
        with pytest.raises(InvalidInput, match="without config"):
            alone.replacing([[2]], {2: 3})

    def test_replacing_a_token_by_itself_moves_nothing(self, tmp_path: Path) -> None:
        """Then the bound is the base's own."""
        assert untied(tmp_path / "m", {}).replacing([[2, 3]], {2: 2}) == 0.0
