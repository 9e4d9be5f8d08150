"""The certificate authority: what issuing, revoking and finding mean, and the gRPC service in front of it."""
