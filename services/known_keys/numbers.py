"""The one number that a key is known by, and its hashes as published lists have them.

The number is the modulus of an RSA key, and the x coordinate of an EC key, of which compressed points and both signs of
y have the same.
"""

from __future__ import annotations

from hashlib import sha1, sha256


def sha256_of(number: int) -> bytes:
    """The SHA-256 of its octets, without leading zeros, as in the dwk_blocklists of github.com/CVE-2008-0166."""
    return sha256(number.to_bytes((number.bit_length() + 7) // 8)).digest()


def sha1_of_modulus(modulus: int) -> bytes:
    """The SHA-1 of the line that `openssl rsa -modulus` prints: the end of it is in Debian's openssl-blacklist."""
    return sha1(b"Modulus=%X\n" % modulus, usedforsecurity=False).digest()
