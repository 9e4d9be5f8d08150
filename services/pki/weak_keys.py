"""Keys that look right and are not (R102).

RSA: small exponents, small factors, close primes, and those of a broken generator. Ed25519 and ML-DSA: those that
anybody can sign with, for want of a secret, so that a signature proves nothing (R114).

Not here: keys that everybody knows (`services.known_keys`), and those that somebody reported (R103).
"""

from __future__ import annotations

from math import gcd, isqrt, prod

MIN_EXPONENT = 65537
MAX_EXPONENT_BITS = 256
"""NIST SP 800-56B allows 2^16 < e < 2^256; the upper bound also bounds what checking a signature costs."""

_FERMAT_ROUNDS = 100


_ED25519_PRIME = 2**255 - 19
# Where the points whose order divides 8 lie, up to the sign of x. 8 times the second last is the neutral element.
_SMALL_ORDER = frozenset(
    {
        0,
        1,
        _ED25519_PRIME - 1,
        2707385501144840649318225287225658788936804267575313519463743609750303402022,
        _ED25519_PRIME - 2707385501144840649318225287225658788936804267575313519463743609750303402022,
    }
)


def weakness_of_ed25519(octets: bytes) -> str | None:
    """Say what is wrong with the octets of an Ed25519 public key, or None.

    With a point of small order, one of eight signatures that anybody can write down verifies, over whatever text
    (RFC 8032, section 5.1.7, asks for no check; Chalkias et al., "Taming the many EdDSAs", section 3).
    """
    y = int.from_bytes(octets, "little") % 2**255
    if y >= _ED25519_PRIME or y in _SMALL_ORDER:
        return "the point is one of small order, or written in a way of its own: anybody could sign with it"
    return None


def weakness_of_ml_dsa(octets: bytes) -> str | None:
    """Say what is wrong with the octets of an ML-DSA public key, or None (FIPS 204, algorithm 22: rho, then t1)."""
    if not any(octets[32:]):
        return "it is made without a secret: anybody could sign with it"
    return None


def weakness_of_rsa(modulus: int, exponent: int) -> str | None:
    """Say what is wrong with an RSA public key, or None (R102). A few milliseconds for the largest keys."""
    if exponent < MIN_EXPONENT or exponent % 2 == 0 or exponent.bit_length() > MAX_EXPONENT_BITS:
        return "the public exponent must be odd, 65537 or more, and below 2^256"
    if modulus % 2 == 0 or gcd(modulus, _SMALL_PRIMES_PRODUCT) != 1:
        return "the modulus has a small factor"
    if _from_broken_generator(modulus):
        return "the key was made by a generator with a known flaw (ROCA, CVE-2017-15361)"
    if _has_close_primes(modulus):
        return "the two primes are too close to each other"
    return None


def _primes_below(limit: int) -> list[int]:
    sieve = bytearray([1]) * limit
    for n in range(2, isqrt(limit) + 1):
        if sieve[n]:
            sieve[n * n :: n] = bytes(len(range(n * n, limit, n)))
    return [n for n in range(2, limit) if sieve[n]]


# NIST SP 800-89, section 5.3.3: no factor below 752.
_SMALL_PRIMES_PRODUCT = prod(_primes_below(752))


def _powers(prime: int) -> frozenset[int]:
    """The numbers that 65537 generates modulo `prime`."""
    found, value = {1}, 65537 % prime
    while value not in found:
        found.add(value)
        value = value * 65537 % prime
    return frozenset(found)


# Nemec et al., "The Return of Coppersmith's Attack" (2017), section 4: such a modulus is a power of 65537 modulo every
# small prime. A good one passes all of these by chance with a probability below 2^-27.
_FINGERPRINT = tuple((prime, powers) for prime in _primes_below(168)[1:] if len(powers := _powers(prime)) < prime - 1)


def _from_broken_generator(modulus: int) -> bool:
    return all(modulus % prime in powers for prime, powers in _FINGERPRINT)


def _has_close_primes(modulus: int) -> bool:
    """Fermat's method, as many rounds as the baseline requirements ask for (6.1.1.3)."""
    a = isqrt(modulus)
    if a * a == modulus:
        return True
    a += 1
    remainder = a * a - modulus
    for _ in range(_FERMAT_ROUNDS):
        if remainder & 0xF in (0, 1, 4, 9) and isqrt(remainder) ** 2 == remainder:
            return True
        remainder += 2 * a + 1
        a += 1
    return False
