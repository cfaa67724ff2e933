"""The paper's Fig. 4a and 4b: the strong law on the paper's own grids. No model is run.

python examples/figures/fig4_bounds.py figures
"""

from __future__ import annotations

import sys
from pathlib import Path

from certify.report.figures import save
from certify.report.theory_figures import figure_4a, figure_4b, law_figure


def main(folder: Path) -> list[Path]:
    """Draw both panels; the numbers are in ``figure_4a().bound``, shape (curves, points)."""
    return [*save(law_figure(figure_4a()), folder, "fig4a"), *save(law_figure(figure_4b()), folder, "fig4b")]


if __name__ == "__main__":
    for path in main(Path(sys.argv[1])):
        print(path)
