"""What is refused before any work: ladders too thin for their alpha, populations that distance cannot judge."""

from __future__ import annotations

import pytest
from world import World

from certify.errors import InvalidPlan
from certify.evidence import Requirement
from certify.measuring import Base, PlannedDraws, check, measure_base


def test_a_ladder_needs_enough_draws_for_its_share_of_alpha(world: World) -> None:
    """55 draws of one law can certify a drop of 0.1; as one of three rungs at alpha/3 they cannot."""
    base, requirement = Base.open(world.base, world.benchmark), Requirement(limit=0.1)
    rungs = [PlannedDraws(base.weight_law(s), 55) for s in (1e-5, 2e-5, 3e-5)]
    with pytest.raises(InvalidPlan, match="this gate cannot pass with 55 draws"):
        measure_base(base, planned=rungs, grid=(1e-4,), requirement=requirement)
    found = measure_base(base, planned=rungs[:1], grid=(1e-4,), requirement=requirement)
    assert found.draws[0].ladder == 1


def test_the_best_rung_of_a_ladder_is_taken(world: World) -> None:
    """Of three sigmas, each at alpha/3, distance evidence rests on the one with the best bound."""
    base = Base.open(world.base, world.benchmark)
    rungs = [PlannedDraws(base.weight_law(s), 40) for s in (1e-5, 1e-4, 1e-3)]
    measurement = measure_base(base, planned=rungs, grid=(1e-4,))
    (certificate,) = check(
        base, world.checkpoint, kinds=("distance",), requirement=Requirement(limit=0.3), measurement=measurement
    )
    bounds = []
    for draws in measurement.draws:
        evidence = certificate.evidence.model_copy(update={"draws": draws})
        bounds.append(evidence.judge(measurement.benchmark, Requirement(limit=0.3), 0.05).quantities["bound"])
    assert certificate.judgement.quantities["bound"] == max(bounds) > min(bounds)
    assert any("ladder of 3" in note for note in certificate.judgement.notes)


def test_for_absence_the_rung_that_certifies_is_taken(world: World) -> None:
    """Noise of sigma 3 destroys what noise of 1e-3 keeps: absence rests on the first, a drop on the other."""
    base = Base.open(world.base, world.benchmark)
    rungs = [PlannedDraws(base.weight_law(s), 60) for s in (1e-3, 3.0)]
    measurement = measure_base(base, planned=rungs, grid=(1e-4,))
    for requirement, sigma in ((Requirement(unit="absence", limit=0.9), 3.0), (Requirement(limit=0.5), 1e-3)):
        (found,) = check(base, world.checkpoint, kinds=("distance",), requirement=requirement, measurement=measurement)
        assert max(found.evidence.draws.law.sigma.values()) == sigma


def test_distance_for_a_population_knows_a_drop_only(world: World) -> None:
    """Retention and absence of a population are refused in words, not answered with nothing."""
    base = Base.open(world.base, world.benchmark)
    for requirement in (Requirement(unit="retention", limit=0.9), Requirement(unit="absence", limit=0.5)):
        with pytest.raises(InvalidPlan, match="knows a drop only"):
            list(
                check(
                    base,
                    world.checkpoint,
                    kinds=("distance",),
                    requirement=requirement,
                    measurement=world.measurement,
                    items="population",
                )
            )


def test_the_library_in_one_call(world: World) -> None:
    """certify.certify returns a certificate with verdict, claim and file."""
    import certify

    certificate = certify.certify(world.base, world.checkpoint, world.benchmark, max_drop=0.05)
    assert certificate.verdict == "certified"
    assert "confidence over the items" in certificate.claim_text
