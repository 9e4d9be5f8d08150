"""The `goodstanding` command: a client of the running services, and the supervisor behind `goodstanding up`."""
