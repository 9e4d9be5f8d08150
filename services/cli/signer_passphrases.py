"""Passphrases of the gateway's signers, asked for once by `goodstanding up`, before anything runs.

A gateway that ends is started again, perhaps at night: nobody could be asked then. So what is typed stays in memory,
here, and goes to each gateway in its environment, which nobody but root and its own user can look into.
"""

from __future__ import annotations

from pathlib import Path

from gateway.config import load
from gateway.file_signers import paths_of
from gateway.passphrases import (
    PassphraseError,
    Prompt,
    has_source,
    question_for,
    read_passphrase,
    terminal,
    variable_of,
)
from gateway.signer_files import SignerPaths
from services.cli.failures import Failed
from services.cli.settings import readable


def typed_passphrases(config: Path) -> dict[str, str]:
    """The environment for the gateway: what somebody at the terminal types for encrypted keys that have no passphrase.

    Without a terminal nobody is asked, and the gateway says what is missing. Raises Failed.
    """
    prompt = terminal()
    if prompt is None:
        return {}
    with readable():
        paths = [each for signers in paths_of(load(config)).values() for each in signers]
    asked = [each for each in paths if each.is_encrypted() and not has_source(each.name, file=each.passphrase_file)]
    try:
        return {variable_of(each.name): _ask(each, prompt) for each in asked}
    except PassphraseError as error:
        raise Failed(f"{error}: nothing was started") from None


def _ask(paths: SignerPaths, prompt: Prompt) -> str:
    return read_passphrase(paths.name, prompt=lambda: prompt(question_for(paths.name, paths.key))).decode()
