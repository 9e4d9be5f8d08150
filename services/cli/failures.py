"""How errors are told: a line on standard error for each, naming the thing and the cure, and exit status 1."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import click

from services.cli.plain import plain
from services.errors import DomainError


class Failed(click.ClickException):
    """The command was refused or failed. The text is shown to the user, and nothing in it can drive a terminal."""

    exit_code = 1

    def format_message(self) -> str:
        """As it is shown: names of certificates and files are in it."""
        return plain(self.message)


@contextmanager
def one_line() -> Iterator[None]:
    """Turn the errors that a user can act on into `Failed`; others stay as they are, with their traceback."""
    try:
        yield
    except DomainError as error:
        raise Failed(domain_text(error)) from error
    except BrokenPipeError:
        raise  # the reader of our output went away: click ends quietly
    except OSError as error:
        raise Failed(os_text(error)) from error


def mistakes(lines: Sequence[str]) -> str:
    """The text of several mistakes, one a line, after how many there are; of one, itself."""
    return "\n".join([f"{len(lines)} mistakes", *lines]) if len(lines) > 1 else "".join(lines)


def lines_of(error: Exception) -> list[str]:
    """The lines of an error that lists several mistakes, one a line."""
    return [line.strip() for line in str(error).splitlines() if line.strip()]


def in_one_line(error: Exception) -> str:
    """The text of an error that lists several mistakes, one a line."""
    return "; ".join(lines_of(error))


def domain_text(error: DomainError) -> str:
    """The text of a domain error, with its stable reason."""
    return f"{error.message} [{error.reason}]"


def os_text(error: OSError) -> str:
    """The text of a system error, with the file it is about."""
    reason = error.strerror or str(error)
    return f"{error.filename}: {reason}" if error.filename else reason
