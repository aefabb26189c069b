"""What is taught: the features of clips, which action each shows, and from which video it is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Choice = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Lesson:
    """N clips of the actions ``labels``, and of a background if there is one.

    ``features``: float64 [N, F]. ``classes``: int64 [N], the index of the clip's action in ``labels``, or their number
    for the background. ``videos``: int64 [N], the same number for all clips of a video.
    """

    labels: tuple[str, ...]
    features: Floats
    classes: Integers
    videos: Integers

    @property
    def shown(self) -> Choice:
        """Bool [N]: which clips show an action, and not the background."""
        return np.asarray(self.classes < len(self.labels))

    @property
    def has_background(self) -> bool:
        return not bool(self.shown.all())

    def part(self, chosen: Choice) -> Lesson:
        """The clips that are ``chosen``, bool [N], of the same actions."""
        return Lesson(self.labels, self.features[chosen], self.classes[chosen], self.videos[chosen])

    def videos_of(self, label: int) -> int:
        """How many videos show the action, or the background, with the index ``label``."""
        return len(np.unique(self.videos[self.classes == label]))
