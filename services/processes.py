"""What a process that holds private keys asks of the kernel, and one that serves asks of the interpreter.

The gateway, which imports nothing of the services, has its own (`gateway.memory`).
"""

from __future__ import annotations

import ctypes
import gc
import os
import resource
import signal
import sys

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when the thread that started it ends (Linux). Ends it if that has happened."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before we asked
        sys.exit(1)


def keep_memory_private() -> None:
    """Forbid core files of this process, and (Linux) that others but root attach to it or read its memory."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def spare_the_collector() -> None:
    """Have cyclic garbage looked for less often, and not among what stays for good: calls leave hardly any."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 100)
