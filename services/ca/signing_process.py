"""A process that checks and signs for the ca when there is a crowd: `python -m services.ca.signing_process`.

It ends when the ca is gone or hangs up, and never otherwise: SIGTERM and Ctrl-C are blocked from its first moment. What
it does is in `services.ca.signing_maker`.
"""

from __future__ import annotations

import os
import sys

from services.processes import die_with_parent, keep_memory_private


def main() -> None:
    """Take the descriptor of the socket and the process id of the ca from the command line."""
    descriptor, parent = map(int, sys.argv[1:])
    # Before anything that takes time: the rest is imported in a second, with passphrases in the environment perhaps.
    die_with_parent(parent)
    keep_memory_private()
    os.umask(0o077)
    from services.ca.signing_maker import serve

    serve(descriptor)


if __name__ == "__main__":
    main()
