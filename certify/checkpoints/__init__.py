"""Checkpoints on disk: open, identify, compare. Weights are safetensors; nothing is unpickled."""

from certify.checkpoints.checkpoint import Checkpoint, open_checkpoint
from certify.checkpoints.difference import difference
from certify.checkpoints.model import load_model, load_tokenizer

__all__ = ["Checkpoint", "difference", "load_model", "load_tokenizer", "open_checkpoint"]
