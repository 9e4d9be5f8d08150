"""The certificate authority and the status service: gRPC servers over one database."""
