"""Widths over checkpoints and over sizes, and forgetting curves: what is drawn is what was given."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from world import World

from certify.errors import InvalidInput
from certify.evidence import Requirement
from certify.report.figures import save
from certify.report.forgetting_figure import ForgettingRun, forgetting_figure
from certify.report.width_figures import Width, width_over_checkpoints, width_over_sizes

NARROW, OPEN, NONE = Width(0, 0.02, 0.03, 0.1), Width(100, 0.04, None, 0.1), Width(200, 0.0, 0.01, 0.1)


def svg_text(draw: Callable[[], Figure], folder: Path) -> str:
    """The figure as SVG; both files are written, and drawing again gives the same."""
    svg, png = save(draw(), folder / "a", "figure")
    again, _ = save(draw(), folder / "b", "figure")
    assert png.stat().st_size > 1000
    assert svg.read_bytes() == again.read_bytes()
    return svg.read_text()


def test_a_width_is_what_the_basin_says_at_both_ends(world: World) -> None:
    """The same numbers as sigma* of position evidence and refuted_from; nothing is computed twice."""
    basin, requirement = world.measurement.basin, Requirement(limit=0.1)
    width = Width.of(7, basin, requirement, 0.05, 0.0)
    assert width == Width(
        7,
        basin.width(requirement, 0.05, 0.0) or 0.0,
        basin.refuted_from(requirement, 0.05, 0.0),
        basin.levels[-1].sigma,
    )
    assert width.lower == world.certificates["position"].judgement.quantities["sigma_star"]
    none = Width.of(7, basin, Requirement(unit="retention", limit=1.0), 0.05, 0.0)
    assert (none.lower, none.upper) == (0.0, None)


def test_a_width_in_other_units_is_divided_at_every_end() -> None:
    """Widths of models with weights of different scale are shown in units of the weights."""
    assert Width(1, 0.2, 0.4, 0.8).in_units_of(0.5) == Width(1, 0.4, 0.8, 1.6)
    assert OPEN.in_units_of(2.0).upper is None
    with pytest.raises(InvalidInput, match="size"):
        NARROW.in_units_of(0.0)


@pytest.mark.parametrize(
    ("lower", "upper", "top", "message"),
    [(-0.1, None, 1.0, "lower"), (0.5, 0.5, 1.0, "upper"), (0.5, 2.0, 1.0, "upper"), (0.5, None, 0.4, "top")],
)
def test_an_impossible_width_is_refused(lower: float, upper: float | None, top: float, message: str) -> None:
    """The interval lies on the grid and is not empty."""
    with pytest.raises(InvalidInput, match=message):
        Width(0, lower, upper, top)


def vertical_lines(figure: Figure) -> list[tuple[float, float, float, str]]:
    """x, both ends and style of every interval drawn."""
    found = []
    for line in figure.axes[0].lines:
        x, y = list(line.get_xdata()), list(line.get_ydata())  # type: ignore[arg-type]
        if len(x) == 2 and x[0] == x[1]:
            found.append((float(x[0]), float(y[0]), float(y[1]), str(line.get_linestyle())))
    return found


def test_intervals_reach_from_certified_to_refuted_or_stay_open() -> None:
    """Solid to the first refuted sigma, dotted to the largest tried where none is, from 0 where none is certified."""
    figure = width_over_checkpoints({"AdamW": [NARROW, OPEN, NONE]}, 0.05)
    assert vertical_lines(figure) == [(0, 0.02, 0.03, "-"), (100, 0.04, 0.1, ":"), (200, 0.0, 0.01, "-")]
    low, high = figure.axes[0].get_ylim()
    assert low < 0 and high > 0.1


@pytest.mark.parametrize(
    ("draw", "xlabel"), [(width_over_checkpoints, "training step"), (width_over_sizes, "parameters")]
)
def test_the_figure_says_what_its_marks_mean(draw: Callable[..., Figure], xlabel: str, tmp_path: Path) -> None:
    """Names, seeds, marks, confidence and unit are in the figure itself."""
    widths = [Width(1000, 0.02, 0.03, 0.1), Width(1000, 0.03, 0.04, 0.1), Width(2000, 0.0, None, 0.1)]
    series = {"GO": widths, "AdamW": [Width(1000, 0.02, 0.03, 0.1)]}
    text = svg_text(lambda: draw(series, 0.05, "sigma / rms of weights"), tmp_path)
    for words in (
        xlabel, "sigma / rms of weights", "95 % confidence at each end", "GO: certified up to here (line: median of 2)",
        "refuted from here on", "largest sigma tried, not refuted", "no sigma certified",
    ):  # fmt: skip
        assert words in text, words


def test_sizes_are_on_a_logarithmic_axis() -> None:
    """Models differ by orders of magnitude; none has no parameters."""
    assert width_over_sizes({"x": [OPEN, Width(10, 0.1, 0.2, 0.3)]}, 0.05).axes[0].get_xscale() == "log"
    with pytest.raises(InvalidInput, match=r"x = 0\.0|x = 0"):
        width_over_sizes({"x": [NARROW]}, 0.05)


@pytest.mark.parametrize("draw", [width_over_checkpoints, width_over_sizes])
@pytest.mark.parametrize(("xs", "seeds"), [((100,), 1), ((100,), 30), ((250, 500, 750, 1000), 20), ((1, 2, 1000), 5)])
def test_crowds_neither_meet_nor_leave_the_axes(
    draw: Callable[..., Figure], xs: tuple[float, ...], seeds: int, tmp_path: Path
) -> None:
    """However many bases share an x, their marks stay in place order and inside."""
    figure = draw({"GO": [Width(x, 0.1, 0.2, 0.3) for x in xs for _ in range(seeds)]}, 0.05)
    save(figure, tmp_path, "crowd")  # the layout is settled by drawing
    axes = figure.axes[0]
    left, right = axes.transAxes.transform([(0, 0), (1, 0)])[:, 0]
    marks = [m for m in axes.lines if len(m.get_xdata()) == 1 and m.get_markevery() is None]  # type: ignore[arg-type]
    places = [float(line.get_transform().transform((line.get_xdata()[0], 0.1))[0]) for line in marks]  # type: ignore[index]
    assert len(places) == 2 * len(xs) * seeds
    assert places == sorted(places)
    assert left < places[0] and places[-1] < right


def test_no_widths_are_no_figure() -> None:
    """Said in one line."""
    with pytest.raises(InvalidInput, match="at least one width"):
        width_over_sizes({"AdamW": []}, 0.05)


def run(seed: int, name: str = "AdamW", kept: float = 0.5) -> ForgettingRun:
    return ForgettingRun(name, seed, (0, 10, 20), (0.9, 0.9 - 0.1 * seed, kept), (0.0, 0.4, 0.8 + 0.01 * seed))


def test_forgetting_curves_are_median_and_range(tmp_path: Path) -> None:
    """The line is the median over seeds, the band reaches from the worst to the best, each seed's end is marked."""

    def draw() -> Figure:
        return forgetting_figure([run(0), run(1), run(2), run(0, "GO", 0.85)], "addition", "subtraction")

    figure = draw()
    learnt, kept, plane = figure.axes
    assert list(kept.lines[0].get_ydata()) == [0.9, 0.8, 0.5]  # type: ignore[arg-type]
    band = kept.collections[0].get_paths()[0].vertices
    assert {round(float(y), 6) for x, y in band if x == 10} == {0.7, 0.9}
    assert list(learnt.lines[0].get_ydata()) == [0.0, 0.4, 0.81]  # type: ignore[arg-type]
    assert list(plane.lines[1].get_xdata()) == pytest.approx([0.8, 0.81, 0.82])  # type: ignore[arg-type]
    text = svg_text(draw, tmp_path)
    for words in ("score on addition", "score on subtraction", "AdamW: median and range of 3 seeds", "GO: one seed"):
        assert words in text, words


def test_forgetting_runs_that_do_not_fit_are_refused() -> None:
    """Scores for each step, ascending steps, one grid of steps for each recipe, at least one run."""
    with pytest.raises(InvalidInput, match="'AdamW', seed 0: needs ascending steps"):
        ForgettingRun("AdamW", 0, (0, 1), (0.5,), (0.5, 0.5))
    with pytest.raises(InvalidInput, match="needs ascending steps"):
        ForgettingRun("AdamW", 0, (1, 0), (0.5, 0.5), (0.5, 0.5))
    with pytest.raises(InvalidInput, match="named 'AdamW' have different steps"):
        forgetting_figure([run(0), ForgettingRun("AdamW", 1, (0,), (0.5,), (0.5,))])
    with pytest.raises(InvalidInput, match="at least one run"):
        forgetting_figure([])
