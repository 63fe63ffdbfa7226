"""Many writers at once, each a process: `python -m tests.fence.rivals RESOURCE TOKEN...`, a resource in JSON.

It says "ready" and waits for a line; then it writes under each token in turn, and says which were refused. What was
written, in the order in which it was, is the guard's record.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine

from lockd_client.fence import StaleToken
from lockd_client.fence.file import FileFence
from tests.fence.resources import FENCE, WRITTEN

ROOT = Path(__file__).resolve().parents[2]


def append(resource: dict[str, Any], engine: Engine | None, token: int) -> None:
    """Raises StaleToken."""
    if engine is None:
        with FileFence(resource["path"]).write(token) as path, path.open("a") as file:
            file.write(f"{token}\n")
        return
    with engine.begin() as connection:
        FENCE.check(connection, resource["name"], token)
        connection.execute(WRITTEN.insert().values(name=resource["name"], token=token, text=""))


def main(resource: dict[str, Any], tokens: Sequence[int]) -> None:
    engine = None if resource["kind"] == "file" else create_engine(resource["url"])
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    refused = []
    for token in tokens:
        try:
            append(resource, engine, token)
        except StaleToken:
            refused.append(token)
    sys.stdout.write(json.dumps(refused))


def compete(resource: dict[str, Any], hands: Sequence[Sequence[int]]) -> list[int]:
    """Lets one process play each hand of tokens, all at once. The tokens that were refused."""
    with ExitStack() as stack:
        processes = []
        for hand in hands:
            command = [sys.executable, "-m", "tests.fence.rivals", json.dumps(resource), *map(str, hand)]
            process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            processes.append(stack.enter_context(process))
            stack.callback(process.kill)
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        refused = [json.loads(process.communicate()[0]) for process in processes]
        assert [process.returncode for process in processes] == [0] * len(hands)
        return [token for each in refused for token in each]


if __name__ == "__main__":
    main(json.loads(sys.argv[1]), [int(word) for word in sys.argv[2:]])
