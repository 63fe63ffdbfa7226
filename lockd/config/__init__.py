"""What a node is told: cluster.yml, environment and flags become one frozen, validated Config."""

from lockd.config.load import load
from lockd.config.values import (
    Compaction,
    Config,
    ConfigError,
    Flags,
    Limits,
    NodeAddress,
    Persistence,
    Timing,
    address,
)

__all__ = [
    "Compaction",
    "Config",
    "ConfigError",
    "Flags",
    "Limits",
    "NodeAddress",
    "Persistence",
    "Timing",
    "address",
    "load",
]
