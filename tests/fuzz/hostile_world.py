"""A small valid world for the job of hostile input: models, items, records, logs, draws and keys in one folder."""

from __future__ import annotations

import base64
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from certify.demo import DATA

TESTS = Path(__file__).resolve().parents[1]
ITEMS = 6
DETAILS = "details_own_2026-01-01T00-00-00.000000.parquet"
CHECK = "check tuned --base base -b b.jsonl --items fixed --max-drop 0.9 -o out"
DRAWN = f"{CHECK.replace('--items fixed', '--require smoothed')} --sigma 0.003 -n 8 --draws-dir draws"
COLLECT = "collect drawn/0 drawn/1 --scores base.csv -o out/collected.json"
SCORES = "check --scores logs/base{0} --scores-of logs/tuned{0} --metric {1} --items fixed --max-drop 0.5 -o out"
KEEPING = (
    "measure base -b b.jsonl --sigma 0.03 -n 60 --grid 0.003,0.03 --max-drop 0.5 -o records/measurement.json",
    "check tuned --base base -b b.jsonl --max-drop 0.9 --require point,distance,position -o records "
    "--measurement records/measurement.json",
    "gate tuned --base base -b b.jsonl --sigma 0.003 --at-least 0.3 --p1 0.9 --output records/gate.json",
    "draw base --sigma 0.02 --draw 0 -n 2 -o drawn/0",
    "draw base --sigma 0.02 --draw 1 -n 2 -o drawn/1",
    "check --scores logs/base.csv --scores-of logs/tuned.csv --items fixed --max-drop 0.5 -o brought",
    DRAWN,
)
"""What is run to make records and draws; the other records are those that the releases keep."""
GOLDEN = {
    "basin": "v1/base.addition.basin.json", "audit": "v2/full-88844be6.prose.audit.json",
    "cover": "v2/adversarial-c7dfbaca.addition.cover.json", "skills": "v2/base-4587402d.skills.json",
    "pool": "v2/full-88844be6.pool.point.json", "smoothed": "v1/full.addition.smoothed.json",
}  # fmt: skip

Run = Callable[[list[str]], tuple[int, str, str]]


def make_world(folder: Path, run: Run) -> None:
    """Fill a folder. ``run`` runs certify there, in this process, which so loads what its copies need."""
    for name, source in (("base", DATA / "base"), ("tuned", DATA / "checkpoints" / "benign")):
        shutil.copytree(source, folder / name)
    shutil.copy(DATA / "subspace" / "basis.safetensors", folder)
    for path in folder.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    _write_items(folder)
    _write_logs(folder / "logs")
    _write_recipes(folder)
    _write_adapter(folder / "adapter")
    _write_shards(folder)
    (folder / "records").mkdir()
    for command in KEEPING:
        code, _, error = run(command.split())
        assert code in (0, 1, 3), (command, code, error)
    for path in (folder / "records").glob("*.*.json"):
        path.rename(path.with_name(f"{path.stem.rpartition('.')[2]}.json"))
    next((folder / "brought").iterdir()).rename(folder / "records" / "scores.json")
    for name, kept in GOLDEN.items():
        shutil.copy(TESTS / "golden" / kept, folder / "records" / f"{name}.json")
    for i in range(2):
        shutil.copy(folder / "logs" / "base.csv", folder / "drawn" / str(i) / "scores.csv")
    shutil.copy(folder / "logs" / "tuned.csv", folder / "base.csv")
    _write_signed(folder)


def _write_items(folder: Path) -> None:
    lines = (DATA / "benchmarks" / "addition.jsonl").read_text().splitlines(keepends=True)
    _write(folder, {
        "b.jsonl": "".join(lines[:ITEMS]),
        "b.toml": 'description = "sums"\nchance = 0.1\n',
        "c.jsonl": "".join(lines[ITEMS : 2 * ITEMS]),
        "suite.toml": '[pool]\n"b.jsonl" = 2\n"c.jsonl" = 1.5\n',
        "tasks.toml": "[pool]\nb = 2\nc = 1.5\n",
        "written.jsonl": "".join(lines[:3]),
        "written.toml": '[generation]\nmax_new_tokens = 4\nstop = ["x", "y"]\npattern = "([0-9]+)"\njudge = "number"\n'
        "tolerance = 0.1\n",
        "task.jsonl": "".join(json.dumps({**json.loads(line), "id": i}) + "\n" for i, line in enumerate(lines[:3])),
        "task.toml": 'description = "lm-eval 0.4, task own"\n[task]\nname = "own"\nversion = "1.0"\n'
        f'config = "sha256:{"0" * 64}"\ndocuments = "sha256:{"1" * 64}"\n[generation]\nmax_new_tokens = 4\n'
        'stop = "x"\n[generation.lm_eval]\nignore_case = true\nregexes_to_ignore = [",", "[$]"]\n'
        'filters = [{function = "regex", regex_pattern = "([0-9]+)", group_select = -1}, {function = "lowercase"}]\n',
        "chosen.jsonl": "".join(json.dumps({"prompt": f"{i}+1=", "choices": [str(i + 1), "9", "0"], "answer": 0,
                                            "cluster": i // 2}) + "\n" for i in range(4)),
        "chosen.toml": 'length_normalised = true\nboundary = "lm-eval"\n',
        "fields.csv": "question,good,bad,group\n" + "".join(f"{i}+2=,{i + 2},9{i},{i // 2}\n" for i in range(4)),
        "fields.toml": '[fields]\nprompt = "{question}"\nchoices = ["{good}", "{bad}"]\nanswer = "0"\n'
        'answer_is = "index"\ncluster = "{group}"\n',
        "chat.jsonl": '{"messages": [{"role": "system", "content": "0"}, {"role": "user", "content": "1+1="}], '
        '"target": "2"}\n{"prompt": "2+2=", "target": "4"}\n',
        "chat.toml": '[chat]\nprefix = ""\narguments = {thinking = false}\n',
        "task.yaml": "task: own\ndataset_path: json\ndataset_kwargs: {data_files: {test: docs.jsonl}}\n"
        'test_split: test\noutput_type: multiple_choice\ndoc_to_text: "{{q}}"\ndoc_to_choice: ["a", "b"]\n'
        "doc_to_target: answer\nmetric_list: [{metric: acc}]\n",
        "docs.jsonl": "".join(json.dumps({"q": f"{i}", "answer": i % 2}) + "\n" for i in range(3)),
    })  # fmt: skip
    shutil.copytree(folder / "base", folder / "chatty")
    (folder / "chatty" / "chat_template.jinja").write_text(
        "{% for message in messages %}{{ message['content'] | trim }}{% endfor %}{% if thinking %}0{% endif %}"
    )


def _write(folder: Path, files: dict[str, str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text)


def _write_logs(folder: Path) -> None:
    """Write items of two models as lm-eval (two tasks), Inspect (both ways), LightEval and tables hold them."""
    for who, right in (("base", ITEMS), ("tuned", ITEMS - 1)):
        marks = [float(i < right) for i in range(ITEMS)]
        for task in "bc":
            samples = [{"doc_id": i, "doc": {"q": f"{task}{i}"}, "target": "1", "resps": [["1"]],
                        "arguments": {"gen_args_0": {"arg_0": f"{task}{i}"}}, "filtered_resps": ["1"], "filter": "none",
                        "metrics": ["acc"], "doc_hash": "x", "acc": mark} for i, mark in enumerate(marks)]  # fmt: skip
            text = "".join(json.dumps(sample) + "\n" for sample in samples)
            _write(folder / who, {f"samples_{task}_2026-01-01T00-00-00.000000.jsonl": text})
        results = {"results": {"b": {"acc,none": 0.9}, "c": {"acc,none": 0.9}}, "n-shot": {"b": 0, "c": 0},
                   "versions": {"b": 1, "c": 1}, "lm_eval_version": "0.4", "model_name": who,
                   "n-samples": {task: {"original": ITEMS, "effective": ITEMS} for task in "bc"}}  # fmt: skip
        _write(folder / who, {"results_2026-01-01T00-00-00.000000.json": json.dumps(results)})
        inspected: dict[str, Any] = {"version": 2, "status": "success", "eval": {
            "task": "b", "model": who, "dataset": {"samples": ITEMS}, "task_args": {"x": 1}}}  # fmt: skip
        scored = [{"id": i, "epoch": 1, "target": "1", "scores": {"acc": {"value": "C" if mark else "I"}}}
                  for i, mark in enumerate(marks)]  # fmt: skip
        with zipfile.ZipFile(folder / f"{who}.eval", "w") as archive:
            archive.writestr("header.json", json.dumps(inspected))
            archive.writestr("summaries.json", json.dumps(scored))
        table = "id,score,cluster\n" + "".join(f"{i},{mark},{i // 2}\n" for i, mark in enumerate(marks))
        _write(folder, {f"{who}.json": json.dumps({**inspected, "samples": scored}), f"{who}.csv": table})
        kept = {"base": "base", "tuned": "full"}[who]
        (folder / f"{who}.details").mkdir()
        shutil.copy(TESTS / "logs" / "of_lighteval" / f"{kept}.parquet", folder / f"{who}.details" / DETAILS)


def _write_recipes(folder: Path) -> None:
    _write(folder, {
        "merge.toml": 'merge_method = "ties"\nbase_model = "base"\n[[models]]\nmodel = "tuned"\n'
        "parameters = { weight = 0.5, density = 0.5 }\n",
        "merge.yaml": "merge_method: task_arithmetic\nbase_model: base\nmodels:\n- model: tuned\n  parameters:\n"
        "    weight:\n    - {filter: mlp, value: [0, 1]}\n    - value: 0.5\nparameters: {lambda: 0.9}\n",
    })  # fmt: skip


def _write_adapter(folder: Path) -> None:
    """Write a small LoRA of the base, as PEFT names its tensors."""
    import torch
    from safetensors.torch import save_file

    config = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": "base", "r": 2,
              "lora_alpha": 4, "target_modules": ["q_proj"], "bias": "none", "fan_in_fan_out": False}  # fmt: skip
    _write(folder, {"adapter_config.json": json.dumps(config)})
    tensors, generator = {}, torch.Generator().manual_seed(0)
    for layer in range(2):
        stem = f"base_model.model.model.layers.{layer}.self_attn.q_proj.lora"
        tensors[f"{stem}_A.weight"] = torch.randn(2, 64, generator=generator) / 100
        tensors[f"{stem}_B.weight"] = torch.randn(64, 2, generator=generator) / 100
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})


def _write_shards(folder: Path) -> None:
    import models

    shutil.copytree(folder / "tuned", folder / "whole")
    models.resharded(folder / "whole", folder / "sharded")
    shutil.rmtree(folder / "whole")


def _write_signed(folder: Path) -> None:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

    from certify.attestation import PAYLOAD, statement
    from certify.documents import read_document

    own = _key()
    (folder / "key.pem").write_bytes(own.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    (folder / "key.pem").chmod(0o600)
    (folder / "key.pub").write_bytes(own.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    payload = json.dumps(statement(read_document(folder / "records" / "point.json"))).encode()
    (folder / "envelope.json").write_bytes(signed(payload, PAYLOAD))


def signed(payload: bytes, kind: str) -> bytes:
    """Return an envelope of what a holder of the world's key signs, whatever it is."""
    text, said = base64.b64encode(payload).decode(), kind.encode()
    mark = _key().sign(b"DSSEv1 %d %s %d %s" % (len(said), said, len(payload), payload))
    signatures = [{"keyid": "", "sig": base64.b64encode(mark).decode()}]
    return json.dumps({"payload": text, "payloadType": kind, "signatures": signatures}).encode()


def _key() -> Any:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.from_private_bytes(bytes(32))
