"""Prompts for passphrases: on a real terminal, which is left as it was."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest

from tests.guide.terminal import terminal

CODE = """
from gateway.passphrases import PassphraseError, read_passphrase, terminal
ask = terminal()
try:
    print("got", read_passphrase("gateway-x", prompt=lambda: ask("Passphrase: ")))
except PassphraseError as error:
    print("refused:", error)
"""


@pytest.mark.parametrize(
    ("typed", "said"),
    [("correct horse", r"got b'correct horse'\n"), ("", "refused: .* is empty"), ("\x04", "refused: .*was typed")],
    ids=["passphrase", "nothing", "Ctrl-D"],
)
def test_what_is_typed(typed: str, said: str, tmp_path: Path) -> None:
    """It is not shown, and no passphrase is told as such."""
    with terminal((sys.executable, "-c", CODE), tmp_path) as shown:
        shown.expect("Passphrase: ")
        assert not shown.echoes()
        shown.type(typed)
        shown.expect(said)
        assert "horse" not in shown.said.replace("got b'correct horse'", "")
        assert shown.echoes()


@pytest.mark.parametrize("how", ["Ctrl-C", "SIGTERM"])
def test_who_does_not_want_to(how: str, tmp_path: Path) -> None:
    """It ends at once, and the terminal shows again what is typed."""
    with terminal((sys.executable, "-c", CODE), tmp_path) as shown:
        shown.expect("Passphrase: ")
        if how == "Ctrl-C":
            shown.type("\x03")
        else:
            shown.process.send_signal(signal.SIGTERM)
        assert shown.process.wait(10) in (-signal.SIGINT, 128 + signal.SIGTERM)
        assert shown.echoes()
