"""Public halves of keys that others made with Debian's OpenSSL, and published (CVE-2008-0166).

HARICA's are in https://github.com/HARICA-official/debian-weak-keys, badkeys' in
https://github.com/badkeys/debianopenssl, where `nornd-old` is what is called `noreadrnd` here.
"""

from __future__ import annotations

from typing import NamedTuple

from tools.debian_weak_keys.generator import MACHINES, Machine, Seed

LE32, LE64, BE32 = MACHINES


class Published(NamedTuple):
    """What made a key, and its number: the modulus or the x coordinate."""

    kind: str
    machine: Machine
    seed: Seed
    process_id: int
    number: int


HARICA = Published(  # weak_keys/lenny/openssl_0.9.8g-8/amd64/noreadrnd/rsa-2048/0.key
    "rsa-2048",
    LE64,
    Seed.NOT_READ,
    0,
    int(
        "b65881388374f4e4b5c33295f7ac96cc83c075849a764512b72a135961761aa6"
        "bb66209211776031c002a29fb5418d3b3856b8809e538820a66c76f96c9920c7"
        "ab70427ba24bb394c334b265834678cdac62afb390c2d2e78b0e4f2cda706387"
        "b4affd7400363e0b92e6bc2ec0d67b643bcaf69edf14b69caa3c3beecad236c8"
        "de929c29d0be1adc8e32dcfb13e0124ea6a55a3065476c68e6a523a5acd1652d"
        "16ca07f288dee9e4b64489c89854835dbe222e29e49e33d84a8d59fbbe1b5fbd"
        "743968eddb8c907bd614e49b97eb110910040a0ded01459fb8f4c6ba3b218733"
        "22aa1cec94b9ddc50d418510907c4c54b251af084f5061441560448648156f1d",
        16,
    ),
)
BADKEYS_RSA = Published(  # rsa2048/ssl/be32/4711-nornd-new.key
    "rsa-2048",
    BE32,
    Seed.ABSENT,
    4711,
    int(
        "d6a852061b512ba3e1c5527c795f8577ac80a313a208679f2fde49903f5a6bf6"
        "ef321cc0604785c76b65a6549ad0c31215ed42d33b9aa8417e30fa4bf1defebd"
        "f3d9c582ce4780c3c2783985423e27dbb2a7397d079bbb310fd7dc4b900f6386"
        "03a45f27d6149b90e0ed8f2c60a2dbe0991fccc2827a78e165db68671bd33f0c"
        "5ef4626f5f2c4b0d539faad5e0900c0ce61243b097c2b2f954ccf0a8d7ebb7db"
        "634b9a96ce278a3cca8951a9de7e58b91041bf14928a21d9af1575eb78b768b2"
        "cda4c2c43f18e475da56381842f3612e84bc540077e6cf9f86fca5cf2d3b4ade"
        "e58148a0db20df8595c89f22b5fdd1b825c984d396461342d03e614488ec7015",
        16,
    ),
)
BADKEYS_EC = (
    # ecp256/ssl/le64/1-rnd.key
    Published("p256", LE64, Seed.READ, 1, 0xF9D282434687B7A13C0030FF8F516817407A91E6980813AF4ADD47A46C685114),
    Published(  # ecp384/ssl/le64/1-nornd-new.key
        "p384",
        LE64,
        Seed.ABSENT,
        1,
        int("bfa153bbcd5334070749f6e9b7b506b210ee44307122790a868557387d5bed8c7d9e9eb5a7f6e392b1fafea759937f3f", 16),
    ),
    Published(  # ecp521/ssl/le64/1-nornd-old.key
        "p521",
        LE64,
        Seed.NOT_READ,
        1,
        int(
            "002097ce202c899b8465377ba979e62062d8e12b0076e1ec57a410d4a5801801"
            "23f406732df413fe4fb1bfa2193ff1524d1618a7faa8b5a48810636bf195575f"
            "4680",
            16,
        ),
    ),
)
PUBLISHED = (HARICA, BADKEYS_RSA, *BADKEYS_EC)
