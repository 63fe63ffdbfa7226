"""Certificates: what they say of their owner, making them for development, reading and watching their files."""
