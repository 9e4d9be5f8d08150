"""Keeps the memory of a process that holds private keys to itself: no core file, and no debugger of another process.

Core files end up in places that nobody guards: a crash reporter's queue, a support ticket. Of the two means, the limit
is inherited by whatever the process starts, and the mark is what holds where the kernel pipes cores to a program.
"""

from __future__ import annotations

import ctypes
import resource
import sys

_PR_SET_DUMPABLE = 4


def keep_memory_private() -> None:
    """Forbid core files of this process, and (Linux) that others but root attach to it or read its memory."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
