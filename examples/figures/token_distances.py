"""The paper's Fig. 4c: how far apart the tokens of a model are, with the nearest pairs. A heuristic.

    python examples/figures/token_distances.py figures [model]

The demo's rows have norms near 2.5, so pairs within 2.0 stand in for the paper's 0.1.
"""

from __future__ import annotations

import sys
from pathlib import Path

from certify.demo import DATA
from certify.landscape.tokens import token_distances
from certify.report.figures import save
from certify.report.token_figure import token_figure


def main(folder: Path, model: Path = DATA / "base", rho: float = 2.0) -> list[Path]:
    """Stream the distances of all pairs of tokens and draw them; only the embedding is read."""
    return save(token_figure(token_distances(model, rho=rho)), folder, "token-distances")


if __name__ == "__main__":
    for path in main(Path(sys.argv[1]), *map(Path, sys.argv[2:])):
        print(path)
