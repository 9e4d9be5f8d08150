"""The OCSP gateway: HTTP in front, gRPC look-ups behind. Knows neither the database nor any CA key."""
