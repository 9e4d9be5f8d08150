"""Keys that look right and are not (R102)."""

from __future__ import annotations

import random
from math import gcd

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

from services.errors import InvalidArgument
from services.pki.csr import read_csr
from services.pki.keys import generate_key
from services.pki.weak_keys import weakness_of_ed25519, weakness_of_ml_dsa, weakness_of_rsa
from tests.pki.conftest import spki

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


# The eight points whose order divides 8, and the other ways to write some of them that readers take.
_EIGHT = [
    "0100000000000000000000000000000000000000000000000000000000000000",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
]
_OTHERWISE = [
    "0100000000000000000000000000000000000000000000000000000000000080",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
]


def _tlv(tag: int, content: bytes) -> bytes:
    return bytes([tag, *([len(content)] if len(content) < 128 else [0x81, len(content)])]) + content


def _forged(point: bytes, number: int) -> list[bytes]:
    """Requests for that key, each with a signature that nobody had to make: one of them verifies, as a rule."""
    algorithm = bytes.fromhex("300506032b6570")
    common_name = _tlv(0x30, bytes.fromhex("0603550403") + _tlv(0x0C, f"h{number}.example".encode()))
    key = _tlv(0x30, algorithm + _tlv(0x03, b"\0" + point))
    info = _tlv(0x30, b"\x02\x01\x00" + _tlv(0x30, _tlv(0x31, common_name)) + key + b"\xa0\x00")
    signatures = [bytes.fromhex(each) + bytes(32) for each in _EIGHT]
    return [_tlv(0x30, info + algorithm + _tlv(0x03, b"\0" + each)) for each in signatures]


def _verifies(point: bytes, der: bytes) -> bool:
    try:
        ed25519.Ed25519PublicKey.from_public_bytes(point).verify(der[-64:], der[3 : 5 + der[4]])
    except InvalidSignature:
        return False
    return True


@pytest.mark.parametrize("point", [*_EIGHT, *_OTHERWISE])
def test_keys_without_an_owner(point: str) -> None:
    """Signatures that nobody made verify with such a key, so that they prove no possession (R114)."""
    octets = bytes.fromhex(point)
    forged = [der for number in range(40) for der in _forged(octets, number)]
    assert any(_verifies(octets, der) for der in forged), "or there would be nothing to refuse"
    for der in forged:
        with pytest.raises(InvalidArgument) as refused:
            read_csr(der=der)
        assert refused.value.reason == "KEY_WEAK"


def test_ordinary_keys_of_ed25519_and_ml_dsa() -> None:
    """Keys as everybody makes them have an owner; ML-DSA's of the secret zero have none."""
    for _ in range(50):
        assert weakness_of_ed25519(generate_key("ed25519").public_key().public_bytes_raw()) is None  # type: ignore[union-attr]
    octets = spki(generate_key("mldsa44"))[-1312:]
    assert weakness_of_ml_dsa(octets) is None
    assert weakness_of_ml_dsa(octets[:32] + bytes(1280)) is not None
