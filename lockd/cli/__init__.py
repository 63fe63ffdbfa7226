"""`lockd`, the command. Client verbs load neither the daemon nor its packages; grpc stays inside lockd_client."""

from lockd.cli.root import main

__all__ = ["main"]
