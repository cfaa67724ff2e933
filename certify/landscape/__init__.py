"""Landscapes around a base: directions in weight space, and scores along them. They explore and prove nothing.

Names below load their module when first used, so that reading a landscape's file never imports torch.
"""

from typing import TYPE_CHECKING

from certify._lazy import on_first_use

if TYPE_CHECKING:
    from certify.landscape.record import Landscape, Plane, Slice, paper_transform, read_landscape
    from certify.landscape.survey import Settings, Survey, explore
    from certify.landscape.terrain import Terrain

__getattr__, __dir__ = on_first_use(
    __name__,
    {
        "Landscape": "certify.landscape.record",
        "Plane": "certify.landscape.record",
        "Settings": "certify.landscape.survey",
        "Slice": "certify.landscape.record",
        "Survey": "certify.landscape.survey",
        "Terrain": "certify.landscape.terrain",
        "explore": "certify.landscape.survey",
        "paper_transform": "certify.landscape.record",
        "read_landscape": "certify.landscape.record",
    },
)

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
