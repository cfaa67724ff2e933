"""How far are the special functions from the truth? The largest relative errors, against the step of outward rounding.

Run `python benchmarks/rounding.py`: seeded arguments as bounds use them, each value compared with mpmath at 60
digits. A claim is moved outwards by CLAIM_SLACK; the last column says how many times the error that is.
"""

import mpmath as mp
import numpy as np
from scipy.special import betaincinv, gammaln, ndtr, ndtri

from certify.statistics.rounding import CLAIM_SLACK

CASES = 2000


def quantile_error(k, n, q, found):
    """Relative error of the q-quantile of Beta(k, n - k + 1): one Newton step on the exact binomial tail P(X >= k)."""
    x, tail = mp.mpf(float(found)), mp.mpf(0)
    term = first = mp.binomial(n, k) * x**k * (1 - x) ** (n - k)
    for j in range(k, n + 1):
        tail += term
        term *= mp.mpf(n - j) / (j + 1) * x / (1 - x)
    return abs((tail - mp.mpf(float(q))) / (first * k / x) / x)


def clopper_pearson(rng):
    """Lower and upper limits of k successes in n trials, n up to 5,000."""
    for _ in range(CASES // 4):
        n = int(10 ** rng.uniform(0.5, 3.7))
        k, alpha = int(rng.integers(1, n)), 10 ** rng.uniform(-6, -1)
        yield quantile_error(k, n, alpha, betaincinv(k, n - k + 1, alpha))
        yield quantile_error(k + 1, n, 1 - alpha, betaincinv(k + 1, n - k, 1 - alpha))


def shifted(rng):
    """Phi(PhiInv(p) - r), the law of distance, where the result is at least 1e-12."""
    for _ in range(CASES):
        p, r = rng.uniform(0.001, 0.999), rng.uniform(0, 4)
        z = mp.sqrt(2) * mp.erfinv(2 * mp.mpf(float(p)) - 1)
        true = mp.ncdf(z - mp.mpf(float(r)))
        yield abs(mp.mpf(float(ndtr(ndtri(p) - r))) / true - 1)


def log_gamma(rng):
    """log Gamma of counts, from which exact calibration is built."""
    for _ in range(CASES):
        n = int(10 ** rng.uniform(0.7, 5))
        yield abs(mp.mpf(float(gammaln(n))) / mp.loggamma(n) - 1)


def main():
    """Print one line for each function."""
    mp.mp.dps = 60
    print(f"{'function':22} {'largest relative error':>24} {'step / error':>13}")
    for call in (clopper_pearson, shifted, log_gamma):
        worst = float(max(call(np.random.default_rng(0))))
        print(f"{call.__name__:22} {worst:24.1e} {CLAIM_SLACK / worst:13.0f}")


if __name__ == "__main__":
    main()
