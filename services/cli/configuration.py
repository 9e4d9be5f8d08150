"""The text of a new `config.toml`: every setting that an operator may want to change, with what it means."""

from __future__ import annotations

import json

from services.cli.key_types import is_post_quantum
from services.cli.plan import Plan

_TEXT = """\
# The configuration of goodstanding. Paths are relative to this file. Every setting can also come from the environment,
# which wins: GOODSTANDING_<TABLE>__<SETTING>, such as GOODSTANDING_CA__LISTEN=127.0.0.1:50051.

[database]
# sqlite:///PATH, or postgresql://USER:PASSWORD@HOST:PORT/DATABASE.
url = {database_url}

[ca]
# The gRPC service that issues and revokes. It alone loads the issuing key.
listen = {ca}
# The gateway's address as clients know it. It goes into certificates; those that were issued keep what they carry.
public_url = {public_url}
# Reasons that a revocation may have: "rfc5280", or "baseline" (without holds and the reasons for authorities).
reasons = "rfc5280"
# Which certificates are issued, beside the built-in profiles: [profiles.NAME] tables here, or in a file of their own,
# profiles_file = "profiles.toml". `goodstanding profiles list` shows them; docs/profiles.md explains them.
# Keys that are refused beside those that come along: weak_key_lists = ["blacklist.RSA-4096"]; docs/profiles.md as well.

[ca.passphrase_files]
# By name of issuer. The alternatives: GOODSTANDING_PASSPHRASE_ISSUING, systemd credentials, or a prompt. Issuers that
# are not named here have theirs in secrets/NAME.passphrase, where `goodstanding ca` puts it.
issuing = "secrets/issuing.passphrase"

[status]
# The gRPC service that answers for the status of certificates. It only reads.
listen = {status}

[tls]
# The root of the credentials that the services know each other by. `goodstanding credential` makes more of them.
root = "tls/ca.pem"

[tls.ca]
certificate = "tls/ca-server.pem"
key = "tls/ca-server.key"

[tls.status]
certificate = "tls/status-server.pem"
key = "tls/status-server.key"

[gateway]
# Where OCSP clients ask, over plain HTTP.
http = {http}
# Where operators look: /healthz, /readyz and /metrics. Never open this one to the public.
ops = {ops}
public_url = {public_url}
# Where the gateway finds the two services, and how they know it.
ca = {ca}
status = {status}
tls_ca = "tls/ca.pem"
certificate = "tls/gateway.pem"
key = "tls/gateway.key"
"""

_SIGNER_KEYS = """\
# The kinds of keys that answers are signed with. A CA whose keys are made for a time with quantum computers wants its
# answers signed with such keys, too.
signer_keys = [{key_type}]
"""


def configuration_text(plan: Plan) -> str:
    """The configuration file for a plan."""
    values = {
        "database_url": plan.database_url,
        "ca": plan.ca,
        "status": plan.status,
        "http": plan.http,
        "ops": plan.ops,
        "public_url": plan.url,
    }
    # A JSON string is a TOML string too.
    text = _TEXT.format(**{name: json.dumps(value, ensure_ascii=False) for name, value in values.items()})
    return text + _SIGNER_KEYS.format(key_type=json.dumps(plan.key_type)) if is_post_quantum(plan.key_type) else text
