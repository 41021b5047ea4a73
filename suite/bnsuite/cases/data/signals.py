"""Synthetic waveforms and volumes: integers from PCG64's raw output, so that every release makes the same bytes.

NumPy keeps the raw stream of a bit generator from release to release, unlike that of its distributions. A class is a
pattern; each sample has a phase, a contrast, a brightness and noise of its own. All become brighter along their first
axis, so that statistics which leave out a part of it are wrong.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any, TypeAlias

    import numpy as np

    Array: TypeAlias = np.ndarray[Any, Any]
    Arrays: TypeAlias = tuple[Array, Array, Array, Array]

#: Training and validation samples, and their sizes: points of a waveform, voxels along each side of a volume.
WAVEFORMS, POINTS = (1536, 384), 64
VOLUMES, SIDE = (768, 192), 8

#: The periods of the patterns, in points or voxels.
WAVEFORM_PERIODS, VOLUME_PERIODS = (8, 16), (4, 8)

#: How much brighter the last point of a waveform, or the last layer of a volume, is than the first.
SLOPE = 112

SEED = 42


class Dice:
    """Whole numbers from the raw stream of PCG64."""

    def __init__(self) -> None:
        import numpy as np

        self._bits = np.random.PCG64(SEED)

    def below(self, least: int, most: int, *shape: int) -> Array:
        """Returns int64 in [least, most), from the upper half of each raw number."""
        import numpy as np

        raw = self._bits.random_raw(int(np.prod(shape))) >> np.uint64(32)
        return least + (raw * np.uint64(most - least) >> np.uint64(32)).astype("i8").reshape(shape)

    def noise(self, *shape: int) -> Array:
        """Returns int64 near a normal distribution of mean 0 and deviation 18: four numbers of [-16, 16) added."""
        total: Array = self.below(-16, 16, 4, *shape).sum(0) + 2
        return total


def waveforms() -> Arrays:
    """Square, triangle and sawtooth waves of two periods, six classes: (N, 1, 64) bytes."""
    import numpy as np

    dice = Dice()

    def sample(count: int) -> tuple[Array, Array]:
        y = np.arange(count) % 6
        period = np.array(WAVEFORM_PERIODS)[y % 2][:, None]
        at = (np.arange(POINTS) + dice.below(0, period.max(), count, 1)) % period * (64 // period)  # in [0, 64)
        waves = np.stack([np.where(at < 32, 0, 63), 2 * np.abs(at - 32) - 1, at])  # (3, N, points)
        return y, _blurred(waves[y // 2, np.arange(count)], dice)

    return _split(sample, WAVEFORMS)


def volumes() -> Arrays:
    """Stripes of two periods along the depth, the height or the width, six classes: (N, 1, 8, 8, 8) bytes."""
    import numpy as np

    dice = Dice()

    def sample(count: int) -> tuple[Array, Array]:
        y = np.arange(count) % 6
        period = np.array(VOLUME_PERIODS)[y % 2][:, None]
        at = (np.arange(SIDE) + dice.below(0, period.max(), count, 1)) % period * 2 // period  # 0 and 1
        lines = 63 * at  # (N, side)
        along = y // 2
        stripes = np.empty((count, SIDE, SIDE, SIDE), "i8")
        for axis in range(3):
            shape = [-1, 1, 1, 1]
            shape[1 + axis] = SIDE
            stripes[along == axis] = lines[along == axis].reshape(shape)
        return y, _blurred(stripes, dice)

    return _split(sample, VOLUMES)


def _blurred(patterns: Array, dice: Dice) -> Array:
    """Returns patterns (N, ...) in [0, 64) as bytes (N, 1, ...), each with its contrast, brightness and noise."""
    import numpy as np

    count, *sizes = patterns.shape
    each = (count, *(1 for _ in sizes))
    contrast, brightness = dice.below(2, 4, *each), dice.below(0, 32, *each)
    slope = (np.arange(sizes[0]) * SLOPE // sizes[0]).reshape(-1, *each[2:])
    x = patterns * contrast // 2 + brightness + slope + 16 + dice.noise(*patterns.shape)
    drawn: Array = x.clip(0, 255).astype("u1")[:, None]
    return drawn


def _split(sample: Any, counts: tuple[int, int]) -> Arrays:
    (y_train, x_train), (y_val, x_val) = (sample(count) for count in counts)
    return x_train, y_train.astype("<i8"), x_val, y_val.astype("<i8")
