"""Subjects in OpenSSL's one-line form: what our code makes of a name is what OpenSSL makes of it."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.name import _ASN1Type as Kind
from cryptography.x509.oid import NameOID

from services.openssl_ca.oneline import SHORT_NAMES, index_subject, name_line, subject_line, subject_of

KEY = ec.generate_private_key(ec.SECP256R1())


def name(*relative: tuple[tuple[str, str | bytes, Kind | None], ...]) -> x509.Name:
    """A name of relative names, each of attributes: number, value and kind of string."""
    return x509.Name(
        [
            x509.RelativeDistinguishedName(
                [x509.NameAttribute(x509.ObjectIdentifier(oid), value, _type=kind) for oid, value, kind in attributes]
            )
            for attributes in relative
        ]
    )


def one(oid: x509.ObjectIdentifier, value: str | bytes, kind: Kind | None = None) -> x509.Name:
    """A name of one attribute."""
    return name(((oid.dotted_string, value, kind),))


def certificate(subject: x509.Name) -> bytes:
    """A certificate with that subject."""
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(x509.Name([])).serial_number(5)
    valid = builder.not_valid_before(moment).not_valid_after(moment.replace(year=2036)).public_key(KEY.public_key())
    return valid.sign(KEY, hashes.SHA256()).public_bytes(Encoding.DER)


CN, C, O = NameOID.COMMON_NAME, NameOID.COUNTRY_NAME, NameOID.ORGANIZATION_NAME  # noqa: E741
UTF8 = Kind.UTF8String
NAMES = {
    "usual": (
        name((("2.5.4.6", "GB", None),), (("2.5.4.10", "Ex, Inc.", None),), (("2.5.4.3", "www.example.com", None),)),
        "/C=GB/O=Ex, Inc./CN=www.example.com",
    ),
    "slash-and-plus": (one(CN, "a/b+c"), r"/CN=a\/b\+c"),
    "backslash": (one(CN, "a\\x41"), r"/CN=a\x41"),
    "utf8": (one(CN, "Zoë €"), r"/CN=Zo\xC3\xAB \xE2\x82\xAC"),
    "control-characters": (one(CN, "a\tb\nc\x7f~"), r"/CN=a\x09b\x0Ac\x7F~"),
    "two-bytes-each": (one(CN, "Zë", Kind.BMPString), r"/CN=\x00Z\x00\xEB"),
    "four-bytes-each": (one(CN, "€", Kind.UniversalString), r"/CN=\x00\x00 \xAC"),
    "bits": (one(NameOID.X500_UNIQUE_IDENTIFIER, b"\x00ab\xff", Kind.BitString), r"/x500UniqueIdentifier=ab\xFF"),
    "several-in-one": (
        name((("2.5.4.6", "GB", None),), (("2.5.4.3", "a", None), ("2.5.4.5", "1", None))),
        "/C=GB/CN=a+serialNumber=1",
    ),
    "unknown-attributes": (
        name((("1.2.3.4.5", "x", UTF8),), (("2.999.12345678901", "y", UTF8),)),
        "/1.2.3.4.5=x/2.999.12345678901=y",
    ),
    "long": (one(O, "x" * 300, UTF8), "/O=" + "x" * 300),
    "empty": (x509.Name([]), ""),
}


@pytest.mark.parametrize("case", NAMES)
def test_names(case: str) -> None:
    """Each kind of name comes out as expected, and as `openssl x509` prints it in the same form."""
    subject, expected = NAMES[case]
    der = certificate(subject)
    assert subject_line(der) == expected
    assert subject_of(der) == subject.public_bytes()
    assert openssl(der) == expected


def test_short_names() -> None:
    """Every attribute of the table has the name that OpenSSL has for it."""
    strings = [number for number in SHORT_NAMES if number != "2.5.4.45"]  # that one holds bits
    subject = name(*(((number, "DE", UTF8),) for number in strings))
    expected = "".join(f"/{SHORT_NAMES[number]}=DE" for number in strings)
    der = certificate(subject)
    assert subject_line(der) == expected
    assert openssl(der) == expected


def test_index_of_openssl(tmp_path: Path) -> None:
    """`openssl ca` writes the same into index.txt; for an empty subject it writes the serial number, as we do."""
    (tmp_path / "newcerts").mkdir()
    (tmp_path / "index.txt").touch()
    settings = [
        *("[ca]", "default_ca=x", "[x]", "database=index.txt", "serial=serial", "new_certs_dir=newcerts"),
        *("default_md=sha256", "policy=p", "default_days=30", "preserve=yes", "unique_subject=no", "[p]"),
    ]
    (tmp_path / "cnf").write_text("\n".join(settings))
    (tmp_path / "serial").write_text("0A\n")
    subjects = [NAMES[case][0] for case in ("slash-and-plus", "utf8", "several-in-one", "empty")]
    key, ca = tmp_path / "key.pem", tmp_path / "ca.pem"
    run("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key, "-out", ca,
        "-subj", "/CN=CA", "-days", "60", cwd=tmp_path)  # fmt: skip
    for n, subject in enumerate(subjects):
        csr = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(KEY, hashes.SHA256())
        (tmp_path / f"{n}.csr").write_bytes(csr.public_bytes(Encoding.PEM))
    files = [str(tmp_path / f"{n}.csr") for n in range(len(subjects))]
    run("ca", "-batch", "-config", "cnf", "-keyfile", key, "-cert", ca, "-infiles", *files, cwd=tmp_path)
    rows = [line.split("\t") for line in (tmp_path / "index.txt").read_text().splitlines()]
    assert len(rows) == len(subjects)
    for row in rows:
        pem = (tmp_path / "newcerts" / f"{row[3]}.pem").read_bytes()
        der = x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)
        assert index_subject(der, row[3]) == row[5]


@pytest.mark.parametrize("octets", ["", "30", "3005", "30820100", "3003300130"], ids=str)
def test_no_name(octets: str) -> None:
    """What is cut off raises ValueError, and nothing else."""
    with pytest.raises(ValueError, match="DER"):
        name_line(bytes.fromhex(octets))
    with pytest.raises(ValueError, match="DER"):
        subject_line(bytes.fromhex(octets))


def openssl(der: bytes) -> str:
    """The subject as OpenSSL writes it."""
    command = ["openssl", "x509", "-inform", "DER", "-noout", "-subject", "-nameopt", "compat"]
    said = subprocess.run(command, input=der, capture_output=True, check=True).stdout.decode("ascii")
    return said.removeprefix("subject=").removesuffix("\n")


def run(*arguments: str | Path, cwd: Path) -> None:
    """Run an openssl command."""
    subprocess.run(["openssl", *map(str, arguments)], cwd=cwd, capture_output=True, check=True)
