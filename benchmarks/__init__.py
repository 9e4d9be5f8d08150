"""How fast issuing and OCSP answers are, beside `openssl ca` and `openssl ocsp` in the same run: `make bench`."""
