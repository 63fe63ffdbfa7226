"""What strangers cause to be logged is bounded."""

import structlog
from structlog.testing import capture_logs

from lockd.complaints import Complaints


def test_each_is_said_once_in_a_while_whatever_its_detail():
    complaints = Complaints(structlog.get_logger("test"))
    with capture_logs() as lines:
        for number in range(3):
            complaints.say("kept out", detail=f"try {number}", peer="10.0.0.1")
        complaints.say("kept out", peer="10.0.0.2")
    assert [(line["peer"], line.get("detail")) for line in lines] == [("10.0.0.1", "try 0"), ("10.0.0.2", None)]


def test_there_are_not_more_than_so_many():
    complaints = Complaints(structlog.get_logger("test"))
    with capture_logs() as lines:
        for number in range(1000):
            complaints.say("refused", peer=number)
    assert len(lines) == Complaints.KINDS_MAX
