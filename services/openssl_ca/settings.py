"""openssl.cnf for a folder that `openssl ca` is to work with. Pure."""

from __future__ import annotations

from typing import Final, NamedTuple


class Addresses(NamedTuple):
    """What an issuer's certificates name: where clients ask, and fetch what they need."""

    ocsp: tuple[str, ...] = ()
    issuers: tuple[str, ...] = ()
    lists: tuple[str, ...] = ()


def configuration(folder: str, addresses: Addresses, *, crl_days: int) -> str:
    """The file for a folder, whose path is absolute: with it, commands work wherever they are started.

    Raises ValueError for a path with a line break, which no such file can name.
    """
    extensions = ""
    if addresses.ocsp or addresses.issuers:
        extensions += "authorityInfoAccess = @authority_info\n"
    if addresses.lists:
        extensions += "crlDistributionPoints = @crl_points\n"
    return _CONFIGURATION.format(
        dir=quoted(folder), crl_days=crl_days, extensions=extensions, sections=_names(addresses) + _points(addresses)
    )


def quoted(text: str) -> str:
    """A value for openssl.cnf that stands for itself, whatever characters it has. Raises ValueError for line breaks."""
    if any(character in text for character in "\r\n\0"):
        raise ValueError("openssl.cnf has no way to write a line break")
    if all(character.isalnum() or character in "/._-:@%+=?&~" for character in text):
        return text
    inside = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{inside}"'


def _names(addresses: Addresses) -> str:
    names = [f"OCSP;URI.{n} = {quoted(url)}" for n, url in enumerate(addresses.ocsp)]
    names += [f"caIssuers;URI.{n} = {quoted(url)}" for n, url in enumerate(addresses.issuers)]
    if not names:
        return ""
    lines = "\n".join(names)
    return f"\n[ authority_info ]\n# The addresses that the newest certificate names.\n{lines}\n"


def _points(addresses: Addresses) -> str:
    if not addresses.lists:
        return ""
    lines = "\n".join(f"URI.{n} = {quoted(url)}" for n, url in enumerate(addresses.lists))
    return f"\n[ crl_points ]\n{lines}\n"


_CONFIGURATION: Final = """\
# For `openssl ca -config` this file. Written by `goodstanding export openssl`.

[ ca ]
default_ca = CA_default

[ CA_default ]
# Change this when you move the folder.
dir               = {dir}
database          = $dir/index.txt
new_certs_dir     = $dir/newcerts
certificate       = $dir/ca.pem
# Not part of the export: put the key here, encrypted as it is.
private_key       = $dir/private/ca.key.pem
serial            = $dir/serial
# Numbers that nobody can guess, as those of before. Without this line, `serial` is counted up.
rand_serial       = yes
crlnumber         = $dir/crlnumber
crl               = $dir/crl.pem
crl_extensions    = crl_ext
default_crl_days  = {crl_days}
default_days      = 90
# What goes with the key: SHA-256 with RSA and P-256, none with Ed25519.
default_md        = default
policy            = policy_any
unique_subject    = no
string_mask       = utf8only
# Alternative names are taken from the request; what the section below sets is not. Read requests before you sign them.
copy_extensions   = copy
x509_extensions   = server_cert

[ policy_any ]
countryName            = optional
stateOrProvinceName    = optional
localityName           = optional
organizationName       = optional
organizationalUnitName = optional
commonName             = optional
emailAddress           = optional

[ server_cert ]
basicConstraints       = critical, CA:FALSE
keyUsage               = critical, digitalSignature
extendedKeyUsage       = serverAuth
subjectKeyIdentifier   = hash
authorityKeyIdentifier = keyid
{extensions}
[ client_cert ]
basicConstraints       = critical, CA:FALSE
keyUsage               = critical, digitalSignature
extendedKeyUsage       = clientAuth
subjectKeyIdentifier   = hash
authorityKeyIdentifier = keyid
{extensions}
[ ocsp ]
# For the certificate of a responder: openssl ca -extensions ocsp
basicConstraints       = critical, CA:FALSE
keyUsage               = critical, digitalSignature
extendedKeyUsage       = critical, OCSPSigning
subjectKeyIdentifier   = hash
authorityKeyIdentifier = keyid
noCheck                = ignored

[ crl_ext ]
authorityKeyIdentifier = keyid
{sections}"""
