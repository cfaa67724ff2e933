"""Toy models whose noised score is known in closed form, at the base and at every distance.

One direction of weight space matters. With z ~ N(0, 1) along it, in units of noise, the score over all
items is J = Phi(a - b z): high on one side, collapsing on the other, more steeply the larger b. At a
checkpoint r noise units along that direction E J = Phi((a - b r) / sqrt(1 + b^2)). J falls along the shift,
so this is also the exact value of the layer cake: the hardest case for the bounds, where the law holds with
equality.
"""

import numpy as np
from scipy import stats
from scipy.special import ndtr


class Cliff:
    """J = Phi(a - b z), rounded to nothing; a / b is the position of the cliff, b its steepness."""

    def __init__(self, edge, steepness):
        self.a, self.b = edge * steepness, steepness

    def scores(self, rng, n, shift=0.0):
        """n scores at distance `shift`."""
        return ndtr(self.a - self.b * (rng.standard_normal(n) + shift))

    def mean(self, r=0.0):
        """E J at distance r."""
        return float(ndtr((self.a - self.b * r) / np.hypot(1, self.b)))

    def survival(self, t, r=0.0):
        """P(J >= t) at distance r, for 0 < t < 1."""
        return ndtr((self.a - stats.norm.ppf(t)) / self.b - r)


RARE = Cliff(edge=2.33, steepness=8.0)  # about 1 % of draws lose everything
GENTLE = Cliff(edge=1.2, steepness=0.8)  # scores spread over (0, 1)
