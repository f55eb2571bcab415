"""The key that signs manifests: the user's own, or one made on this machine at first use, which nobody trusts."""

import os
import tempfile
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LOCAL_NAME = "TempoSyncDiff on this machine (untrusted)"
VALID_FOR = timedelta(days=3650)
CURVES = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}


@dataclass(frozen=True)
class Credentials:
    """A private key and its certificates, the signer's first, as PEM; ``algorithm`` as C2PA names it."""

    key: bytes
    certificates: bytes
    algorithm: str


def load(key: str | Path | None = None, certificate: str | Path | None = None) -> Credentials:
    """The user's key and certificate chain (PEM files); the machine's own where neither is given.

    Raises FileNotFoundError, or ValueError for one without the other or files that are not what they should be.
    """
    if key is None and certificate is None:
        return local()
    if key is None or certificate is None:
        raise ValueError("signing.key and signing.certificate: give both, or neither for a key made on this machine")
    for path in (key, certificate):
        if not Path(path).is_file():
            raise FileNotFoundError(f"{path}: no such file")
    return checked(key, Path(key).read_bytes(), Path(certificate).read_bytes())


def checked(source: str | Path, key: bytes, certificates: bytes) -> Credentials:
    """Raises ValueError, naming the source, where the first certificate is not the key's."""
    try:
        private = load_pem_private_key(key, password=None)
        chain = x509.load_pem_x509_certificates(certificates)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{source}: not a PEM key without a password and a PEM certificate chain ({error})") from error
    if chain[0].public_key() != private.public_key():
        raise ValueError(f"{source}: the first certificate belongs to another key")
    # Written anew, for C2PA takes one form of key only, alone in its text.
    key = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    certificates = b"".join(one.public_bytes(Encoding.PEM) for one in chain)
    return Credentials(key, certificates, algorithm_of(source, private))


def algorithm_of(source: str | Path, private) -> str:
    if isinstance(private, ec.EllipticCurvePrivateKey) and private.curve.name in CURVES:
        return CURVES[private.curve.name]
    if isinstance(private, rsa.RSAPrivateKey):
        return "ps256"
    if isinstance(private, ed25519.Ed25519PrivateKey):
        return "ed25519"
    raise ValueError(f"{source}: C2PA signs with P-256, P-384, P-521, RSA and Ed25519 keys only")


def local_file() -> Path:
    """Where this machine's own key and certificates lie, readable by their owner alone."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "temposyncdiff" / "signing.pem"


def local() -> Credentials:
    """The machine's own, made at first use. Of several processes that make one, the first one's stays."""
    path = local_file()
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent)  # mode 0600
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(made())
            os.link(name, path)
        except FileExistsError:
            pass
        finally:
            os.unlink(name)
    content = path.read_bytes()
    try:
        return checked(path, content, content)
    except ValueError as error:
        raise ValueError(f"{error}; remove {path}, and the next video makes a new one") from error


def made() -> bytes:
    """PEM of a new key, its certificate, and the certificate of a root that is made for it and whose key is dropped:
    C2PA refuses a certificate that signs itself."""
    root, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    chain = [certificate(key.public_key(), "signer", root), certificate(root.public_key(), "root", root)]
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return b"".join([private, *(one.public_bytes(Encoding.PEM) for one in chain)])


def certificate(public, role: str, root) -> x509.Certificate:
    """A certificate of the local root for its own key or for the signer's."""
    is_root, now = role == "root", datetime.now(timezone.utc) - timedelta(minutes=5)
    usage = dict.fromkeys(("content_commitment", "key_encipherment", "data_encipherment", "key_agreement"), False)
    usage |= {"digital_signature": not is_root, "key_cert_sign": is_root, "crl_sign": is_root}
    usage |= {"encipher_only": False, "decipher_only": False}
    builder = (
        x509.CertificateBuilder()
        .subject_name(named(role))
        .issuer_name(named("root"))
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + VALID_FOR)
        .add_extension(x509.BasicConstraints(ca=is_root, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(**usage), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(root.public_key()), critical=False)
    )
    if not is_root:
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False)
    return builder.sign(root, hashes.SHA256())


def named(role: str) -> x509.Name:
    parts = {NameOID.ORGANIZATION_NAME: LOCAL_NAME, NameOID.COMMON_NAME: f"local {role}"}
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in parts.items()])
