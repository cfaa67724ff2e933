"""The version of the installed distribution."""

from importlib.metadata import PackageNotFoundError, version


def version_of(distribution: str) -> str:
    """Return the version of an installed distribution, or words that say so: a checkout on the path runs too."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "not installed"


__version__ = version_of("pytest-basin")
