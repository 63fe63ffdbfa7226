"""The clock that leases are counted down on."""

import pytest

from lockd_client import clock, now


def test_it_advances_by_the_source_that_advanced_further(monkeypatch: pytest.MonkeyPatch) -> None:
    """RAW is 100 s ahead of BOOTTIME; a sleep of the machine counts all the same."""
    readings = [(1000.0, 1100.0), (1001.0, 1101.0), (1051.0, 1101.0), (1051.5, 1102.0)]
    source = iter(readings)
    monkeypatch.setattr(clock, "_readings", lambda: next(source))
    lease_clock = clock._LeaseClock()
    start = lease_clock.value
    assert [lease_clock.read() - start for _ in range(3)] == [1.0, 51.0, 52.0]


def test_now_goes_forward() -> None:
    values = [now() for _ in range(100)]
    assert values == sorted(values)


@pytest.mark.parametrize(("remaining", "margin"), [(0.0, 0.05), (2.0, 0.09), (30.0, 0.65), (86400.0, 1728.05)])
def test_the_margin(remaining: float, margin: float) -> None:
    assert clock.deadline_of(100.0, remaining) == pytest.approx(100.0 + remaining - margin)


def test_it_can_be_read_inside_a_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a handler of a signal, at any moment."""
    lease_clock = clock._LeaseClock()
    inside: list[float] = []

    def readings() -> tuple[float, ...]:
        if not inside:
            inside.append(0.0)
            inside.append(lease_clock.read())
            return (990.0,)  # as it was before the handler read it
        return (1000.0,)

    lease_clock.last, lease_clock.value = (980.0,), 980.0
    monkeypatch.setattr(clock, "_readings", readings)
    assert lease_clock.read() >= inside[1] == 1000.0
    assert lease_clock.read() == 1000.0
