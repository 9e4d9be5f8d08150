"""What both gRPC servers share: who calls, what they may, errors, limits, lifecycle, records as messages."""
