"""The motions that the demo checkpoint recognises, named as in Something-Something v2."""

from __future__ import annotations

PUSH_RIGHT = "Pushing something from left to right"
PUSH_LEFT = "Pushing something from right to left"
MOVE_UP = "Moving something up"
MOVE_DOWN = "Moving something down"
APPROACH = "Approaching something with your camera"
MOVE_AWAY = "Moving away from something with your camera"
TURN_LEFT = "Turning the camera left while filming something"
TURN_RIGHT = "Turning the camera right while filming something"
TURN_UP = "Turning the camera upwards while filming something"
TURN_DOWN = "Turning the camera downwards while filming something"
HOLD = "Holding something"

LABELS: tuple[str, ...] = (
    PUSH_RIGHT,
    PUSH_LEFT,
    MOVE_UP,
    MOVE_DOWN,
    APPROACH,
    MOVE_AWAY,
    TURN_LEFT,
    TURN_RIGHT,
    TURN_UP,
    TURN_DOWN,
    HOLD,
)
