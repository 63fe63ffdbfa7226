"""How many connections a node may hold, so that its store can always open a file."""

import resource

import structlog

log = structlog.get_logger("lockd")

RESERVE = 160
"""File descriptors for the store, the log, the peers and strangers on their port."""


def connections(wanted: int) -> int:
    """wanted, or as many as descriptors allow. Raises the soft limit on them to the hard one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard == resource.RLIM_INFINITY:
        return wanted
    allowed = hard - min(RESERVE, hard // 2)
    if allowed < wanted:
        log.warning(
            "fewer connections than configured: raise the limit on open files (ulimit -n)",
            connections=allowed,
            connections_max=wanted,
            open_files_max=hard,
        )
    return min(wanted, allowed)
