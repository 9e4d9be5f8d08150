"""The random numbers of OpenSSL 0.9.8 as Debian had it, for one process id: the same octets in the same order.

After `crypto/rand/md_rand.c`, `rand_unix.c` and `randfile.c` of OpenSSL 0.9.8. Debian had removed the two lines that
hash what is added to the pool, and what is in the buffer to be filled. So neither time nor /dev/urandom matter: only
how many octets are added, in which order, and with which process id. That differs by how long a `long` is and in
which order its octets stand, and by what OpenSSL found where it keeps its seed, ~/.rnd.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from hashlib import sha1
from typing import Final, Literal

PROCESS_IDS: Final = range(32768)
"""Linux counts from 1 to 32767 unless told otherwise; published lists have 0 as well."""

_POOL = 1023
_DIGEST = 20
_HALF = 10


@dataclass(frozen=True, slots=True)
class Machine:
    """What of a machine the octets depend on. `stat_size` is that of C's `struct stat`."""

    name: str
    long_size: int
    stat_size: int
    byte_order: Literal["little", "big"]


MACHINES: Final = (
    Machine("le32", 4, 88, "little"),  # i386, arm, mipsel
    Machine("le64", 8, 144, "little"),  # amd64
    Machine("be32", 4, 88, "big"),  # powerpc, sparc, hppa
)


class Seed(Enum):
    """What OpenSSL finds in ~/.rnd when it starts."""

    READ = "rnd"
    """A seed, of 1024 octets, as every run of OpenSSL leaves one."""
    ABSENT = "nornd"
    """Nothing, as at the first run of 0.9.8g."""
    NOT_READ = "noreadrnd"
    """A file that is empty or that it must not read; also the first run of 0.9.8c, which added what it had not got."""


class Generator:
    """The generator of one process."""

    def __init__(self, machine: Machine, seed: Seed, process_id: int) -> None:
        """Seeded as the command `openssl` does it (`app_RAND_load_file`)."""
        self._machine = machine
        self._process_id = process_id
        self._pool = bytearray(_POOL + _DIGEST)
        self._at = 0
        self._digest = bytes(_DIGEST)
        self._reads = self._adds = 0
        self._is_polled = self._is_stirred = False
        if seed is not Seed.ABSENT:
            self.add(machine.stat_size)
        if seed is Seed.READ:
            self.add(1024)
        else:
            self._poll()

    def add(self, count: int) -> None:
        """Add that many octets (`ssleay_rand_add`). Which ones does not matter: this is the mistake."""
        at, adds, digest = self._at, self._adds, self._digest
        self._at += count
        if self._at >= _POOL:
            self._at %= _POOL
        self._adds += -(-count // _DIGEST)
        for done in range(0, count, _DIGEST):
            size = min(_DIGEST, count - done)
            digest = sha1(
                digest + self._part(at, size) + self._counters(self._reads, adds), usedforsecurity=False
            ).digest()
            adds += 1
            at = self._mix(at, digest[:size])
        self._digest = _xor(self._digest, digest)

    def read(self, count: int) -> bytes:
        """The next octets (`ssleay_rand_bytes`)."""
        if not self._is_polled:
            self._poll()
        if not self._is_stirred:
            for _ in range(0, _POOL, _DIGEST):
                self.add(_DIGEST)
            self._is_stirred = True
        at, digest = self._at, self._digest
        counters = self._counters(self._reads, self._adds)
        blocks = -(-count // _HALF)
        self._at += blocks * _HALF
        if self._at > _POOL:  # and not where it is equal: the next block then begins one octet behind the pool
            self._at %= _POOL
        self._reads += 1
        first = self._process_id.to_bytes(4, self._machine.byte_order) if self._process_id else b""
        out = bytearray()
        for block in range(blocks):
            start = b"" if block else first
            digest = sha1(start + digest + counters + self._part(at, _HALF), usedforsecurity=False).digest()
            at = self._mix(at, digest[:_HALF])
            out += digest[_HALF:]
        self._digest = sha1(counters + digest + self._digest, usedforsecurity=False).digest()
        return bytes(out[:count])

    def read_number(self, bits: int) -> int:
        """A number of up to that many bits (`bnrand`, which first adds the time)."""
        self.add(self._machine.long_size)
        return int.from_bytes(self.read(-(-bits // 8))) & ((1 << bits) - 1)

    def read_below(self, limit: int) -> int:
        """A number from 0 to `limit` - 1 (`bn_rand_range`), for limits that begin with two bits that are not both 10.

        All limits here do: primes with their two highest bits set, and the orders of the curves.
        """
        while (number := self.read_number(limit.bit_length())) >= limit:
            pass
        return number

    def _poll(self) -> None:
        """`RAND_poll`: 32 octets of /dev/urandom, the process id, the user's, and the time."""
        self.add(32)
        for _ in range(3):
            self.add(self._machine.long_size)
        self._is_polled = True

    def _part(self, at: int, size: int) -> bytes:
        """Octets of the pool, which is a ring."""
        part = self._pool[at : min(at + size, max(at, _POOL))]
        return bytes(part + self._pool[: size - len(part)])

    def _mix(self, at: int, octets: bytes) -> int:
        """Mix octets into the ring, and return the place behind them."""
        for octet in octets:
            self._pool[at] ^= octet
            at += 1
            if at >= _POOL:
                at = 0
        return at

    def _counters(self, reads: int, adds: int) -> bytes:
        size, order = self._machine.long_size, self._machine.byte_order
        return reads.to_bytes(size, order) + adds.to_bytes(size, order)


def _xor(one: bytes, other: bytes) -> bytes:
    return (int.from_bytes(one) ^ int.from_bytes(other)).to_bytes(_DIGEST)
