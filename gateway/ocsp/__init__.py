"""RFC 6960 codec: bytes in, values out, and back. Pure: no I/O, no clock, no settings."""
