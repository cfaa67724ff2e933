"""Benchmarks: frozen items with an oracle that scores a model's answers in [0, 1]."""

from certify.benchmarks.items import ExactMatchItem, MultipleChoiceItem
from certify.benchmarks.jsonl import JsonlBenchmark, open_benchmark
from certify.benchmarks.pool import PooledBenchmark, open_pool_or_benchmark
from certify.benchmarks.protocol import Benchmark, ModelLimits, Scorer

__all__ = [
    "Benchmark",
    "ExactMatchItem",
    "JsonlBenchmark",
    "ModelLimits",
    "MultipleChoiceItem",
    "PooledBenchmark",
    "Scorer",
    "open_benchmark",
    "open_pool_or_benchmark",
]
