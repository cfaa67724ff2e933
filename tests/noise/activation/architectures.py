"""Small random models of the layouts that the activation engine meets, and batches for them."""

from __future__ import annotations

from typing import Any

import torch
import transformers as tr
from torch import nn

from certify.noise import weight_noise
from certify.noise.activation import ActivationEngine, Exactness, Layout, examine
from certify.records import Seed, WeightNoise

VOCABULARY = 97
SEED = Seed(value=f"{20240607:064x}")


def ready(kind: str, config: Any, dtype: torch.dtype) -> Any:
    """A frozen random model in evaluation mode."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = getattr(tr, kind)._from_config(config, attn_implementation="eager")
    return model.to(dtype).eval().requires_grad_(False)


def gpt2(dtype: torch.dtype = torch.float32, d: int = 64, layers: int = 3, **more: Any) -> Any:
    """Tied head, biases, LayerNorm, learned positions, Conv1D."""
    config = tr.GPT2Config(n_embd=d, n_layer=layers, n_head=4, vocab_size=VOCABULARY, n_positions=128,
                           bos_token_id=0, eos_token_id=0, **more)  # fmt: skip
    return ready("GPT2LMHeadModel", config, dtype)


def decoder(kind: str, dtype: torch.dtype = torch.float32, *, tied: bool = False, d: int = 64, layers: int = 3,
            **more: Any) -> Any:  # fmt: skip
    """RMSNorm, rotary positions, grouped queries."""
    config = getattr(tr, kind + "Config")(
        hidden_size=d, num_hidden_layers=layers, num_attention_heads=4, num_key_value_heads=2, head_dim=d // 4,
        intermediate_size=176, vocab_size=VOCABULARY, tie_word_embeddings=tied, pad_token_id=0, bos_token_id=1,
        eos_token_id=2, **more,
    )  # fmt: skip
    return ready(kind + "ForCausalLM", config, dtype)


def phi(dtype: torch.dtype = torch.float32, **more: Any) -> Any:
    """LayerNorm once for attention and MLP, partial rotary, a head with a bias."""
    config = tr.PhiConfig(hidden_size=64, num_hidden_layers=3, num_attention_heads=4, intermediate_size=176,
                          vocab_size=VOCABULARY, pad_token_id=0, bos_token_id=1, eos_token_id=2, **more)  # fmt: skip
    return ready("PhiForCausalLM", config, dtype)


LAYOUTS = {
    "gpt2": gpt2,
    "llama": lambda dtype: decoder("Llama", dtype),
    "llama tied": lambda dtype: decoder("Llama", dtype, tied=True),
    "qwen2": lambda dtype: decoder("Qwen2", dtype, tied=True),
    "qwen3": lambda dtype: decoder("Qwen3", dtype, tied=True),
    "mistral": lambda dtype: decoder("Mistral", dtype, sliding_window=8),
    "gemma": lambda dtype: decoder("Gemma", dtype, tied=True),
    "gemma2": lambda dtype: decoder("Gemma2", dtype, tied=True),
    "phi": phi,
    "phi with norms of queries and keys": lambda dtype: phi(dtype, qk_layernorm=True),
}


def law_of(model: nn.Module, sigma: float | dict[str, float] = 0.05) -> WeightNoise:
    """The law over all tensors of a model."""
    return weight_noise({n: p.numel() for n, p in model.named_parameters()}, sigma)


def tokens(rows: int, length: int) -> torch.Tensor:
    """Random ids with repetitions within a row."""
    ids = torch.randint(0, VOCABULARY, (rows, length), generator=torch.Generator().manual_seed(1))
    ids[:, 5] = ids[:, 9] = ids[:, 2]
    return ids


def right_padded(rows: int, length: int, step: int) -> torch.Tensor:
    """Real tokens of rows that are shorter by ``step`` one after the other."""
    return torch.arange(length) < (length - step * torch.arange(rows))[:, None]


def examined(model: nn.Module, *, items: int = 1, length: int = 24, step: int = 0, rows: int = 4) -> Exactness:
    """The oracle on four rows with repeated ids."""
    layout = Layout.even(range(rows // items), items, right_padded(rows, length, step))
    engine = ActivationEngine(model, law_of(model), SEED.integer)
    return examine(engine, layout, input_ids=tokens(rows, length), use_cache=False)
