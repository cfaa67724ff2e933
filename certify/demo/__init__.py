"""The demo: a small base, five fine-tunes and their benchmarks, shipped as real Hugging Face folders.

``examples/demo_models/make.py`` trained them; nothing about their verdicts is stored.
"""

from importlib.resources import files
from pathlib import Path

DATA = Path(str(files(__package__))) / "data"
