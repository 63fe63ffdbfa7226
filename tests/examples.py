"""The examples in docs/."""

import re
from pathlib import Path

DOCS = Path(__file__).resolve().parent.parent / "docs"


def examples(page: str) -> list[str]:
    """Its pieces of Python."""
    return re.findall(r"^```python\n(.*?)^```$", (DOCS / page).read_text(), re.DOTALL | re.MULTILINE)
