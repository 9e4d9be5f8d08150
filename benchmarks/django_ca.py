"""django-ca, the nearest peer in Python: its OCSP view, served by gunicorn, in an environment that is thrown away.

Set up as its documentation has it, as far as the view needs it: P-256 keys, SQLite, and answers that are signed before
and kept in Django's cache in memory, with room for all of them.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509

from benchmarks.load import check
from benchmarks.processes import BenchmarkError, command_output, ending, free_ports
from benchmarks.questions import plain

PACKAGES = ("django-ca==3.2.0", "gunicorn==27.0.1")
_START_WITHIN = 30.0
_SETTINGS = """\
import os
from pathlib import Path

HERE = Path(__file__).parent
SECRET_KEY = "only for a benchmark over loopback, which nobody signs in to"
ALLOWED_HOSTS = ["*"]
USE_TZ = True
ROOT_URLCONF = "urls"
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": HERE / "db.sqlite3"}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes", "django_object_actions", "django_ca"]
MIDDLEWARE = ["django.middleware.common.CommonMiddleware"]
FILES = "django.core.files.storage.FileSystemStorage"
STORAGES = {
    "default": {"BACKEND": FILES},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
    "django-ca": {"BACKEND": FILES, "OPTIONS": {"location": str(HERE / "files")}},
}
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.locmem.LocMemCache",
        "OPTIONS": {"MAX_ENTRIES": 100_000},
    },
}
CA_DEFAULT_HOSTNAME = "127.0.0.1"
CA_USE_CELERY = False
# Not while the authority is made: it wants to sign an answer about that one then, which cannot be.
if "SIGNED_BEFORE" in os.environ:
    CA_OCSP_RESPONSE_CACHE_EXPIRES = 7 * 24 * 60 * 60
LOGGING_CONFIG = None
"""
_URLS = """\
from django.urls import include, path

urlpatterns = [path("", include("django_ca.urls"))]
"""
_WSGI = """\
from django.core.wsgi import get_wsgi_application

application = get_wsgi_application()
"""
_FILL = """\
import sys
from pathlib import Path

import django

django.setup()

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import NameOID
from django.core.management import call_command
from django_ca.models import Certificate, CertificateAuthority

call_command("migrate", verbosity=0)
call_command("init_ca", "--key-type=EC", "--elliptic-curve=secp256r1", "peer", "CN=peer")
ca = CertificateAuthority.objects.get(name="peer")
options = ca.key_backend.get_use_private_key_options(ca, {})
ca.generate_ocsp_key(options)
key = ec.generate_private_key(ec.SECP256R1())
csr = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, SHA256())
serials = []
for number in range(int(sys.argv[1])):
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"peer-{number}.example.com")])
    serials.append(Certificate.objects.create_cert(ca, options, csr, subject=subject).serial)
Path("serials").write_text("\\n".join(serials))
Path("ca.pem").write_text(ca.pub.pem)
Path("path").write_text(f"/ocsp/{ca.serial}/cert/")
"""
_SIGN = """\
import django

django.setup()

from django.core.management import call_command

call_command("generate_ocsp_responses")
"""


@dataclass(frozen=True)
class Responder:
    """A running view: where it is, its process, its issuer, and serial numbers that it knows."""

    http: str
    path: str
    pid: int
    issuer: x509.Certificate
    serials: list[int]


@contextlib.contextmanager
def responder(folder: Path, certificates: int) -> Iterator[Responder]:
    """The view with so many certificates, made anew in `folder`; the packages come from PyPI. Raises BenchmarkError."""
    binaries = _install(folder)
    files = {"peer.py": _SETTINGS, "urls.py": _URLS, "wsgi.py": _WSGI, "fill.py": _FILL, "sign.py": _SIGN}
    for name, text in files.items():
        (folder / name).write_text(text)
    (folder / "files").mkdir()
    environment = os.environ | {"DJANGO_SETTINGS_MODULE": "peer", "PYTHONPATH": str(folder)}
    python = str(binaries / "python")
    _run([python, "fill.py", str(certificates)], folder, environment)
    environment["SIGNED_BEFORE"] = "yes"
    _run([python, "sign.py"], folder, environment)
    at = f"127.0.0.1:{free_ports(1)[0]}"
    command = [str(binaries / "gunicorn"), "--worker-class", "gthread", "--threads", "4", "--workers", "1"]
    command += ["--keep-alive", "60", "--log-level", "error", "--no-control-socket", "--bind", at, "wsgi"]
    with subprocess.Popen(command, cwd=folder, env=environment) as process, ending(process):
        issuer = x509.load_pem_x509_certificate((folder / "ca.pem").read_bytes())
        serials = [int(line.replace(":", ""), 16) for line in (folder / "serials").read_text().splitlines()]
        found = Responder(at, (folder / "path").read_text(), process.pid, issuer, serials)
        _wait_for(found)
        yield found


def _install(folder: Path) -> Path:
    """A virtual environment with the packages; where its commands are."""
    command_output([sys.executable, "-m", "venv", str(folder / "venv")])
    binaries = folder / "venv" / "bin"
    command_output([str(binaries / "python"), "-m", "pip", "install", "--quiet", *PACKAGES], within=600)
    return binaries


def _run(command: list[str], folder: Path, environment: dict[str, str]) -> None:
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchmarkError(f"django-ca: {command[1]} failed:\n{done.stderr[-2000:]}")


def _wait_for(found: Responder) -> None:
    messages = plain(found.issuer, found.serials[:1], keep_alive=False, path=found.path)
    deadline = time.monotonic() + _START_WITHIN
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            check(found.http, messages)
            return
        time.sleep(0.1)
    raise BenchmarkError("django-ca does not listen")
