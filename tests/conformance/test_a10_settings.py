"""A10: settings that would break a rule are refused when a gateway starts: it says which, and why, and ends."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import forked

REFUSED = {
    "baseline-for-an-hour": ('preset = "baseline"\nvalidity = 3600', "validity is less than 8 hours"),
    "baseline-one-second-short": ('preset = "baseline"\nvalidity = 28798', "validity is less than 8 hours"),
    "ten-days": ("validity = 864000", "gateway.validity: must be 863999 or less"),
    "no-time-at-all": ("validity = 0", "gateway.validity: must be 60 or more"),
    "on-hold-under-baseline": ('preset = "baseline"\nnever_issued = "extended-revoked"', "R50"),
    "skew-of-a-third": ("validity = 600\nclock_skew = 200", "clock_skew (200 s) is more than a quarter of validity"),
    "baseline-for-an-issuer": (
        '[gateway.issuers.rsa]\npreset = "baseline"\nvalidity = 3600',
        "issuers.rsa: validity is less than 8 hours",
    ),
    "an-issuer-under-baseline": ('preset = "baseline"\n[gateway.issuers.rsa]\nvalidity = 600', "issuers.rsa: "),
    "on-hold-under-an-issuers-baseline": (
        'never_issued = "extended-revoked"\n[gateway.issuers.rsa]\npreset = "baseline"',
        "R50",
    ),
    "unknown-preset": ('preset = "lenient"', "gateway.preset: must be 'default', 'baseline' or 'short'"),
}
RULES = {"ten-days": ("R84",), "skew-of-a-third": ("R85",), "no-time-at-all": ("R85",)}


def _case(name: str) -> object:
    rules = RULES.get(name, ("R50",) if name.startswith("on-hold") else ("R84", "R86"))
    return pytest.param(*REFUSED[name], id=name, marks=pytest.mark.rule(*rules))


@pytest.mark.parametrize(("settings", "text"), [_case(name) for name in REFUSED])
def test_refused(tmp_path: Path, settings: str, text: str) -> None:
    """Exit status 1, and one line that names file, setting and reason."""
    config = tmp_path / "config.toml"
    config.write_text(f"[gateway]\n{settings}\n")
    done = forked.run(["serve", "gateway", "--config", str(config)])
    assert done.returncode == 1
    assert text in done.stderr
    assert str(config) in done.stderr
    assert "Traceback" not in done.stderr
