"""The folder is what the guide leaves: the premise of all that is tested with it."""

from __future__ import annotations

import re

from tests.guide.classic import SERIALS, ClassicCA, text_of


def test_the_folder_is_what_the_guide_leaves(classic: ClassicCA) -> None:
    """Serial numbers from 1000 on, one of them revoked, encrypted keys, and the extensions of the sections."""
    rows = {row[3]: row for row in classic.rows()}
    assert list(rows) == list(SERIALS.values())
    assert [row[0] for row in rows.values()] == ["V", "R", "V", "V"]
    assert rows["1001"][2].endswith(",keyCompromise")
    assert rows["1003"][5] == "/C=GB/ST=England/O=Alice Ltd/CN=test.example.com"
    assert (classic.intermediate / "serial").read_text() == "1004\n"
    assert (classic.intermediate / "crlnumber").read_text() == "1001\n"
    assert (classic.folder / "serial").read_text() == "1001\n"
    for key in ("intermediate", "ocsp.example.com"):
        assert "ENCRYPTED" in classic.key(key).read_text()
    server, responder = (text_of(classic.certificate(name)) for name in ("test.example.com", "ocsp.example.com"))
    assert "OCSP - URI:http://ocsp.example.com" in server
    assert "Serial Number: 4099 (0x1003)" in server
    assert re.search(r"Extended Key Usage: critical\s+OCSP Signing", responder)
    assert "No Check" not in responder
