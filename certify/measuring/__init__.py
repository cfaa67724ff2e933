"""Measuring: draws -> engine -> scores -> records. No claim is made here."""

from certify.measuring.base import Base, measure_base
from certify.measuring.gate import certify, check
from certify.measuring.pilot import pilot_sigma, sigma_grid

__all__ = ["Base", "certify", "check", "measure_base", "pilot_sigma", "sigma_grid"]
