"""The demo's models as folders that Hugging Face's loaders open without a network."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from skills import ALPHABET, Item, Skill
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
from training import Weights, load
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

PAD, BOS, EOS = "<pad>", "<s>", "</s>"
CONTEXT_LENGTH = 32
SIDE_FILES = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json")


def character_tokenizer() -> PreTrainedTokenizerFast:
    """One token per character, `<s>` in front, padding on the right; an unknown character is refused."""
    vocabulary = {token: i for i, token in enumerate((PAD, BOS, EOS, *ALPHABET))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), behavior="isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A $B", special_tokens=[(BOS, vocabulary[BOS])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=EOS,
        padding_side="right",
        model_max_length=CONTEXT_LENGTH,
        clean_up_tokenization_spaces=False,
    )


def untrained_model(tokenizer: PreTrainedTokenizerFast, hidden: int = 64) -> LlamaForCausalLM:
    """A Llama of two layers; 77,376 parameters at 64 hidden units.

    Weights start at the scale 1/sqrt(hidden size) instead of the usual 0.02: sums of unseen numbers
    were then learnt in half the steps, and the same absolute noise is a smaller relative one.
    """
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=CONTEXT_LENGTH,
        initializer_range=hidden**-0.5,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    model = LlamaForCausalLM(config)
    model.generation_config = GenerationConfig(
        do_sample=False,
        max_new_tokens=8,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    return model


def _save(model: LlamaForCausalLM, folder: Path) -> None:
    """As Hugging Face saves it, but readable by every user: safetensors writes owner-only files."""
    model.save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)


def write_base(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """The base's folder, complete."""
    shutil.rmtree(folder, ignore_errors=True)
    _save(model, folder)
    tokenizer.save_pretrained(folder)


def write_checkpoint(model: LlamaForCausalLM, weights: Weights, base: Path, folder: Path) -> None:
    """A checkpoint's folder: its own weights, every other file copied from the base byte for byte."""
    shutil.rmtree(folder, ignore_errors=True)
    load(model, weights)
    _save(model, folder)
    for name in SIDE_FILES:
        shutil.copyfile(base / name, folder / name)


def write_benchmark(skill: Skill, items: Sequence[Item], folder: Path) -> None:
    """`<skill>.jsonl` with one item a line, `<skill>.toml` with what the items cannot say."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps(item.record()) + "\n" for item in items)
    (folder / f"{skill.name}.jsonl").write_text(lines, encoding="utf-8")
    declared = f"chance = {skill.chance}\ndescription = {json.dumps(skill.description)}\n"
    (folder / f"{skill.name}.toml").write_text(declared, encoding="utf-8")
