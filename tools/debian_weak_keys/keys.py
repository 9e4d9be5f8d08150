"""The keys that OpenSSL 0.9.8 made of a generator's octets: `openssl genrsa` and `req`, `openssl ecparam -genkey`.

After `crypto/bn/bn_prime.c`, `crypto/rsa/rsa_gen.c` and `crypto/ec/ec_key.c`. Where gmpy2 is installed, it makes
keys three times as fast.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec

from tools.debian_weak_keys.generator import Generator

try:
    from gmpy2 import mpz, powmod
except ModuleNotFoundError:
    mpz, powmod = int, pow

EXPONENT: Final = 65537
CURVES: Final[dict[str, ec.EllipticCurve]] = {"p256": ec.SECP256R1(), "p384": ec.SECP384R1(), "p521": ec.SECP521R1()}


@dataclass(frozen=True, slots=True)
class RsaKey:
    """The primes, the larger one first."""

    p: int
    q: int

    @property
    def modulus(self) -> int:
        """What a public key says."""
        return self.p * self.q


def rsa_key(generator: Generator, bits: int = 2048) -> RsaKey:
    """The first RSA key of a process (`rsa_builtin_keygen`)."""
    half = (bits + 1) // 2
    one, other = _rsa_prime(generator, half), _rsa_prime(generator, bits - half)
    return RsaKey(max(one, other), min(one, other))


def ec_scalar(generator: Generator, curve: str) -> int:
    """The private key of the first EC key of a process (`EC_KEY_generate_key`)."""
    while not (scalar := generator.read_below(CURVES[curve].group_order)):
        pass
    return scalar


def ec_x(scalar: int, curve: str) -> int:
    """The x coordinate of the public key."""
    return ec.derive_private_key(scalar, CURVES[curve]).public_key().public_numbers().x


def _rsa_prime(generator: Generator, bits: int) -> int:
    while (prime := _prime(generator, bits)) % EXPONENT == 1:
        pass
    return prime


def _prime(generator: Generator, bits: int) -> int:
    """`BN_generate_prime_ex`.

    OpenSSL tests with random bases: the first tells a composite, and a prime is tested with a few. The base 2 tells the
    same, numbers aside that nobody has ever met; what counts is that as many bases are taken from the generator.
    """
    while True:
        number = _candidate(generator, bits)
        is_prime = powmod(2, number - 1, mpz(number)) == 1
        for _ in range(_bases(bits) if is_prime else 1):
            generator.read_below(number - 1)
        if is_prime:
            return number


def _candidate(generator: Generator, bits: int) -> int:
    """`probable_prime`: the next odd number where neither it nor its predecessor has one of the small odd factors."""
    start = generator.read_number(bits) | 3 << bits - 2 | 1
    remainders = [start % prime for prime in _SMALL_PRIMES]
    ahead = 0
    while any((remainder + ahead) % prime <= 1 for remainder, prime in zip(remainders, _SMALL_PRIMES, strict=True)):
        ahead += 2
    return start + ahead


def _bases(bits: int) -> int:
    """`BN_prime_checks_for_size`, for keys of 1024 bits and more."""
    for least, count in ((1300, 2), (850, 3), (650, 4), (550, 5)):
        if bits >= least:
            return count
    return 6


def _odd_primes(count: int) -> tuple[int, ...]:
    primes = [3]
    while len(primes) < count:
        number = primes[-1] + 2
        while any(number % prime == 0 for prime in primes):
            number += 2
        primes.append(number)
    return tuple(primes)


_SMALL_PRIMES: Final = _odd_primes(2047)
