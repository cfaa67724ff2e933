"""``certify sign`` and ``certify verify --signature``: what was signed verifies, by its key, and nothing else."""

from __future__ import annotations

import base64
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("cryptography")

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, utils
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from certify.__main__ import main

GOLDEN = Path(__file__).parents[1] / "golden"
Certify = Callable[..., tuple[int, str, str]]
IN_TOTO = "application/vnd.in-toto+json"


def write_keys(folder: Path, name: str, key: Any, lock: Any = None) -> None:
    """A private key and its public half, as openssl writes them."""
    private = folder / f"{name}.pem"
    private.touch(0o600)
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, lock or NoEncryption()))
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (folder / f"{name}.pub").write_bytes(public)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two records, keys of every kind that people have, and an envelope of one record."""
    made: Path = tmp_path_factory.mktemp("signed")
    for name, file in (("own", "v2/split.own.point"), ("refuted", "v1/adversarial.addition.point")):
        shutil.copy(GOLDEN / f"{file}.json", made / f"{name}.json")
    own = ed25519.Ed25519PrivateKey.generate()
    write_keys(made, "key", own)
    write_keys(made, "other", ed25519.Ed25519PrivateKey.generate())
    write_keys(made, "curve", ec.generate_private_key(ec.SECP256R1()))
    write_keys(made, "curve384", ec.generate_private_key(ec.SECP384R1()))
    write_keys(made, "rsa", rsa.generate_private_key(65537, 2048))
    write_keys(made, "locked", own, BestAvailableEncryption(b"secret"))
    write_keys(made, "open", own)
    (made / "open.pem").chmod(0o644)
    for name, text in (("ssh", "ssh-ed25519 AAAA me"), ("empty", ""), ("binary", "\xff\xfe\x00")):
        for end in ("pem", "pub"):
            (made / f"{name}.{end}").touch(0o600)
            (made / f"{name}.{end}").write_bytes(text.encode("latin-1"))
    sys.argv = ["certify", "sign", str(made / "own.json"), "--key", str(made / "key.pem"), "-o", str(made / "own.dsse")]
    with pytest.raises(SystemExit) as stop:
        main()
    assert not stop.value.code
    return made


def verify(
    certify: Certify, record: str = "own.json", envelope: str = "own.dsse", key: str = "key.pub"
) -> tuple[int, str]:
    """Exit code, and all that was said."""
    code, out, err = certify("verify", record, "--signature", envelope, "--key", key)
    assert err.count("\n") == (code == 2)
    return code, out + err


def encoded(kind: str, payload: bytes) -> bytes:
    """What DSSE signs, written down from its protocol a second time."""
    return b" ".join([b"DSSEv1", str(len(kind)).encode(), kind.encode(), str(len(payload)).encode(), payload])


def forge(folder: Path, name: str, value: Any, kind: str = IN_TOTO, key: str = "key.pem") -> str:
    """An envelope over anything, with a signature that verifies."""
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    payload = value if isinstance(value, bytes) else json.dumps(value).encode()
    private = load_pem_private_key((folder / key).read_bytes(), None)
    assert isinstance(private, ed25519.Ed25519PrivateKey)
    return write(folder, name, payload, kind, private.sign(encoded(kind, payload)))


def write(folder: Path, name: str, payload: bytes, kind: str, signature: bytes) -> str:
    text = [base64.b64encode(each).decode() for each in (payload, signature)]
    (folder / name).write_text(json.dumps({"payload": text[0], "payloadType": kind, "signatures": [{"sig": text[1]}]}))
    return name


def payload_of(folder: Path, name: str = "own.dsse") -> bytes:
    return base64.b64decode(json.loads((folder / name).read_text())["payload"])


# ---------------------------------------------------------------- what verifies


@pytest.mark.parametrize("key", ["key", "curve"])
@pytest.mark.parametrize("record", ["own.json", "refuted.json"])
def test_what_was_signed_verifies(key: str, record: str, certify: Certify, folder: Path, tmp_path: Path) -> None:
    """Whatever its verdict, which both lines say: a signature is no approval of the model."""
    envelope = str(tmp_path / "made.dsse")
    code, out, _ = certify("sign", record, "--key", f"{key}.pem", "-o", envelope)
    verdict = "CERTIFIED" if record == "own.json" else "REFUTED"
    assert code == 0
    assert f"It signs {record}: {verdict}." in out
    code, said = verify(certify, record, envelope, f"{key}.pub")
    assert code == 0
    assert said.startswith(f"VALID  {record}\n    {verdict}: ")
    assert f"Signed with the private half of {key}.pub (" in said
    assert "does not prove that the counts came from these models" in said


def test_the_envelope_is_that_of_the_protocol(certify: Certify, folder: Path) -> None:
    """Standard output has the envelope and nothing else; what was signed is the statement of `certify report`."""
    _, out, _ = certify("sign", "own.json", "--key", "key.pem")
    assert json.loads(out) == json.loads((folder / "own.dsse").read_text())  # ed25519 has no randomness
    assert {*json.loads(out)} == {"payload", "payloadType", "signatures"}
    _, statement, _ = certify("report", "own.json", "-t", "in-toto")
    payload = payload_of(folder)
    assert json.loads(payload) == json.loads(statement)
    forge(folder, "again.dsse", payload)
    assert json.loads((folder / "again.dsse").read_text())["signatures"][0]["sig"] == \
        json.loads(out)["signatures"][0]["sig"]  # fmt: skip


def test_the_protocols_own_example(folder: Path) -> None:
    """The test vector of DSSE 1.0.0: payload, type, key and signature of its authors (raw, here as DER)."""
    from certify import attestation

    x = 46950820868899156662930047687818585632848591499744589407958293238635476079160
    y = 5640078356564379163099075877009565129882514886557779369047442380624545832820
    sig = "A3JqsQGtVsJ2O2xqrI5IcnXip5GToJ3F+FnZ+O88SjtR6rDAajabZKciJTfUiHqJPcIAriEGAHTVeCUjW2JIZA=="
    raw = base64.b64decode(sig)
    der = utils.encode_dss_signature(int.from_bytes(raw[:32]), int.from_bytes(raw[32:]))
    public = ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
    encoding = attestation._encoded("http://example.com/HelloWorld", b"hello world")
    assert encoding == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    assert attestation._verifies(public, der, encoding)
    assert not attestation._verifies(public, der, encoding + b" ")
    public.verify(der, encoding, ec.ECDSA(SHA256()))


def test_several_signatures_and_either_alphabet(certify: Certify, folder: Path) -> None:
    """One that verifies is enough, wherever it stands and whatever key it names; base64 may be that of addresses."""
    value = json.loads((folder / "own.dsse").read_text())
    junk = {"keyid": value["signatures"][0]["keyid"], "sig": base64.b64encode(b"x" * 64).decode()}
    value["signatures"] = [junk, {"keyid": "mine", "sig": value["signatures"][0]["sig"]}]
    value["payload"] = value["payload"].replace("+", "-").replace("/", "_")
    (folder / "two.dsse").write_text(json.dumps(value))
    assert verify(certify, envelope="two.dsse")[0] == 0


# ---------------------------------------------------------------- what does not: exit 4


def test_another_key_is_named(certify: Certify) -> None:
    """The envelope says which key made it; that is a hint, and said as one."""
    code, said = verify(certify, key="other.pub")
    assert code == 4
    assert said.startswith("INVALID  own.json\n    signature: own.dsse was not signed with other.pub (key ")
    assert "by its own word it is signed with the key " in said
    assert verify(certify, key="curve.pub")[0] == 4


def test_an_envelope_of_another_record(certify: Certify) -> None:
    """Both verify alone."""
    code, said = verify(certify, record="refuted.json")
    assert code == 4
    assert "signature: own.dsse signs another record ('sha256:7233" in said


def test_a_changed_record_is_not_what_was_signed(certify: Certify, folder: Path) -> None:
    """Also where the forger seals it again; spaces and the order of keys are no change."""
    value = json.loads((folder / "own.json").read_text())
    (folder / "spelled.json").write_text(json.dumps(dict(reversed(value.items()))))
    assert verify(certify, record="spelled.json")[0] == 0
    value["environment"]["platform"] = "elsewhere"
    (folder / "changed.json").write_text(json.dumps(value))
    code, said = verify(certify, record="changed.json")
    assert code == 4
    assert "digest: recorded" in said
    assert f"own.dsse signs the record of digest {value['digest']}, which this one states and its content does" in said
    assert "signs another record" not in said
    from certify.documents import Certificate

    provisional = Certificate.model_validate(value)
    provisional.model_copy(update={"digest": provisional.own_digest()}).to_json(folder / "sealed.json")
    assert certify("verify", "sealed.json")[0] == 0
    code, said = verify(certify, record="sealed.json")
    assert code == 4
    assert "signature: own.dsse signs another record" in said


@pytest.mark.parametrize("change", ["payload", "type", "sig"])
def test_a_changed_envelope_does_not_verify(change: str, certify: Certify, folder: Path) -> None:
    """A bit of payload or signature, or another type over the same payload."""
    value = json.loads((folder / "own.dsse").read_text())
    if change == "type":
        value["payloadType"] = "application/json"
    elif change == "payload":
        value["payload"] = base64.b64encode(payload_of(folder).replace(b"400", b"401", 1)).decode()
    else:
        raw = bytearray(base64.b64decode(value["signatures"][0]["sig"]))
        raw[-1] ^= 1
        value["signatures"][0]["sig"] = base64.b64encode(raw).decode()
    (folder / f"{change}.dsse").write_text(json.dumps(value))
    code, said = verify(certify, envelope=f"{change}.dsse")
    assert code == 4
    assert "was not signed with key.pub" in said


def test_what_the_key_signed_must_be_this_statement(certify: Certify, folder: Path) -> None:
    """The right key over something else: a bare record, another type, other subjects, no text at all."""
    statement = json.loads(payload_of(folder))
    others: dict[str, tuple[Any, str, str]] = {
        "bare": (statement["predicate"], IN_TOTO, "signs another record (None; this one is sha256:7233"),
        "list": ([1], IN_TOTO, "signs another record (None"),
        "kind": ({**statement, "predicateType": "https://slsa.dev/provenance/v1"}, IN_TOTO, "another predicateType"),
        "subject": ({**statement, "subject": statement["subject"][:1]}, IN_TOTO, "this record under another subject"),
        "more": ({**statement, "approved": True}, IN_TOTO, "this record under another approved"),
        "type": (statement, "text/plain", "signs 'text/plain', no in-toto statement"),
        "bytes": (b"\xff\xfe", IN_TOTO, "signs a payload that is no UTF-8 text"),
    }
    for name, (value, kind, message) in others.items():
        code, said = verify(certify, envelope=forge(folder, f"{name}.forged", value, kind))
        assert (code, message in said) == (4, True), (name, said)
    assert verify(certify, envelope=forge(folder, "same.forged", statement))[0] == 0


# ---------------------------------------------------------------- what cannot be tried: exit 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not readable JSON"),
        ("[]", "is no DSSE envelope, which has payload, payloadType and signatures"),
        ('{"payload": "", "payload": ""}', "the key 'payload' is there twice"),
        ('{"payload": "e30=", "payloadType": "x", "signatures": []}', "is no DSSE envelope"),
        ('{"payload": "e30=", "payloadType": "x", "signatures": [1]}', "signatures: each has a sig"),
        ('{"payload": "e30=", "payloadType": "x", "signatures": [{"keyid": 1, "sig": ""}]}', "a keyid that is text"),
        ('{"payload": "e30=", "payloadType": "x", "signatures": [{}]}', "signatures.sig is no text in base64"),
        ('{"payload": "e30=", "payloadType": "x", "signatures": [{"sig": "\u00e9"}]}', "no text in base64"),
        ('{"payload": 7, "payloadType": "x", "signatures": [{"sig": ""}]}', "payload is no text in base64"),
        ('{"payload": "e", "payloadType": "x", "signatures": [{"sig": ""}]}', "payload is no text in base64"),
        ("[" * 5000, "nested too deep"),
    ],
)
def test_what_is_no_envelope_is_one_line(text: str, message: str, certify: Certify, folder: Path) -> None:
    """Named with its file."""
    (folder / "bad.dsse").write_text(text, encoding="utf-8")
    code, said = verify(certify, envelope="bad.dsse")
    assert code == 2
    assert said.startswith("certify: error: bad.dsse: ")
    assert message in said


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("key.pem", "key.pem: is a private key, which nobody but its owner should have"),
        ("locked.pem", "locked.pem: is a private key"),
        ("rsa.pub", "rsa.pub: is another kind of key; certify signs with ed25519, or ECDSA on the curve P-256"),
        ("curve384.pub", "curve384.pub: is another kind of key"),
        ("ssh.pub", "ssh.pub: holds no public key in PEM"),
        ("empty.pub", "empty.pub: holds no public key in PEM"),
        ("binary.pub", "binary.pub: not readable as UTF-8 text"),
        ("gone.pub", "gone.pub: no such file"),
        (".", ".: not readable: it is no ordinary file"),
    ],
)
def test_a_key_that_cannot_verify_is_one_line(key: str, message: str, certify: Certify) -> None:
    """A private key above all: whoever asks for it should not get it."""
    code, said = verify(certify, key=key)
    assert code == 2
    assert message in said


@pytest.mark.parametrize(
    ("record", "key", "code", "message"),
    [
        ("own.json", "key.pub", 2, "key.pub: others may use this key (permissions"),
        ("own.json", "open.pem", 2, "open.pem: others may use this key (permissions 044); run `chmod 600` on it first"),
        ("own.json", "locked.pem", 2, "locked.pem: is locked with a password"),
        ("own.json", "rsa.pem", 2, "rsa.pem: is another kind of key; certify signs with ed25519"),
        ("own.json", "curve384.pem", 2, "curve384.pem: is another kind of key"),
        ("own.json", "ssh.pem", 2, "ssh.pem: holds no private key in PEM; `openssl genpkey -algorithm ed25519"),
        ("own.json", "empty.pem", 2, "empty.pem: holds no private key in PEM"),
        ("own.json", "gone.pem", 2, "gone.pem: no such file"),
        ("gone.json", "key.pem", 2, "gone.json: no such file"),
        ("own.dsse", "key.pem", 2, "own.dsse: schema is None"),
        ("false.json", "key.pem", 4, "false.json: judgement.lower: recorded"),
    ],
)
def test_what_cannot_be_signed_is_one_line(
    record: str, key: str, code: int, message: str, certify: Certify, folder: Path
) -> None:
    """Nothing is written, nothing printed, and no part of a key is in the message."""
    value = json.loads((folder / "own.json").read_text())
    value["judgement"]["lower"] = 0.9
    (folder / "false.json").write_text(json.dumps(value))
    found, out, err = certify("sign", record, "--key", key, "-o", "never.dsse")
    assert (found, out) == (code, "")
    assert message in err
    assert err.count("\n") == 1
    assert "BEGIN" not in err
    assert not (folder / "never.dsse").exists()


def test_a_public_key_that_only_its_owner_reads_does_not_sign(certify: Certify, folder: Path) -> None:
    """It is called what it is."""
    (folder / "mine.pub").touch(0o600)
    (folder / "mine.pub").write_bytes((folder / "key.pub").read_bytes())
    _, _, err = certify("sign", "own.json", "--key", "mine.pub")
    assert "mine.pub: is a public key; signing needs the private one" in err


def test_nothing_is_replaced(certify: Certify, folder: Path) -> None:
    """Neither a record nor a key, whose names are so easily given for the envelope's."""
    for name in ("own.json", "key.pem", "own.dsse"):
        before = (folder / name).read_bytes()
        code, _, err = certify("sign", "own.json", "--key", "key.pem", "-o", name)
        assert (code, f"{name} exists, and no signature replaces a file" in err) == (2, True)
        assert (folder / name).read_bytes() == before
    assert certify("sign", "own.json", "--key", "key.pem", "-o", ".")[0] == 2


def test_a_signature_goes_with_a_key_and_one_record(certify: Certify) -> None:
    """Half a question is none."""
    for words in (("--signature", "own.dsse"), ("--key", "key.pub")):
        code, _, err = certify("verify", "own.json", *words)
        assert (code, "name both --signature and --key" in err) == (2, True)
    code, _, err = certify("verify", "own.json", "refuted.json", "--signature", "own.dsse", "--key", "key.pub")
    assert (code, "an envelope signs one record, and 2 are named" in err) == (2, True)


def test_without_the_extra_the_line_names_it(certify: Certify, monkeypatch: pytest.MonkeyPatch) -> None:
    """Verifying a record without a signature needs nothing of it."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "cryptography"]:
        monkeypatch.setitem(sys.modules, name, None)
    checked = ("verify", "own.json", "--signature", "own.dsse", "--key", "key.pub")
    for words in (("sign", "own.json", "--key", "key.pem"), checked):
        code, out, err = certify(*words)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert "pip install 'pytest-basin[sign]'" in err
    assert certify("verify", "own.json")[0] == 0
