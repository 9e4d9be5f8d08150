"""Bringing in what another CA has issued: reading it, checking it, telling what is odd, and sending it."""
