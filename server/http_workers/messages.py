"""What the engine process and an HTTP worker tell each other."""

from __future__ import annotations

import msgspec

from engines.clip import PixelFormat
from engines.manifest import Manifest, Precision
from server.clip_queue import Priority
from server.phases import PhasesMs
from server.settings import Settings


class Message(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """``clip`` and ``question`` are numbers that the worker gave; an answer bears that of what it answers."""


class Begin(Message, frozen=True):
    """The first of all: who the worker is. ``owner`` is its number in the shared memory, never two's at a time."""

    worker: int
    owner: int
    settings: Settings


class Deploy(Message, frozen=True):
    """Serve with this engine from now on."""

    generation: int
    manifest: Manifest
    device_name: str
    precision: Precision


class Draining(Message, frozen=True):
    """Say that work should go elsewhere; ``accepting``: still take what comes."""

    accepting: bool


class Lost(Message, frozen=True):
    """The engine is of no more use."""

    error: str


class Drain(Message, frozen=True):
    """Take no more work, and tell when the last request is through."""


class Stop(Message, frozen=True):
    """Close the connections and end."""


class Ping(Message, frozen=True):
    """Does the event loop still come around?"""


class Answer(Message, frozen=True):
    """``probabilities``: float32 [labels]."""

    clip: int
    probabilities: bytes
    queue_ms: float
    preprocess_ms: float
    network_ms: float


class Failed(Message, frozen=True):
    """No answer: the engine failed on the clip, or, where there is ``retry_after_s``, it is lost."""

    clip: int
    message: str
    help: str | None
    retry_after_s: int | None


class Done(Message, frozen=True):
    """The engine process does not look at the clip any more, whatever became of it."""

    clip: int


class Reply(Message, frozen=True):
    """``refused``: why, and when to come again in seconds."""

    question: int
    body: bytes = b""
    refused: tuple[str, int] | None = None


class Serving(Message, frozen=True):
    """The worker takes connections."""


class Unusable(Message, frozen=True):
    """The worker cannot serve as its settings say; it ends."""

    message: str
    help: str | None


class Using(Message, frozen=True):
    """Requests are given that engine from now on."""

    generation: int


class Retired(Message, frozen=True):
    """The last request that was given that engine is through."""

    generation: int


class Pong(Message, frozen=True):
    """It does."""


class Told(Message, frozen=True):
    """Clients hear of the state that it was told last."""


class Drained(Message, frozen=True):
    """The last request is through, or was cut off."""


class Submit(Message, frozen=True):
    """Classify the clip at ``offset`` in the shared frames, uint8 ``shape``; ``deadline_s``: of the machine's clock."""

    clip: int
    generation: int
    offset: int
    shape: tuple[int, int, int, int]
    pixel_format: PixelFormat
    deadline_s: float
    priority: Priority


class Cancel(Message, frozen=True):
    """Nobody waits for the clip any more."""

    clip: int


class Received(Message, frozen=True):
    """See ``Counts``, as for the next four."""


class Ended(Message, frozen=True):
    outcome: str


class Answered(Message, frozen=True):
    phases: PhasesMs
    label: str


class Closed(Message, frozen=True):
    reason: str


class Connected(Message, frozen=True):
    """So many of the ``taken`` connections, all that were handed to the worker so far, are open."""

    taken: int
    clients: int


class Scrape(Message, frozen=True):
    """What are the service's figures?"""

    question: int


class Hit(Message, frozen=True):
    """May this client ask once more?"""

    question: int
    client: str


ToWorker = Begin | Deploy | Draining | Lost | Drain | Stop | Ping | Answer | Failed | Done | Reply
ToEngine = (
    Serving
    | Unusable
    | Using
    | Retired
    | Pong
    | Told
    | Drained
    | Submit
    | Cancel
    | Received
    | Ended
    | Answered
    | Closed
    | Connected
    | Scrape
    | Hit
)
