"""The keys that Debian's OpenSSL of 2006 to 2008 could make, made again: the lists of `services/known_keys/debian`.

OpenSSL 0.9.8c-1 to 0.9.8g-8 of Debian, and of what came of it, such as Ubuntu 7.04 to 8.04, seeded its generator with
nothing but the process id (CVE-2008-0166). `generator` is that generator, `keys` what OpenSSL made of its octets, and
`make debian-weak-keys` makes the lists. Nothing of it runs where goodstanding does.
"""
