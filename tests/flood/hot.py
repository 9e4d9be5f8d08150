"""Asking for what is hot with wrk, which needs much less of its core than the asker of this folder: for the long form.

wrk does not look at answers. What it was sent is counted in octets, so that tryLater, which has some five octets where
an answer has hundreds, does not count as one.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from benchmarks.questions import url_part
from benchmarks.references import write_list, wrk_output
from tests.flood.asker import SUCCESSFUL, TRY_LATER, Counts
from tests.flood.place import Place
from tests.flood.questions import request

_SUM = """\
function done(summary)
  local errors = summary.errors
  local wrong = errors.connect + errors.read + errors.write + errors.status + errors.timeout
  print(string.format("SUM %d %d %d %d", summary.requests, summary.bytes, summary.duration, wrong))
end
"""


class Wrk:
    """Asks for the same certificates again and again, by GET."""

    def __init__(self, place: Place, serials: Sequence[int]) -> None:
        paths = ["/" + url_part(request(place.names.cert_id(serial))) for serial in serials]
        self._script = write_list(place.folder, paths, _SUM)
        self._address = place.http
        self._whole: float | None = None
        """Octets of an answer with its head, when nobody else asks."""

    def __call__(self, seconds: float) -> Counts:
        """Ask for so many seconds, rounded to whole ones. The first time, nobody else may ask."""
        answered, octets, microseconds = _read(wrk_output(self._address, self._script, seconds))
        size = octets / answered
        self._whole = self._whole or size
        successful = round(answered * min(1.0, size / self._whole))
        return Counts(microseconds / 1e6, Counter({SUCCESSFUL: successful, TRY_LATER: answered - successful}))


def _read(output: str) -> tuple[int, int, int]:
    """Answers, octets, microseconds."""
    found = re.search(r"^SUM (\d+) (\d+) (\d+) (\d+)$", output, re.MULTILINE)
    assert found is not None, output
    answered, octets, microseconds, wrong = map(int, found.groups())
    assert not wrong, output
    assert answered, output
    return answered, octets, microseconds
