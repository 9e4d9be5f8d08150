"""Keys whose private halves everybody knows: those of Debian's OpenSSL of 2006 to 2008, and lists by configuration.

A key is known by its one number, the modulus of an RSA key or the x coordinate of an EC key, hashed. This package reads
lists and looks keys up in them, and imports nothing of the services (docs/decisions/known-keys.md).
"""
