"""Moving averages of durations, in integers: good enough for timers, the same on every machine."""

from __future__ import annotations

SCALE = 1_024
WEIGHT = 8
"""A sample counts 1/WEIGHT."""


class Average:
    """Exponentially weighted mean and mean deviation of samples in milliseconds."""

    __slots__ = ("_deviation", "_mean", "samples")

    def __init__(self) -> None:
        self._mean = 0
        self._deviation = 0
        self.samples = 0

    def add(self, value: int) -> None:
        """Take a sample; the first one is the mean."""
        scaled = value * SCALE
        if self.samples == 0:
            self._mean, self._deviation = scaled, 0
        else:
            off = scaled - self._mean
            self._mean += off // WEIGHT
            self._deviation += (abs(off) - self._deviation) // WEIGHT
        self.samples += 1

    @property
    def value(self) -> int:
        """The mean, in milliseconds, rounded up."""
        return -(-self._mean // SCALE)

    @property
    def scaled(self) -> int:
        """The mean, in ``1 / SCALE`` milliseconds: for comparing costs below a millisecond."""
        return self._mean

    def high(self, deviations: int) -> int:
        """The mean and so many deviations, in milliseconds, rounded up."""
        return -(-(self._mean + deviations * self._deviation) // SCALE)
