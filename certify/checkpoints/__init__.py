"""Checkpoints on disk: open, identify, compare. Weights are safetensors; nothing is unpickled."""

from certify.checkpoints.checkpoint import Checkpoint
from certify.checkpoints.difference import difference
from certify.checkpoints.model import load_model, load_tokenizer
from certify.checkpoints.opening import open_checkpoint
from certify.checkpoints.prompts import load_for_scoring

__all__ = ["Checkpoint", "difference", "load_for_scoring", "load_model", "load_tokenizer", "open_checkpoint"]
