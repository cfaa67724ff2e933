"""Real models of a few thousand weights, made in milliseconds. torch and transformers are imported when one is made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from hypothesis import strategies as st

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Architecture = Literal["llama", "gpt2"]
SEEDS = 2**31 - 1


@st.composite
def small_models(
    draw: st.DrawFn, *, architectures: tuple[Architecture, ...] = ("llama", "gpt2"), vocabulary: int = 32
) -> PreTrainedModel:
    """Return a causal language model with random weights: float32, on the CPU, in eval mode, without gradients.

    1 or 2 layers, 8 or 16 hidden units, 64 positions; embeddings tied or not. The same example has the same weights,
    and torch's global random state is left as it was.
    """
    architecture = draw(st.sampled_from(architectures))
    heads = draw(st.sampled_from((1, 2, 4)))
    shape = {
        "vocab_size": vocabulary,
        "hidden": draw(st.sampled_from((8, 16))),
        "layers": draw(st.integers(1, 2)),
        "heads": heads,
        "shared": draw(st.sampled_from([h for h in (1, 2, 4) if heads % h == 0])),
        "tied": draw(st.booleans()),
    }
    return _model(architecture, shape, seed=draw(st.integers(0, SEEDS)))


def _model(architecture: Architecture, shape: dict[str, Any], seed: int) -> PreTrainedModel:
    import torch
    from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig

    common = {"vocab_size": shape["vocab_size"], "tie_word_embeddings": shape["tied"], "initializer_range": 0.5}
    if architecture == "llama":
        config: Any = LlamaConfig(
            hidden_size=shape["hidden"],
            intermediate_size=2 * shape["hidden"],
            num_hidden_layers=shape["layers"],
            num_attention_heads=shape["heads"],
            num_key_value_heads=shape["shared"],
            max_position_embeddings=64,
            **common,
        )
    else:
        config = GPT2Config(
            n_embd=shape["hidden"],
            n_layer=shape["layers"],
            n_head=shape["heads"],
            n_positions=64,
            bos_token_id=0,
            eos_token_id=0,
            **common,
        )
    make: Any = AutoModelForCausalLM
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = make.from_config(config)
    made: PreTrainedModel = model.eval().requires_grad_(False)
    return made
