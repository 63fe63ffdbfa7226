"""A holder that is stopped between its last look at the lock and its write, and then writes:
`python -m tests.fence.paused_writer ENDPOINT NAME RESOURCE`, a resource of resources.py in JSON.

It prints its token before, and after it what became of the write.
"""

import json
import os
import signal
import sys

from lockd_client import LockdClient, LockLost
from lockd_client.fence import StaleToken
from tests.fence.resources import Refused, write

TTL_S = 2.0  # the least


def say(line: object) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def attempt(resource: dict[str, str], name: str, token: int) -> dict[str, object]:
    try:
        write(resource, name, token, "stale")
    except StaleToken as error:
        return {"reason": error.reason, "name": error.name, "token": error.token, "highest": error.highest}
    except Refused as error:
        return error.problem
    return {"reason": "written"}


def main(endpoint: str, name: str, resource: dict[str, str]) -> None:
    with LockdClient(endpoints=[endpoint]) as client:
        lock = client.lock(name, ttl=TTL_S)
        lock.acquire()
        lock.check()
        token = lock.token
        say(token)
        os.kill(os.getpid(), signal.SIGSTOP)
        say(json.dumps(attempt(resource, name, token)))
        try:
            lock.release()
        except LockLost:
            say("lost")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], json.loads(sys.argv[3]))
