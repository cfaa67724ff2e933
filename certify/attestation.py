"""What a record says of which models, as an in-toto statement; and signatures over it, in DSSE envelopes.

A statement holds the record whole, so it claims neither more nor less. A signature says that the holder of a key, or
of an identity that sigstore certified, vouches for exactly this record; that its counts came from these models it says
no more than the record does.

Sources: in-toto attestation framework, Statement v1 and DigestSet v1; secure-systems-lab/dsse, protocol 1.0.0;
sigstore, bundle format 0.3.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from certify.documents import AnyDocument
from certify.errors import CertificateMismatch, InvalidInput
from certify.parsing import parse_json, plain_json, read_text, size_of
from certify.records import BroughtScores, FamilyIdentity, ModelIdentity, digest, identity_key
from certify.text import shortened

if TYPE_CHECKING:
    from sigstore.models import TrustedRoot
    from sigstore.oidc import IdentityToken

STATEMENT = "https://in-toto.io/Statement/v1"
PAYLOAD = "application/vnd.in-toto+json"
KEYS = "ed25519, or ECDSA on the curve P-256"
LARGEST_KEY = 1 << 16
"""Bytes of a key's file; the longest RSA key in use has a few thousand."""
TOKEN = "SIGSTORE_IDENTITY_TOKEN"
"""The variable that holds an identity token, as sigstore's own command reads it."""


def statement(document: AnyDocument) -> dict[str, Any]:
    """Return a Statement v1 whose predicate is the record itself and whose subjects are what it is about.

    The digest of a model is ``basinModel``: SHA-256 over what `certify verify` compares (digests of its parameters and
    of each other part that computes, and the dtype of computation), as lowercase hex. It is nobody's ``sha256`` of a
    file: a record knows none of weights, and a file beside them that many models share must match no statement about
    one. Of scores that were brought, the subjects are the two logs, by the ``sha256`` of their bytes.
    """
    kind = document.schema_name.rpartition("/")[2]
    about = getattr(document, "about", None)
    subjects = [_subject("base", document.base), *([] if about is None else [_subject("checkpoint", about)])]
    return {
        "_type": STATEMENT,
        "subject": subjects,
        "predicateType": f"urn:pytest-basin:{kind}:v{document.version}",
        "predicate": json.loads(document.to_text()),
    }


def _subject(role: str, model: ModelIdentity | BroughtScores | FamilyIdentity) -> dict[str, Any]:
    if isinstance(model, BroughtScores):
        return {"name": f"{role}/{model.file}", "digest": {"sha256": model.digest.removeprefix("sha256:")}}
    if isinstance(model, FamilyIdentity):
        return {"name": f"family/{model.name}", "digest": {"basinFamily": model.fingerprint.removeprefix("sha256:")}}
    own = digest(identity_key(model)).removeprefix("sha256:")
    return {"name": f"{role}/{model.name}", "digest": {"basinModel": own}, "annotations": {"weights": model.weights}}


def sign(document: AnyDocument, key: Path) -> str:
    """Return a DSSE envelope with the record's statement, signed with the private key in a PEM file.

    Raises:
        InvalidInput: the key cannot be read, is locked, lies open to others, or is of another kind.
    """
    private, payload = _private_key(key), _payload(document)
    signature = {"keyid": _key_id(private.public_key()), "sig": _text(_signed(private, _encoded(PAYLOAD, payload)))}
    return json.dumps({"payload": _text(payload), "payloadType": PAYLOAD, "signatures": [signature]}, indent=1) + "\n"


def verify_signature(document: AnyDocument, envelope: Path, key: Path) -> str:
    """Return the id of the public key in a PEM file, if its holder signed this record's statement in the envelope.

    Guarantee: nothing of the payload is read before a signature over it was verified. The id in the envelope, which
    nobody vouches for, decides nothing.

    Raises:
        InvalidInput: the key cannot be read or is no public one, or the envelope is none.
        CertificateMismatch: no signature is by this key over this payload, or the payload is of another record.
    """
    public = _public_key(key)
    payload_type, payload, signatures = _opened(envelope)
    own = _key_id(public)
    if not any(_verifies(public, signature, _encoded(payload_type, payload)) for _, signature in signatures):
        others = [name for name, _ in signatures if name not in ("", own)]
        by = f"by its own word it is signed with the key {shortened(others[0], 20)}" if others else "or it was changed"
        raise CertificateMismatch(f"signature: {envelope} was not signed with {key} (key {own[:16]}...), {by}")
    _refuse_another(document, envelope, payload_type, payload)
    return own


def sign_keyless(document: AnyDocument, token: str | None = None) -> tuple[str, str, str]:
    """Return a sigstore bundle with the record's statement, and the identity and its issuer in the certificate.

    The identity is that of the OIDC ``token``, else of the variable :data:`TOKEN`, else of the build job that this runs
    in. Sigstore's services are reached over the network: one certifies a key that is forgotten after one signature, one
    is sent the statement and keeps its digests beside the identity in a public log.

    Guarantee: the bundle was verified, with the services' keys of today, for the identity that is returned.

    Raises:
        InvalidInput: there is no such identity, or a service did not answer, refused, or answered what does not verify.
    """
    from sigstore.dsse import Statement
    from sigstore.models import ClientTrustConfig
    from sigstore.sign import SigningContext
    from sigstore.verify import Verifier, policy

    identity = _identity(token)
    unchecked = Statement.__new__(Statement)  # its constructor admits digests of files alone, and a model's is none
    unchecked._contents = _payload(document)
    try:
        trusted = ClientTrustConfig.production()
        with SigningContext.from_trust_config(trusted).signer(identity) as signer:
            bundle = signer.sign_dsse(unchecked)
        who, issuer = _named_in(bundle.signing_certificate)
        verifier = Verifier(trusted_root=trusted.trusted_root)
        verifier.verify_dsse(bundle, policy.Identity(identity=who, issuer=issuer))
    except Exception as error:  # what sigstore, its clients and its HTTP library raise has no base in common
        raise InvalidInput(f"sigstore: no bundle was made: {_why(error)}") from None
    return bundle.to_json() + "\n", who, issuer


def verify_bundle(
    document: AnyDocument, bundle: Path, identity: str, issuer: str, trust_root: Path | None = None
) -> tuple[datetime, datetime]:
    """Return between which times a sigstore bundle was signed, if ``identity`` signed this record's statement in it.

    Nothing is fetched: keys and certificates of the services are those of ``trust_root`` (a ``trusted_root.json``),
    else those that the installed sigstore brings.

    Guarantee: sigstore's verifier accepts the bundle (certificate, its log, the entry in the transparency log and its
    time, signature) for this identity of this issuer, before anything of the payload is read.

    Raises:
        InvalidInput: the file is no bundle, or the trust root none.
        CertificateMismatch: it does not verify, by this identity, or the payload is of another record.
    """
    from sigstore.models import Bundle
    from sigstore.verify import Verifier, policy

    text, trusted = read_text(bundle, InvalidInput), _trusted(trust_root)
    try:
        opened = Bundle.from_json(text)
    except Exception as error:  # of pydantic, of certificates, of sigstore: whatever a damaged file brings about
        raise InvalidInput(f"{bundle}: is no sigstore bundle: {_why(error)}") from None
    asked = policy.Identity(identity=identity, issuer=issuer)
    try:
        payload_type, payload = Verifier(trusted_root=trusted).verify_dsse(opened, asked)
    except Exception as error:  # likewise: what a forger wrote may raise anything
        newer = "" if trust_root else "; keys newer than this sigstore are named with --trust-root"
        raise CertificateMismatch(f"signature: {bundle} does not verify: {_why(error)}{newer}") from None
    _refuse_another(document, bundle, payload_type, payload)
    certificate = opened.signing_certificate
    return certificate.not_valid_before_utc, certificate.not_valid_after_utc


def _identity(token: str | None) -> IdentityToken:
    from sigstore.oidc import IdentityError, IdentityToken, detect_credential

    try:
        found = token if token is not None else os.environ.get(TOKEN) or detect_credential()
        if found is not None:
            return IdentityToken(found)
    except IdentityError as error:
        raise InvalidInput(f"sigstore: no identity: {_why(error)}") from None
    raise InvalidInput(
        "sigstore: no identity: this is no job of a build service that gives one (on GitHub it needs the permission "
        f"id-token: write), and neither --identity-token nor {TOKEN} holds a token, as `sigstore get-identity-token` "
        "makes one"
    )


def _named_in(certificate: Any) -> tuple[str, str]:
    """Return whom a certificate of sigstore names, and who says so."""
    from cryptography.x509 import ObjectIdentifier, SubjectAlternativeName

    (name,) = certificate.extensions.get_extension_for_class(SubjectAlternativeName).value
    issuer = certificate.extensions.get_extension_for_oid(ObjectIdentifier("1.3.6.1.4.1.57264.1.1")).value
    return str(name.value), issuer.value.decode()


def _trusted(file: Path | None) -> TrustedRoot:
    from sigstore._internal.tuf import DEFAULT_TUF_URL
    from sigstore._utils import read_embedded  # the public way to these bytes copies them to the user's cache first
    from sigstore.models import TrustedRoot
    from sigstore_models.trustroot.v1 import TrustedRoot as Content

    if file is None:
        return TrustedRoot(Content.from_json(read_embedded("trusted_root.json", DEFAULT_TUF_URL)))
    text = read_text(file, InvalidInput)
    try:
        return TrustedRoot(Content.from_json(text))
    except Exception as error:  # of pydantic or of sigstore
        raise InvalidInput(f"{file}: is no trust root of sigstore (trusted_root.json): {_why(error)}") from None


def _why(error: BaseException) -> str:
    """Return on one line what an error says, else what brought it about does, else its type."""
    said = str(error) or (error.__cause__ and str(error.__cause__)) or type(error).__name__
    return shortened(" ".join(said.split()), 300)


def _payload(document: AnyDocument) -> bytes:
    return json.dumps(statement(document), ensure_ascii=False, separators=(",", ":")).encode()


def _refuse_another(document: AnyDocument, envelope: Path, payload_type: str, payload: bytes) -> None:
    """Hold what was signed against the record in the file."""
    if payload_type != PAYLOAD:
        raise CertificateMismatch(f"signature: {envelope} signs {shortened(repr(payload_type))}, no in-toto statement")
    try:
        signed = parse_json(payload.decode(), f"{envelope}: payload")
    except UnicodeDecodeError:
        raise CertificateMismatch(f"signature: {envelope} signs a payload that is no UTF-8 text") from None
    expected = statement(document)
    if signed == expected:
        return
    found = signed.get("predicate") if isinstance(signed, dict) else None
    if found == expected["predicate"]:
        wrong = next(name for name in {**expected, **signed} if signed.get(name) != expected.get(name))
        raise CertificateMismatch(f"signature: {envelope} signs this record under another {shortened(wrong)}")
    digest_there = found.get("digest") if isinstance(found, dict) else None
    if digest_there == document.digest != document.own_digest():
        raise CertificateMismatch(
            f"signature: {envelope} signs the record of digest {document.digest}, which this one states and its "
            "content does not have: it was changed after it was signed"
        )
    raise CertificateMismatch(
        f"signature: {envelope} signs another record ({shortened(repr(digest_there))}; this one is {document.digest})"
    )


def _encoded(payload_type: str, payload: bytes) -> bytes:
    """Return what DSSE signs: type and payload with their lengths, so that no text can be read as two things (PAE)."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _raw(text: Any, where: str) -> bytes:
    """Return what a text in base64 means, in either of its alphabets, as the protocol asks of a verifier."""
    try:
        return base64.b64decode(text.replace("-", "+").replace("_", "/"), validate=True)
    except (binascii.Error, AttributeError, ValueError):
        raise InvalidInput(f"{where} is no text in base64: the file is no DSSE envelope, or was damaged") from None


def _opened(envelope: Path) -> tuple[str, bytes, list[tuple[str, bytes]]]:
    """Return type, payload, and each signature with the id of the key that it names (empty: none)."""
    try:
        value = plain_json(read_text(envelope, InvalidInput))
    except ValueError as error:
        if isinstance(error, InvalidInput):
            raise
        raise InvalidInput(f"{envelope}: not readable JSON: {shortened(str(error))}") from None
    if isinstance(value, dict) and "verificationMaterial" in value:
        raise InvalidInput(f"{envelope}: is a sigstore bundle: in the place of --key, name --identity and --issuer")
    signatures = value.get("signatures") if isinstance(value, dict) else None
    if not isinstance(signatures, list) or not signatures or not isinstance(value.get("payloadType"), str):
        raise InvalidInput(f"{envelope}: is no DSSE envelope, which has payload, payloadType and signatures")
    if not all(isinstance(each, dict) and isinstance(each.get("keyid", ""), str) for each in signatures):
        raise InvalidInput(f"{envelope}: signatures: each has a sig, and a keyid that is text if it has one")
    found = [(each.get("keyid", ""), _raw(each.get("sig"), f"{envelope}: signatures.sig")) for each in signatures]
    return value["payloadType"], _raw(value.get("payload"), f"{envelope}: payload"), found


def _private_key(file: Path) -> Any:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    size_of(file, InvalidInput)
    if (mode := file.stat().st_mode & 0o077) and file.drive == "":  # Windows keeps no such bits
        raise InvalidInput(f"{file}: others may use this key (permissions {mode:03o}); run `chmod 600` on it first")
    text = read_text(file, InvalidInput, LARGEST_KEY)
    if "PUBLIC KEY-----" in text:
        raise InvalidInput(f"{file}: is a public key; signing needs the private one")
    try:
        return _supported(load_pem_private_key(text.encode(), None), file)
    except TypeError:
        raise InvalidInput(
            f"{file}: is locked with a password, and certify asks for none: name a key without one, kept by your "
            "secret store (`openssl pkey` removes it)"
        ) from None
    except (ValueError, UnsupportedAlgorithm) as error:
        if isinstance(error, InvalidInput):
            raise
        raise InvalidInput(
            f"{file}: holds no private key in PEM; `openssl genpkey -algorithm ed25519 -out key.pem` makes one"
        ) from None


def _public_key(file: Path) -> Any:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    text = read_text(file, InvalidInput, LARGEST_KEY)
    if "PRIVATE KEY-----" in text:
        raise InvalidInput(
            f"{file}: is a private key, which nobody but its owner should have; verifying needs the public one "
            "(`openssl pkey -in key.pem -pubout` writes it)"
        )
    try:
        return _supported(load_pem_public_key(text.encode()), file)
    except (ValueError, UnsupportedAlgorithm) as error:
        if isinstance(error, InvalidInput):
            raise
        raise InvalidInput(f"{file}: holds no public key in PEM") from None


def _supported(key: Any, file: Path) -> Any:
    """Return the key if it is of a kind that is used here.

    Raises:
        InvalidInput: naming both.
    """
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519

    if isinstance(key, ed25519.Ed25519PrivateKey | ed25519.Ed25519PublicKey):
        return key
    if isinstance(key, ec.EllipticCurvePrivateKey | ec.EllipticCurvePublicKey) and key.curve.name == "secp256r1":
        return key
    raise InvalidInput(f"{file}: is another kind of key; certify signs with {KEYS}")


def _key_id(public: Any) -> str:
    """Return the SHA-256 of the key as DER: a hint for people, as envelopes carry it."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return hashlib.sha256(public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def _signed(private: Any, message: bytes) -> bytes:
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.hashes import SHA256

    curved = isinstance(private, ec.EllipticCurvePrivateKey)
    signature: bytes = private.sign(message, ec.ECDSA(SHA256())) if curved else private.sign(message)
    return signature


def _verifies(public: Any, signature: bytes, message: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.hashes import SHA256

    try:
        if isinstance(public, ec.EllipticCurvePublicKey):
            public.verify(signature, message, ec.ECDSA(SHA256()))
        else:
            public.verify(signature, message)
    except InvalidSignature:
        return False
    return True
