"""Which backend writes base + draw into work storage. Every one gives the bits of the numpy text, or is refused.

``numba`` serves CPU tensors, ``triton`` CUDA tensors where Triton is installed, ``torch`` every other device.
"""

from __future__ import annotations

import importlib.util
import warnings
from functools import cache

import numpy as np
import torch

from certify.errors import CertifyWarning, InvalidInput
from certify.noise.contract import Backend, check_backend
from certify.noise.philox import Sampler, check_known_answers


def backend_for(device: torch.device, dtype: torch.dtype, sampler: Sampler = "strict") -> Backend:
    """Return the backend that serves ``device``, after its bits have been checked there for ``dtype``.

    Raises:
        InvalidInput: the backend does not give the contract's bits on this device; the first difference is named.
    """
    _check_subnormals()
    return _checked(str(device), dtype, sampler)


@cache
def _checked(name: str, dtype: torch.dtype, sampler: Sampler) -> Backend:
    """Return the fastest backend that gives the right bits; the last one's refusal is the user's."""
    device = torch.device(name)
    check_known_answers(sampler)
    *faster, last = _candidates(device)
    for backend in faster:
        try:
            check_backend(backend, device, dtype, sampler)
        except InvalidInput as refusal:
            warnings.warn(f"{refusal}; using {last.name!r}, which is slower", CertifyWarning, stacklevel=2)
        else:
            return backend
    check_backend(last, device, dtype, sampler)
    return last


def _candidates(device: torch.device) -> list[Backend]:
    if device.type == "cpu":
        from certify.noise.cpu import CpuBackend

        return [CpuBackend()]
    from certify.noise.tensor_ops import TensorBackend

    backends: list[Backend] = [TensorBackend()]
    if device.type == "cuda" and importlib.util.find_spec("triton") is not None:
        from certify.noise.triton_kernels import TritonBackend

        backends.insert(0, TritonBackend())
    return backends


def _check_subnormals() -> None:
    """Refuse a thread that flushes subnormal numbers to zero: small weights would change without noise.

    Raises:
        InvalidInput: the setting is on.
    """
    if not np.nextafter(np.zeros(1), 1.0)[0] * 1.0 > 0.0:
        raise InvalidInput("subnormal numbers are flushed to zero (torch.set_flush_denormal): switch that off")
