"""Scores that other tools made, item by item, read from what they leave behind. No model and no torch is loaded.

Log → items with their metrics → one metric, paired by item → point evidence → a record that says where it came from.
"""

from certify.logs.pairing import Paired, pair
from certify.logs.reading import read_logs, together

__all__ = ["Paired", "pair", "read_logs", "together"]
