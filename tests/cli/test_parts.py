"""The small parts of the command: output, options, addresses, waiting before a restart."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from goodstanding.status.v1 import status_pb2
from goodstanding.types.v1 import types_pb2
from services.cli import output
from services.cli.children import Backoff, inherited
from services.cli.commands import issuers
from services.cli.commands.serve import SERVICES
from services.cli.configuration import configuration_text
from services.cli.failures import Failed
from services.cli.files import write_file
from services.cli.folder import DataFolder, Running, reachable
from services.cli.plan import Plan, is_loopback
from services.cli.ports import claim


def test_terminal_escapes() -> None:
    """A name in a certificate cannot drive a terminal."""
    assert output.plain("CN=a\x1b[2J\u202eb\x00") == "CN=a\\x1b[2J\\u202eb\\x00"


def test_terminal_escapes_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    """Nor through JSON, which itself lets DEL, C1 controls and directions of text pass; readable text stays."""
    name = "ü\x1b[2J\x9b2J\x7f\u202e\U000e0041"
    output.emit({"subject": name})
    printed = capsys.readouterr().out
    assert json.loads(printed) == {"subject": name}
    assert "ü" in printed
    assert all(character.isprintable() for line in printed.splitlines() for character in line)


def test_a_folder_of_somebody_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it cannot be read what runs there, nothing is known of it: the next file tells why, in one line."""
    folder = DataFolder(tmp_path)
    folder.run_file.write_text("{}")

    def refused(*_: object, **__: object) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_text", refused)
    assert folder.running() is None


def test_secrets_go_to_those_they_are_for() -> None:
    """No child inherits what it has no use for: the gateway, which strangers talk to, gets its own signers' alone."""
    names = ("ISSUING", "ROOT", "TLS_CA", "GATEWAY_ROOT")
    issuing, root, tls, signer = (f"GOODSTANDING_PASSPHRASE_{name}" for name in names)
    url = "goodstanding_database__url"  # settings are found in any case
    environ = dict.fromkeys(("PATH", "GOODSTANDING_GATEWAY__MAX_AGE", issuing, root, tls, signer, url), "x")
    kept = {
        service: inherited(service, environ).keys() - {"PATH", "GOODSTANDING_GATEWAY__MAX_AGE"} for service in SERVICES
    }
    assert kept == {"ca": {issuing, url}, "status": {url}, "gateway": {signer}}
    assert inherited("gateway", environ).keys() == {"PATH", "GOODSTANDING_GATEWAY__MAX_AGE", signer}


def test_what_children_are_told_of_themselves() -> None:
    """It comes from us alone: what somebody has set in our own environment would have them wait for nobody."""
    told = dict.fromkeys(("GOODSTANDING_HELD", "GOODSTANDING_SUPERVISOR", "GOODSTANDING_WORKER"), "1")
    environ = {"PATH": "x", **told}
    assert all(inherited(service, environ) == {"PATH": "x"} for service in SERVICES)


def test_certificate_as_json() -> None:
    """JSON has the contract's field names, short enum values and RFC 3339 times; what does not apply is null."""
    certificate = types_pb2.Certificate(
        issuer="issuing", serial_number="0a", state=types_pb2.CERTIFICATE_STATE_REVOKED, revision=7
    )
    certificate.revocation.reason = types_pb2.REVOCATION_REASON_KEY_COMPROMISE
    certificate.revocation.revocation_time.FromJsonString("2026-02-03T04:05:06Z")
    value = json.loads(json.dumps(output.certificate(certificate)))
    assert value["state"] == "revoked"
    assert value["revocation"] == {
        "revocation_time": "2026-02-03T04:05:06Z",
        "reason": "keyCompromise",
        "invalidity_time": None,
    }
    assert value["not_after_time"] is None
    assert value["revision"] == 7


def test_a_compromised_issuer() -> None:
    """JSON has the revocation that stands for it, or null; people read it beside the state."""
    issuer = types_pb2.Issuer(name="issuing", state=types_pb2.ISSUER_STATE_ACTIVE)
    assert issuers.describe(issuer)["compromise"] is None
    assert issuers.state(issuers.describe(issuer)) == "active"
    issuer.compromise.reason = types_pb2.REVOCATION_REASON_CA_COMPROMISE
    issuer.compromise.revocation_time.FromSeconds(0)
    compromise = {"revocation_time": "1970-01-01T00:00:00Z", "reason": "cACompromise", "invalidity_time": None}
    assert issuers.describe(issuer)["compromise"] == compromise
    assert issuers.state(issuers.describe(issuer)) == "active, compromised"


def test_every_reason_has_a_name() -> None:
    """The names of reasons and the contract's numbers are the same set."""
    assert set(output.REASONS.values()) == set(types_pb2.RevocationReason.values())


@pytest.mark.parametrize("number", [0, 4])
def test_unknown_status_is_never_good(number: int) -> None:
    """A status number that this program does not know is shown as an error (G2)."""
    record = status_pb2.StatusRecord(status=number)  # type: ignore[arg-type]
    assert output.status_record(record)["status"].startswith("error")


def test_waiting_before_a_restart() -> None:
    """The first restart is immediate, and so is one after a long life; children that die young wait ever longer."""
    backoff = Backoff()
    assert [backoff.after(0.1) for _ in range(5)] == [0.0, 0.25, 0.5, 1.0, 2.0]
    assert backoff.after(3600) == 0.0
    assert backoff.after(0.1) == 0.25
    assert [backoff.after(0.1) for _ in range(20)][-1] == 30.0


def test_free_ports() -> None:
    """Port 0 becomes a free port that the kernel gives to no connection; and no port is given out twice."""
    wanted = {"ca": "127.0.0.1:0", "status": "127.0.0.1:0", "http": "127.0.0.1:0"}
    ports = [int(address.rpartition(":")[2]) for address in [*claim(wanted).values(), *claim(wanted).values()]]
    assert len(set(ports)) == 6
    lowest, highest = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    assert lowest < 11_000 or not any(lowest <= port <= highest for port in ports)


def test_taken_port() -> None:
    """A taken port is named, with who holds it and the option that chooses another."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(Failed, match=rf"{address} is in use by process \d+ \(.*\): .* --http") as failure:
            claim({"http": address})
    assert "\n" not in failure.value.message


def test_port_named_twice() -> None:
    """Two services cannot share an address."""
    free = claim({"ca": "127.0.0.1:0"})["ca"]
    with pytest.raises(Failed, match="named twice"):
        claim({"ca": free, "status": free})


@pytest.mark.parametrize(
    ("listen", "address"),
    [
        ("127.0.0.1:1", "127.0.0.1:1"),
        ("0.0.0.0:1", "127.0.0.1:1"),
        ("[::]:1", "127.0.0.1:1"),
        ("[::1]:1", "[::1]:1"),
        ("ca.example.com:1", "ca.example.com:1"),
    ],
)
def test_reachable(listen: str, address: str) -> None:
    """A client on this machine reaches a listener on all addresses by one of them."""
    assert reachable(listen) == address


def test_default_url() -> None:
    """A URL in certificates is one that can be asked, whatever address the gateway listens on."""
    assert Plan(http="0.0.0.0:80").url == "http://127.0.0.1:80"
    assert Plan(http="192.0.2.1:80").url == "http://192.0.2.1:80"
    assert Plan(http="0.0.0.0:80", public_url="http://ocsp.example.com/").url == "http://ocsp.example.com"


@pytest.mark.parametrize(
    ("url", "loopback"),
    [
        ("http://127.0.0.1:2560", True),
        ("http://localhost", True),
        ("http://[::1]:2560", True),
        ("http://ocsp.example.com", False),
        ("http://192.0.2.1", False),
    ],
)
def test_loopback(url: str, loopback: bool) -> None:
    """It is known which URLs only this machine can reach."""
    assert is_loopback(url) is loopback


@pytest.mark.parametrize(("private", "mode"), [(True, 0o600), (False, 0o644)])
def test_file_modes(private: bool, mode: int, tmp_path: Path) -> None:
    """A file has its mode whatever the umask and the file before it."""
    file = tmp_path / "file"
    file.write_bytes(b"before")
    file.chmod(0o777)
    write_file(file, b"content", private=private)
    assert file.read_bytes() == b"content"
    assert file.stat().st_mode & 0o777 == mode
    assert list(tmp_path.iterdir()) == [file]


def test_addresses_of_clients(tmp_path: Path) -> None:
    """A client asks where the services run; where none runs, where the configuration says that they listen."""
    folder = DataFolder(tmp_path)
    folder.config.write_text(configuration_text(Plan(ca="0.0.0.0:1", status="127.0.0.1:2")))
    assert (folder.address("ca"), folder.address("status")) == ("127.0.0.1:1", "127.0.0.1:2")
    folder.say_running(Running(1, "127.0.0.1:11", "127.0.0.1:12", "127.0.0.1:13", "127.0.0.1:14", "http://a"))
    assert (folder.address("ca"), folder.address("status")) == ("127.0.0.1:11", "127.0.0.1:12")
    folder.say_running(Running(2**22 + 1, "127.0.0.1:11", "127.0.0.1:12", "127.0.0.1:13", "127.0.0.1:14", "http://a"))
    assert folder.address("ca") == "127.0.0.1:1"  # what was left by a process that was killed does not count
