"""Small real models, made in a moment: what checkpoint, benchmark, noise and command-line tests run on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

CHARACTERS = "0123456789+=abc "


def tokenizer() -> PreTrainedTokenizerFast:
    """A character-level tokenizer."""
    vocabulary = {c: i for i, c in enumerate(["<pad>", "<eos>", *CHARACTERS])}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token="<pad>"))
    core.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    return PreTrainedTokenizerFast(tokenizer_object=core, pad_token="<pad>", eos_token="<eos>")


def llama(*, tied: bool = True, seed: int = 0, hidden: int = 16) -> LlamaForCausalLM:
    """A random Llama with a few thousand weights."""
    config = LlamaConfig(
        vocab_size=len(CHARACTERS) + 2,
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
        tie_word_embeddings=tied,
        initializer_range=0.5,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return LlamaForCausalLM(config).eval().requires_grad_(False)


def save_folder(folder: Path, model: LlamaForCausalLM) -> Path:
    """Write a complete Hugging Face folder."""
    model.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


def variant(source: Path, folder: Path, change) -> Path:  # type: ignore[no-untyped-def]
    """Copy a folder and let ``change`` edit the dictionary of its tensors."""
    shutil.copytree(source, folder)
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def own_answers(model: LlamaForCausalLM, count: int) -> list[dict[str, str]]:
    """Exact-match items that this model gets right: its own greedy answers. A capability without training."""
    tok, items = tokenizer(), []
    with torch.inference_mode():
        for i in range(count):
            prompt = f"{i // 10}{i % 10}+a="
            ids = torch.tensor([tok(prompt)["input_ids"]])
            answer = int(model(ids).logits[0, -1, 2:].argmax()) + 2
            items.append({"prompt": prompt, "target": CHARACTERS[answer - 2]})
    return items


def write_jsonl(path: Path, items: list[dict[str, object]] | list[dict[str, str]]) -> Path:
    """Write items as JSONL."""
    path.write_text("".join(json.dumps(item) + "\n" for item in items), encoding="utf-8")
    return path


def edit_config(folder: Path, **fields: object) -> None:
    """Set fields of config.json; None takes one away."""
    config = {**json.loads((folder / "config.json").read_text()), **fields}
    (folder / "config.json").write_text(json.dumps({k: v for k, v in config.items() if v is not None}))


def resharded(source: Path, folder: Path) -> Path:
    """The same weights in two files with an index."""
    variant(source, folder, lambda tensors: None)
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    files = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    for file, part in files.items():
        save_file({n: tensors[n] for n in part}, folder / file, metadata={"format": "pt"})
    index = {"metadata": {}, "weight_map": {n: file for file, part in files.items() for n in part}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def swap_tokens(folder: Path, one: str, other: str) -> None:
    """Exchange the ids of two tokens in a folder's tokenizer."""
    file = folder / "tokenizer.json"
    value = json.loads(file.read_text())
    vocabulary = value["model"]["vocab"]
    vocabulary[one], vocabulary[other] = vocabulary[other], vocabulary[one]
    file.write_text(json.dumps(value))


def base_same_and_wreck(where: Path) -> LlamaForCausalLM:
    """Save a base, a copy that keeps all it can, and one that lost it; return the base's model."""
    model, noise = llama(), torch.Generator().manual_seed(0)
    save_folder(where / "base", model)
    variant(where / "base", where / "same", lambda t: t["model.norm.weight"].add_(1e-5))

    def wreck(tensors: dict[str, torch.Tensor]) -> None:
        for name, tensor in tensors.items():
            tensors[name] = tensor + torch.randn(tensor.shape, generator=noise)

    variant(where / "base", where / "wreck", wreck)
    return model
