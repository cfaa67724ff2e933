"""A simulated coverage test is itself a hypothesis test: its false-alarm budget and its power.

A bound that is valid at alpha misses in each repetition with probability at most alpha, independently. The
number of misses in R repetitions is then stochastically below Bin(R, alpha), and `critical_misses` is
reached with probability at most 1e-6. "rate <= alpha" would be no test: a bound exactly at its level fails
it half the time.
"""

from scipy import stats

BUDGET = 1e-6


def critical_misses(repeats, alpha):
    """The smallest count c with P(Bin(repeats, alpha) >= c) <= BUDGET."""
    return int(stats.binom.isf(BUDGET, repeats, alpha)) + 1


def power(repeats, alpha, actual):
    """The probability of rejecting a bound that actually misses with probability `actual`."""
    return float(stats.binom.sf(critical_misses(repeats, alpha) - 1, repeats, actual))


def check_coverage(misses, repeats, alpha):
    """Raise AssertionError if so many misses have probability below BUDGET for a valid bound."""
    critical = critical_misses(repeats, alpha)
    assert misses < critical, (
        f"{misses} misses in {repeats} repetitions, rate {misses / repeats:.4f} at alpha = {alpha}: "
        f"{critical} or more have probability at most {BUDGET:g} for a valid bound"
    )
