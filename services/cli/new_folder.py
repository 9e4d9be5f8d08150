"""A folder that is there as a whole or not at all.

It is filled under another name beside its place, and renamed when all is on the disk. What ends it early, a full disk
or Ctrl-C, takes away what was written; after a `kill -9` or a power cut a folder `.NAME.partial-…` may stay behind,
which can be deleted.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from services.cli.failures import Failed
from services.cli.files import sync_folder


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """Where to write what shall be in `target`, which is readable for its owner only.

    Raises Failed where there is something at `target` already, other than an empty folder, or where it cannot be
    written.
    """
    place = Path(os.path.abspath(target))  # noqa: PTH100 - a link at its end is no folder
    require_free(place)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        half = Path(tempfile.mkdtemp(prefix=f".{place.name}.partial-", dir=place.parent))
    except OSError as error:
        raise Failed(f"cannot write beside {target}: {error.strerror}") from error
    try:
        yield half
        # Once for all: one after the other, a million files would take hours.
        os.sync()
        _move(half, place)
    except OSError as error:
        raise Failed(f"cannot write {target}: {error.strerror or error}; nothing of it was kept") from error
    finally:
        shutil.rmtree(half, ignore_errors=True)


def require_free(place: Path) -> None:
    """Raise Failed unless nothing is there, or an empty folder."""
    if place == Path.cwd():
        raise Failed(f"{place} is where you are: name a folder in it, which is new or empty")
    if place.is_dir() and not place.is_symlink():
        if any(place.iterdir()):
            raise Failed(f"{place} is not empty: name a folder that is new or empty")
    elif place.exists() or place.is_symlink():
        raise Failed(f"{place} is there already, and is no folder: name one that is new or empty")


def _move(half: Path, place: Path) -> None:
    require_free(place)
    half.rename(place)  # takes the place of an empty folder, and of nothing else
    sync_folder(place.parent)
