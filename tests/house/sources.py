"""The Python files that are ours: neither generated nor of a virtual environment."""

import ast
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = ("generate_proto", "integration", "run_cluster", "set_up")


def is_generated(path: Path) -> bool:
    return path.stem.endswith(("_pb2", "_pb2_grpc"))


def python_files(*folders: str) -> list[Path]:
    found = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    return [path for path in found if not is_generated(path) and "build" not in path.relative_to(ROOT).parts]


def product_files() -> list[Path]:
    return python_files("lockd", "pyclient/lockd_client")


def all_files() -> list[Path]:
    programs = [ROOT / "scripts" / name for name in PROGRAMS]
    return [*product_files(), *python_files("tests", "bench", "scripts"), *programs]


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def place(path: Path, line: int) -> str:
    return f"{path.relative_to(ROOT)}:{line}"
