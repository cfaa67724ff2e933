"""The demo: a small base, five fine-tunes and their benchmarks, shipped as real Hugging Face folders.

``examples/demo_models/make.py`` trained them; nothing about their verdicts is stored. In ``safety`` lie a smaller base
that refuses harmful requests and two fine-tunes of it, by ``examples/demo_models/safety.py``.
"""

from importlib.resources import files
from pathlib import Path

DATA = Path(str(files(__package__))) / "data"
