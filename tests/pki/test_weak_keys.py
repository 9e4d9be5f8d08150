"""RSA keys that look right and are not (R102)."""

from __future__ import annotations

import random
from math import gcd

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from services.pki.weak_keys import weakness_of_rsa

# Two consecutive primes beyond 2^512, and one far from them.
_P = 2**512 + 75
_Q = 2**512 + 139


def _is_prime(number: int) -> bool:
    """Miller-Rabin, with fixed bases: enough for a test."""
    odd, shifts = number - 1, 0
    while odd % 2 == 0:
        odd, shifts = odd // 2, shifts + 1
    for base in (2, 3, 5, 7, 11, 13, 17):
        value = pow(base, odd, number)
        if value not in (1, number - 1) and all(
            (value := value * value % number) != number - 1 for _ in range(shifts - 1)
        ):
            return False
    return True


def _next_prime(start: int) -> int:
    number = start | 1
    while not _is_prime(number):
        number += 2
    return number


def _roca_prime(seed: int) -> int:
    """A prime as the flawed generator made them: k * M + (65537^a mod M), M the product of the first primes."""
    primorial = 1
    for prime in range(2, 168):
        if all(prime % divisor for divisor in range(2, prime)):
            primorial *= prime
    source = random.Random(seed)
    while True:
        number = source.getrandbits(37) * primorial + pow(65537, source.getrandbits(62), primorial)
        if _is_prime(number):
            return number


def test_an_ordinary_key_is_fine(rsa_key: rsa.RSAPrivateKey) -> None:
    """A key as everybody makes them has none of these weaknesses."""
    assert weakness_of_rsa(rsa_key.public_key().public_numbers().n, 65537) is None


@pytest.mark.parametrize("exponent", [-3, 0, 1, 2, 3, 17, 65535, 65536, 65538, 2**256 + 1])
def test_exponents(rsa_key: rsa.RSAPrivateKey, exponent: int) -> None:
    """Small, even and enormous exponents are weak."""
    weakness = weakness_of_rsa(rsa_key.public_key().public_numbers().n, exponent)
    assert weakness is not None
    assert "exponent" in weakness


@pytest.mark.parametrize("factor", [2, 3, 17, 751])
def test_small_factors(rsa_key: rsa.RSAPrivateKey, factor: int) -> None:
    """A modulus with a factor below 752 is weak."""
    weakness = weakness_of_rsa(rsa_key.public_key().public_numbers().n * factor, 65537)
    assert weakness == "the modulus has a small factor"


def test_close_primes() -> None:
    """Primes next to each other, or the same twice, are found by Fermat's method."""
    first = _next_prime(_P)
    second = _next_prime(first + 2)
    for modulus in (first * second, first * first):
        weakness = weakness_of_rsa(modulus, 65537)
        assert weakness is not None
        assert "too close" in weakness


def test_keys_of_the_broken_generator() -> None:
    """A modulus of two primes in the form of CVE-2017-15361 is recognised."""
    modulus = _roca_prime(1) * _roca_prime(2)
    assert gcd(modulus, 30) == 1
    weakness = weakness_of_rsa(modulus, 65537)
    assert weakness is not None
    assert "ROCA" in weakness
