"""The HTML page: complete and inert as text, and looked at in a real browser, in light, dark, narrow and print."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import itertools
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from browser import Browser
from gate_rows import (
    CONTEXT,
    HOSTILE,
    HOSTILE_CONTEXT,
    HOSTILE_ROW,
    ROWS,
    WITHOUT_BASELINE,
    WORSE_THAN_BEFORE,
    row,
)

from certify.report import page as page_module
from certify.report.render import ReportType, render, render_html

CSS = (Path(page_module.__file__).parent / "templates" / "report.css").read_text(encoding="utf-8")
READABLE = 4.5
"""Contrast of text that WCAG 2.2 AA asks for."""


class Outline(HTMLParser):
    """Tags with their attributes, and whether every tag was closed in order."""

    VOID = ("meta", "link", "col", "br", "wbr")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def values(self, attribute: str) -> list[str]:
        return [value for _, attributes in self.tags if (value := attributes.get(attribute)) is not None]


# ---------------------------------------------------------------- the text of the page


def test_the_page_is_well_formed_and_refers_only_to_itself() -> None:
    """Every tag closed, ids once, references met; no address, and no script but the one that the policy names."""
    text = render_html([*ROWS, HOSTILE_ROW], CONTEXT)
    outline = Outline(text)
    ids = outline.values("id")
    assert len(ids) == len(set(ids))
    assert {href.removeprefix("#") for href in outline.values("href")} - {"data:,"} <= set(ids)
    assert set(outline.values("aria-labelledby")) <= set(ids)
    assert not outline.values("src")
    tags = [tag for tag, _ in outline.tags]
    assert not {"iframe", "object", "img", "form"} & {*tags}
    assert tags.count("script") == 1
    assert not any(name.startswith("on") for _, attributes in outline.tags for name in attributes)
    assert "url(" not in text
    assert "@import" not in text
    (policy,) = (a["content"] for tag, a in outline.tags if a.get("http-equiv") == "Content-Security-Policy")
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    own = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy == f"default-src 'none'; script-src 'sha256-{own}'; style-src 'unsafe-inline'; img-src data:"


def test_hostile_text_stays_text() -> None:
    """Wherever it is put, it makes no element, and the reader sees it as it was."""
    harmless = row(
        **{k: "x" if v == HOSTILE else [["x", 0.5]] if k == "layers" else v for k, v in HOSTILE_ROW.items()}
        | {"limits": ["x"], "notes": ["x"], "quantities": {"x": 1.0}, "seeds": {"x": "x"}, "digests": {"x": "x"}}
    )
    context = dict.fromkeys(HOSTILE_CONTEXT, "x") | {"versions": {"x": "x"}, "notes": ["x"]}
    found, expected = Outline(render_html([HOSTILE_ROW], HOSTILE_CONTEXT)), Outline(render_html([harmless], context))
    elements = [[tag for tag, _ in each.tags if tag != "wbr"] for each in (found, expected)]
    assert elements[0] == elements[1]
    assert "49" not in "".join(found.text).replace("497", "")  # {{ 7 * 7 }} was not computed
    assert sum(HOSTILE in text for text in found.text) >= 15


def test_verdict_comes_first_and_failing_gates_before_the_rest() -> None:
    """The first heading is the answer; sections follow from refuted to certified."""
    text = render_html(ROWS, CONTEXT)
    headings = re.findall(r"<h([1-4])[^>]*>(.*?)</h\1>", text, re.DOTALL)
    plain = [re.sub(r"<[^>]+>", "", inner).split() for _, inner in headings]
    assert plain[0] == ["Do", "not", "release"]
    groups = [words for words in plain if words and words[0] in ("Refuted", "Undecided", "Certified")]
    assert groups == [["Refuted", "2"], ["Undecided", "3"], ["Certified", "2"]]
    assert text.index("<title>Do not release. 7 gates: 2 refuted") < text.index("<h1>")
    levels = [int(level) for level, _ in headings]
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels)), "no level is left out"


def test_each_gate_has_claim_limits_replay_and_certificate() -> None:
    """In its own article, with the interval in words."""
    text = render_html(ROWS, CONTEXT)
    articles = re.findall(r"<article.*?</article>", text, re.DOTALL)
    assert len(articles) == len(ROWS)
    for article in articles:
        for words in ("retention at least 0.95 required", "What this does not cover", "independent sample"):
            assert words in article, words
        for words in ("--basin-seed=0", "certs/kept-mmlu-point.json", "tests/test_gate.py::test_kept[mmlu]"):
            assert words in article, words
    (certified,) = (a for a in articles if "kept<wbr>[mmlu]</h3>" in a)
    caption = "Retention at least 0.961 (95 % one-sided each), estimate of the retention 0.980; 2000 items counted;"
    assert caption in certified


def test_a_baseline_that_is_not_kept_is_in_the_heading_and_with_its_gate() -> None:
    """A certified gate that lost more than allowed since its baseline makes no certified page."""
    text = render_html([WORSE_THAN_BEFORE], CONTEXT)
    assert "<span>Do not release</span></h1>" in text
    assert "1 gate: 1 certified; against baselines: 1 refuted." in text
    assert "refuted against its baseline" in text
    assert "__basin__/kept-mmlu.json" in text
    assert "Baseline: created: look at it" in render_html([WITHOUT_BASELINE])


def test_a_page_without_gates_claims_nothing() -> None:
    """No verdict word, no table."""
    text = render_html([], {})
    assert "No gates ran" in text
    assert "Certified" not in text
    assert "<table" not in text


def palette(block: str) -> dict[str, str]:
    """The colours of one block of custom properties."""
    return dict(re.findall(r"--([a-z]+): (#[0-9a-f]{3,6})\b", block))


def luminance(colour: str) -> float:
    """Relative luminance of #rgb or #rrggbb (WCAG 2.2)."""
    digits = colour[1:] if len(colour) == 7 else "".join(2 * d for d in colour[1:])
    parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    """Contrast ratio of two colours."""
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


BLOCKS = [palette(block) for block in re.findall(r":root \{(.*?)\}", CSS, re.DOTALL)]


@pytest.mark.parametrize("scheme", range(3), ids=["light", "dark", "print"])
def test_every_ink_is_readable_on_every_ground(scheme: int) -> None:
    """At least 4.5:1 for each pair, so that none has to be looked for."""
    colours = BLOCKS[scheme]
    inks = ["ink", "quiet", "certified", "refuted", "undecided", "link"]
    for ink in inks:
        for ground in ("paper", "card", "faint", "meets"):
            ratio = contrast(colours[ink], colours[ground])
            assert ratio >= READABLE, f"{ink} on {ground}: {ratio:.2f}"


def test_contrast_is_that_of_the_standard() -> None:
    """Black on white 21, the lightest grey that passes on white 4.54, and one step lighter fails."""
    assert contrast("#000", "#ffffff") == pytest.approx(21)
    assert contrast("#767676", "#fff") == pytest.approx(4.54, abs=0.005)
    assert contrast("#777777", "#fff") < READABLE


# ---------------------------------------------------------------- in a browser


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with every kind of gate and hostile text."""
    file = tmp_path_factory.mktemp("page") / "report.html"
    file.write_text(render_html([*ROWS, HOSTILE_ROW, WORSE_THAN_BEFORE], CONTEXT), encoding="utf-8")
    return file


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_nothing_is_fetched_and_nothing_complains(browser: Browser, report: Path, dark: bool) -> None:
    """One request, the file; a silent console."""
    browser.look(dark=dark)
    browser.open(report)
    assert browser.requests() == [report.as_uri()]
    assert browser.complaints() == []


def test_fetching_and_complaining_are_noticed(browser: Browser, tmp_path: Path) -> None:
    """The check above can fail: an image that is not there is a request, and its failure is logged."""
    page = tmp_path / "bad.html"
    page.write_text("<!DOCTYPE html><title>x</title><img src='gone.png'><script>console.error('x')</script>")
    browser.look()
    browser.open(page)
    assert (tmp_path / "gone.png").as_uri() in browser.requests()
    assert len(browser.complaints()) >= 2


def test_the_policy_would_stop_what_got_through(browser: Browser, report: Path, tmp_path: Path) -> None:
    """With a script and an image put into the page by force, neither runs."""
    page = tmp_path / "forced.html"
    forced = "<script>document.title = 'taken'</script><img src='https://example.invalid/x.png'>"
    page.write_text(report.read_text().replace("<main>", f"<main>{forced}"))
    browser.look()
    browser.open(page)
    assert browser.value("document.title").startswith("Do not release. 9 gates: 3 refuted")
    assert len(browser.complaints()) == 2
    assert all("Content Security Policy" in text for text in browser.complaints())


def test_all_is_said_without_scripts(browser: Browser, report: Path) -> None:
    """A screen reader with scripts off hears verdicts, claims, intervals, landmarks and tables."""
    browser.look(scripts=False)
    browser.open(report)
    spoken = browser.spoken()
    roles = [role for role, _ in spoken]
    for landmark in ("banner", "main", "contentinfo", "region"):
        assert landmark in roles, landmark
    assert next(name for role, name in spoken if role == "heading") == "Do not release"
    pictures = [name for role, name in spoken if role == "image"]
    estimated = "Retention at least 0.961, estimate of the retention 0.980"
    assert f"{estimated}; required retention at least 0.95; certified." in pictures
    assert "" not in pictures
    assert {"table", "columnheader", "rowheader", "article"} <= set(roles)
    words = " ".join(name for _, name in spoken)
    for text in ("15 of 2000 items lost", "independent sample", "--basin-seed=0", HOSTILE):
        assert text in words, text


NARROW = "(innerWidth < document.documentElement.scrollWidth) ? document.documentElement.scrollWidth : 0"
UNREADABLE = """
(() => {
  const bare = c => c.match(/[\\d.]+/g).map(Number);
  const linear = x => (x /= 255, x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4);
  const light = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  const ground = e => {
    for (; e; e = e.parentElement) {
      const c = bare(getComputedStyle(e).backgroundColor);
      if (c.length < 4 || c[3] > 0) return c;
    }
    return [255, 255, 255];
  };
  const poor = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const node = walk.currentNode, e = node.parentElement;
    if (!node.data.trim() || !e.checkVisibility() || e.closest('style, title, .unseen')) continue;
    const style = getComputedStyle(e), ink = bare(e.closest('svg') ? style.fill : style.color);
    const [a, b] = [light(ink), light(ground(e))].sort((x, y) => x - y);
    const ratio = (b + 0.05) / (a + 0.05);
    if (ratio < 4.5) poor.push(`${ratio.toFixed(2)}: ${node.data.trim().slice(0, 40)}`);
  }
  return poor;
})()
"""


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1100, 860, 400])
def test_every_text_is_readable_where_it_stands(browser: Browser, report: Path, dark: bool, width: int) -> None:
    """Contrast of at least 4.5:1 as computed by the browser, and nothing hangs out of a narrow window."""
    browser.look(width=width, dark=dark)
    browser.open(report)
    assert browser.value(UNREADABLE) == []
    assert browser.value(NARROW) == 0
    assert browser.value("getComputedStyle(document.body).backgroundColor") == (
        "rgb(19, 22, 25)" if dark else "rgb(247, 245, 241)"
    )


def test_unreadable_text_is_noticed(browser: Browser, report: Path, tmp_path: Path) -> None:
    """The check above can fail: a paler ink and a wider page are found."""
    page = tmp_path / "pale.html"
    page.write_text(report.read_text().replace("</style>", ".claim { color: #999; } main { width: 900px; } </style>"))
    browser.look(width=400)
    browser.open(page)
    assert any("2.8" in found for found in browser.value(UNREADABLE))
    assert browser.value(NARROW) > 900


BROKEN = """
(() => {
  const found = [];
  for (const named of document.querySelectorAll('.name, .matrix th, #gates tbody th a, h3')) {
    if (!named.checkVisibility()) continue;
    const walk = document.createTreeWalker(named, NodeFilter.SHOW_TEXT);
    for (let text; (text = walk.nextNode());)
      for (const word of text.data.matchAll(/[\\w.@\\]]+/g)) {
        const range = document.createRange();
        range.setStart(text, word.index);
        range.setEnd(text, word.index + word[0].length);
        if (new Set([...range.getClientRects()].map(r => Math.round(r.top))).size > 1) found.push(word[0]);
      }
  }
  return found;
})()
"""


@pytest.mark.parametrize("width", [390, 1280])
def test_no_name_is_broken_within_a_word(browser: Browser, tmp_path: Path, width: int) -> None:
    """In headlines, matrix, table and articles; a checkpoint of a hub, benchmarks with long names, one name twice."""
    names = ["org/Qwen2.5-7B-InstructMergedFinal-checkpoint-12500", "final", "final"]
    rows = [
        row(item=f"{n}[{b}]", checkpoint=n, benchmark=b, digests={"checkpoint": f"sha256:{i:064}"})
        for i, n in enumerate(names)
        for b in ("mmlu_pro_computer_science", "gsm8k", "truthfulqa_mc2", "hellaswag", "arc_challenge")
    ]
    page = tmp_path / "names.html"
    page.write_text(render_html(rows, CONTEXT).replace('class="every"', 'class="every" open'), encoding="utf-8")
    browser.look(width=width)
    browser.open(page)
    assert browser.value(BROKEN) == []
    assert browser.value(NARROW) == 0
    narrow = ".name { display: block; width: 4rem; overflow-wrap: anywhere; }"
    page.write_text(page.read_text().replace("</style>", f"{narrow}</style>"))
    browser.open(page)
    assert "InstructMergedFinal" in browser.value(BROKEN), "the check above can fail"


def test_groups_fold_without_scripts_and_print_whole(browser: Browser, report: Path, tmp_path: Path) -> None:
    """A folded group of gates hides its articles on the screen, and not on paper."""
    page = tmp_path / "folded.html"
    page.write_text(report.read_text().replace(" open>", ">"))
    browser.look()
    browser.open(page)
    visible = "[...document.querySelectorAll('article')].filter(a => a.checkVisibility()).length"
    assert browser.value(visible) == 0
    browser.look(media="print")
    assert browser.value(visible) == len(ROWS) + 2
    browser.look()
    assert browser.print(tmp_path / "report.pdf").stat().st_size > 20_000


SHOWN = "[...document.querySelectorAll('#gates tbody tr')].filter(r => !r.hidden).map(r => r.dataset.number).join(' ')"


def use(browser: Browser, control: str, value: str) -> str:
    """Set a control of the table, as a hand would; return the numbers of the gates that are shown, in their order."""
    browser.value(
        f"(c => {{ c.value = {value!r}; c.dispatchEvent(new Event('input', {{bubbles: true}})) }})"
        f"([...document.querySelectorAll('.tools label')].find(l => l.textContent.startsWith({control!r})).lastChild)"
    )
    return str(browser.value(SHOWN))


def test_gates_are_filtered_and_sorted_where_scripts_run(browser: Browser, report: Path) -> None:
    """By words of their names, by verdict, and in four orders; the page says how many it hides, and prints them all."""
    browser.look()
    browser.open(report)
    everything = browser.value(SHOWN)
    assert len(everything.split()) == len(ROWS) + 2
    titles = {n: browser.value(f"document.querySelector('#name-{n}').textContent") for n in everything.split()}
    assert use(browser, "Find", "MMLU kept") == " ".join(n for n, title in titles.items() if "kept[mmlu]" in title)
    assert "gates shown, the rest is filtered out" in browser.value("document.querySelector('.tools p').textContent")
    assert use(browser, "Find", "no such gate") == ""
    assert browser.value("[...document.querySelectorAll('#gates table')].every(t => t.hidden)")
    browser.look(media="print")
    assert browser.value("[...document.querySelectorAll('#gates tbody tr')].every(r => r.checkVisibility())")
    browser.look()
    assert use(browser, "Find", "") == everything
    assert browser.value("document.querySelector('.tools p').textContent") == ""
    refuted = use(browser, "Verdict", "refuted").split()
    assert len(refuted) == 3
    assert use(browser, "Verdict", "all") == everything
    room = "[...document.querySelectorAll('#gates table')].map(t => [...t.tBodies[0].rows].map(r => +r.dataset.room))"
    use(browser, "Sort", "closest to its limit")
    assert all(rooms == sorted(rooms) for rooms in browser.value(room))
    assert use(browser, "Sort", "worst first") == everything
    assert browser.complaints() == []


def test_without_scripts_no_control_stands_idle(browser: Browser, report: Path) -> None:
    """Nor does one stand above a single gate."""
    browser.look(scripts=False)
    browser.open(report)
    browser.look()
    assert browser.value("document.querySelectorAll('.tools').length") == 0
    assert browser.value(SHOWN).count(" ") == len(ROWS) + 1
    alone = report.with_name("alone.html")
    alone.write_text(render_html(ROWS[:1], CONTEXT), encoding="utf-8")
    browser.open(alone)
    assert browser.value("document.querySelectorAll('.tools').length") == 0


def test_words_are_explained_on_the_page() -> None:
    """Those that it uses, as the glossary has them; the heading leads there."""
    text = render_html([row(quantities={"alpha_star": 0.1})], CONTEXT)
    explained = text[text.index('<details id="words"') :]
    assert 'href="#words"' in text[: text.index("<main>")]
    for word in ("retention", "confidence, alpha", "alpha*, alpha star", "vacuous", "lost, gained"):
        assert f"<dt>{word}</dt>" in explained, word
    assert "<dt>box, window</dt>" not in explained


def axe() -> str | None:
    """The accessibility checker's own script, if it is installed."""
    found = importlib.util.find_spec("axe_core_python")
    if found is None or not found.submodule_search_locations:
        return None
    return (Path(next(iter(found.submodule_search_locations))) / "axe.min.js").read_text(encoding="utf-8")


RULES = """
axe.run(document, {resultTypes: ["violations"]}).then(
  found => found.violations.map(v => `${v.id}: ${v.nodes.slice(0, 3).map(n => n.html.slice(0, 80)).join(" | ")}`))
"""


def violations(browser: Browser, script: str) -> list[str]:
    """What the checker has against the page that is open."""
    browser.ask("Runtime.evaluate", expression=script)
    answer = browser.ask("Runtime.evaluate", expression=RULES, awaitPromise=True, returnByValue=True)
    return list(answer["result"]["value"])


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("kind", ["html", "trend"])
def test_an_accessibility_checker_has_nothing_against_it(
    kind: str, width: int, dark: bool, browser: Browser, report: Path
) -> None:
    """axe-core, all of its rules, with every part of the page unfolded."""
    script = axe()
    if script is None:
        pytest.skip("axe-core-python is not installed")
    page = report.with_name(f"{kind}.html")
    page.write_text(render(ReportType(kind), [*ROWS, HOSTILE_ROW, WORSE_THAN_BEFORE], CONTEXT), encoding="utf-8")
    browser.look(width=width, dark=dark)
    browser.open(page)
    browser.value("document.querySelectorAll('details').forEach(each => { each.open = true })")
    assert violations(browser, script) == []


def test_the_checker_notices(browser: Browser, report: Path, tmp_path: Path) -> None:
    """A page without a language, and a picture without words."""
    script = axe()
    if script is None:
        pytest.skip("axe-core-python is not installed")
    page = tmp_path / "poor.html"
    page.write_text("<!DOCTYPE html><title>x</title><main><h1>x</h1><img src='data:,'></main>")
    browser.open(page)
    assert {each.partition(":")[0] for each in violations(browser, script)} >= {"html-has-lang", "image-alt"}
