"""Measuring: draws -> engine -> scores -> records. No claim is made here."""

from certify.measuring.base import Base, PlannedDraws, measure_base, subspace_law
from certify.measuring.gate import certify, check
from certify.measuring.pilot import pilot_sigma, sigma_grid
from certify.measuring.run import Run
from certify.measuring.world import join_world

__all__ = [
    "Base",
    "PlannedDraws",
    "Run",
    "certify",
    "check",
    "join_world",
    "measure_base",
    "pilot_sigma",
    "sigma_grid",
    "subspace_law",
]
