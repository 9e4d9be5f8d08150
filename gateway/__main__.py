"""The gateway on its own, where the `goodstanding` command is not installed: `python -m gateway [CONFIG]`.

Exit statuses: 0 stopped by SIGTERM or SIGINT, 1 the configuration cannot be used, and says so in one line.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import structlog
import uvloop

from gateway.config import ConfigError
from gateway.memory import keep_memory_private
from gateway.serve import serve


def main(arguments: list[str]) -> None:
    """Serve until told to stop."""
    keep_memory_private()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve(Path(arguments[0]) if arguments else None))
    except ConfigError as error:
        sys.exit(f"Error: {error}")


if __name__ == "__main__":
    main(sys.argv[1:])
