"""Items asked in a chat: what the template writes is what is asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import models
import pytest
from transformers import PreTrainedTokenizerFast
from typer.testing import CliRunner

from certify.benchmarks import open_benchmark
from certify.benchmarks.jsonl import JsonlBenchmark
from certify.cli.app import app
from certify.errors import BenchmarkError

TEMPLATE = (
    "{% for m in messages %}{{ {'system': 'a', 'user': 'b', 'assistant': 'c'}[m.role] + m.content + '<eos>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ 'c' }}{% endif %}"
)
PLAIN = {"prompt": "1+1", "target": "2"}
TURNS = {
    "messages": [
        {"role": "user", "content": "1+1"},
        {"role": "assistant", "content": "2"},
        {"role": "user", "content": "2+2"},
    ],
    "target": "4",
}


def tokenizer(template: str | None = TEMPLATE) -> PreTrainedTokenizerFast:
    made = models.tokenizer()
    made.chat_template = template
    return made


def bench(folder: Path, *items: dict[str, Any], settings: str = "") -> JsonlBenchmark:
    (folder / "b.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
    (folder / "b.toml").write_text(settings)
    return open_benchmark(folder / "b.jsonl")


def asked(benchmark: JsonlBenchmark, made: PreTrainedTokenizerFast | None = None) -> list[str]:
    made = made or tokenizer()
    scorer: Any = benchmark.encode(made)
    return ["".join(made.convert_ids_to_tokens(list(each.ids))) for each in scorer.continuations]


def test_what_the_template_writes_is_asked(tmp_path: Path) -> None:
    """System, turns before, prompt, what opens the answer, prefix; special tokens are themselves."""
    found = bench(tmp_path, PLAIN, TURNS, settings='[chat]\nsystem = "0"\nprefix = "="\n')
    assert asked(found) == ["a0<eos>b1+1<eos>c=2", "a0<eos>b1+1<eos>c2<eos>b2+2<eos>c=4"]
    scorer: Any = found.encode(tokenizer())
    eos = models.tokenizer().eos_token_id
    assert [list(each.ids).count(eos) for each in scorer.continuations] == [2, 4]


def test_generated_answers_are_asked_alike(tmp_path: Path) -> None:
    """The prompt is the same text; the answer is generated after it."""
    found = bench(tmp_path, PLAIN, settings="[chat]\n[generation]\nmax_new_tokens = 3\n")
    assert asked(found) == ["b1+1<eos>c"]


def test_digests(tmp_path: Path) -> None:
    """Of the items and settings as written; tokens follow the template; items of old keep theirs."""
    plain, chat = bench(tmp_path, PLAIN), bench(tmp_path, PLAIN, settings="[chat]\n")
    assert plain.digest != chat.digest
    assert chat.digest != bench(tmp_path, PLAIN, settings='[chat]\nsystem = "0"\n').digest
    one, other = chat.encode(tokenizer()), chat.encode(tokenizer(TEMPLATE.replace("'b'", "'0'")))
    assert one.identity.digest == other.identity.digest == chat.digest
    assert one.identity.tokens != other.identity.tokens
    assert bench(tmp_path, TURNS).digest != bench(tmp_path, {"prompt": "2+2", "target": "4"}).digest


def test_turns_are_part_of_an_item(tmp_path: Path) -> None:
    """The same last turn after other ones is another item; the same messages twice are one."""
    other = {**TURNS, "messages": TURNS["messages"][2:]}
    assert len(bench(tmp_path, TURNS, other).items) == 2
    with pytest.raises(BenchmarkError, match="the same item as line 1"):
        bench(tmp_path, TURNS, TURNS)


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ({"messages": [], "target": "1"}, r"b\.jsonl:1: the last of the messages must be the user's"),
        ({"messages": TURNS["messages"][:2], "target": "1"}, r"the last of the messages must be the user's"),
        ({"messages": "hello", "target": "1"}, r'"messages" is a list of'),
        ({**TURNS, "prompt": "x"}, r"with no prompt beside it"),
        ({"messages": [{"role": "tool", "content": "x"}, *TURNS["messages"]], "target": "1"}, r"before\.0\.role"),
        ({"messages": [{"role": "user", "content": None}], "target": "1"}, r"prompt: "),
    ],
)
def test_malformed_messages_are_one_line(tmp_path: Path, item: dict[str, Any], message: str) -> None:
    """File, line, rule."""
    with pytest.raises(BenchmarkError, match=message) as caught:
        bench(tmp_path, item)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("template", "settings", "message"),
    [
        (None, "", r"b: asked in a chat, and the tokenizer has no chat template"),
        (TEMPLATE, 'template = "tools"', r"no chat template 'tools'; it has one without a name"),
        ("{{ raise_exception('no\\nroles') }}", "", r"b, item 1: the chat template refuses it: no roles"),
        ("{{ messages[7].content.x }}", "", r"b, item 1: the chat template refuses it"),
        (TEMPLATE + "{{ strftime_now('%d') }}", "", r"b, item 1: .* writes today's date, .*date_string"),
        (TEMPLATE + "{{ strftime_now('%d') }}", 'arguments = { date_string = "26" }', r"writes today's date"),
        (TEMPLATE, "arguments = { tokenize = true }", r"b, item 1: the chat template refuses it"),
    ],
)
def test_templates_that_cannot_ask(tmp_path: Path, template: str | None, settings: str, message: str) -> None:
    """In one line, with the item where there is one."""
    found = bench(tmp_path, PLAIN, settings=f"[chat]\n{settings}\n")
    with pytest.raises(BenchmarkError, match=message) as caught:
        found.encode(tokenizer(template))
    assert "\n" not in str(caught.value)


def test_a_date_that_is_fixed_is_asked(tmp_path: Path) -> None:
    """As Llama's template has it."""
    dated = "{{ date_string if date_string is defined else strftime_now('%d') }}" + TEMPLATE
    found = bench(tmp_path, PLAIN, settings='[chat]\narguments = { date_string = "26" }\n')
    assert asked(found, tokenizer(dated)) == ["26b1+1<eos>c2"]


def test_two_system_prompts_are_refused(tmp_path: Path) -> None:
    """Which of them is meant is not guessed."""
    item = {"messages": [{"role": "system", "content": "1"}, *TURNS["messages"]], "target": "4"}
    assert asked(bench(tmp_path, item))[0].startswith("a1<eos>")
    with pytest.raises(BenchmarkError, match=r"b, item 1: has a system prompt of its own"):
        bench(tmp_path, item, settings='[chat]\nsystem = "0"\n').encode(tokenizer())


def test_show_items(tmp_path: Path) -> None:
    """Text with special tokens, ids, and what is scored of them; no more items than asked for."""
    folder = models.save_folder(tmp_path / "model", models.llama())
    tokenizer().save_pretrained(folder)
    bench(tmp_path, PLAIN, TURNS)
    done = CliRunner().invoke(app, ["show-items", str(folder), "-b", str(tmp_path / "b.jsonl"), "-n", "1"])
    assert done.exit_code == 0, done.output
    first = tokenizer()("b1+1<eos>c")["input_ids"]
    assert "item 1: 6 tokens of the prompt, 1 scored" in done.output
    assert "prompt 'b 1 + 1 <eos> c'" in done.output  # as this tokenizer decodes: a space between tokens
    assert f"tokens {' '.join(map(str, first))} | " in done.output
    assert "item 2" not in done.output
