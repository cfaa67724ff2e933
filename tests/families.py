"""Current families of decoders as tiny random models, each with what is its own set so that it matters.

Multipliers are far from 1, windows shorter than the rows, rotary positions partial where the family has them so, gains
away from where they are initialised: a rule that forgets one of them gives other logits.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers as tr

Make = Callable[..., Any]
PAGE = Path(__file__).parents[1] / "docs" / "activation.md"
VOCABULARY = 97
DECODER = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
           "intermediate_size": 48, "vocab_size": VOCABULARY, "max_position_embeddings": 64, "pad_token_id": 0,
           "bos_token_id": 1, "eos_token_id": 2, "tie_word_embeddings": False}  # fmt: skip
TIED = {"tie_word_embeddings": True}
WINDOW = {"sliding_window": 5, "layer_types": ["sliding_attention", "full_attention"]}
LATENT = {"num_key_value_heads": 4, "kv_lora_rank": 8, "q_lora_rank": 8, "qk_nope_head_dim": 4, "qk_rope_head_dim": 4,
          "v_head_dim": 8}  # fmt: skip
PARTIAL = {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5}}


def family(name: str, config: str = "", **fields: Any) -> Make:
    """Return what makes one model of a family, other fields on request, with weights of a trained model's size."""

    def make(**others: Any) -> Any:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            made = getattr(tr, f"{config or name}Config")(**{**DECODER, **fields, **others})
            model = getattr(tr, f"{name}ForCausalLM")(made)
            for parameter in model.parameters():
                parameter.data += 0.2 * torch.randn_like(parameter)
        return model.eval().requires_grad_(False)

    return make


FAMILIES: dict[str, Make] = {
    "Arcee": family("Arcee"),
    "Cohere (Command R)": family("Cohere", logit_scale=0.25, **TIED),
    "Cohere 2 (Command R7B)": family("Cohere2", logit_scale=0.25, **WINDOW, **TIED),
    "ERNIE 4.5": family("Ernie4_5", head_dim=8, **TIED),
    "EXAONE 4": family("Exaone4", **WINDOW),
    "Falcon": family("Falcon", num_kv_heads=2, new_decoder_architecture=True, **TIED),
    "Gemma": family("Gemma", head_dim=8, **TIED),
    "Gemma 2": family("Gemma2", head_dim=8, query_pre_attn_scalar=8, final_logit_softcapping=2.0,
                      attn_logit_softcapping=1.0, **WINDOW, **TIED),
    "Gemma 3": family("Gemma3", "Gemma3Text", head_dim=8, query_pre_attn_scalar=8, **WINDOW, **TIED),
    "Gemma 4": family("Gemma4", "Gemma4Text", head_dim=8, global_head_dim=8, hidden_size_per_layer_input=4,
                      vocab_size_per_layer_input=VOCABULARY, **WINDOW, **TIED),
    "GLM": family("Glm", head_dim=8, attention_bias=True, **PARTIAL),
    "GLM-4": family("Glm4", head_dim=8, attention_bias=True, **PARTIAL),
    "Granite": family("Granite", embedding_multiplier=3.0, residual_multiplier=0.4, attention_multiplier=0.1,
                      logits_scaling=2.0, **TIED),
    "Helium": family("Helium", head_dim=8),
    "Hunyuan": family("HunYuanDenseV1", head_dim=8),
    "Llama": family("Llama"),
    "MiniCPM 3": family("MiniCPM3", scale_emb=3, scale_depth=0.7, dim_model_base=16, **LATENT, **TIED),
    "Ministral": family("Ministral", head_dim=8, **WINDOW),
    "Mistral": family("Mistral", sliding_window=5),
    "Nemotron": family("Nemotron", **PARTIAL),
    "OLMo": family("Olmo", clip_qkv=0.5),
    "OLMo 2": family("Olmo2"),
    "OLMo 3": family("Olmo3", **WINDOW),
    "Phi": family("Phi", qk_layernorm=True, **PARTIAL),
    "Phi-3": family("Phi3", sliding_window=5, **PARTIAL),
    "Qwen 2": family("Qwen2", **TIED),
    "Qwen 3": family("Qwen3", head_dim=8, **TIED),
    "Seed-OSS": family("SeedOss", head_dim=8, attention_bias=True),
    "SmolLM 3": family("SmolLM3", no_rope_layers=[1, 0], **TIED),
    "StableLM": family("StableLm", use_qkv_bias=True, use_parallel_residual=True, **PARTIAL),
    "StarCoder 2": family("Starcoder2", sliding_window=5, **TIED),
    "Youtu (latent attention, as DeepSeek's)": family("Youtu", **LATENT),
    "VaultGemma": family("VaultGemma", head_dim=8, query_pre_attn_scalar=8, final_logit_softcapping=2.0,
                         attn_logit_softcapping=1.0, **WINDOW, **TIED),
}  # fmt: skip
"""Served in activation space."""

REFUSED: dict[str, Make] = {
    "Apertus": family("Apertus"),
    "DiffLlama": family("DiffLlama"),
    "gpt-oss": family("GptOss", num_local_experts=4, num_experts_per_tok=2, head_dim=8, **WINDOW),
    "LFM 2": family("Lfm2", layer_types=["conv", "full_attention"]),
    "Mamba": family("Mamba", state_size=4),
    "Mixtral": family("Mixtral", num_local_experts=4, num_experts_per_tok=2),
    "OLMoE": family("Olmoe", num_experts=4, num_experts_per_tok=2),
    "OPT": family("OPT", ffn_dim=48, word_embed_proj_dim=32),
    "Qwen 3 with experts": family("Qwen3Moe", num_experts=4, num_experts_per_tok=2, moe_intermediate_size=16),
}
"""Drawn by the explicit engine."""


def in_the_table() -> dict[str, list[str]]:
    """The rows of the page's table of families: the class, the engine, and how prompts are scored."""
    lines = PAGE.read_text(encoding="utf-8").split("| family |")[1].split("\n\n")[0].splitlines()[2:]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {family: rest for family, *rest in cells}
