"""Errors share one base and refine the builtin that a caller expects."""

import pytest

from certify import errors


@pytest.mark.parametrize(
    ("error", "builtin"),
    [
        (errors.InvalidInput, ValueError), (errors.InvalidPlan, ValueError),
        (errors.CheckpointError, ValueError),
        (errors.CheckpointChanged, RuntimeError), (errors.BenchmarkError, ValueError),
        (errors.CertificateMismatch, ValueError), (errors.UnsupportedSchema, ValueError),
    ],
)  # fmt: skip
def test_error_is_a_certify_error_and_a_builtin(error, builtin):
    """It can be caught either way, and says in one sentence what it means."""
    assert issubclass(error, errors.CertifyError)
    assert issubclass(error, builtin)
    assert error.__doc__.strip().endswith(".")


def test_warnings_have_a_base_of_their_own():
    """A user can silence or promote all of them at once."""
    assert issubclass(errors.CertifyWarning, UserWarning)
