"""One stream for our log lines and the standard library's, and no way to forge a line."""

import io
import json
import logging
import warnings
from collections.abc import Iterator

import pytest
import structlog

from lockd import logs


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    root = logging.getLogger()
    before = (root.handlers[:], root.level)
    yield
    logging.captureWarnings(False)
    structlog.reset_defaults()
    root.handlers[:], _ = before
    root.setLevel(before[1])


def json_lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_json_lines_where_there_is_no_terminal() -> None:
    stream = io.StringIO()
    logs.configure(stream=stream)
    structlog.get_logger("lockd.x").info("it leads", term=3)
    (line,) = json_lines(stream)
    assert (line["event"], line["term"], line["level"], line["logger"]) == ("it leads", 3, "info", "lockd.x")
    assert str(line["timestamp"]).endswith("Z")
    assert list(line) == ["timestamp", "level", "logger", "event", "term"]


def test_the_standard_librarys_loggers_go_the_same_way() -> None:
    stream = io.StringIO()
    logs.configure(stream=stream)
    logging.getLogger("pysyncobj").warning("lost %s", "a peer", extra={"peer": 2})
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(True)
        warnings.warn("old", DeprecationWarning, stacklevel=1)
    first, second = json_lines(stream)
    assert (first["event"], first["logger"], first["peer"]) == ("lost a peer", "pysyncobj", 2)
    assert "DeprecationWarning" in str(second["event"])


def test_key_value_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    stream = Terminal()
    logs.configure(stream=stream)
    structlog.get_logger("lockd").warning("slow", took_ms=7)
    assert "slow" in stream.getvalue()
    assert "took_ms=7" in stream.getvalue()
    assert "\x1b" not in stream.getvalue()


@pytest.mark.parametrize("format", ["json", "text"])
def test_a_value_cannot_forge_a_line(format: logs.Format) -> None:
    stream = io.StringIO()
    logs.configure("info", format, stream)
    structlog.get_logger().info("event\nforged", name="a\nforged\x1b[2J", names=["b\nforged"])
    logging.getLogger("grpc").warning("c\nforged %s", "d\r\nforged")
    assert len(stream.getvalue().splitlines()) == 2
    assert "\x1b" not in stream.getvalue()


@pytest.mark.parametrize("format", ["json", "text"])
def test_tracebacks(format: logs.Format) -> None:
    stream = io.StringIO()
    logs.configure("info", format, stream)
    try:
        raise ValueError("bad \x1b[2J")
    except ValueError:
        structlog.get_logger().exception("a call failed")
        logging.getLogger("asyncio").exception("the same")
    text = stream.getvalue()
    assert text.count("ValueError: bad ") == 2
    assert "\x1b" not in text
    if format == "json":
        assert len(json_lines(stream)) == 2


def test_levels() -> None:
    stream = io.StringIO()
    logs.configure("warning", "json", stream)
    structlog.get_logger().info("no")
    structlog.get_logger().warning("yes")
    logging.getLogger("grpc").info("no")
    logs.configure("debug", "json", stream)
    structlog.get_logger().debug("now")
    logging.getLogger("pysyncobj").debug("it speaks always")
    assert [line["event"] for line in json_lines(stream)] == ["yes", "now"]
