"""The contract for the Triton kernels under Triton's interpreter. Run by test_triton.py in a process of its own."""

from __future__ import annotations

import contract
import pytest
import torch
from contract import EngineContract
from torch import nn

from certify.noise.contract import check_backend
from certify.noise.engine import Engine
from certify.noise.explicit import ExplicitEngine
from certify.noise.perturbation import WeightPerturbation
from certify.noise.triton_kernels import TritonBackend
from certify.records import WeightNoise


class TestTriton(EngineContract):
    def make(self, model: nn.Module, law: WeightNoise, seed: int) -> Engine:
        return ExplicitEngine(model, WeightPerturbation(law, seed, 12, backend=TritonBackend()))


@pytest.mark.parametrize("dtype", contract.DTYPES, ids=str)
@pytest.mark.parametrize("sampler", ["strict", "fast"])
def test_bits_of_several_chunks(dtype: torch.dtype, sampler: str) -> None:
    """Both samplers, every storage dtype, against the numpy text."""
    check_backend(TritonBackend(), torch.device("cpu"), dtype, sampler)
