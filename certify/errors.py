"""Errors and warnings of certify. This module imports nothing.

Every error is a `CertifyError` and refines the builtin that a caller would expect.
"""


class CertifyError(Exception):
    """Base of every error that certify raises on purpose."""


class InvalidInput(CertifyError, ValueError):  # noqa: N818  # a state, named as such
    """A value is outside the range that a function accepts."""


class InvalidPlan(CertifyError, ValueError):  # noqa: N818  # a state, named as such
    """A plan cannot reach its requirement whatever the outcome, or contradicts itself."""


class CheckpointError(CertifyError, ValueError):
    """Weight files are missing, unreadable or of a kind that is not accepted."""


class CheckpointChanged(CertifyError, RuntimeError):  # noqa: N818  # a state, named as such
    """Weights differ from the ones whose identity was recorded."""


class BenchmarkError(CertifyError, ValueError):
    """A benchmark is malformed, has duplicate items or does not match its record."""


class CertificateMismatch(CertifyError, ValueError):  # noqa: N818  # a state, named as such
    """A certificate contradicts itself or the files it names."""


class UnsupportedSchema(CertifyError, ValueError):  # noqa: N818  # a state, named as such
    """A file has a schema or version that this release does not read."""


class ActivationRefused(CertifyError, ValueError):  # noqa: N818  # a state, named as such
    """The activation engine is not exact for this model, design or run; the explicit engine is."""

    def __init__(self, reasons: tuple[str, ...] | str) -> None:
        self.reasons = (reasons,) if isinstance(reasons, str) else tuple(reasons)
        more = f" (and {len(self.reasons) - 3} more)" if len(self.reasons) > 3 else ""
        super().__init__(f"not exact in activation space: {'; '.join(self.reasons[:3])}{more}; use the explicit engine")


class CertifyWarning(UserWarning):
    """Base of every warning that certify emits."""


def panicked(error: BaseException) -> bool:
    """Whether a library in Rust gave up: its PanicException is no Exception, and no module exports it."""
    return type(error).__name__ == "PanicException"


MODELS = ("torch", "transformers", "accelerate", "safetensors", "numba", "regex", "matplotlib")
"""What the extra ``models`` installs, by the names that are imported."""
SIGNATURES = ("cryptography", "sigstore", "sigstore_models")
"""What the extra ``sign`` installs, likewise."""


def needs_extra(error: ImportError) -> str | None:
    """Return what to say where a library of the extras ``models`` or ``sign`` is missing; None for any other."""
    name = (error.name or "").partition(".")[0]
    if name in SIGNATURES:
        return f"{name} is not installed; it comes with the extra for signatures: pip install 'pytest-basin[sign]'"
    if name not in MODELS:
        return None
    return f"{name} is not installed; it comes with the extra for models: pip install 'pytest-basin[models]'"
