"""The first line of a report: Release, Do not release or Not enough data; never the first where anything is open."""

from __future__ import annotations

import itertools
import json
import re
from typing import Any

import numpy as np
import pytest
from gate_rows import BASELINE, CLAIM, HOSTILE, WITHOUT_BASELINE, row
from hypothesis import given
from hypothesis import strategies as st

from certify.report.page import render_html
from certify.report.release import Answer, Headline, columns, headlines, rests_on, title
from certify.report.render import ReportType, render, render_annotations, render_json, render_markdown
from certify.report.rows import Context, Row, told_apart


def gate(checkpoint: str = "run", benchmark: str = "mmlu", digest: str = "1", **fields: Any) -> Row:
    """A certified gate of a checkpoint."""
    digests = {"checkpoint": f"sha256:{digest * 64}", "certificate": f"{checkpoint}{benchmark}{digest}"}
    named = {"checkpoint": checkpoint, "benchmark": benchmark, "item": f"{checkpoint}[{benchmark}]"}
    return Row(**row(**{"digests": digests, **named, **fields}))


def answers(rows: list[Row], **about: Any) -> dict[str, Answer]:
    """The answer for each checkpoint."""
    return {head.checkpoint: head.answer for head in headlines(*told_apart(rows, about))}


REFUTED = {"verdict": "refuted", "value": 0.9, "lower": 0.88, "upper": 0.92}
OPEN = {"verdict": "undecided", "lower": 0.94, "upper": 0.98}
NOT_GREEN: dict[str, tuple[dict[str, Any], Answer]] = {
    "refuted": (REFUTED, Answer.REFUSE),
    "undecided": (OPEN, Answer.WAIT),
    "vacuous": ({"verdict": "undecided", "vacuous": True}, Answer.WAIT),
    "vacuous, and called certified": ({"vacuous": True}, Answer.WAIT),
    "error beside a certificate": ({"error": "its test failed: x"}, Answer.WAIT),
    "baseline refuted": ({"baselines": [BASELINE]}, Answer.REFUSE),
    "baseline missing": ({"baselines": WITHOUT_BASELINE["baselines"]}, Answer.WAIT),
}


@pytest.mark.parametrize("name", NOT_GREEN)
def test_one_gate_that_is_not_green_withholds_the_release(name: str) -> None:
    """Wherever it stands among certified ones; it is the gate that decides, and it is named."""
    fields, answer = NOT_GREEN[name]
    odd = gate(benchmark="odd", **fields)
    for rows in ([gate(), odd], [odd, gate()]):
        (head,) = headlines(rows, Context())
        assert (head.answer, head.gate) == (answer, odd)
        assert "odd" in head.because


def test_a_section_with_nothing_to_say_is_left_out() -> None:
    """Of a single gate there is no matrix, and of one that is not released no statement that it rests on."""
    assert "In one look" not in render_html([gate(**REFUTED)], {})
    assert "In one look" in render_html([gate()], {})
    assert "In one look" in render_html([gate(**REFUTED), gate(benchmark="other")], {})


def test_gates_against_different_bases_are_no_release() -> None:
    """Against itself every checkpoint passes; logs of several tasks are each their own base."""
    rows = [gate(benchmark=b, digests={"checkpoint": "c", "base": b, "benchmark": b}) for b in ("one", "two")]
    assert answers(rows) == {"run": Answer.WAIT}
    logs = [row.model_copy(update={"digests": {**row.digests, "scores": "x"}}) for row in rows]
    assert answers(logs) == {"run": Answer.RELEASE}


@pytest.mark.parametrize("word", ["crashed", "not_run"])
def test_a_gate_that_was_not_judged_withholds_every_release(word: str) -> None:
    """Nobody knows whose it was; what is refuted stays so."""
    found = answers([gate("a"), gate("b", digest="2", **REFUTED)], **{word: ["t.py::test_x"]})
    assert found == {"a": Answer.WAIT, "b": Answer.REFUSE}
    (head,) = headlines([gate("a")], Context(**{word: ["t.py::test_x"]}))
    assert "t.py::test_x" in head.because


def test_a_gate_without_a_checkpoint_counts_for_all() -> None:
    """Its test failed before it knew which; a basin, which speaks of the base, counts for none."""
    lost = Row(**row(checkpoint="", error="not judged: no such file", digests={}))
    assert answers([gate("a"), gate("b", digest="2"), lost]) == {"a": Answer.WAIT, "b": Answer.WAIT}
    for evidence in ("basin", "skills"):
        basin = Row(**row(checkpoint="", evidence=evidence, verdict="undecided", digests={}))
        assert answers([gate("a"), basin]) == {"a": Answer.RELEASE}
        assert headlines([basin], Context()) == []
        assert columns([basin]) == {}


@pytest.mark.parametrize("found", [{}, REFUTED])
def test_a_family_is_no_checkpoint_to_release(found: dict[str, Any]) -> None:
    """A cover speaks of means over windows: it is a gate, and neither a headline nor a column nor one of several."""
    cover = gate("family", digest="9", evidence="cover", **found)
    assert headlines([cover], Context()) == []
    assert answers([gate("a"), cover]) == {"a": Answer.RELEASE}
    assert columns([gate("a"), cover]) == columns([gate("a")])


def test_what_is_only_information_neither_releases_nor_withholds() -> None:
    """As the exit code has it."""
    aside = gate(benchmark="odd", informational=True, **REFUTED)
    assert answers([gate(), aside]) == {"run": Answer.RELEASE}
    (head,) = headlines([aside], Context())
    assert (head.answer, head.because) == (Answer.WAIT, "nothing was required of it")


def test_the_closest_gate_is_named_where_all_are_certified() -> None:
    """By the room between the bound that decides and what is required."""
    near = gate(benchmark="near", lower=0.9501)
    (head,) = headlines([gate(), near], Context())
    assert head.gate is near
    assert head.because == (
        "all 2 required gates are certified, the closest: retention at least 0.950 by point on near; "
        "retention at least 0.95 required"
    )


# ---------------------------------------------------------------- several checkpoints


def test_all_released_needs_no_correction_and_says_so() -> None:
    """One statement about all gates: wrong only if one particular gate is."""
    first = headlines([gate("a", p=0.04), gate("b", digest="2", p=0.04)], Context())
    assert [head.answer for head in first] == [Answer.RELEASE] * 2
    assert title(first) == "Release all 2 checkpoints"
    assert "at most 0.05, which needs no correction" in rests_on(first, Context())
    assert rests_on(first, Context()).endswith("over both ways a wrong Release has probability at most 0.1.")
    assert "both ways" not in rests_on(first[:1], Context())


@pytest.mark.parametrize(
    ("p", "answer"), [(0.0249, Answer.RELEASE), (0.0251, Answer.WAIT), (None, Answer.WAIT), (0.05, Answer.WAIT)]
)
def test_some_released_beside_others_that_fail_are_so_by_holm(p: float | None, answer: Answer) -> None:
    """Of two, the better one is chosen: it must hold at half of alpha. Without a p-value, its own alpha is known."""
    rows = [gate("a", p=p), gate("b", digest="2", **REFUTED)]
    first = headlines(rows, Context())
    assert {head.checkpoint: head.answer for head in first}["a"] is answer
    said = rests_on(first, Context())
    assert ("Holm" in said and "at least 0.95" in said) == (answer is Answer.RELEASE)
    assert ("both ways a wrong Release has probability at most 0.1." in said) == (answer is Answer.RELEASE)
    if answer is Answer.WAIT:
        (head,) = [head for head in first if head.checkpoint == "a"]
        assert "a confidence of 0.975" in head.because
    assert title(first) == f"Release {'1 of' if answer is Answer.RELEASE else 'none of'} 2 checkpoints"


def test_a_later_attempt_does_not_pass_for_its_share_of_alpha() -> None:
    """It is certified at .05 / 6, and of all attempts that were made no better than at .05."""
    later = gate("a", evidence="audit", alpha=0.05 / 6, p=0.05)
    assert answers([later, gate("b", digest="2", **REFUTED)])["a"] is Answer.WAIT


def test_the_weakest_gate_of_a_checkpoint_is_its_p_value() -> None:
    """Meeting every requirement is shown no better than meeting the worst."""
    rows = [gate("a", p=1e-6), gate("a", "arc", p=0.03), gate("b", digest="2", **REFUTED)]
    assert answers(rows)["a"] is Answer.WAIT
    assert answers(rows, alpha=0.1)["a"] is Answer.RELEASE
    fixed = gate("a", items="fixed")
    assert answers([fixed, gate("b", digest="2", **REFUTED)])["a"] is Answer.RELEASE, "nothing is random there"


def wrong_releases(rule: Any, runs: int, rng: np.random.Generator) -> int:
    """In how many of ``runs`` any of three bad checkpoints is released, beside one that always fails."""
    wrong = 0
    for p in rng.random((runs, 3)):
        rows = [gate("always", digest="9", **REFUTED)]
        rows += [gate(f"c{i}", digest=str(i), p=x, **({} if x <= 0.05 else OPEN)) for i, x in enumerate(p)]
        wrong += any(head.answer is Answer.RELEASE for head in rule(rows))
    return wrong


def test_no_checkpoint_is_released_wrongly_more_often_than_alpha() -> None:
    """Three bad checkpoints with independent p-values, 1500 reports: at alpha .05 more than 119 are rejected.

    P(Bin(1500, .05) > 119) is 4e-7. Without the correction it is 1 - .95^3 = .143 of them, about 214: rejected.
    """
    found = wrong_releases(lambda rows: headlines(rows, Context()), 1500, np.random.default_rng(17))
    assert found <= 119, found

    def uncorrected(rows: list[Row]) -> list[Headline]:
        return [head for each in rows for head in headlines([each], Context())]

    assert wrong_releases(uncorrected, 1500, np.random.default_rng(17)) > 119


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from([{}, *(f for f, _ in NOT_GREEN.values())])), max_size=5),
    st.sampled_from([{}, {"crashed": ["x"]}, {"not_run": ["x"]}]),
)
def test_release_is_never_said_where_anything_is_not_green(some: list[Any], about: dict[str, Any]) -> None:
    """Whatever the mixture, in words and in every form."""
    rows = [gate(name, f"m{i}", digest=name, **fields) for i, (name, fields) in enumerate(some)]
    for head in headlines(rows, Context(**about)):
        green = not about and all(not each.failing for each in rows if each.checkpoint == head.checkpoint)
        assert green or head.answer is not Answer.RELEASE
    if about or (rows and all(each.failing for each in rows)):
        for kind in (ReportType.markdown, ReportType.html, ReportType.json):
            text = render(kind, rows, about)
            assert not re.search(r"\*\*Release\*\*|\"Release\"|<strong>[^/]*Release<|<span>Release</span>", text)


# ---------------------------------------------------------------- names


def test_two_checkpoints_of_one_name_are_two() -> None:
    """With eight digits of their weights, in headlines, matrix and articles; one cannot hide the other."""
    rows = [gate("final", digest="a"), gate("final", digest="b", **REFUTED)]
    assert answers(rows) == {"final@bbbbbbbb": Answer.REFUSE, "final@aaaaaaaa": Answer.WAIT}
    for text in (render_html(rows), render_markdown(rows).replace("&#64;", "@")):
        assert "final@aaaaaaaa" in text
        assert "final@bbbbbbbb" in text
        assert "final is the name of 2 different checkpoints" in text


def test_two_benchmarks_of_one_name_are_two_columns() -> None:
    """As ``test.jsonl`` of two folders."""
    digests = [{"checkpoint": "c", "benchmark": f"sha256:{x * 64}", "certificate": x} for x in "de"]
    text = render_html([gate(digests=each) for each in digests])
    heads = re.findall(r'scope="colgroup"[^>]*>([^<]+)<', text)
    assert heads == ["mmlu@dddddddd", "mmlu@eeeeeeee"]


def test_names_that_differ_in_case_alone_are_two_columns() -> None:
    """Each with its own cell; neither hides the other."""
    text = render_html([gate(benchmark="MMLU"), gate(benchmark="mmlu", **OPEN), gate("b", "arc", digest="2")])
    assert re.findall(r'scope="colgroup"[^>]*>([^<]+)<', text) == ["MMLU", "mmlu", "arc"]
    assert re.findall(r'data-label="(mmlu|MMLU), point" class="(\w+)"', text)[:2] == [
        ("MMLU", "certified"), ("mmlu", "undecided")
    ]  # fmt: skip


def test_two_gates_in_one_cell_show_the_worse() -> None:
    """And how many there are."""
    rows = [gate(), gate(**{**OPEN, "lower": 0.9405, "upper": 0.9795}), gate("b", digest="2")]
    (cell,) = re.findall(r'data-label="mmlu, point" class="undecided">(.*?)</td>', render_html(rows), re.DOTALL)
    assert "the worst of 2 gates" in cell
    assert "undecided retention 0.940 to 0.980 (worst of 2)" in render_markdown(rows)


def test_the_matrix_is_a_table_with_scoped_headers() -> None:
    """Rows are checkpoints, columns benchmarks with their kinds; each cell leads to its gate."""
    asked = itertools.product("12", ("arc", "mmlu"), ("point", "audit"))
    rows = [gate(c, b, digest=c, evidence=e) for c, b, e in asked]
    text = render_html(rows)
    (matrix,) = re.findall(r'<table class="matrix".*?</table>', text, re.DOTALL)
    assert re.findall(r'scope="(\w+)"', matrix) == [*["colgroup"] * 2, *["col"] * 4, "row", "row"]
    places = re.findall(r'href="#(gate-\d+)"', matrix)
    assert len(set(places)) == 8
    assert all(f'id="{place}"' in text for place in places)
    assert len(re.findall(r"^\| \d \| ✅ Release \|", render_markdown(rows), re.MULTILINE)) == 2


# ---------------------------------------------------------------- details


def test_items_are_numbers_unless_their_texts_were_asked_for() -> None:
    """A confidential benchmark is not printed; what is printed is text."""
    plain = gate(items_lost=[3, 17], items_gained=[5], **OPEN)
    told = plain.model_copy(update={"texts": {3: HOSTILE}})
    html = render_html([told])
    assert "Numbers 3, 17, in the order of the benchmark" in render_html([plain])
    assert '<ol class="texts">' not in render_html([plain])
    assert '<li value="3">&lt;script&gt;' in html
    assert "The texts of 1 more are left out." in html
    assert "Items lost: 3, 17." in render_markdown([plain])
    assert "3: \\<script\\>" in render_markdown([told])


def test_files_that_were_set_aside_are_folded() -> None:
    """One line for many of them, the rest on demand."""
    notes = [f"a-{i}.json is of an earlier run and no longer of this gate: renamed to a-{i}.json.stale" for i in "123"]
    text = render_html([gate(notes=["another", *notes])])
    assert "<summary>3 certificates of earlier runs set aside</summary>" in text
    assert "certificates of earlier runs were set aside" in render_markdown([gate(notes=notes, **OPEN)])


def test_the_page_says_how_to_see_it_again() -> None:
    """The commands as they are typed, files quoted; logs are compared, and nothing of them drawn."""
    rows = [gate(certificate="my certs/a.json"), gate("b", digest="2", certificate="b.json")]
    logs = gate("c", certificate="c.json", digests={"scores": "x", "checkpoint": "y"})
    text = render_html([*rows, logs]).replace("&#39;", "'")
    assert "certify verify 'my certs/a.json' b.json c.json</code>" in text
    assert "certify verify b.json --base BASE --checkpoint CHECKPOINT --benchmark ITEMS --replay 3" in text
    assert "certify verify c.json --base BASE_LOG --checkpoint CHECKPOINT_LOG</code>" in text


def test_undecided_is_said_once() -> None:
    """Behind the verdict the claim does not begin with it again."""
    claim = "Undecided whether drop at most 0.05 holds: 15 of 300 items lost."
    for text in (render_html([gate(claim=claim, **OPEN)]), render_markdown([gate(claim=claim, **OPEN)])):
        assert "It stays open whether drop at most 0.05 holds" in text
        assert "Undecided whether" not in text
    assert json.loads(render_json([gate(claim=claim, **OPEN)]))["gates"][0]["claim"] == claim


# ---------------------------------------------------------------- annotations


def test_annotations_are_ten_at_most_and_none_where_all_is_well() -> None:
    """The service drops what comes after the tenth; refuted ones come first."""
    assert render_annotations([gate()]) == ""
    rows = [gate(benchmark=f"m{i}", **OPEN) for i in range(20)] + [gate(benchmark="bad", **REFUTED)]
    lines = render_annotations(rows).splitlines()
    assert len(lines) == 10
    assert "title=Do not release%2C run[bad]%3A refuted::" in lines[0]
    assert lines[0].startswith("::error file=tests/test_gate.py,")
    assert lines[-1] == "::error title=basin::12 more gates are not certified; the report has all"


def test_hostile_text_makes_no_command_of_its_own() -> None:
    """No further line, no property, no command at the start of a line."""
    evil = "x\r\n::stop-commands::t\n::add-mask::1,title=y:%0A::error::z\x1b[2J\u2028::notice::"
    one = gate(item=evil, claim=evil, nodeid=f"{evil}::t", **REFUTED)
    text = render_annotations([one], {"crashed": [evil]})
    assert len(text.splitlines()) == 2
    for line in text.splitlines():
        properties, _, message = line.removeprefix("::error ").partition("::")
        assert line.startswith("::error ")
        assert {part.partition("=")[0] for part in properties.split(",")} <= {"file", "title"}
        assert not re.search(r"%(?!25|3A|2C)", properties)
        assert not re.search(r"%(?!25)", message)
    assert CLAIM.replace("%", "%25") in render_annotations([gate(**REFUTED)])
