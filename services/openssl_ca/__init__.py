"""The files of a CA that `openssl ca` keeps, read and written by OpenSSL's own rules. Pure: no clock, no network."""
