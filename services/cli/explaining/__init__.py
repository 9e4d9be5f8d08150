"""What `goodstanding explain` is made of: recognising what was given, asking, verifying, telling."""
