"""Landscapes around a base: directions in weight space, and scores along them. They explore and prove nothing.

Names below load their module when first used, so that reading a landscape's file never imports torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from certify.landscape.record import Landscape, Plane, Slice, paper_transform, read_landscape
    from certify.landscape.survey import Settings, Survey, explore
    from certify.landscape.terrain import Terrain

_HOME = {
    "Landscape": "record",
    "Plane": "record",
    "Settings": "survey",
    "Slice": "record",
    "Survey": "survey",
    "Terrain": "terrain",
    "explore": "survey",
    "paper_transform": "record",
    "read_landscape": "record",
}

__all__ = [
    "Landscape",
    "Plane",
    "Settings",
    "Slice",
    "Survey",
    "Terrain",
    "explore",
    "paper_transform",
    "read_landscape",
]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'certify.landscape' has no attribute {name!r}")
    return getattr(import_module(f"certify.landscape.{_HOME[name]}"), name)
