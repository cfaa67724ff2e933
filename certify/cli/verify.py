"""``certify verify``: torch is imported only when weights are to be hashed."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from certify.cli.exits import Exit, of_error, worst
from certify.cli.options import ConfigOption, SubspaceOption, spread
from certify.cli.output import say
from certify.errors import ActivationRefused, CertificateMismatch, InvalidInput, InvalidPlan

if TYPE_CHECKING:
    from certify.checkpoints import Checkpoint
    from certify.checkpoints.family import Family
    from certify.documents import AnyDocument, Certificate, CoverRecord, ScoresRecord
    from certify.measuring import Base

ONLY_WEIGHTS = (
    "Of the named folders only the weights were compared: version 1 recorded the bytes of the other files, not what "
    "they mean."
)

GROUPS_UNKNOWN = (
    "The named items come in groups, which this record does not know: what it says of a population, it says as if each "
    "item were an independent one."
)


@dataclass(frozen=True)
class _Beside:
    """What is held against each file beside itself: other files, and draws that are made again."""

    base: Annotated[Path | None, typer.Option(help="Also hash this base.")] = None
    checkpoint: Annotated[
        Path | None, typer.Option(help="Also hash this checkpoint; of a cover, what its family is made of.")
    ] = None
    benchmark: Annotated[Path | None, typer.Option(help="Also hash this benchmark.")] = None
    replay: Annotated[int, typer.Option(min=0, help="Draw this many stored draws at the base again.")] = 0
    audit: Annotated[int, typer.Option(min=0, help="Re-run this many activation-space draws as ordinary models.")] = 0
    subspace: SubspaceOption = None
    config: ConfigOption = None
    signature: Annotated[Path | None, typer.Option(help="What `certify sign` wrote of the file.")] = None
    key: Annotated[Path | None, typer.Option(help="Public key in PEM that it must be signed with.")] = None
    identity: Annotated[str | None, typer.Option(help="Who must have signed it, in a sigstore bundle.")] = None
    issuer: Annotated[str | None, typer.Option(help="Who must have vouched for that identity: an address.")] = None
    trust_root: Annotated[
        Path | None, typer.Option(help="Keys of sigstore's services, trusted_root.json (else those it brings).")
    ] = None

    def check_signature(self) -> None:
        """Hold against each other what says who must have signed.

        Raises:
            InvalidPlan: too little was named, or a key and an identity.
        """
        keyless = (self.identity, self.issuer)
        if keyless == (None, None) and self.trust_root is None:
            if (self.signature is None) != (self.key is None):
                raise InvalidPlan(
                    "a signature is verified with a key: name both --signature and --key (of a sigstore bundle, name "
                    "--identity and --issuer)"
                )
        elif self.key is not None:
            raise InvalidPlan("--key: a signature is held against a key, or against --identity and --issuer")
        elif self.signature is None or not all(keyless):
            raise InvalidPlan("who signed a sigstore bundle is named whole: --signature, --identity and --issuer")

    @property
    def grouped(self) -> bool:
        """Whether the named items come in groups."""
        from certify.benchmarks import open_pool_or_benchmark

        return self.benchmark is not None and open_pool_or_benchmark(self.benchmark).groups is not None

    def opened(self, base: Checkpoint | None) -> Checkpoint:
        """Open the named checkpoint, an adapter merged into ``base``."""
        from certify.checkpoints import open_checkpoint

        assert self.checkpoint is not None
        return open_checkpoint(self.checkpoint, base, config=self.config)

    def family(self, document: CoverRecord, base: Checkpoint) -> Family:
        """Open the family of a cover with what was named as its checkpoint."""
        from certify.checkpoints.family import open_family

        assert self.checkpoint is not None
        return open_family(document.evidence.family.kind, self.checkpoint, base)

    @property
    def draws(self) -> bool:
        """Whether anything is drawn again."""
        return bool(self.replay or self.audit)


@spread()
def verify(
    files: Annotated[list[Path], typer.Argument(help="Certificates, and other records.", show_default=False)],
    beside: _Beside,
) -> None:
    """Recompute everything that a file claims from what it stores. Exit 0 valid, 4 contradiction."""
    beside.check_signature()
    if beside.signature and len(files) > 1:
        raise InvalidPlan(f"--signature: an envelope signs one record, and {len(files)} are named")
    raise typer.Exit(worst([_verified(file, beside) for file in files]))


def _verified(file: Path, beside: _Beside) -> Exit:
    """Verify one file and print what was found."""
    from certify.documents import Measurement, read_document
    from certify.verify import PROOF_LIMIT, differences

    try:
        document = read_document(file)
    except CertificateMismatch as error:
        say(f"INVALID  {error}")
        return of_error(error)
    weights = _weights_drawn_at(document, beside) if beside.draws else None
    forged, signed = _signature(document, beside)
    lines, said = differences(document) + _hashes(document, beside) + forged, [PROOF_LIMIT]
    if weights is not None and not lines:
        lines, said = _drawn_again(document, *weights, beside)
    said += signed
    if document.version == 1 and (beside.base or beside.checkpoint):
        said.append(ONLY_WEIGHTS)
    if document.benchmark.groups is None and beside.grouped:
        said.append(GROUPS_UNKNOWN)
    if lines:
        say(f"INVALID  {file}", *(f"    {line}" for line in lines))
        return Exit.CONTRADICTION
    say(f"VALID  {file}")
    if beside.base or beside.checkpoint:
        named = [part for part, path in (("base", beside.base), ("checkpoint", beside.checkpoint)) if path]
        said.append(f"The named {' and '.join(named)} {'has' if len(named) == 1 else 'have'} the recorded identity.")
    if not isinstance(document, Measurement):
        say(f"    {document.verdict.upper()}: {document.claim_text}")
    say(*(f"    {line}" for line in said))
    return Exit.CERTIFIED


def _signature(document: AnyDocument, beside: _Beside) -> tuple[list[str], list[str]]:
    """Return what a signature contradicts, and what to say if it contradicts nothing."""
    if beside.signature is None:
        return [], []
    try:
        return [], [_signer(document, beside.signature, beside)]
    except CertificateMismatch as mismatch:
        return [str(mismatch)], []


def _signer(document: AnyDocument, signature: Path, beside: _Beside) -> str:
    """Say who signed the record; refuses a signature by anybody else."""
    from certify.attestation import verify_bundle, verify_signature

    if beside.key is not None:
        key = verify_signature(document, signature, beside.key)
        return f"Signed with the private half of {beside.key} ({key[:16]}): its holder vouches for this record."
    assert beside.identity is not None
    assert beside.issuer is not None
    since, until = verify_bundle(document, signature, beside.identity, beside.issuer, beside.trust_root)
    root = f", by the trust root {beside.trust_root}" if beside.trust_root else ""
    return (
        f"Signed by {beside.identity}, says {beside.issuer}, from {since:%Y-%m-%d %H:%M} to {until:%H:%M} UTC{root}: "
        "who that is vouches for this record."
    )


def _weights_drawn_at(document: AnyDocument, beside: _Beside) -> tuple[Path, Path]:
    """Return weights and items to draw with: a gate's draws lie at its checkpoint, all others at the base.

    Raises:
        InvalidPlan: they were not named.
    """
    from certify.documents import GateRecord, ScoresRecord
    from certify.records import BroughtIdentity

    if isinstance(document, ScoresRecord):
        raise InvalidPlan("nothing can be replayed: the scores were brought, and no model was run here")
    if any(isinstance(run.engine, BroughtIdentity) for run in document.runs):
        raise InvalidPlan("nothing can be replayed: the scores of the draws were brought, and none was scored here")
    part, weights = ("checkpoint", beside.checkpoint) if isinstance(document, GateRecord) else ("base", beside.base)
    if weights is None or beside.benchmark is None:
        option = "--replay" if beside.replay else "--audit"
        raise InvalidPlan(f"{option} needs the weights and the items: name --{part} and --benchmark")
    return weights, beside.benchmark


def _drawn_again(document: AnyDocument, weights: Path, benchmark: Path, beside: _Beside) -> tuple[list[str], list[str]]:
    """Return what a replay and an audit contradict, and what to say if they contradict nothing."""
    from certify.benchmarks import open_pool_or_benchmark
    from certify.checkpoints import open_checkpoint
    from certify.documents import Certificate, CoverRecord, GateRecord
    from certify.measuring import Base
    from certify.measuring.cover import redrawn
    from certify.measuring.replay import audit, audit_lines, repeat, replay
    from certify.noise import open_subspace

    at_checkpoint = isinstance(document, GateRecord)
    opened = beside.opened(open_checkpoint(beside.base) if beside.base else None) if at_checkpoint else weights
    base, lines, said = Base.open(opened, open_pool_or_benchmark(benchmark)), list[str](), list[str]()
    subspaces = [open_subspace(path) for path in beside.subspace or ()]
    lines += _asked_otherwise(document, base)
    try:
        if beside.replay and not lines:
            where = "the checkpoint" if at_checkpoint else "the base"
            lines += replay(document, base, beside.replay, subspaces)
            said.append(f"Repeated at {where}, with the same scores: {_repeated(document, beside.replay)}.")
            if isinstance(document, Certificate) and beside.checkpoint is not None:
                differing, words = repeat(document, base, beside.opened(base.checkpoint), beside.replay, subspaces)
                lines += differing
                said.append(f"Repeated at the checkpoint, with the same result: {', '.join(words)}.")
            elif isinstance(document, Certificate):
                said.append(_left_out(document))
            elif isinstance(document, CoverRecord) and beside.checkpoint is not None:
                lines += redrawn(document, base, beside.family(document, base.checkpoint), beside.replay)
                n = document.evidence.n
                said.append(f"Repeated in the family, with the same scores: {min(beside.replay, n)} of {n} draws.")
            elif isinstance(document, CoverRecord):
                said.append("On trust: every draw of the family; name what it is made of with --checkpoint.")
            said.append("On trust: all other draws, and who ran this when and with which versions.")
        if beside.audit:
            found = list(audit_lines(audit(document, base, beside.audit), beside.audit))
            lines += [line for line, passed in found if not passed]
            said += [line for line, _ in found]
    except ActivationRefused as refusal:
        lines.append(f"the recorded engine cannot have drawn this: {refusal}")
    return lines, said


def _left_out(certificate: Certificate) -> str:
    """Say that the checkpoint was not named, and how it is."""
    from certify.checkpoints.in_memory import MARK

    if MARK in certificate.checkpoint.name:
        return (
            "On trust: everything at the checkpoint, a model in memory: save_pretrained it, with its tokenizer, and "
            "name the folder with --checkpoint to repeat that, too."
        )
    return "On trust: everything at the checkpoint; name it with --checkpoint to repeat that, too."


def _asked_otherwise(document: AnyDocument, base: Base) -> list[str]:
    """Return what the record says of how the items are asked that the named files do not; their name may be another."""
    recorded, found = document.benchmark.model_dump(), base.scorer.identity.model_dump()
    compared = ("items", "graded", "chance", *(("scoring", "tokens") if document.version > 1 else ()))
    return [
        f"benchmark.{name}: recorded {recorded[name]!r}, the named files give {found[name]!r}"
        for name in compared
        if recorded[name] != found[name]
    ]


def _repeated(document: AnyDocument, draws: int) -> str:
    """Say what a replay draws and scores again."""
    parts = [] if document.unnoised is None else ["every item without noise"]
    drawn = [run for run in document.runs if run.trials.law is not None]
    parts += dict.fromkeys(f"{min(draws, len(run.scores))} of {len(run.scores)} draws of {run.where}" for run in drawn)
    return ", ".join(parts) or "nothing, since the record holds no run of draws there"


def _hashes(document: AnyDocument, beside: _Beside) -> list[str]:
    """Hash the files that were named and compare them with the identities in the record."""
    from certify.documents import Certificate, CoverRecord, GateRecord, ScoresRecord
    from certify.records import grouping, same_model

    if isinstance(document, ScoresRecord):
        return _logs(document, beside)
    lines = []
    recorded = {"base": document.base}
    if isinstance(document, Certificate | GateRecord):
        recorded["checkpoint"] = document.checkpoint
    for part, path in (("base", beside.base), ("checkpoint", beside.checkpoint)):
        if path is None:
            continue
        if part not in recorded and isinstance(document, CoverRecord):
            lines += _family(document, beside)
            continue
        if part not in recorded:
            lines.append(f"{part}: the file is about a base and names no {part}")
            continue
        from certify.checkpoints import open_checkpoint

        base = open_checkpoint(beside.base) if beside.base else None
        found = beside.opened(base) if part == "checkpoint" else open_checkpoint(path)
        if not same_model(found.identity, recorded[part]):
            lines.append(f"{part}: {path} is not what was measured (recorded {recorded[part].weights})")
    if beside.benchmark is not None:
        from certify.benchmarks import open_pool_or_benchmark

        if document.benchmark.tokens is None:
            raise InvalidPlan("--benchmark: another tool asked the items, and only its logs hold them")
        items, recorded_items = open_pool_or_benchmark(beside.benchmark), document.benchmark
        if items.digest != recorded_items.digest:
            lines.append(f"benchmark: {beside.benchmark} has digest {items.digest}, recorded {recorded_items.digest}")
        if recorded_items.groups not in (None, items.groups):
            there, here = grouping(items.groups), grouping(recorded_items.groups)
            lines.append(f"benchmark.groups: {beside.benchmark} has {there}, recorded {here}")
    return lines


def _family(document: CoverRecord, beside: _Beside) -> list[str]:
    """Hash what a cover's family is made of.

    Raises:
        InvalidPlan: its base was not named.
    """
    from certify.checkpoints import open_checkpoint

    if beside.base is None:
        raise InvalidPlan("--checkpoint: a family is made of a base and more; name the base with --base")
    recorded, found = document.evidence.family, beside.family(document, open_checkpoint(beside.base)).identity
    if found.fingerprint == recorded.fingerprint:
        if recorded.coefficients == found.coefficients[::-1] != found.coefficients:  # other names are other folders
            return [f"family: its coefficients are, in order, {' and '.join(found.coefficients)}; recorded swapped"]
        return []
    pairs = zip(recorded.members, found.members, strict=False)
    other = next((name for (name, ours), (_, theirs) in pairs if ours != theirs), "the number of its parts")
    return [f"family: {beside.checkpoint} is not what was covered ({other} differs)"]


def _logs(document: ScoresRecord, beside: _Beside) -> list[str]:
    """Hash the logs that were named in the place of models."""
    from certify.logs import FILES
    from certify.parsing import read_bytes
    from certify.records import digest

    if beside.benchmark is not None:
        raise InvalidPlan("--benchmark: the items are in the logs; name those with --base and --checkpoint")
    lines = []
    for part, path, recorded in (
        ("base", beside.base, document.base),
        ("checkpoint", beside.checkpoint, document.checkpoint),
    ):
        if path is None:
            continue
        names = recorded.file.split(FILES)
        files = [next((file for file in sorted(path.rglob("*")) if file.name == name), path) for name in names]
        if absent := [name for name, file in zip(names, files, strict=True) if file.is_dir()]:
            raise InvalidInput(f"{path}: holds no {absent[0]}, which scores of the record were read from")
        found = [f"sha256:{hashlib.sha256(read_bytes(file, InvalidInput)).hexdigest()}" for file in files]
        if recorded.digest != (found[0] if len(names) == 1 else digest(found)):
            lines.append(f"{part}: {path} is not the log that was read (recorded {recorded.digest})")
    return lines
