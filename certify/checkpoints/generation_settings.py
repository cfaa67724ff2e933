"""Settings of generation, from the one place that decides them: the checkpoint's own folder.

``generation_config.json`` where the folder has one, else what its config.json says, as transformers does. Benchmarks
decode greedily, one continuation of each prompt, so settings that act on sampling and on beams alone do not count.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from certify.checkpoints.config import explained
from certify.errors import CheckpointError
from certify.text import shortened

if TYPE_CHECKING:
    from transformers import GenerationConfig

WITHOUT_EFFECT = {
    r"do_sample|temperature|top_\w+|min_p|p_less|typical_p|epsilon_cutoff|eta_cutoff|renormalize_logits": "sampling",
    r"num_beams|num_beam_groups|length_penalty|early_stopping|diversity_penalty|penalty_alpha|constraints": "beams",
    r"max_length|max_new_tokens|max_time|pad_token_id|bos_token_id|decoder_start_token_id": "the benchmark decides",
    r"use_cache|cache_\w+|return_\w+|output_\w+|num_return_sequences|\w*compile\w*|prefill_\w+": "what is kept",
    r"transformers_version|_\w+|\w*assistant\w*|prompt_lookup\w*|target_lookbehind": "speed, and who wrote it",
}
"""Names of settings that change no greedy answer, and what they act on."""


def generation_settings(config: Mapping[str, Any], own: Mapping[str, Any] | None) -> GenerationConfig:
    """Return the settings of a checkpoint whose files say ``config`` and ``own`` (None: no generation_config.json).

    Raises:
        CheckpointError: a value that transformers refuses.
    """
    from transformers import GenerationConfig

    with explained("generation_config.json cannot be used"):
        kind: Any = GenerationConfig
        known = set(kind().to_dict())
        said = own if own is not None else {k: v for k, v in config.items() if k in known}
        settings: GenerationConfig = kind.from_dict({k: v for k, v in said.items() if _acts(k)})
    ends = settings.eos_token_id
    several = ends if isinstance(ends, list) else [0 if ends is None else ends]
    if not several or any(type(end) is not int for end in several):
        raise CheckpointError(
            f"generation_config.json cannot be used: eos_token_id is {shortened(repr(ends))}, and must be a token's id "
            "or a list of them"
        )
    return settings


def generation_meaning(settings: GenerationConfig) -> dict[str, Any]:
    """Return the settings that act on a greedy answer, as plain data."""
    found = {k: v for k, v in settings.to_diff_dict().items() if _acts(k) and v is not None}
    ends = found.get("eos_token_id")
    if isinstance(ends, list):
        found["eos_token_id"] = sorted(set(ends)) if len(set(ends)) > 1 else ends[0]
    return found


def _acts(name: str) -> bool:
    return not any(re.fullmatch(pattern, name) for pattern in WITHOUT_EFFECT)
