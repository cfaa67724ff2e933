"""Settings for all tests: property tests have no time limit for one example, since machines are shared."""

from hypothesis import settings

settings.register_profile("pytest-basin", deadline=None)
settings.load_profile("pytest-basin")
