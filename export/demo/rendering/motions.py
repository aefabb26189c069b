"""Trajectories of the object and of the camera for each label.

Lengths are in short edges of the frame. Positions are relative to its centre, with x to the right and y down. The
centre crop of the preprocessing shows positions within about 0.44 in each direction, so every motion happens there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from export.demo import labels
from export.demo.rendering.curves import Curve, progress, tremor


@dataclass(frozen=True)
class Motion:
    """Trajectories over T frames.

    ``position`` [T, 2] and ``size`` [T] are the object's centre and diameter in the frame, ``tilt`` [T] its rotation in
    radians. ``shift`` [T, 2] and ``zoom`` [T] place the scene: scene point s appears at ``zoom * (s + shift)``.
    ``present`` is false if there is no object, only the scene.
    """

    position: Curve
    size: Curve
    tilt: Curve
    shift: Curve
    zoom: Curve
    present: bool = True


@dataclass(frozen=True)
class View:
    """Half the width and half the height of the frame, and limits that depend on the scenery.

    ``drift`` scales how far a resting scene may drift; an approached object ends with at least the size ``nearest``.
    """

    half_width: float
    half_height: float
    drift: float = 1.0
    nearest: float = 0.35


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _size(rng: np.random.Generator) -> float:
    return _log_uniform(rng, 0.15, 0.75)


def _tilt(rng: np.random.Generator, times: Curve) -> Curve:
    """Return a constant angle, a slight rotation, or rarely a large rotation [T] in radians."""
    end = rng.choice([0.0, rng.normal(0.0, 0.3), rng.normal(0.0, 2.0)], p=(0.55, 0.35, 0.1))
    return np.asarray(end * times + tremor(rng, times, rng.uniform(0.0, 0.03), 1)[:, 0])


def _gentle_scene(rng: np.random.Generator, times: Curve, limit: float) -> tuple[Curve, Curve]:
    """Return shift and zoom of a scene that rests, or drifts by less than ``limit`` over the clip."""
    if rng.random() < 0.45:
        return np.zeros((len(times), 2)), np.ones(len(times))
    angle, reach = rng.uniform(0.0, 2 * np.pi), limit * rng.uniform(0.0, 1.0)
    line = reach * (times[:, None] - 0.5) * np.array([np.cos(angle), np.sin(angle)])
    zoom = 1 + rng.normal(0.0, 0.015) * (times - 0.5)
    return line + tremor(rng, times, rng.uniform(0.0, 0.01)), zoom


def _travel(rng: np.random.Generator, half: float) -> tuple[float, float]:
    """Return start and end along the direction of motion: within the frame, or from edge to edge."""
    if rng.random() < 0.65:
        length, middle = rng.uniform(0.28, 0.95), rng.uniform(-0.17, 0.17)
        return middle - length / 2, middle + length / 2
    return -half + rng.uniform(-0.25, 0.3), half + rng.uniform(-0.3, 0.25)


def _translate(rng: np.random.Generator, times: Curve, view: View, direction: tuple[int, int]) -> Motion:
    """Move the object along ``direction``, a unit vector, over a scene that is at rest or nearly so."""
    along = np.array(direction, float)
    across = along[::-1]
    start, end = _travel(rng, float(abs(along) @ (view.half_width, view.half_height)))
    path = start + (end - start) * progress(rng, times)
    slope = np.clip(rng.normal(0.0, 0.08), -0.2, 0.2) * rng.choice([0.0, 1.0])
    position = path[:, None] * along + (rng.uniform(-0.25, 0.25) + slope * path)[:, None] * across
    position = position + tremor(rng, times, rng.uniform(0.0, 0.012))
    shift, zoom = _gentle_scene(rng, times, view.drift * min(0.12, 0.3 * (end - start)))
    if rng.random() < 0.4:
        position = position + shift
    size = _size(rng) * (1 + rng.uniform(-0.15, 0.15) * (times - 0.5))
    return Motion(position, size, _tilt(rng, times), shift, zoom)


def _growth(rng: np.random.Generator, times: Curve, ratio: float) -> Curve:
    """Return a curve from 1 to ``ratio`` [T]: linear, exponential, or as the size of an approaching object grows."""
    done = progress(rng, times)
    law = rng.integers(3)
    if law == 0:
        return 1 + (ratio - 1) * done
    return ratio**done if law == 1 else 1 / (1 + (1 / ratio - 1) * done)


def _approach(rng: np.random.Generator, times: Curve, view: View) -> Motion:
    """Let the object alone grow, or the whole scene with or without an object."""
    kind = rng.choice(["object", "both", "scene"], p=(0.42, 0.36, 0.22))
    place = rng.uniform(-0.22, 0.22, 2)
    sway = tremor(rng, times, rng.uniform(0.0, 0.015))
    if kind == "object":
        ratio = _log_uniform(rng, 1.7, 4.5)
        last = _log_uniform(rng, max(view.nearest, 0.12 * ratio), 1.25)
        shift, zoom = _gentle_scene(rng, times, view.drift * 0.1)
        size = last / ratio * _growth(rng, times, ratio)
        position = place + rng.normal(0.0, 0.05, 2) * (times[:, None] - 0.5) + sway
        return Motion(position, size, _tilt(rng, times), shift, zoom)
    ratio = _log_uniform(rng, 1.45, 3.2)
    zoom = _growth(rng, times, ratio)
    shift = sway + rng.normal(0.0, 0.04, 2) * (times[:, None] - 0.5)
    depth = rng.choice([1.0, rng.uniform(0.8, 1.6)])
    size = _log_uniform(rng, 0.15, 0.8) / ratio * zoom**depth
    position = zoom[:, None] * (place / ratio * rng.uniform(0.5, 1.5) + shift)
    return Motion(position, size, _tilt(rng, times), shift, zoom, present=bool(kind == "both"))


def _move_away(rng: np.random.Generator, times: Curve, view: View) -> Motion:
    return _approach(rng, 1 - times, view)


def _turn(rng: np.random.Generator, times: Curve, view: View, direction: tuple[int, int]) -> Motion:
    """Move the scene and its objects along ``direction`` in the frame, which is opposite to the camera's motion."""
    along = np.array(direction, float)
    reach = _log_uniform(rng, 0.24, 1.7)
    slope = np.clip(rng.normal(0.0, 0.08), -0.2, 0.2) * rng.choice([0.0, 1.0])
    path = reach * (progress(rng, times) - 0.5)
    shift = path[:, None] * (along + slope * along[::-1]) + tremor(rng, times, rng.uniform(0.0, 0.015))
    zoom = 1 + rng.normal(0.0, 0.04) * (times - 0.5)
    parallax = rng.choice([1.0, rng.uniform(0.8, 1.35)])
    home = rng.uniform(-0.35, 0.35, 2) - rng.uniform(-0.3, 0.3) * reach * along
    position = zoom[:, None] * (home + parallax * shift)
    size = _size(rng) * zoom
    return Motion(position, size, _tilt(rng, times) * 0.2, shift, zoom, present=bool(rng.random() < 0.5))


def _hold(rng: np.random.Generator, times: Curve, view: View) -> Motion:
    """Let the object tremble in place, over a scene that is at rest or nearly so."""
    shift, zoom = _gentle_scene(rng, times, view.drift * 0.1)
    drift = rng.normal(0.0, 0.02, 2) * (times[:, None] - 0.5)
    position = rng.uniform(-0.25, 0.25, 2) + drift + tremor(rng, times, _log_uniform(rng, 0.001, 0.018))
    if rng.random() < 0.4:
        position = position + shift
    pulse = 1 + tremor(rng, times, rng.uniform(0.0, 0.02), 1)[:, 0]
    tilt = rng.normal(0.0, 0.1) * times + tremor(rng, times, rng.uniform(0.0, 0.06), 1)[:, 0]
    return Motion(position, _log_uniform(rng, 0.15, 0.95) * pulse, tilt, shift, zoom)


def _toward(
    move: Callable[[np.random.Generator, Curve, View, tuple[int, int]], Motion], direction: tuple[int, int]
) -> Callable[[np.random.Generator, Curve, View], Motion]:
    return lambda rng, times, view: move(rng, times, view, direction)


_RIGHT, _LEFT, _UP, _DOWN = (1, 0), (-1, 0), (0, -1), (0, 1)

_MOTIONS: dict[str, Callable[[np.random.Generator, Curve, View], Motion]] = {
    labels.PUSH_RIGHT: _toward(_translate, _RIGHT),
    labels.PUSH_LEFT: _toward(_translate, _LEFT),
    labels.MOVE_UP: _toward(_translate, _UP),
    labels.MOVE_DOWN: _toward(_translate, _DOWN),
    labels.APPROACH: _approach,
    labels.MOVE_AWAY: _move_away,
    labels.TURN_LEFT: _toward(_turn, _RIGHT),
    labels.TURN_RIGHT: _toward(_turn, _LEFT),
    labels.TURN_UP: _toward(_turn, _DOWN),
    labels.TURN_DOWN: _toward(_turn, _UP),
    labels.HOLD: _hold,
}


def sample(rng: np.random.Generator, label: str, times: Curve, view: View) -> Motion:
    """Draw a random motion that shows ``label``, sampled at the normalised ``times`` [T] in [0, 1]."""
    return _MOTIONS[label](rng, times, view)
