"""What callers share of a node: the memory in which answers wait for them, and the turns of its event loop."""

from dataclasses import dataclass, field

from .turns import Turns
from .unsent import Unsent


@dataclass(frozen=True, slots=True)
class Room:
    unsent: Unsent
    turns: Turns = field(default_factory=Turns)
