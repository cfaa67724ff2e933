"""The rounding functions under the name the bounds use; they live below the laws, which round too."""

from certify.rounding import CLAIM_SLACK, ceil_to, floor_to, round_down, round_up

__all__ = ["CLAIM_SLACK", "ceil_to", "floor_to", "round_down", "round_up"]
