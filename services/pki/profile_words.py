"""The words in which a configuration speaks of profiles, and what they mean: durations, purposes, attributes, names.

Each pair of functions here is one word read and the same word written. What cannot be read raises ValueError with a
text for the operator.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from services.pki.name_rules import Network, lowered_authority
from services.pki.names import is_dns_name
from services.pki.profile import KEY_USAGES

_UNITS = {"w": 604_800, "d": 86_400, "h": 3600, "m": 60, "s": 1}
_DURATION = re.compile(r"([0-9]{1,9})([wdhms])", re.ASCII)
_OID = re.compile(r"[0-2](?:\.(?:0|[1-9][0-9]*))+", re.ASCII)
_PREFIX = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[A-Za-z0-9._~:/?#\[\]!$&'()*+,;=%-]*", re.ASCII)
_URL = re.compile(r"https?://[A-Za-z0-9.-]+[A-Za-z0-9._~:/?#\[\]!$&'()*+,;=%-]{0,200}", re.ASCII)
_TRUST_DOMAIN = re.compile(r"[a-z0-9._-]{1,255}", re.ASCII)

PURPOSES: Mapping[str, x509.ObjectIdentifier] = {
    "serverAuth": ExtendedKeyUsageOID.SERVER_AUTH,
    "clientAuth": ExtendedKeyUsageOID.CLIENT_AUTH,
    "codeSigning": ExtendedKeyUsageOID.CODE_SIGNING,
    "emailProtection": ExtendedKeyUsageOID.EMAIL_PROTECTION,
    "timeStamping": ExtendedKeyUsageOID.TIME_STAMPING,
    "OCSPSigning": ExtendedKeyUsageOID.OCSP_SIGNING,
    "anyExtendedKeyUsage": ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,
    "smartcardLogon": ExtendedKeyUsageOID.SMARTCARD_LOGON,
    "kerberosPKINITKDC": ExtendedKeyUsageOID.KERBEROS_PKINIT_KDC,
    "ipsecIKE": ExtendedKeyUsageOID.IPSEC_IKE,
}
ATTRIBUTES: Mapping[str, x509.ObjectIdentifier] = {
    "DC": NameOID.DOMAIN_COMPONENT,
    "C": NameOID.COUNTRY_NAME,
    "ST": NameOID.STATE_OR_PROVINCE_NAME,
    "L": NameOID.LOCALITY_NAME,
    "postalCode": NameOID.POSTAL_CODE,
    "street": NameOID.STREET_ADDRESS,
    "O": NameOID.ORGANIZATION_NAME,
    "OU": NameOID.ORGANIZATIONAL_UNIT_NAME,
    "title": NameOID.TITLE,
    "surname": NameOID.SURNAME,
    "givenName": NameOID.GIVEN_NAME,
    "UID": NameOID.USER_ID,
    "serialNumber": NameOID.SERIAL_NUMBER,
    "CN": NameOID.COMMON_NAME,
}
_PURPOSE_NAMES = {oid: name for name, oid in PURPOSES.items()}
_ATTRIBUTE_NAMES = {oid: name for name, oid in ATTRIBUTES.items()}


def _camel(usage: str) -> str:
    first, *others = usage.split("_")
    return "cRLSign" if usage == "crl_sign" else first + "".join(each.capitalize() for each in others)


USAGES: Mapping[str, str] = {_camel(usage): usage for usage in KEY_USAGES}
"""Key usages as RFC 5280 spells them -> as `services.pki.profile` does."""
USAGE_NAMES: Mapping[str, str] = {usage: name for name, usage in USAGES.items()}


def read_number(value: object, least: int, most: int) -> int:
    """A whole number within limits."""
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise ValueError(f"must be a whole number from {least} to {most}")
    return value


def read_caps(value: object) -> object:
    """The preset, for which None stands, or a list of limits by date."""
    if value != "baseline" and not isinstance(value, list):
        raise ValueError('must be "baseline", or a list such as [{ from = 2027-01-01, max = "60d" }]')
    return None if value == "baseline" else value


def read_path_length(value: object) -> int | None:
    """A number, or None for no limit."""
    if value == "unlimited":
        return None
    try:
        return read_number(value, 0, 100)
    except ValueError as error:
        raise ValueError(f'{error}, or "unlimited"') from None


def read_duration(value: object) -> timedelta:
    """A number with a unit: `90d`."""
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError('must be a number with a unit out of s, m, h, d, w: "90d"')
    return timedelta(seconds=int(match[1]) * _UNITS[match[2]])


def write_duration(value: timedelta) -> str:
    """In the largest unit that it is a whole number of, days at the most."""
    seconds = int(value.total_seconds())
    unit = next(unit for unit in "dhms" if seconds % _UNITS[unit] == 0)
    return f"{seconds // _UNITS[unit]}{unit}"


def read_day(value: object) -> datetime:
    """A date, or a time with its zone."""
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError("a time needs its zone, as in 2027-03-15T00:00:00Z")
        return value.astimezone(UTC)
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=UTC)
    raise ValueError("must be a date without quotes, such as 2027-03-15")


def write_day(value: datetime) -> date | datetime:
    """A date, where it begins one."""
    return value if value.time() != datetime.min.time() else value.date()


def read_oid(value: object) -> x509.ObjectIdentifier:
    """An object identifier in numbers and dots."""
    if not isinstance(value, str) or not _OID.fullmatch(value):
        raise ValueError("must be an object identifier in dotted numbers")
    return _oid(value)


def _oid(value: str) -> x509.ObjectIdentifier:
    try:
        return x509.ObjectIdentifier(value)
    except ValueError:
        raise ValueError("is no object identifier: its numbers are not in range") from None


def read_purpose(value: object) -> x509.ObjectIdentifier:
    """An extended key usage by its name in RFC 5280, or by its number."""
    if isinstance(value, str) and value in PURPOSES:
        return PURPOSES[value]
    if not isinstance(value, str) or not _OID.fullmatch(value):
        raise ValueError(f"must be out of {', '.join(PURPOSES)}, or an object identifier in dotted numbers")
    return _oid(value)


def write_purpose(value: x509.ObjectIdentifier) -> str:
    """Its name, or its number."""
    return _PURPOSE_NAMES.get(value, value.dotted_string)


def read_attribute(value: object) -> x509.ObjectIdentifier:
    """An attribute of the subject."""
    if not isinstance(value, str) or value not in ATTRIBUTES:
        raise ValueError(f"must be out of {', '.join(ATTRIBUTES)}")
    return ATTRIBUTES[value]


def write_attribute(value: x509.ObjectIdentifier) -> str:
    """Its short name."""
    return _ATTRIBUTE_NAMES[value]


def read_usage(value: object) -> str:
    """A key usage."""
    if not isinstance(value, str) or value not in USAGES:
        raise ValueError(f"must be out of {', '.join(USAGES)}")
    return USAGES[value]


def read_domain(value: object) -> str:
    """A domain, perhaps with a dot in front."""
    text = value.lower() if isinstance(value, str) else ""
    if not is_dns_name(text.removeprefix(".")) or "*" in text:
        raise ValueError('must be a domain such as "example.com", or ".example.com" for what is below it alone')
    return text


def read_network(value: object) -> Network:
    """A range of addresses."""
    try:
        return ipaddress.ip_network(str(value))
    except ValueError:
        raise ValueError('must be a range of addresses such as "10.0.0.0/8", with no bits set beyond it') from None


def read_prefix(value: object) -> str:
    """The beginning of a URI, with its scheme."""
    if not isinstance(value, str) or not _PREFIX.fullmatch(value):
        raise ValueError('must be the beginning of a URI, such as "https://id.example.com/"')
    return lowered_authority(value)


def read_url(value: object) -> str:
    """An address on the web."""
    if not isinstance(value, str) or not _URL.fullmatch(value):
        raise ValueError('must be an address such as "https://example.com/practice-statement", of up to 200 characters')
    return value


def read_trust_domain(value: object) -> str:
    """A SPIFFE trust domain."""
    if not isinstance(value, str) or not _TRUST_DOMAIN.fullmatch(value):
        raise ValueError("must be a SPIFFE trust domain: lower-case letters, digits, dots, dashes and underscores")
    return value


def to_toml(tables: Mapping[str, Any], prefix: str = "") -> str:
    """Tables as TOML: plain values first, then the tables within. Lists hold plain values and small tables."""
    plain = {key: value for key, value in tables.items() if not isinstance(value, Mapping)}
    nested = {key: value for key, value in tables.items() if isinstance(value, Mapping)}
    lines = [f"{key} = {_value(value)}" for key, value in plain.items()]
    head = f"[{prefix}]\n" if prefix and (plain or not nested) else ""
    blocks = [head + "".join(line + "\n" for line in lines)] if head or lines else []
    blocks += [to_toml(value, f"{prefix}.{_key(key)}" if prefix else _key(key)) for key, value in nested.items()]
    return "\n".join(blocks)


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _value(key)


def _value(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        escaped = (f"\\u{ord(c):04x}" if ord(c) < 32 or ord(c) == 127 else "\\" + c if c in '"\\' else c for c in value)
        return '"' + "".join(escaped) + '"'
    if isinstance(value, date | datetime):
        return value.isoformat()
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(key)} = {_value(each)}" for key, each in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_value, value)) + "]"
    return str(value)
