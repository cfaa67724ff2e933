"""Measuring: draws -> engine -> scores -> records. No claim is made here."""

from certify.measuring.base import Base, PlannedDraws, measure_base, subspace_law
from certify.measuring.gate import certify, check
from certify.measuring.pilot import pilot_sigma, sigma_grid

__all__ = ["Base", "PlannedDraws", "certify", "check", "measure_base", "pilot_sigma", "sigma_grid", "subspace_law"]
