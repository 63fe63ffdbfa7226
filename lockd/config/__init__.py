"""What a node is told: cluster.yml, environment and flags become one frozen, validated Config."""

from lockd.config.load import load
from lockd.config.security import NAME, NAME_IS, reread_tokens
from lockd.config.values import (
    Auth,
    CertificateGrant,
    Compaction,
    Config,
    ConfigError,
    DeclaredToken,
    Flags,
    Limits,
    NodeAddress,
    Persistence,
    RoleName,
    Timing,
    Tls,
    address,
)

__all__ = [
    "NAME",
    "NAME_IS",
    "Auth",
    "CertificateGrant",
    "Compaction",
    "Config",
    "ConfigError",
    "DeclaredToken",
    "Flags",
    "Limits",
    "NodeAddress",
    "Persistence",
    "RoleName",
    "Timing",
    "Tls",
    "address",
    "load",
    "reread_tokens",
]
