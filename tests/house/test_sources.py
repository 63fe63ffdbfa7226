"""Rules that every source file keeps. The figures are ratchets: they may be lowered."""

import ast
from pathlib import Path

from tests.house.sources import ROOT, all_files, place, product_files, python_files, tree

LONGEST_FILE = 500
MAY_SLEEP = ROOT / "tests" / "eventually.py"
SIMULATION = ROOT / "tests" / "simulation"  # asyncio.sleep there moves simulated time


def test_no_file_is_long():
    long = {str(path.relative_to(ROOT)): lines for path in all_files() if (lines := length(path)) > LONGEST_FILE}
    assert long == {}


def length(path: Path) -> int:
    return len(path.read_text().splitlines())


def test_tests_wait_on_conditions_only():
    sleeps = [
        place(path, node.lineno)
        for path in python_files("tests")
        if path != MAY_SLEEP
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call) and is_sleep(node, path)
    ]
    assert sleeps == [], "use tests/eventually.py"


def is_sleep(call: ast.Call, path: Path) -> bool:
    name = ast.unparse(call.func)
    if name == "asyncio.sleep" and path.is_relative_to(SIMULATION):
        return False
    # sleep(0) gives other tasks a turn: it waits for nothing.
    only_a_turn = name == "asyncio.sleep" and [ast.unparse(each) for each in call.args] == ["0"]
    return name in ("time.sleep", "asyncio.sleep", "sleep") and not only_a_turn


def test_no_error_is_swallowed():
    """A handler for every exception raises, or hands the exception on as a value; to log it is not enough."""
    swallowed = [
        place(path, handler.lineno)
        for path in product_files()
        for handler in ast.walk(tree(path))
        if isinstance(handler, ast.ExceptHandler) and catches_all(handler) and not passes_on(handler)
    ]
    assert swallowed == []


def catches_all(handler: ast.ExceptHandler) -> bool:
    if handler.type is None:
        return True
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(ast.unparse(kind) in ("Exception", "BaseException") for kind in kinds)


def passes_on(handler: ast.ExceptHandler) -> bool:
    for node in ast.walk(handler):
        if isinstance(node, ast.Raise):
            return True
        if handler.name and isinstance(node, ast.Call) and not is_logging(node):
            values = [*node.args, *(keyword.value for keyword in node.keywords)]
            if any(isinstance(value, ast.Name) and value.id == handler.name for value in values):
                return True
    return False


def is_logging(call: ast.Call) -> bool:
    levels = ("debug", "info", "warning", "error", "exception", "critical", "log")
    return isinstance(call.func, ast.Attribute) and call.func.attr in levels


def test_no_folder_is_called_by_a_word_that_says_nothing():
    empty_words = {"utils", "util", "helpers", "helper", "manager", "common", "misc"}
    assert [str(path) for path in all_files() if {path.stem, path.parent.name} & empty_words] == []
