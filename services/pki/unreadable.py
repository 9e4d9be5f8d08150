"""What the library raises for certificates, requests and revocation lists that it cannot read, or not as a whole.

It reads some parts when they are asked for, and not all of what it raises then is a ValueError: a version that there
is none, an extension that is there twice, a kind of name that it does not know. Whoever reads what others have made
catches all of these, and says whose mistake it is.
"""

from __future__ import annotations

from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

UNREADABLE: Final = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)
