"""Sigstore's services in small: certificates, the log that they are in, and the log of signatures, each with own keys.

Only what goes over the network is replaced: what is answered is what the real services answer, so sigstore's own client
signs with it and sigstore's own verifier accepts it under this trust root and no other.
"""

from __future__ import annotations

import base64
import hashlib
import json
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import requests
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

ISSUER = "https://token.builds.example"
WORKFLOW = "https://builds.example/org/models/.github/workflows/release.yml@refs/heads/main"
CERTIFIER, LOG = "https://certificates.example", "https://log.example"
SCT_LIST = x509.ObjectIdentifier("1.3.6.1.4.1.11129.2.4.2")
OF_ISSUER = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.1")
SECOND = timedelta(seconds=1)


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def public_bytes(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def signed(key: ec.EllipticCurvePrivateKey, message: bytes) -> bytes:
    return key.sign(message, ec.ECDSA(SHA256()))


def text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def sha256(raw: bytes) -> bytes:
    return hashlib.sha256(raw).digest()


@dataclass
class Sigstore:
    """One instance. ``late``: how long after a certificate's end the log says that it was signed."""

    authority: ec.EllipticCurvePrivateKey = field(default_factory=new_key)
    certificates: ec.EllipticCurvePrivateKey = field(default_factory=new_key)
    log: ec.EllipticCurvePrivateKey = field(default_factory=new_key)
    late: timedelta | None = None
    asked: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.start = datetime.now(UTC).replace(microsecond=0) - timedelta(days=1)
        name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "builds.example")])
        usage = dict.fromkeys(
            ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
             "encipher_only", "decipher_only"), False)  # fmt: skip
        self.root = (
            x509.CertificateBuilder().subject_name(name).issuer_name(name)
            .public_key(self.authority.public_key()).serial_number(x509.random_serial_number())
            .not_valid_before(self.start).not_valid_after(self.start + timedelta(days=3650))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(x509.KeyUsage(key_cert_sign=True, crl_sign=True, **usage), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self.authority.public_key()), critical=False)
            .sign(self.authority, SHA256())
        )  # fmt: skip

    # ---------------------------------------------------------------- whom to trust

    def trust_root(self) -> dict[str, Any]:
        """Its ``trusted_root.json``."""
        valid = {"start": self.start.isoformat().replace("+00:00", "Z")}

        def log_of(url: str, key: ec.EllipticCurvePrivateKey) -> dict[str, Any]:
            public = {"rawBytes": text(public_bytes(key)), "keyDetails": "PKIX_ECDSA_P256_SHA_256", "validFor": valid}
            return {"baseUrl": url, "hashAlgorithm": "SHA2_256", "publicKey": public,
                    "logId": {"keyId": text(sha256(public_bytes(key)))}}  # fmt: skip

        chain = {"certificates": [{"rawBytes": text(self.root.public_bytes(Encoding.DER))}]}
        subject = {"organization": "builds.example", "commonName": ""}
        return {
            "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
            "tlogs": [log_of(LOG, self.log)],
            "certificateAuthorities": [{"subject": subject, "uri": CERTIFIER, "certChain": chain, "validFor": valid}],
            "ctlogs": [log_of(CERTIFIER + "/ct", self.certificates)],
            "timestampAuthorities": [],
        }

    def trust_config(self) -> Any:
        """What sigstore would fetch from an instance before it signs."""
        from sigstore.models import ClientTrustConfig

        valid = {"start": self.start.isoformat().replace("+00:00", "Z")}

        def service(url: str) -> list[dict[str, Any]]:
            return [{"url": url, "majorApiVersion": 1, "validFor": valid, "operator": "builds.example"}]

        config = {
            "mediaType": "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json",
            "trustedRoot": self.trust_root(),
            "signingConfig": {
                "mediaType": "application/vnd.dev.sigstore.signingconfig.v0.2+json",
                "caUrls": service(CERTIFIER), "rekorTlogUrls": service(LOG), "oidcUrls": service(ISSUER),
                "rekorTlogConfig": {"selector": "ANY"}, "tsaConfig": {"selector": "ANY"},
            },
        }  # fmt: skip
        return ClientTrustConfig.from_json(json.dumps(config))

    # ---------------------------------------------------------------- what it answers

    def post(self, _: Any, url: str, data: Any = None, json: Any = None, **more: Any) -> requests.Response:
        """In the place of ``requests.Session.post``."""
        self.asked.append(url)
        answers: dict[str, Callable[[], Any]] = {
            CERTIFIER + "/api/v2/signingCert": lambda: self.certified(data, more["headers"]["Authorization"]),
            LOG + "/api/v1/log/entries/": lambda: self.logged(json),
        }
        answer = requests.Response()
        answer.status_code = 201
        answer._content = _bytes(answers[url.rstrip("/") + "/" * url.startswith(LOG)]())
        return answer

    def certified(self, request: str, authorization: str) -> dict[str, Any]:
        """A certificate of ten minutes for the key of a request, in the name of the token's subject (Fulcio)."""
        (token,) = authorization.split()[1:]
        claims = jwt.decode(token, options={"verify_signature": False})
        asked = x509.load_pem_x509_csr(base64.b64decode(json.loads(request)["certificateSigningRequest"]))
        now = datetime.now(UTC).replace(microsecond=0)
        key_id = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.authority.public_key())
        usage = dict.fromkeys(
            ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "key_cert_sign",
             "crl_sign", "encipher_only", "decipher_only"), False)  # fmt: skip
        builder = (
            x509.CertificateBuilder().subject_name(x509.Name([])).issuer_name(self.root.subject)
            .public_key(asked.public_key()).serial_number(x509.random_serial_number())
            .not_valid_before(now).not_valid_after(now + timedelta(minutes=10))
            .add_extension(x509.KeyUsage(digital_signature=True, **usage), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), critical=False)
            .add_extension(key_id, critical=False)
            .add_extension(
                x509.SubjectAlternativeName([x509.UniformResourceIdentifier(claims["sub"])]), critical=True)
            .add_extension(x509.UnrecognizedExtension(OF_ISSUER, claims["iss"].encode()), critical=False)
        )  # fmt: skip
        before = builder.sign(self.authority, SHA256()).tbs_certificate_bytes
        entry = sha256(public_bytes(self.authority)) + struct.pack("!I", len(before))[1:] + before
        milliseconds = int(now.timestamp() * 1000)
        signature = signed(self.certificates, struct.pack("!BBQH", 0, 0, milliseconds, 1) + entry + b"\0\0")
        own = sha256(public_bytes(self.certificates))
        stamp = b"\0" + own + struct.pack("!QHBBH", milliseconds, 0, 4, 3, len(signature)) + signature
        listed = struct.pack("!HH", len(stamp) + 2, len(stamp)) + stamp
        extension = x509.UnrecognizedExtension(SCT_LIST, bytes([4, len(listed)]) + listed)  # DER: an octet string
        made = builder.add_extension(extension, critical=False).sign(self.authority, SHA256())
        chain = [each.public_bytes(Encoding.PEM).decode() for each in (made, self.root)]
        return {"signedCertificateEmbeddedSct": {"chain": {"certificates": chain}}}

    def logged(self, proposed: dict[str, Any]) -> dict[str, Any]:
        """The second entry of a log, with proof and promise (Rekor)."""
        asked = proposed["spec"]["proposedContent"]
        envelope = json.loads(asked["envelope"])
        body = _bytes({
            "apiVersion": "0.0.1", "kind": "dsse",
            "spec": {
                "envelopeHash": {"algorithm": "sha256", "value": sha256(asked["envelope"].encode()).hex()},
                "payloadHash": {
                    "algorithm": "sha256", "value": sha256(base64.b64decode(envelope["payload"])).hex()},
                "signatures": [{"signature": envelope["signatures"][0]["sig"], "verifier": asked["verifiers"][0]}],
            },
        })  # fmt: skip
        certificate = x509.load_pem_x509_certificate(base64.b64decode(asked["verifiers"][0]))
        time = certificate.not_valid_before_utc + SECOND
        if self.late is not None:
            time = certificate.not_valid_after_utc + self.late
        return {"uuid": self.entry(body, int(time.timestamp()))}

    def entry(self, body: bytes, time: int) -> dict[str, Any]:
        own = sha256(public_bytes(self.log))
        first, second = sha256(b"\0another entry"), sha256(b"\0" + body)
        root = sha256(b"\1" + first + second)
        note = f"log.example - 1\n2\n{text(root)}\n"
        checkpoint = f"{note}\n\u2014 log.example {text(own[:4] + signed(self.log, note.encode()))}\n"
        promised = {"body": text(body), "integratedTime": time, "logID": own.hex(), "logIndex": 1}
        proof = {"logIndex": 1, "rootHash": root.hex(), "treeSize": 2, "hashes": [first.hex()],
                 "checkpoint": checkpoint}  # fmt: skip
        promise = text(signed(self.log, _bytes(promised)))
        return {**promised, "verification": {"inclusionProof": proof, "signedEntryTimestamp": promise}}


def token(subject: str = WORKFLOW, *, lasts: timedelta = timedelta(minutes=5)) -> str:
    """What a build service tells a job about itself; the certifier would check its signature."""
    now = datetime.now(UTC)
    claims = {"iss": ISSUER, "sub": subject, "aud": "sigstore", "iat": now - 2 * lasts, "exp": now + lasts}
    return jwt.encode(claims, "x" * 32, algorithm="HS256")


def _bytes(value: Any) -> bytes:
    """Canonical JSON, as far as these values go (RFC 8785)."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
