"""The parts of a CA's folder are found where guides and tools put them, and never guessed among several."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.openssl_ca.layout import PartMissing, Parts, in_folder

GUIDE = {
    "index": "index.txt",
    "certificate": "certs/intermediate.cert.pem",
    "key": "private/intermediate.key.pem",
    "chain": "certs/ca-chain.cert.pem",
    "new_certs": "newcerts/",
    "serial": "serial",
    "crl_number": "crlnumber",
    "crls": "crl/intermediate.crl.pem",
}
CA_PL = {
    "index": "index.txt",
    "certificate": "cacert.pem",
    "key": "private/cakey.pem",
    "new_certs": "newcerts/",
    "serial": "serial",
    "crl_number": "crlnumber",
}
EASY_RSA = {
    "index": "index.txt",
    "certificate": "ca.crt",
    "key": "private/ca.key",
    "new_certs": "certs_by_serial/",
    "serial": "serial",
    "crls": "crl.pem",
}
OWN_NAMES = {"index": "index.txt", "certificate": "certs/acme.cert.pem", "key": "private/acme.key.pem"}


def make(folder: Path, *names: str) -> None:
    """Files, and folders where a name ends in a slash."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir() if name.endswith("/") else path.write_text("x")


def is_ca(path: Path) -> bool:
    """As if all certificates but those of web servers were those of CAs."""
    return "www" not in path.name


@pytest.mark.parametrize("layout", [GUIDE, CA_PL, EASY_RSA, OWN_NAMES], ids=["guide", "ca-pl", "easy-rsa", "own-names"])
def test_layouts(tmp_path: Path, layout: dict[str, str]) -> None:
    """Each part is found, and nothing is taken for what is not there."""
    make(tmp_path, *layout.values(), "certs/www.example.com.cert.pem", "private/www.example.com.key.pem")
    expected = {part: tmp_path / name for part, name in layout.items() if part != "crls"}
    crls = (tmp_path / layout["crls"],) if "crls" in layout else ()
    assert in_folder(tmp_path, is_ca, given=Parts()) == Parts(**expected, crls=crls)


def test_several_certificates(tmp_path: Path) -> None:
    """Of several CA certificates that with a key is the CA's own; among several of those nothing is guessed."""
    make(tmp_path, "certs/one.cert.pem", "certs/two.cert.pem", "private/two.key.pem")
    assert in_folder(tmp_path, is_ca, given=Parts()).certificate == tmp_path / "certs/two.cert.pem"
    make(tmp_path, "private/one.key.pem")
    with pytest.raises(PartMissing, match="--ca"):
        in_folder(tmp_path, is_ca, given=Parts())
    named = Parts(certificate=tmp_path / "certs/one.cert.pem")
    assert in_folder(tmp_path, is_ca, given=named).key == tmp_path / "private/one.key.pem"


def test_what_is_named_counts(tmp_path: Path) -> None:
    """A part that is named is used, wherever others are found."""
    named = Parts(index=Path("/elsewhere/index.txt"))
    assert named.over(Parts(index=tmp_path / "index.txt", serial=tmp_path / "serial")) == Parts(
        index=Path("/elsewhere/index.txt"), serial=tmp_path / "serial"
    )


def test_an_empty_folder(tmp_path: Path) -> None:
    """Nothing is there, and nothing is found."""
    assert in_folder(tmp_path, is_ca, given=Parts()) == Parts()
