"""Programs from outside that judge the gateway, and the Debian packages that they come from.

Where one is missing, a test says what to install and is skipped; in CI it fails, because CI skips none.
"""

from __future__ import annotations

import os
import shutil

import pytest

PACKAGES = {
    "openssl": "openssl",
    "ocsptool": "gnutls-bin",
    "certtool": "gnutls-bin",
    "java": "openjdk-17-jdk-headless",
    "javac": "openjdk-17-jdk-headless",
    "nginx": "nginx-light",
    "varnishd": "varnish",
    "curl": "curl",
    "jq": "jq",
}
"""Every program that a judge needs, and its package. `.ci/run` installs these packages where they are missing."""

_SYSTEM_FOLDERS = ("/usr/sbin", "/usr/local/sbin", "/sbin")


def require(program: str, package: str | None = None) -> str:
    """The program's path; without it the test is skipped, or fails in CI."""
    folders = os.pathsep.join([os.environ.get("PATH", os.defpath), *_SYSTEM_FOLDERS])
    found = shutil.which(program, path=folders)
    if found is not None:
        return found
    message = f"{program} is missing: apt-get install {package or PACKAGES[program]}"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)
