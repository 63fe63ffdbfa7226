"""What import-linter does not say: what is loaded when, and the machine's few modules of the standard library."""

import ast
import importlib
import subprocess
import sys

import pytest

from tests.house.sources import ROOT, place, python_files, tree

MACHINE_MAY_IMPORT = {"__future__", "bisect", "collections", "dataclasses", "enum", "heapq", "typing"}
THIRD_PARTIES = {"click", "cryptography", "google", "grpc", "plyvel", "pysyncobj", "structlog", "uvloop", "yaml"}


def loaded_by(statement: str) -> set[str]:
    """The top-level modules in a fresh interpreter after the statement."""
    program = f"import sys; {statement}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    return set(run.stdout.split())


@pytest.mark.parametrize("module", ["lockd", "lockd.machine", "lockd.clock"])
def test_the_middle_loads_no_third_party(module):
    assert loaded_by(f"import {module}") & THIRD_PARTIES == set()


def test_lockd_offers_the_client_lazily():
    assert "lockd_client" not in loaded_by("import lockd")
    assert {"lockd_client", "grpc"} <= loaded_by("from lockd import LockdClient")


def test_what_lockd_does_not_offer_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'Nonsense'"):
        importlib.import_module("lockd").Nonsense  # noqa: B018  asking is the test


def test_the_client_loads_nothing_of_the_daemon():
    assert loaded_by("import lockd_client") & (THIRD_PARTIES - {"google", "grpc"} | {"lockd"}) == set()


def test_the_command_line_loads_what_its_verb_needs():
    assert loaded_by("import lockd.cli") & THIRD_PARTIES == {"click"}


def test_the_machine_imports_few_modules():
    strangers = []
    for path in python_files("lockd/machine"):
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Import | ast.ImportFrom):
                for name in imported(node):
                    if name.partition(".")[0] not in MACHINE_MAY_IMPORT and not name.startswith("lockd.machine"):
                        strangers.append(f"{place(path, node.lineno)} {name}")
    assert strangers == []


def imported(node: ast.Import | ast.ImportFrom) -> list[str]:
    """The modules named absolutely; a relative import stays in the package, unless it climbs out of it."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if node.level > 1:
        return ["." * node.level + (node.module or "")]
    return [node.module or ""] if node.level == 0 else []


@pytest.mark.parametrize(
    "module",
    [
        "lockd.proto.log_pb2",
        "lockd.proto.peers_pb2",
        "lockd_client.proto.lockd_pb2_grpc",
        "lockd_client.proto.lockapi_pb2_grpc",
    ],
)
def test_generated_code_loads(module):
    importlib.import_module(module)


EXTRAS = {"fasteners", "kazoo", "redis", "sqlalchemy", "tooz", "yaml"}  # of lockd-client
IN_PLACE_OF_OTHERS = {"distributed_lock", "ensembl", "fence", "redis_lock", "tooz_driver"}


def test_the_client_loads_no_extra():
    """Everything that it offers, not just the package."""
    offered = "import lockd_client; [getattr(lockd_client, name) for name in lockd_client.__all__]"
    assert loaded_by(offered) & EXTRAS == set()


def test_what_stands_in_for_other_libraries_is_imported_by_nothing_else():
    modules, importers = {f"lockd_client.{name}" for name in IN_PLACE_OF_OTHERS}, []
    for path in [*python_files("pyclient/lockd_client"), *python_files("lockd")]:
        if not IN_PLACE_OF_OTHERS & {path.stem, path.parent.name}:
            importers += [place(path, line) for line, name in lines_of_imports(path) if name in modules]
    assert importers == []


def lines_of_imports(path):
    """With the first two parts of what is imported there."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            found = imported(node)
            if isinstance(node, ast.ImportFrom):
                found = [f"{module}.{alias.name}" for module in found for alias in node.names]
            yield from ((node.lineno, ".".join(name.split(".")[:2])) for name in found)
