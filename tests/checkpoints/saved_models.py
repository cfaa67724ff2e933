"""Small random models of many architectures: renamed, fused, split, tied, experts one by one, text beside vision."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import transformers as tr

Make = Callable[[], Any]

SHARED = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 64}
DECODER = {**SHARED, "num_key_value_heads": 2, "intermediate_size": 48, "max_position_embeddings": 64,
           "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}  # fmt: skip
GPT = {
    "n_embd": 32,
    "n_layer": 2,
    "n_head": 4,
    "vocab_size": 64,
    "n_positions": 64,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
VISION = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
          "patch_size": 16, "image_size": 32}  # fmt: skip


def made(kind: str, config: str, **fields: Any) -> Make:
    """Return what makes one model of a kind."""

    def make() -> Any:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return getattr(tr, kind)(getattr(tr, config)(**fields)).eval()

    return make


def decoder(name: str, config: str = "", **fields: Any) -> Make:
    """Return what makes a decoder with the usual names of fields."""
    return made(f"{name}ForCausalLM", f"{config or name}Config", **{**DECODER, **fields})


ARCHITECTURES: dict[str, Make] = {
    "gpt2": made("GPT2LMHeadModel", "GPT2Config", **GPT),
    "gptj": made("GPTJForCausalLM", "GPTJConfig", **GPT, rotary_dim=4),
    "gpt-neox untied": decoder("GPTNeoX", tie_word_embeddings=False),
    "llama": decoder("Llama"),
    "llama tied": decoder("Llama", tie_word_embeddings=True),
    "mistral": decoder("Mistral", sliding_window=8),
    "qwen2 tied": decoder("Qwen2", tie_word_embeddings=True),
    "qwen3": decoder("Qwen3", head_dim=8),
    "gemma": decoder("Gemma", head_dim=8),
    "gemma2": decoder("Gemma2", head_dim=8),
    "gemma3 text": decoder("Gemma3", "Gemma3Text", head_dim=8),
    "gemma3 with vision": made("Gemma3ForConditionalGeneration", "Gemma3Config", text_config={**DECODER, "head_dim": 8},
                               vision_config=VISION, mm_tokens_per_image=4),
    "phi": decoder("Phi"),
    "phi3 fused": decoder("Phi3"),
    "stablelm": decoder("StableLm"),
    "mixtral": decoder("Mixtral", num_local_experts=4, num_experts_per_tok=2),
    "qwen3 experts": decoder("Qwen3Moe", num_experts=4, num_experts_per_tok=2, moe_intermediate_size=16, head_dim=8),
    "olmoe": decoder("Olmoe", num_experts=4, num_experts_per_tok=2),
    "gpt-oss": decoder("GptOss", num_local_experts=4, num_experts_per_tok=2, head_dim=8),
    "bloom": made("BloomForCausalLM", "BloomConfig", hidden_size=32, n_layer=2, n_head=4, vocab_size=64),
    "opt": made("OPTForCausalLM", "OPTConfig", **SHARED, ffn_dim=48, max_position_embeddings=64,
                word_embed_proj_dim=32),
    "falcon": made("FalconForCausalLM", "FalconConfig", **SHARED),
    "mamba": made("MambaForCausalLM", "MambaConfig", hidden_size=32, num_hidden_layers=2, vocab_size=64, state_size=4),
}  # fmt: skip
