"""The model that scores a prompt: PEFT's wrapped model, called as an ordinary one is."""

from __future__ import annotations

import inspect
import warnings
from typing import Any

import torch
from torch import nn


class PromptedModel(nn.Module):
    """PEFT's wrapped model, called as its base is: logits for the given tokens alone, rows of any padding.

    ``embedded``: virtual tokens stand among the input's embeddings, and have logits; else they are keys and values.

    Guarantee: a row's logits are those of PEFT's forward for this row on its own, up to rounding.
    """

    def __init__(self, wrapped: Any, virtual_tokens: int, *, embedded: bool) -> None:
        super().__init__()
        self.wrapped, self.base = wrapped, wrapped.get_base_model()
        self.config, self.generation_config = self.base.config, self.base.generation_config
        self.dtype = self.base.dtype
        self._virtual_tokens, self._embedded = virtual_tokens, embedded
        self._keeps = "logits_to_keep" in inspect.signature(self.base.forward).parameters

    def get_input_embeddings(self) -> nn.Module:
        """Return the base's embedding of tokens."""
        return self.base.get_input_embeddings()  # type: ignore[no-any-return]

    def forward(
        self, input_ids: torch.Tensor, logits_to_keep: torch.Tensor | None = None, use_cache: bool = False
    ) -> Any:
        """Return the output with logits of shape (rows, tokens or ``logits_to_keep``, vocabulary)."""
        every = torch.arange(input_ids.shape[1], device=input_ids.device)
        columns = (every if logits_to_keep is None else logits_to_keep) + self._virtual_tokens * self._embedded
        kept = {"logits_to_keep": columns} if self._keeps else {}
        with warnings.catch_warnings(action="ignore"):  # of the name under which peft hands over a prefix
            output = self.wrapped(input_ids=input_ids, use_cache=use_cache, **kept)
        if not self._keeps:
            output.logits = output.logits[:, columns.to(output.logits.device)]
        return output

    def generate(self, input_ids: torch.Tensor, attention_mask: torch.Tensor, generation_config: Any) -> torch.Tensor:
        """Return left-padded rows with what is written after each, by PEFT's forward, token by token.

        PEFT's own ``generate`` is not taken: it counts padding as distance from the prompt, and 0.21.2 with
        transformers 5.24.0 puts prompts before every new token and forgets prefixes. No cache is kept, so each token
        takes a pass over the text so far.
        """
        padding, written = (attention_mask == 0).sum(1), dict[int, torch.Tensor]()
        for pads in sorted(set(padding.tolist())):
            rows = (padding == pads).nonzero().flatten().tolist()
            made = self._continued(input_ids[rows, pads:], generation_config)
            for row, whole in zip(rows, made, strict=True):
                written[row] = torch.cat([input_ids[row, :pads], whole])
        return nn.utils.rnn.pad_sequence(
            [written[row] for row in range(len(input_ids))], batch_first=True,
            padding_value=generation_config.pad_token_id,
        )  # fmt: skip

    def _continued(self, input_ids: torch.Tensor, generation_config: Any) -> torch.Tensor:
        """Return rows without padding with what is written after each."""
        ordinary = self.base.prepare_inputs_for_generation
        self.base.prepare_inputs_for_generation = self._inputs
        try:
            with warnings.catch_warnings(action="ignore"):  # as above
                written: torch.Tensor = self.base.generate(
                    input_ids=input_ids, attention_mask=torch.ones_like(input_ids),
                    generation_config=generation_config, use_cache=False,
                )  # fmt: skip
        finally:
            self.base.prepare_inputs_for_generation = ordinary
        return written

    def _inputs(self, input_ids: torch.Tensor, **kwargs: Any) -> dict[str, Any]:
        """Return what the base is called with for the next token: as PEFT's forward calls it, the whole text anew."""
        rows, kept = len(input_ids), {name: kwargs[name] for name in ("logits_to_keep",) if name in kwargs}
        if not self._embedded:
            length = input_ids.shape[1] + self._virtual_tokens
            prefix = self.wrapped.get_prompt(rows, max_cache_len=length)
            return {"input_ids": input_ids, "past_key_values": prefix, "use_cache": False, **kept}
        tokens = self.get_input_embeddings()(input_ids)
        prompt = self.wrapped.get_prompt(rows).to(tokens.dtype)
        return {"inputs_embeds": torch.cat([prompt, tokens], dim=1), "use_cache": False, **kept}
