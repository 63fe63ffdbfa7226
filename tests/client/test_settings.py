"""Where a client's credentials come from: arguments, the environment, client.toml."""

from pathlib import Path

import pytest

from lockd_client import InvalidArgument, LockdClient
from lockd_client.credentials import Credentials
from lockd_client.settings import Given, Settings, resolve
from tests.certificates import Authority

TOKEN = "lockd_" + "t" * 40
OTHER = "lockd_" + "o" * 40


def config(folder: Path, text: str, mode: int = 0o600) -> dict[str, str]:
    """An environment with that client.toml."""
    path = folder / "client.toml"
    path.write_text(text)
    path.chmod(mode)
    return {"LOCKD_CONFIG": str(path)}


def test_nothing_given() -> None:
    assert resolve(Given(), {}) == Settings(endpoints=("127.0.0.1:2080",))


def test_each_field_comes_from_the_highest_level_that_has_it(tmp_path: Path) -> None:
    environment = config(tmp_path, 'endpoints = ["f:1"]\ncacert = "file-ca"\ntoken_file = "file-token"')
    assert resolve(Given(), environment).endpoints == ("f:1",)
    assert resolve(Given(), environment).cacert == tmp_path / "file-ca"
    environment |= {"LOCKD_ENDPOINTS": "e:1", "LOCKD_CACERT": "/env/ca"}
    settings = resolve(Given(token_file="/arg/token"), environment)
    assert settings.endpoints == ("e:1",)
    assert (settings.cacert, settings.token_file) == (Path("/env/ca"), Path("/arg/token"))
    assert resolve(Given(host="h", cacert=tmp_path), environment).cacert == tmp_path


def test_a_token_hides_both_kinds_of_the_levels_below(tmp_path: Path) -> None:
    environment = config(tmp_path, f'token = "{OTHER}"')
    assert resolve(Given(), environment).token == OTHER
    settings = resolve(Given(), environment | {"LOCKD_TOKEN_FILE": "/env/token"})
    assert (settings.token, settings.token_file) == (None, Path("/env/token"))
    settings = resolve(Given(token=TOKEN), environment | {"LOCKD_TOKEN_FILE": "/env/token"})
    assert (settings.token, settings.token_file) == (TOKEN, None)


def test_a_certificate_hides_those_of_the_levels_below(tmp_path: Path) -> None:
    environment = config(tmp_path, 'cacert = "ca"\ncert = "c"\nkey = "k"')
    settings = resolve(Given(cert="/a/c", key="/a/k"), environment)
    assert (settings.cacert, settings.cert, settings.key) == (tmp_path / "ca", Path("/a/c"), Path("/a/k"))
    with pytest.raises(InvalidArgument, match="LOCKD_CERT is given without LOCKD_KEY"):
        resolve(Given(), environment | {"LOCKD_CERT": "/e/c"})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (Given(cacert="ca", cert="c"), "cert is given without key"),
        (Given(cacert="ca", key="k"), "key is given without cert"),
        (Given(cert="c", key="k"), "cert is given without cacert"),
        (Given(token=TOKEN, token_file="t"), "token and token_file are both given"),
        (Given(token="short" * 6), "token has 30 characters; a token has 32 to 512"),
        (Given(token=""), "token has 0 characters"),
        (Given(token="x" * 5000), "token has 5000 characters"),
        (Given(token="in two words" + "x" * 40), "token has characters that are not printable ASCII, or blanks"),
        (Given(token="ü" * 40), "token has characters"),
        (Given(token=b"x" * 40), "token is not text"),  # type: ignore[arg-type]
        (Given(cacert=""), "cacert is empty"),
        (Given(cacert=7), "cacert is 7; it is a path"),  # type: ignore[arg-type]
    ],
)
def test_what_does_not_fit_together(given: Given, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message) as refused:
        resolve(given, {})
    assert "short" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('tokenfile = "x"', "client.toml: tokenfile is not known; did you mean token_file?"),
        ('zzz = "x"', "client.toml: zzz is not known; known are endpoints, token,"),
        ("cacert = 7", "client.toml: cacert is 7; it is a path"),
        ('endpoints = "a:1"', "client.toml: endpoints is a list"),
        ("endpoints = []", "endpoints is empty"),
        (f"token = {TOKEN}", r"client.toml: is not TOML \(line 1, column 9\)"),
        ('token = "short"', "client.toml: token has 5 characters"),
        (f'token = "{TOKEN}"\ntoken_file = "t"', "client.toml: token and .*client.toml: token_file are both given"),
    ],
)
def test_a_file_that_is_wrong(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message) as refused:
        resolve(Given(), config(tmp_path, text))
    assert TOKEN not in str(refused.value)


@pytest.mark.parametrize("mode", [0o604, 0o640, 0o644])
def test_a_token_in_a_file_for_others_is_refused(tmp_path: Path, mode: int) -> None:
    environment = config(tmp_path, f'token = "{TOKEN}"', mode)
    with pytest.raises(InvalidArgument, match=f"chmod 600 {environment['LOCKD_CONFIG']}") as refused:
        resolve(Given(), environment)
    assert TOKEN not in str(refused.value)
    (tmp_path / "client.toml").write_text('token_file = "t"')
    assert resolve(Given(), environment).token_file == tmp_path / "t"


def test_where_the_file_is(tmp_path: Path) -> None:
    assert resolve(Given(), {"HOME": str(tmp_path)}).token is None
    folder = tmp_path / ".config" / "lockd"
    folder.mkdir(parents=True)
    config(folder, f'token = "{TOKEN}"')
    assert resolve(Given(), {"HOME": str(tmp_path)}).token == TOKEN
    assert resolve(Given(), {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}).token is None
    assert resolve(Given(), {"XDG_CONFIG_HOME": str(tmp_path / ".config")}).token == TOKEN
    with pytest.raises(InvalidArgument, match="LOCKD_CONFIG: .*nowhere.toml: No such file"):
        resolve(Given(), {"LOCKD_CONFIG": str(tmp_path / "nowhere.toml")})


# ---- what stands in the files


def credentials(**given: object) -> Credentials:
    return Credentials(resolve(Given(**given), {}))  # type: ignore[arg-type]


def test_files_that_cannot_be_used(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    cert, key = authority.client("ann")
    _, other_key = authority.client("bob")
    nothing = tmp_path / "nothing"
    text = tmp_path / "text"
    text.write_text("no certificate")
    for given, message in (
        ({"token_file": nothing}, "token_file: .*nothing: No such file"),
        ({"token_file": tmp_path}, "token_file: .*: Is a directory"),
        ({"token_file": text}, "token_file: .*text has characters"),
        ({"cacert": nothing}, "cacert: .*nothing: No such file"),
        ({"cacert": text}, "cacert: .*text has no certificates in PEM"),
        ({"cacert": authority.ca, "cert": nothing, "key": key}, "cert: .*nothing: No such file"),
        ({"cacert": authority.ca, "cert": cert, "key": nothing}, "key: .*nothing: No such file"),
        ({"cacert": authority.ca, "cert": cert, "key": text}, "key: .*is not PEM, or the key has a password"),
        ({"cacert": authority.ca, "cert": cert, "key": other_key}, "key: .*is not the key of the certificate"),
    ):
        with pytest.raises(InvalidArgument, match=message):
            credentials(**given)


def test_what_changes_is_taken_once_it_fits_together(tmp_path: Path) -> None:
    authority, later = Authority(tmp_path / "now"), Authority(tmp_path / "later")
    cert, key = authority.client("ann")
    token = tmp_path / "token"
    token.write_text(f"{TOKEN}\n")
    found = credentials(token_file=token, cacert=authority.ca, cert=cert, key=key)
    before = found.pem
    assert found.metadata == (("authorization", f"Bearer {TOKEN}"),)
    assert found.look() == 0

    token.write_text("half of i")
    assert found.look() == 0
    assert found.metadata == (("authorization", f"Bearer {TOKEN}"),)
    token.write_text(OTHER)
    assert found.look() == 1
    assert found.metadata == (("authorization", f"Bearer {OTHER}"),)
    token.touch()
    assert found.look() == 1

    new_cert, new_key = later.client("ann")
    cert.write_bytes(new_cert.read_bytes())
    assert (found.look(), found.pem) == (1, before)
    key.write_bytes(new_key.read_bytes())
    assert found.look() == 2
    assert found.pem != before
    token.unlink()
    assert found.look() == 2


def test_a_token_goes_in_clear_to_loopback_alone() -> None:
    for endpoint in ("db1:2080", "10.0.0.1", "[2001:db8::1]:7", "localhost.example.org"):
        with pytest.raises(InvalidArgument, match=r"token would travel to .* in clear: give cacert"):
            LockdClient(endpoints=["127.0.0.1", endpoint], token=TOKEN)
        LockdClient(endpoints=[endpoint], token=TOKEN, insecure=True).close()
        LockdClient(endpoints=[endpoint]).close()
    LockdClient(endpoints=["127.0.0.1", "localhost", "[::1]:7", "127.8.8.8:1"], token=TOKEN).close()
    with LockdClient(token=TOKEN) as client, pytest.raises(InvalidArgument, match="token would travel to db1:2080"):
        client.status("db1")


def test_insecure_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCKD_TOKEN", TOKEN)
    with pytest.raises(InvalidArgument, match="LOCKD_TOKEN would travel"):
        LockdClient("db1")
    monkeypatch.setenv("LOCKD_INSECURE", "1")
    LockdClient("db1").close()
    monkeypatch.setenv("LOCKD_INSECURE", "perhaps")
    with pytest.raises(InvalidArgument, match="LOCKD_INSECURE is 'perhaps'"):
        LockdClient("db1")


def test_no_secret_is_shown(tmp_path: Path) -> None:
    cert, key = Authority(tmp_path).client("ann")
    given = Given(token=TOKEN, cacert=tmp_path / "ca.crt", cert=cert, key=key)
    settings = resolve(given, {})
    found = Credentials(settings)
    for shown in map(repr, (given, settings, found, found.pem)):
        assert TOKEN not in shown
        assert "PRIVATE" not in shown
