"""Measuring: draws -> engine -> scores -> records. No claim is made here."""

from certify.measuring.at_base import PlannedDraws, measure_base, subspace_law
from certify.measuring.base import Base
from certify.measuring.check import certify, check
from certify.measuring.engine_choice import choose_engine
from certify.measuring.item_trials import EngineChoice
from certify.measuring.pilot import pilot_sigma, sigma_grid
from certify.measuring.run import Run
from certify.measuring.width import measure_width, pilot_grid
from certify.measuring.world import join_world

__all__ = [
    "Base",
    "EngineChoice",
    "PlannedDraws",
    "Run",
    "certify",
    "check",
    "choose_engine",
    "join_world",
    "measure_base",
    "measure_width",
    "pilot_grid",
    "pilot_sigma",
    "sigma_grid",
    "subspace_law",
]
