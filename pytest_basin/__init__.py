"""The pytest plugin; it starts in :mod:`pytest_basin.plugin`, and this file imports nothing."""
