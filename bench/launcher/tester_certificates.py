"""Certificates of a run, for simulated ECUs that the tester authenticates itself to (service 29).

A bench file names the certificates of a board. For a simulated ECU without them each run makes its own: a root that the ECU trusts, and a
certificate with its key for the tester. The keys are removed when the run ends, like all of its secrets.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from otabench.bench.run_folder import RunFolder
from otabench.bench.topology.entries import DEFAULT_PROFILE, AuthenticationEntry
from otabench.bench.topology.model import Topology
from otabench.bench.uds.errors import FlashError
from otabench.proto import private_files

_VALID: Final = timedelta(days=30)
_CLOCKS_DIFFER: Final = timedelta(hours=1)


def with_certificates(topology: Topology, folder: RunFolder) -> Topology:
    """Return the topology with certificates for every simulated ECU that needs them and has none; make them."""
    lacking = [name for name in topology.simulated() if _needs_certificates(topology, name)]
    if not lacking:
        return topology
    ecus = {**topology.ecus}
    for name in lacking:
        ecus[name] = ecus[name].model_copy(update={"authentication": make(folder.configs, name)})
    return topology.model_copy(update={"ecus": ecus})


def _needs_certificates(topology: Topology, ecu: str) -> bool:
    entry = topology.ecus[ecu]
    # The default profile is left out, because reading it here would take time of every start.
    if entry.authentication is not None or entry.profile == DEFAULT_PROFILE:
        return False
    from otabench.bench.uds import flash_profiles

    try:
        return flash_profiles.facts_of(entry.profile).authenticates
    except FlashError:
        return False  # the gateway reports what is wrong with the profile


def make(folder: Path, ecu: str) -> AuthenticationEntry:
    """Make the certificates for one ECU, and return their files. The root's key is not kept: it has signed what there is to sign."""
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
    from cryptography.x509.oid import NameOID

    def named(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    now = datetime.now(UTC)
    root_key, tester_key = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    # The ending .key is that of the files which are removed at the end of the run (``run_end``).
    entry = AuthenticationEntry(
        certificate=folder / f"{ecu}-tester.pem", key=folder / f"{ecu}-tester.key", root=folder / f"{ecu}-root.pem"
    )
    for path, subject, key, is_authority in (
        (entry.root, "otabench diagnostics root", root_key, True),
        (entry.certificate, "otabench tester", tester_key, False),
    ):
        assert path is not None
        certificate = (
            x509.CertificateBuilder()
            .subject_name(named(subject))
            .issuer_name(named("otabench diagnostics root"))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _CLOCKS_DIFFER)
            .not_valid_after(now + _VALID)
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
            .sign(root_key, None)
        )
        path.write_bytes(certificate.public_bytes(Encoding.PEM))
    text = tester_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode("ascii")
    private_files.write(entry.key, text)
    return entry
