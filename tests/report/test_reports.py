"""Tables, words and figures say what the records hold, and nothing more."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console
from world import World

from certify.evidence import KINDS, Requirement, Verdict
from certify.evidence.judgement import Deciding, Interval
from certify.report.figures import basin_figure, distance_figure, save, segment_figure
from certify.report.rows import row_of
from certify.report.table import cell, verdict_table
from certify.report.words import document_lines, measurement_lines


def rendered(table: object) -> str:
    console = Console(width=120, record=True, file=open("/dev/null", "w"))  # noqa: SIM115  (the console keeps it)
    console.print(table)
    console.file.close()
    return console.export_text()


def test_the_table_has_a_row_per_checkpoint_and_a_column_per_kind(world: World) -> None:
    """Every verdict appears in it, and informational kinds are marked."""
    rows = [row_of(c, informational=c.evidence.kind == "distance") for c in world.certificates.values()]
    text = rendered(verdict_table(rows))
    assert all(kind in text for kind in KINDS)
    assert "tuned" in text
    assert "information" in text
    for certificate in world.certificates.values():
        assert certificate.verdict.upper() in text


@pytest.mark.parametrize(
    ("unit", "verdict", "text"),
    [
        ("drop", Verdict.CERTIFIED, "drop <= 0.013"),
        ("drop", Verdict.REFUTED, "drop >= 0.012"),
        ("drop", Verdict.UNDECIDED, "drop 0.012 to 0.013"),
        ("retention", Verdict.CERTIFIED, "retention >= 0.012"),
        ("retention", Verdict.REFUTED, "retention <= 0.013"),
    ],
)
def test_bounds_are_printed_outwards(unit: str, verdict: Verdict, text: str) -> None:
    """0.0123 and 0.0127 print as 0.012 below and 0.013 above: never closer than they are."""
    requirement = Requirement.model_validate({"unit": unit})
    assert Deciding.of(requirement, verdict, Interval(value=None, lower=0.0127, upper=0.0123)).signs == text


def test_a_vacuous_bound_is_called_so(world: World) -> None:
    """The word stands where the number would."""
    row = row_of(world.certificates["distance"]).model_copy(update={"vacuous": True})
    bound, where = cell(row).plain.splitlines()[1:]
    assert (bound, where.split()[0]) == ("vacuous", "r")


def test_words_hold_claim_limits_and_identities(world: World) -> None:
    """Nothing that limits a claim is left out when it is said in words."""
    for certificate in world.certificates.values():
        text = "\n".join(document_lines(certificate))
        assert certificate.claim_text in text
        assert all(limit in text for limit in certificate.judgement.limits)
        assert certificate.checkpoint.weights in text
    assert "No claim is made here" in "\n".join(measurement_lines(world.measurement))


def test_figures_are_written_twice_alike(world: World, tmp_path: Path) -> None:
    """Each figure comes as SVG and PNG, and the same records give the same bytes."""
    certificates, requirement = list(world.certificates.values()), Requirement(limit=0.1)

    def draw(folder: Path) -> list[Path]:
        return [
            *save(basin_figure(world.measurement, certificates, requirement, 0.05), folder, "basin"),
            *save(segment_figure(certificates, requirement), folder, "segments"),
            *save(distance_figure(world.measurement, certificates, 0.05), folder, "distance"),
        ]

    first, second = draw(tmp_path / "a"), draw(tmp_path / "b")
    assert len(first) == 6
    for one, other in zip(first, second, strict=True):
        assert one.stat().st_size > 1000
        assert one.read_bytes() == other.read_bytes(), one.name


def test_the_basin_figure_names_what_is_plotted(world: World, tmp_path: Path) -> None:
    """Axes, width, allowed drop and checkpoint are named in the figure itself."""
    certificates = list(world.certificates.values())
    svg, _ = save(basin_figure(world.measurement, certificates, Requirement(limit=0.1), 0.05), tmp_path, "basin")
    text = svg.read_text()
    for words in ("score on own", "allowed drop 0.1", "tuned without noise", "95 % one-sided bounds"):
        assert words in text, words
