import tomllib
from typing import Any

import lockd
from tests.house.sources import ROOT


def project(path: str) -> Any:
    return tomllib.loads((ROOT / path).read_text())["project"]


def test_both_distributions_and_the_module_have_one_version():
    daemon, client = project("pyproject.toml"), project("pyclient/pyproject.toml")
    assert daemon["version"] == client["version"] == lockd.__version__
    assert f"lockd-client=={client['version']}" in daemon["dependencies"]


def test_the_changelog_has_a_section_for_this_version():
    assert f"## [{lockd.__version__}]" in (ROOT / "CHANGELOG.md").read_text()


def test_both_distributions_carry_the_same_licence():
    assert (ROOT / "LICENSE").read_text() == (ROOT / "pyclient" / "LICENSE").read_text()
