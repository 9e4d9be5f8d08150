"""`openssl ocsp` agrees: every topology, hash and way to ask, verified against the root, without a warning."""

from __future__ import annotations

import re
import subprocess
import urllib.request
from base64 import b64encode
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import quote

import pytest
from asn1crypto import ocsp

from tests.conformance.estate import Estate, Gateway
from tests.conformance.judges.nursery import Leaf, Nursery, nursery
from tests.conformance.judges.openssl import ABOUT_A_CA, SIGNED_BY, VERIFIED, OpenSsl, Said
from tests.conformance.judges.tools import require
from tests.conformance.wire import Responder, load_certificate

LEAF_ISSUERS = [issuer for issuer in SIGNED_BY if issuer not in ABOUT_A_CA]
HASHES = ("-sha1", "-sha256", "-sha384", "-sha512")


@pytest.fixture(scope="module")
def openssl(estate: Estate, tmp_path_factory: pytest.TempPathFactory) -> OpenSsl:
    """The program."""
    return OpenSsl(estate, tmp_path_factory.mktemp("openssl"))


@pytest.fixture(scope="module")
def leaves(estate: Estate, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    """Issues certificates."""
    with nursery(estate, tmp_path_factory.mktemp("openssl-leaves")) as made:
        yield made


@pytest.fixture(scope="module")
def good_ones(leaves: Nursery) -> Mapping[str, Leaf]:
    """A good certificate of every issuer."""
    return {issuer: leaves.issue(f"openssl-good-{issuer}", issuer) for issuer in LEAF_ISSUERS}


@pytest.fixture(scope="module")
def revoked_ones(leaves: Nursery) -> Mapping[str, Leaf]:
    """A certificate of every issuer, revoked for keyCompromise."""
    return {issuer: leaves.issue(f"openssl-revoked-{issuer}", issuer, 1) for issuer in LEAF_ISSUERS}


@pytest.fixture
def subject(request: pytest.FixtureRequest, estate: Estate, issuer: str) -> Path:
    """A good certificate of the issuer: a leaf, or an issuing CA's where the issuer is an offline root."""
    if issuer in ABOUT_A_CA:
        return estate.ca_file(ABOUT_A_CA[issuer])
    leaf: Leaf = request.getfixturevalue("good_ones")[issuer]
    return leaf.file


def assert_good(said: Said, *subjects: Path | str) -> None:
    """Nothing but that the answer verifies, and the status of each."""
    assert said.err == VERIFIED
    assert re.findall(r"^(\S+): (\w+)$", said.out, re.MULTILINE) == [(str(each), "good") for each in subjects]
    assert said.status == 0


@pytest.mark.rule("R1", "R12", "R26", "R29", "R33", "R35", "R63", "R64", "R65")
@pytest.mark.parametrize("nonce", ["-nonce", "-no_nonce"])
@pytest.mark.parametrize("digest", HASHES)
@pytest.mark.parametrize("issuer", SIGNED_BY)
def test_every_topology_hash_and_nonce(openssl: OpenSsl, subject: Path, issuer: str, digest: str, nonce: str) -> None:
    """Good, verified against the root alone, for each issuer, by HTTP/1.0 POST."""
    said = openssl.ask(issuer, nonce, digest, "-cert", subject)
    assert_good(said, subject)


@pytest.mark.rule("R47", "R49", "R56")
@pytest.mark.parametrize("issuer", LEAF_ISSUERS)
def test_revoked_by_every_signer(openssl: OpenSsl, revoked_ones: Mapping[str, Leaf], issuer: str) -> None:
    """Revoked, with the reason and the time that the CA recorded."""
    leaf = revoked_ones[issuer]
    assert leaf.revocation is not None
    said = openssl.ask(issuer, "-cert", leaf.file)
    assert said.err == VERIFIED
    assert f"{leaf.file}: revoked\n" in said.out
    assert "\tReason: keyCompromise\n" in said.out
    time = leaf.revocation.time
    assert f"\tRevocation Time: {time:%b} {time.day:2} {time:%H:%M:%S %Y} GMT\n" in said.out


@pytest.mark.rule("R20", "R44")
@pytest.mark.parametrize("issuer", SIGNED_BY)
def test_certificates_and_a_bare_serial_in_one_request(
    openssl: OpenSsl, revoked_ones: Mapping[str, Leaf], subject: Path, issuer: str
) -> None:
    """Each gets its own status in one verified answer, and what was never issued isn't good."""
    others = [revoked_ones[issuer].file] if issuer in revoked_ones else []
    named = [argument for each in (subject, *others) for argument in ("-cert", each)]
    said = openssl.ask(issuer, *named, "-serial", "0x4711")
    assert said.err == VERIFIED
    statuses = dict(re.findall(r"^(\S+): (\w+)$", said.out, re.MULTILINE))
    expected = {str(subject): "good", "0x4711": "unknown"} | {str(each): "revoked" for each in others}
    assert statuses == expected


@pytest.mark.rule("R26")
def test_every_hash_in_one_request(openssl: OpenSsl, good_ones: Mapping[str, Leaf]) -> None:
    """One certificate by four hashes; openssl finds each of the four answers."""
    leaf = good_ones["issuing"]
    said = openssl.ask("issuing", *[each for digest in HASHES for each in (digest, "-cert", leaf.file)])
    assert_good(said, *4 * [leaf.file])


@pytest.mark.rule("R2", "R3", "R10", "R26")
@pytest.mark.parametrize("digest", HASHES)
@pytest.mark.parametrize("issuer", SIGNED_BY)
def test_get_by_curl(openssl: OpenSsl, subject: Path, tmp_path: Path, issuer: str, digest: str) -> None:
    """The request that openssl wrote, fetched by curl in a URL, is answered so that openssl verifies it."""
    files = tmp_path / "request.der", tmp_path / "answer.der"
    der = openssl.request(files[0], issuer, "-no_nonce", digest, "-cert", subject)
    url = f"{openssl.estate.responder.url}/{quote(b64encode(der).decode(), safe='')}"
    curl = [require("curl"), "-sS", "--fail", "--noproxy", "*", "-o", str(files[1]), "-w", "%{content_type}", url]
    done = subprocess.run(curl, capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout == "application/ocsp-response"
    Responder.heard.append(files[1].read_bytes())
    authorities = ("-issuer", openssl.estate.ca_file(issuer), "-CAfile", openssl.estate.ca_file(SIGNED_BY[issuer][0]))
    said = openssl.run(*authorities, "-no_nonce", digest, "-cert", subject, "-respin", files[1])
    assert_good(said, subject)


@pytest.mark.rule("R54", "R55", "R58", "R60")
@pytest.mark.parametrize("issuer", SIGNED_BY)
def test_what_openssl_reads(openssl: OpenSsl, subject: Path, issuer: str) -> None:
    """The text form shows a basic response by key, with the nonce as its only extension."""
    said = openssl.ask(issuer, "-nonce", "-sha256", "-cert", subject, "-resp_text")
    text = said.out
    assert "OCSP Response Status: successful (0x0)" in text
    assert "Response Type: Basic OCSP Response" in text
    assert "Version: 1 (0x0)" in text
    assert re.search(r"Responder Id: [0-9A-F]{40}\n", text)
    assert "Hash Algorithm: sha256" in text
    assert "Response Single Extensions" not in text
    assert re.search(r"Response Extensions:\n +OCSP Nonce: \n +0410[0-9A-F]{32}\n +Signature Algorithm: ", text)


@pytest.mark.rule("R56", "R57")
@pytest.mark.parametrize("issuer", SIGNED_BY)
def test_times_stand_a_strict_client(openssl: OpenSsl, subject: Path, issuer: str) -> None:
    """No leeway for the times of the answer, and a status that may be an hour old at the most."""
    said = openssl.ask(issuer, "-cert", subject, "-validity_period", "0", "-status_age", "3600")
    assert_good(said, subject)


@pytest.mark.rule("R64")
@pytest.mark.parametrize("issuer", [issuer for issuer, (_, by) in SIGNED_BY.items() if by == "issuer"])
def test_the_issuer_itself_signed(openssl: OpenSsl, subject: Path, issuer: str) -> None:
    """Where the issuer's key signs, its certificate is all that a client has to trust."""
    certificate = openssl.estate.ca_file(issuer)
    said = openssl.ask(issuer, "-cert", subject, "-VAfile", certificate)
    assert_good(said, subject)
    said = openssl.ask(issuer, "-cert", subject, "-verify_other", certificate, "-trust_other", "-no_intern")
    assert_good(said, subject)


@pytest.mark.rule("R64", "R67")
@pytest.mark.parametrize("issuer", [issuer for issuer, (_, by) in SIGNED_BY.items() if by == "delegate"])
def test_no_other_root_will_do(openssl: OpenSsl, subject: Path, issuer: str) -> None:
    """Trusting another root, openssl refuses the same answer: what verifies elsewhere verifies for a reason."""
    stranger = "rolled" if SIGNED_BY[issuer][0] != "rolled" else "root"
    said = openssl.ask(issuer, "-cert", subject, trust=stranger)
    assert "Response Verify Failure" in said.err


def root_crl(estate: Estate, folder: Path) -> Path:
    """The root's CRL, fetched from where the issuing CA's certificate says, as PEM."""
    points = load_certificate(estate.ca("issuing")).crl_distribution_points
    url = points[0]["distribution_point"].chosen[0].native
    with urllib.request.urlopen(url, timeout=10) as reply:
        der = reply.read()
    file = folder / "root.crl"
    command = [require("openssl"), "crl", "-inform", "DER", "-out", str(file)]
    subprocess.run(command, input=der, check=True, timeout=30, capture_output=True)
    return file


@pytest.mark.rule("R64", "R65")
@pytest.mark.parametrize("issuer", ["issuing", "direct"])
def test_the_roots_crl_for_the_issuing_ca(
    openssl: OpenSsl, good_ones: Mapping[str, Leaf], tmp_path: Path, issuer: str
) -> None:
    """The chain above the leaf is checked with the root's CRL, and the leaf by OCSP (RFC 5280, section 6.3).

    By `openssl verify`: `openssl ocsp` takes -crl_check, and asks for no CRL.
    """
    estate, leaf, issuing = openssl.estate, good_ones[issuer], openssl.estate.ca_file(issuer)
    authorities = tmp_path / "root-and-crl.pem"
    authorities.write_bytes(estate.ca("root") + root_crl(estate, tmp_path).read_bytes())
    verify = [require("openssl"), "verify", "-x509_strict", "-crl_check_all", "-CAfile"]
    for trusted, said in ((authorities, f"{issuing}: OK\n"), (estate.ca_file("root"), "")):
        done = subprocess.run([*verify, str(trusted), str(issuing)], capture_output=True, text=True, timeout=30)
        assert done.stdout == said
        assert ("unable to get certificate CRL" in done.stderr) is not bool(said)
    assert_good(openssl.ask(issuer, "-cert", leaf.file), leaf.file)


@pytest.mark.rule("R64")
def test_crl_and_ocsp_about_the_issuing_ca_agree(openssl: OpenSsl, tmp_path: Path) -> None:
    """The root's CRL does not list the issuing CA, and the root's responder says good."""
    crl = root_crl(openssl.estate, tmp_path)
    text = subprocess.run(
        [require("openssl"), "crl", "-in", str(crl), "-noout", "-text"], capture_output=True, text=True, check=True
    ).stdout
    issuing = openssl.estate.ca_file("issuing")
    assert f"{load_certificate(issuing).serial_number:X}" not in text
    assert_good(openssl.ask("root", "-cert", issuing), issuing)


@pytest.mark.rule("R24")
@pytest.mark.parametrize("bad", [False, True], ids=["signed", "signed with another key"])
def test_signatures_are_ignored_by_default(
    openssl: OpenSsl, good_ones: Mapping[str, Leaf], tmp_path: Path, bad: bool
) -> None:
    """A signed request is answered like any other, whatever its signature is worth."""
    leaf = good_ones["issuing"]
    if bad:
        der = bytearray(_signed(openssl, leaf, tmp_path / "request.der"))
        der[-1] ^= 1
        (tmp_path / "request.der").write_bytes(der)
        said = openssl.run(
            *("-issuer", openssl.estate.ca_file("issuing"), "-CAfile", openssl.estate.ca_file("root")),
            *("-url", openssl.estate.responder.url, "-reqin", tmp_path / "request.der", "-cert", leaf.file),
        )
        assert said.err == VERIFIED
    else:
        said = openssl.ask("issuing", "-cert", leaf.file, "-signer", leaf.file, "-signkey", leaf.key_file)
        assert_good(said, leaf.file)


def _signed(openssl: OpenSsl, leaf: Leaf, file: Path) -> bytes:
    """A request signed with a leaf's key; without certificates, so that the signature comes last."""
    options = ("-no_nonce", "-no_certs", "-cert", leaf.file, "-signer", leaf.file, "-signkey", leaf.key_file)
    return openssl.request(file, "issuing", *options)


@pytest.fixture
def demanding(estate: Estate) -> Gateway:
    """A gateway that answers signed requests only, of those whose certificates `issuing` made."""
    anchors = str(estate.ca_file("issuing"))
    return estate.gateway("signed-openssl", signed_requests="require", request_trust_anchors=anchors)


@pytest.mark.rule("R24")
def test_signatures_that_are_demanded(
    openssl: OpenSsl, demanding: Gateway, good_ones: Mapping[str, Leaf], leaves: Nursery
) -> None:
    """Trusted signers get an answer, strangers are unauthorized, and the unsigned are told to sign."""
    leaf, stranger = good_ones["issuing"], good_ones["solo"]
    signed = ("-signer", leaf.file, "-signkey", leaf.key_file)
    assert_good(openssl.ask("issuing", "-cert", leaf.file, *signed, responder=demanding), leaf.file)
    foreign = ("-signer", stranger.file, "-signkey", stranger.key_file)
    said = openssl.ask("issuing", "-cert", leaf.file, *foreign, responder=demanding)
    assert "Responder Error: unauthorized (6)" in said.out + said.err
    said = openssl.ask("issuing", "-cert", leaf.file, responder=demanding)
    assert "Responder Error: sigrequired (5)" in said.out + said.err


@pytest.mark.rule("R35")
def test_the_one_warning_there_is(openssl: OpenSsl, estate: Estate, good_ones: Mapping[str, Leaf]) -> None:
    """Told to ignore nonces, the gateway answers without; openssl warns about just that."""
    leaf = good_ones["issuing"]
    said = openssl.ask("issuing", "-cert", leaf.file, responder=estate.gateway("nonce-ignore", nonce="ignore"))
    assert said.err == "WARNING: no nonce in response\n" + VERIFIED
    assert f"{leaf.file}: good" in said.out


@pytest.mark.rule("R55")
def test_answers_that_name_the_responder(openssl: OpenSsl, estate: Estate, good_ones: Mapping[str, Leaf]) -> None:
    """Told to name itself, the responder goes by the subject of the certificate that signed."""
    leaf = good_ones["issuing"]
    named = estate.gateway("by-name", responder_id="name")
    said = openssl.ask("issuing", "-cert", leaf.file, "-resp_text", responder=named)
    assert said.err == VERIFIED
    assert re.search(r"Responder Id: CN = .* OCSP responder\n", said.out)


@pytest.mark.rule("R1", "R2")
def test_openssl_wrote_what_asn1crypto_reads(openssl: OpenSsl, good_ones: Mapping[str, Leaf], tmp_path: Path) -> None:
    """The requests that were asked with are what they are taken for: another hash, and no nonce."""
    der = openssl.request(tmp_path / "r.der", "issuing", "-no_nonce", "-sha384", "-cert", good_ones["issuing"].file)
    (asked,) = ocsp.OCSPRequest.load(der, strict=True)["tbs_request"]["request_list"]
    assert asked["req_cert"]["hash_algorithm"]["algorithm"].native == "sha384"
    assert asked["req_cert"]["serial_number"].native == good_ones["issuing"].serial
