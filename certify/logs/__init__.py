"""Scores that other tools made, item by item, read from what they leave behind. No model and no torch is loaded.

Log → items with their metrics → one metric, paired by item → tasks pooled, where asked → point evidence → a record that
says where it came from.
"""

from certify.logs.log import Log
from certify.logs.pairing import Paired, pair
from certify.logs.pooling import FILES, pool
from certify.logs.reading import read_logs, together

__all__ = ["FILES", "Log", "Paired", "pair", "pool", "read_logs", "together"]
