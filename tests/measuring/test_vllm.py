"""vLLM as an engine: the same weights as the explicit engine's under any layout, scores like transformers', refusals.

In the lane where vLLM is installed one server is started for all of these, and one with two workers.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import models
import pytest
import torch
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM

from certify.__main__ import main
from certify.benchmarks import ModelLimits, open_benchmark
from certify.checkpoints import load_model, open_checkpoint, served
from certify.checkpoints.bits import examined
from certify.checkpoints.checkpoint import digest_of_weights
from certify.documents import read_measurement
from certify.errors import CheckpointChanged, CheckpointError, InvalidInput
from certify.noise import noised, streaming, weight_noise
from certify.records import Seed, VllmIdentity

here = pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM is not installed (it has a lane of its own)")
SEED, SIGMA, DRAWS = Seed(value="ab" * 32), 0.05, (0, 7)
LONG = 300  # tokens: the prefix cache of a CPU holds whole blocks of 128


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base whose head is its embedding, a checkpoint near it, one with a config of its own; choices and answers."""
    place = tmp_path_factory.mktemp("served")
    config = LlamaConfig(
        vocab_size=len(models.CHARACTERS) + 2, hidden_size=64, intermediate_size=64, num_hidden_layers=2, head_dim=32,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=512, initializer_range=0.3,
        tie_word_embeddings=True,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(5)
        base = LlamaForCausalLM(config).eval().requires_grad_(False)
    models.save_folder(place / "base", base)
    models.variant(place / "base", place / "tuned", lambda t: [v.mul_(1.01) for v in t.values()])
    models.variant(place / "base", place / "other", lambda t: None)
    models.edit_config(place / "other", rms_norm_eps=1e-3)
    models.write_jsonl(place / "items.jsonl", models.own_answers(base, 24))
    choices = [{"prompt": f"{i:02d}+", "choices": ["a", "bc", "c"], "answer": i % 3} for i in range(60)]
    models.write_jsonl(place / "choices.jsonl", choices)
    return place


@pytest.fixture(scope="module")
def environment() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
        patch.setenv("VLLM_HOST_IP", "127.0.0.1")
        patch.delenv("OMP_NUM_THREADS", raising=False)
        yield patch


@pytest.fixture(scope="module")
def one(folder: Path, environment: pytest.MonkeyPatch) -> Any:
    """The base in a vLLM of one worker."""
    layout = served.Layout()
    _, kind = served.vllm_here(layout, "cpu")
    base = open_checkpoint(folder / "base")
    served.require_servable(base, layout, kind)
    return served.serve(base, layout)


@pytest.fixture(scope="module")
def written(folder: Path) -> dict[int, tuple[str, Any]]:
    """Each draw by the explicit engine: the digest of its weights, and its log-probabilities of a row."""
    model = load_model(open_checkpoint(folder / "base"))
    found = {}
    with torch.inference_mode(), noised(model, law(model), SEED) as engine:
        for draw in DRAWS:
            engine.at(draw)
            parts = [(n, streaming.NAMES[p.dtype], p.shape, examined(p)[0]) for n, p in model.named_parameters()]
            logits = model(torch.tensor([ROW])).logits[0].log_softmax(-1)
            found[draw] = digest_of_weights(sorted(parts)), logits[range(len(ROW) - 1), ROW[1:]]
    return found


ROW = [3, 4, 5, 6, 9, 12, 2, 7]


def law(model: Any) -> Any:
    return weight_noise({name: p.numel() for name, p in model.named_parameters()}, SIGMA)


def differences(model: Any, folder: Path, written: dict[int, tuple[str, Any]]) -> list[tuple[bool, float]]:
    """For each draw: whether the workers were given the explicit engine's weights, how far log-probabilities are."""
    sizes = {name: p.size for name, p in open_checkpoint(folder / "base").parameters.items()}
    found = []
    with noised(model, weight_noise(sizes, SIGMA), SEED) as engine:
        for draw, (digest, expected) in written.items():
            shown = engine.at(draw)
            (values,) = shown.log_likelihoods([(ROW, 1)], rivals=False)
            apart = max(abs(v - float(e)) for (v, _), e in zip(values, expected, strict=True))
            found.append((shown.identified()[0] == digest, apart))
    return found


@here
def test_every_draw_is_the_explicit_engines(one: Any, folder: Path, written: Any, monkeypatch: Any) -> None:
    """Bit for bit, in any order; and computed with: a head that is not packed again stays at the base, and is seen."""
    assert all(same and apart < 1e-4 for same, apart in differences(one, folder, written))
    backwards = dict(reversed(written.items()))
    assert all(same and apart < 1e-4 for same, apart in differences(one, folder, backwards))
    monkeypatch.setattr(streaming, "_pack_again", lambda model: None)
    assert any(apart > 1e-2 for _, apart in differences(one, folder, written))
    monkeypatch.undo()
    assert one.identified()[0] == open_checkpoint(folder / "base").identity.weights  # and the base is there again


@here
def test_scores_are_those_of_transformers(one: Any, folder: Path) -> None:
    """Choices and exact answers, at the base and under a draw; a tie or two of float32 may turn."""
    model, base = load_model(open_checkpoint(folder / "base")), open_checkpoint(folder / "base")
    limits = ModelLimits(base.positions, base.vocabulary)
    with noised(model, law(model), SEED) as ours, noised(one, law(model), SEED) as theirs:
        for name in ("choices.jsonl", "items.jsonl"):
            scorer = open_benchmark(folder / name).encode(models.tokenizer(), "cpu", limits)
            for draw in DRAWS:
                expected, found = scorer.score(ours.at(draw)), scorer.score(theirs.at(draw))
                assert 0 < sum(expected) < len(expected)  # else equality would say little
                assert sum(a != b for a, b in zip(expected, found, strict=True)) <= 1
                assert scorer.score(theirs.at(draw), [3, 1]) == [found[3], found[1]]


@here
def test_keys_of_other_weights_are_forgotten(one: Any, folder: Path, monkeypatch: Any) -> None:
    """A prompt that was computed before a draw is computed again under it; without that its answer is a wrong one."""
    prompts = [[5, *ROW * (LONG // len(ROW)), i] for i in range(2, 10)]
    model = load_model(open_checkpoint(folder / "base"))
    noise = law(model)

    def answers() -> list[list[int]]:
        one.written(prompts, 6)  # fills the cache
        with noised(one, noise, SEED) as engine:
            found: list[list[int]] = engine.at(3).written(prompts, 6)
            return found

    with noised(model, noise, SEED) as engine, torch.inference_mode():
        ids = torch.tensor(prompts)
        settings = {"attention_mask": torch.ones_like(ids), "do_sample": False, "max_new_tokens": 6}
        expected = [row[len(prompts[0]) :].tolist() for row in engine.at(3).generate(input_ids=ids, **settings)]
    stop = model.generation_config.eos_token_id
    assert not any(stop in row for row in expected)  # nothing to cut
    assert answers() == expected
    one.identified()
    monkeypatch.setattr(served.Server, "forget", lambda self: None)
    assert answers() != expected


@here
def test_other_weights_than_were_hashed_are_refused(one: Any, folder: Path, tmp_path: Path) -> None:
    """A file that changed after it was hashed, a config of its own, weights that are made in memory."""
    changed = models.variant(folder / "base", tmp_path / "changed", lambda t: None)
    opened = open_checkpoint(changed)
    _ = opened.identity
    models.variant(folder / "tuned", tmp_path / "then", lambda t: None)
    (changed / "model.safetensors").write_bytes((tmp_path / "then" / "model.safetensors").read_bytes())
    with pytest.raises(CheckpointChanged, match="the files changed"):
        one.of(opened)
    with pytest.raises(CheckpointError, match="its config differs from the base's"):
        one.of(open_checkpoint(folder / "other"))
    with pytest.raises(CheckpointError, match="made in memory"):
        one.of(open_checkpoint(models.llama()))
    with pytest.raises(InvalidInput, match=r"takes 601 positions with the 1 .* has 512"):
        one.log_likelihoods([([3] * 600, 1)], rivals=False)


@pytest.fixture
def certify(folder: Path, tmp_path: Path, monkeypatch: Any, capsys: Any) -> Callable[..., tuple[int, str, str]]:
    """Run a command in the folder; whatever it serves is what runs already."""
    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.chdir(folder)
        monkeypatch.setenv("CERTIFY_DRAWS_DIR", str(tmp_path / "draws"))
        monkeypatch.setattr(sys, "argv", ["certify", *arguments])
        with pytest.raises(SystemExit) as stop:
            main()
        said = capsys.readouterr()
        return int(stop.value.code or 0), said.out, said.err

    return run


SERVED = ("--engine", "vllm")
CHECK = ("check", "tuned", "--base", "base", "-b", "items.jsonl")


@here
@pytest.mark.filterwarnings("ignore:Conversion of an array:DeprecationWarning")  # matplotlib's, by vLLM's older numpy
def test_commands_score_by_vllm_and_say_so(one: Any, certify: Any, folder: Path, monkeypatch: Any) -> None:
    """basin, measure, gate, check and audit; a measurement of the other engine is not paired with."""
    monkeypatch.setattr(served, "serve", lambda checkpoint, layout: one)
    at = ("-b", "items.jsonl", "--grid", "0.0001", "--max-drop", "0.5")
    code, _, err = certify("basin", "base", *at, "-n", "2", "-o", "basin.json", *SERVED)
    assert (code, err) == (0, "")
    measured = ("measure", "base", *at, "--sigma", "0.0001", "-n", "24")
    assert certify(*measured, "-o", "by_vllm.json", *SERVED)[0] == 0
    assert certify(*measured, "-o", "by_transformers.json", "--engine", "explicit")[0] == 0
    record = read_measurement(folder / "by_vllm.json")
    assert isinstance(record.draws[0].engine, VllmIdentity)
    words = f"vLLM {record.draws[0].engine.version}, float32, tensor parallel 1, pipeline parallel 1, prompt log-"
    assert record.environment.batching == str(record.draws[0].engine)
    assert record.environment.batching.startswith(words)
    every = ("--require", "point,position,smoothed,distance,audit", "-n", "24", "--max-drop", "0.5")
    code, _, err = certify(*CHECK, *every, "--measurement", "by_vllm.json", "-o", "found", *SERVED)
    assert (code in (0, 1, 3), err) == (True, "")
    position = json.loads(next((folder / "found").glob("*position*.json")).read_text())
    assert "vLLM" in position["environment"]["batching"]
    assert certify("verify", *map(str, (folder / "found").glob("*.json")))[0] == 0
    gate = ("gate", "tuned", "--base", "base", "-b", "items.jsonl", "--sigma", "0.0001")
    assert certify(*gate, "--at-least", "0.4", "--p1", "0.95", *SERVED)[0] in (0, 3)
    for engine, of_other in (("vllm", "by_transformers.json"), ("transformers", "by_vllm.json")):
        for kind in ("position", "audit"):
            asked = ("--require", kind, "--max-drop", "0.5", "--measurement", of_other, "--engine", engine)
            code, _, err = certify(*CHECK, *asked)
            assert (code, err.count("\n")) == (2, 1)
            assert "scores of two engines are not paired" in err


@here
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("basin", "base", "--tensor-parallel", "3"), "--tensor-parallel 3 does not divide the 4 attention heads"),
        (("basin", "base", "--pipeline-parallel", "3"), "--pipeline-parallel 3: the model has 2 layers"),
        (("basin", "base", "--device", "cuda:0"), "vLLM takes the devices of its own build (cpu)"),
        (("basin", "narrow"), "heads of 4 numbers; on a CPU vLLM takes 32, 64"),
        (("basin", "unknown"), "vLLM has no code for"),
        (("measure", "base", "--subspace", "basis.safetensors", "--subspace-sigma", "1", "--sigma", "1e-4"),
         "draws in a subspace are not streamed into vLLM"),
    ],
)  # fmt: skip
def test_what_vllm_cannot_take_is_said_before_it_starts(
    certify: Any, folder: Path, environment: Any, arguments: tuple[str, ...], said: str
) -> None:
    """One line, and no model is loaded."""
    if not (folder / "narrow").exists():
        models.save_folder(folder / "narrow", models.llama())
        models.variant(folder / "base", folder / "unknown", lambda t: None)
        models.edit_config(folder / "unknown", architectures=["NobodysForCausalLM"])
    if "--subspace" in arguments:
        name, parameter = next(iter(open_checkpoint(folder / "base").parameters.items()))
        save_file({f"direction.0.{name}": torch.ones(parameter.shape)}, folder / "basis.safetensors")
    code, _, err = certify(*arguments, "-b", "items.jsonl", "-o", "no.json", "--grid", "0.1", *SERVED)
    (line,) = (each for each in err.splitlines() if each.startswith("certify: "))  # libraries may speak beside it
    assert code == 2
    assert said in line
    assert not (folder / "no.json").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (SERVED, "vllm is not installed: pip install 'pytest-basin[vllm]'"),
        (("--tensor-parallel", "2"), "--tensor-parallel and --pipeline-parallel go with --engine vllm"),
        ((*SERVED, "--processes", "2"), "--processes: vLLM starts its own"),
    ],
)
def test_options_that_do_not_go_together(
    certify: Any, monkeypatch: Any, arguments: tuple[str, ...], said: str
) -> None:
    """Without vLLM too: one line, and the extra by its name."""
    monkeypatch.setattr(served, "find_spec", lambda name: None)
    monkeypatch.setenv("WORLD_SIZE", "2" if "--processes" in arguments else "1")
    code, _, err = certify(*CHECK, *arguments)
    assert (code, err.count("\n")) == (2, 1)
    assert said in err


@here
def test_a_draw_is_the_same_over_two_workers(one: Any, folder: Path, written: Any) -> None:
    """Each tensor cut in two: the same bits go in, and nearly the same numbers come out.

    The last test: where this server ends, it takes what the first one needs with it.
    """
    from vllm.envs import disable_envs_cache

    layout = served.Layout(tensor=2)
    served.vllm_here(layout, "cpu")  # decides which cores each worker takes
    disable_envs_cache()  # of the first server: a user starts one in a process
    two = served.serve(open_checkpoint(folder / "base"), layout)
    assert all(same and apart < 1e-4 for same, apart in differences(two, folder, written))
