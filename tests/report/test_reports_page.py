"""The page on reports runs as it stands."""

import doctest
import glob
import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest

from certify.__main__ import main
from certify.documents import read_document
from certify.evidence import Requirement

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reports.md"
GOLDEN = ROOT / "tests" / "golden" / "v1"


def test_examples_give_what_is_printed():
    """Every Python example."""
    failed, tried = doctest.testfile(str(PAGE), module_relative=False, encoding="utf-8")
    assert failed == 0
    assert tried >= 6


def test_commands_run(tmp_path, monkeypatch, capsys):
    """Every command, in order, in a folder with certificates and keys; a certificate is not worse than itself."""
    pytest.importorskip("cryptography")
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

    monkeypatch.chdir(tmp_path)
    Path("certs").mkdir()
    shutil.copy(GOLDEN / "benign.addition.position.json", "certs/first.json")
    read_document(Path("certs/first.json")).under(Requirement(limit=0.1)).to_json("certs/second.json")
    private = Ed25519PrivateKey.generate()
    Path("key.pem").touch(0o600)
    Path("key.pem").write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    Path("public.pem").write_bytes(public)
    blocks = re.findall(r"```bash\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    commands = [shlex.split(line) for block in blocks for line in block.splitlines() if line]
    assert len(commands) == 16
    for command in commands:
        words = [file for word in command for file in (sorted(glob.glob(word)) or [word])]
        monkeypatch.setattr(sys, "argv", words)
        with pytest.raises(SystemExit) as stop:
            main()
        assert not stop.value.code, words
    out = capsys.readouterr().out
    assert out.count("CERTIFIED") == 4
    assert "Signed with the private half of public.pem" in out
    assert Path("basin.html").stat().st_size > 10_000
    assert Path("summary.md").read_text(encoding="utf-8").startswith("## ")


def test_every_type_and_option_is_explained():
    """The table lists what the command takes."""
    from certify.report.render import ReportType

    text = PAGE.read_text(encoding="utf-8")
    assert all(f"| `{kind}` |" in text for kind in [*ReportType, "in-toto"])
