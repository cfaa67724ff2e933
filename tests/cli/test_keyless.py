"""``certify sign --sigstore`` and its verification: a bundle verifies for who signed it, and under nothing else.

The services are those of ``private_sigstore``; what signs and what verifies is sigstore's own client.
"""

from __future__ import annotations

import base64
import json
import shutil
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("sigstore", reason="sigstore is not installed: pip install '.[sign]'")

import requests
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from private_sigstore import ISSUER, WORKFLOW, Sigstore, new_key, token

from certify.__main__ import main

GOLDEN = Path(__file__).parents[1] / "golden"
Certify = Callable[..., tuple[int, str, str]]
AS = ("--identity", WORKFLOW, "--issuer", ISSUER, "--trust-root", "root.json")


@pytest.fixture(scope="module")
def instance() -> Sigstore:
    return Sigstore()


@pytest.fixture(scope="module")
def folder(instance: Sigstore, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two records, one of them signed, and the trust root of the services."""
    made: Path = tmp_path_factory.mktemp("keyless")
    for name, file in (("own", "v2/split.own.point"), ("refuted", "v1/adversarial.addition.point")):
        shutil.copy(GOLDEN / f"{file}.json", made / f"{name}.json")
    (made / "root.json").write_text(json.dumps(instance.trust_root()))
    with pytest.MonkeyPatch.context() as patched:
        answer(patched, instance)
        patched.setenv("SIGSTORE_IDENTITY_TOKEN", token())
        patched.setattr(sys, "argv", ["certify", "sign", str(made / "own.json"), "--sigstore",
                                      "-o", str(made / "own.sigstore.json")])  # fmt: skip
        with pytest.raises(SystemExit) as stop:
            main()
    assert not stop.value.code
    return made


def answer(patched: pytest.MonkeyPatch, instance: Sigstore) -> None:
    """Replace what goes over the network: the fetching of the instance's addresses and keys, and its services."""
    from sigstore.models import ClientTrustConfig

    patched.setattr(ClientTrustConfig, "production", instance.trust_config)
    patched.setattr(requests.Session, "post", lambda *words, **more: instance.post(*words, **more))


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing but what a test replaces reaches a network, and no build service runs these tests."""

    def refused(*_: Any, **__: Any) -> None:
        raise requests.ConnectionError("no network here")

    monkeypatch.setattr(requests.Session, "request", refused)
    for name in ("GITHUB_ACTIONS", "GITLAB_CI", "BUILDKITE", "CIRCLECI", "SIGSTORE_IDENTITY_TOKEN"):
        monkeypatch.delenv(name, raising=False)


def changed(folder: Path, name: str, change: Callable[[dict[str, Any]], None]) -> str:
    """The bundle with something else in it."""
    value = json.loads((folder / "own.sigstore.json").read_text())
    change(value)
    (folder / name).write_text(json.dumps(value))
    return name


def verify(
    certify: Certify, bundle: str = "own.sigstore.json", *asked: str, record: str = "own.json"
) -> tuple[int, str]:
    """Exit code, and all that was said."""
    code, out, err = certify("verify", record, "--signature", bundle, *(asked or AS))
    assert err.count("\n") == (code == 2)
    return code, out + err


# ---------------------------------------------------------------- what verifies


@pytest.mark.parametrize("record", ["own.json", "refuted.json"])
def test_what_was_signed_verifies(
    record: str, certify: Certify, folder: Path, instance: Sigstore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the token of the option, offline afterwards; two services were asked, each once."""
    answer(monkeypatch, instance)
    instance.asked.clear()
    bundle = str(tmp_path / "made.sigstore.json")
    code, out, _ = certify("sign", record, "--sigstore", "--identity-token", token(), "-o", bundle)
    assert code == 0
    assert len(instance.asked) == 2
    assert f"and --identity {WORKFLOW} --issuer {ISSUER}." in out
    monkeypatch.undo()
    code, said = verify(certify, bundle, record=record)
    assert code == 0
    assert said.startswith(f"VALID  {record}\n")
    assert f"Signed by {WORKFLOW}, says {ISSUER}, from 20" in said
    assert "does not prove that the counts came from these models" in said


def test_the_bundle_holds_the_statement_of_the_report(certify: Certify, folder: Path) -> None:
    """In the format of sigstore's clients, 0.3, and nothing of the token."""
    text = (folder / "own.sigstore.json").read_text()
    value = json.loads(text)
    assert value["mediaType"] == "application/vnd.dev.sigstore.bundle.v0.3+json"
    _, statement, _ = certify("report", "own.json", "-t", "in-toto")
    assert json.loads(base64.b64decode(value["dsseEnvelope"]["payload"])) == json.loads(statement)
    assert token().split(".")[0] not in text


def test_the_trust_root_that_comes_with_sigstore_is_read_without_a_network(certify: Certify, folder: Path) -> None:
    """It knows other certificates than these, and says so: a contradiction, no error."""
    code, said = verify(certify, "own.sigstore.json", *AS[:4])
    assert code == 4
    assert "signature: own.sigstore.json does not verify: failed to build timestamp certificate chain" in said


# ---------------------------------------------------------------- what does not: exit 4


@pytest.mark.parametrize(
    ("identity", "issuer", "message"),
    [
        (WORKFLOW + "x", ISSUER, "SANs do not match"),
        (WORKFLOW.replace("main", "other"), ISSUER, f"actual SANs: {{'{WORKFLOW}'}}"),
        (WORKFLOW, "https://accounts.example", f"OIDCIssuer does not match (got '{ISSUER}'"),
    ],
)
def test_another_identity(identity: str, issuer: str, message: str, certify: Certify) -> None:
    """Of the same issuer, or of another; what the certificate names is said."""
    code, said = verify(certify, "own.sigstore.json", "--identity", identity, "--issuer", issuer, *AS[4:])
    assert (code, message in said) == (4, True), said


@pytest.mark.parametrize("part", ["log", "certificates", "authority"])
def test_another_services_key(part: str, certify: Certify, folder: Path, instance: Sigstore) -> None:
    """Of either log or of the authority: a trust root that lacks it accepts nothing that rests on it."""
    keys = {name: getattr(instance, name) for name in ("log", "certificates", "authority")}
    other = Sigstore(**keys | {part: new_key()})
    other.start = instance.start
    (folder / f"{part}.root").write_text(json.dumps(other.trust_root()))
    code, said = verify(certify, "own.sigstore.json", *AS[:5], f"{part}.root")
    assert (code, "does not verify" in said) == (4, True), said


def test_a_signature_after_the_certificate_expired(
    certify: Certify, instance: Sigstore, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log's time decides; signing verifies what it got, so nobody hands such a bundle out in good faith."""
    late = Sigstore(instance.authority, instance.certificates, instance.log, late=timedelta(seconds=5))
    late.root = instance.root
    answer(monkeypatch, late)
    code, out, err = certify("sign", "own.json", "--sigstore", "--identity-token", token(), "-o", "late.json")
    assert (code, out, (folder / "late.json").exists()) == (2, "", False)
    assert "sigstore: no bundle was made: failed to build timestamp certificate chain" in err
    from sigstore.verify import Verifier

    with monkeypatch.context() as blind:
        blind.setattr(Verifier, "verify_dsse", lambda *_: None)
        assert certify("sign", "own.json", "--sigstore", "--identity-token", token(), "-o", "late.json")[0] == 0
    code, said = verify(certify, "late.json")
    assert (code, "does not verify" in said) == (4, True), said


def _payload(value: dict[str, Any]) -> None:
    envelope = value["dsseEnvelope"]
    envelope["payload"] = base64.b64encode(base64.b64decode(envelope["payload"]).replace(b"400", b"401", 1)).decode()


def _kind(value: dict[str, Any]) -> None:
    value["dsseEnvelope"]["payloadType"] = "text/plain"


def _time(value: dict[str, Any]) -> None:
    (entry,) = value["verificationMaterial"]["tlogEntries"]
    entry["integratedTime"] = str(int(entry["integratedTime"]) + 1)


def _proof(value: dict[str, Any]) -> None:
    proof = value["verificationMaterial"]["tlogEntries"][0]["inclusionProof"]
    proof["hashes"] = [base64.b64encode(b"x" * 32).decode()]


def _untimed(value: dict[str, Any]) -> None:
    (entry,) = value["verificationMaterial"]["tlogEntries"]
    entry["integratedTime"] = "9" * 18


@pytest.mark.parametrize("change", [_payload, _kind, _time, _proof, _untimed], ids=lambda change: change.__name__[1:])
def test_a_changed_bundle_does_not_verify(
    change: Callable[[dict[str, Any]], None], certify: Certify, folder: Path
) -> None:
    """A digit of the record, its type, the log's time, the way to its root, a time that no calendar has."""
    code, said = verify(certify, changed(folder, "changed.json", change))
    assert (code, "does not verify: " in said) == (4, True), said


def test_a_bundle_of_another_record(certify: Certify, folder: Path) -> None:
    """It verifies, and is of another; a record that was changed and sealed again is another."""
    code, said = verify(certify, record="refuted.json")
    assert (code, "signature: own.sigstore.json signs another record ('sha256:7233" in said) == (4, True)
    value = json.loads((folder / "own.json").read_text())
    value["environment"]["platform"] = "elsewhere"
    from certify.documents import Certificate

    provisional = Certificate.model_validate(value)
    provisional.model_copy(update={"digest": provisional.own_digest()}).to_json(folder / "sealed.json")
    assert certify("verify", "sealed.json")[0] == 0
    assert verify(certify, record="sealed.json")[0] == 4


# ---------------------------------------------------------------- what cannot be tried: exit 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is no sigstore bundle"),
        ("[]", "is no sigstore bundle"),
        ("[" * 5000, "is no sigstore bundle"),
        ('{"mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json"}', "is no sigstore bundle"),
        ('{"payload": "e30=", "payloadType": "x", "signatures": []}', "is no sigstore bundle"),
    ],
)
def test_what_is_no_bundle_is_one_line(text: str, message: str, certify: Certify, folder: Path) -> None:
    """Named with its file; likewise what is no trust root."""
    (folder / "bad.json").write_text(text)
    code, said = verify(certify, "bad.json")
    assert (code, said.startswith("certify: error: bad.json: "), message in said) == (2, True, True), said
    code, said = verify(certify, "own.sigstore.json", *AS[:5], "bad.json")
    assert (code, "bad.json: is no trust root of sigstore (trusted_root.json): " in said) == (2, True), said
    assert verify(certify, "own.sigstore.json", *AS[:5], "gone.json")[0] == 2


def test_a_certificate_that_is_none(certify: Certify, folder: Path) -> None:
    """A bundle in form alone."""

    def damage(value: dict[str, Any]) -> None:
        value["verificationMaterial"]["certificate"]["rawBytes"] = "AAAA"

    code, said = verify(certify, changed(folder, "damaged.json", damage))
    assert (code, "damaged.json: is no sigstore bundle: " in said) == (2, True)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--identity", WORKFLOW), "is named whole: --signature, --identity and --issuer"),
        (("--issuer", ISSUER), "is named whole"),
        (("--identity", WORKFLOW, "--issuer", "", *AS[4:]), "is named whole"),
        (("--identity", "", "--issuer", ISSUER, *AS[4:]), "is named whole"),
        (("--trust-root", "root.json"), "is named whole"),
        ((*AS, "--key", "key.pub"), "--key: a signature is held against a key, or against --identity and --issuer"),
    ],
)
def test_who_signed_is_named_whole(words: tuple[str, ...], message: str, certify: Certify) -> None:
    """An identity without its issuer could be anybody's; a key and an identity are two questions."""
    code, said = verify(certify, "own.sigstore.json", *words)
    assert (code, message in said) == (2, True)
    code, _, err = certify("verify", "own.json", *AS)
    assert (code, "is named whole" in err) == (2, True)


def test_a_bundle_is_not_held_against_a_key(certify: Certify, folder: Path) -> None:
    """Its message says what to name."""
    public = new_key().public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (folder / "key.pub").write_bytes(public)
    code, said = verify(certify, "own.sigstore.json", "--key", "key.pub")
    assert code == 2
    assert "is a sigstore bundle: in the place of --key, name --identity and --issuer" in said


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "name --key FILE, or --sigstore"),
        (("--sigstore", "--key", "key.pem"), "name --key FILE, or --sigstore"),
        (("--key", "key.pem", "--identity-token", "x"), "--identity-token: says who signs with --sigstore"),
        (("--sigstore",), "sigstore: no identity: this is no job of a build service that gives one"),
        (("--sigstore", "--identity-token", "no.token.atall"), "sigstore: no identity: Identity token is malformed"),
    ],
)
def test_who_signs_is_said_first(words: tuple[str, ...], message: str, certify: Certify, folder: Path) -> None:
    """Nothing is written, and no token printed."""
    code, out, err = certify("sign", "own.json", *words, "-o", "never.json")
    assert (code, out, err.count("\n"), message in err) == (2, "", 1, True), err
    assert not (folder / "never.json").exists()


def test_an_expired_token_and_services_out_of_reach(
    certify: Certify, instance: Sigstore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each in one line; a job that may ask for no identity is told which permission it lacks."""
    asked = ("sign", "own.json", "--sigstore", "--identity-token")
    assert "sigstore: no identity: " in certify(*asked, token(lasts=timedelta(minutes=-5)))[2]
    with monkeypatch.context() as job:  # an empty option is nobody, and not the job
        job.setenv("SIGSTORE_IDENTITY_TOKEN", token())
        assert "sigstore: no identity: " in certify(*asked, "")[2]
    from sigstore.models import ClientTrustConfig

    monkeypatch.setattr(ClientTrustConfig, "production", instance.trust_config)
    code, out, err = certify(*asked, token())
    assert (code, out, err) == (2, "", "certify: error: sigstore: no bundle was made: no network here\n")
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.delenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", raising=False)
    code, _, err = certify("sign", "own.json", "--sigstore")
    assert (code, "missing or insufficient OIDC token permissions" in err) == (2, True)


def test_without_the_extra_the_line_names_it(certify: Certify, monkeypatch: pytest.MonkeyPatch) -> None:
    """Signing with a key needs none of it."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "sigstore"]:
        monkeypatch.setitem(sys.modules, name, None)
    for words in (("sign", "own.json", "--sigstore"), ("verify", "own.json", "--signature", "own.sigstore.json", *AS)):
        code, out, err = certify(*words)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert "sigstore is not installed; it comes with the extra for signatures" in err
        assert "pip install 'pytest-basin[sign]'" in err
