"""TensorRT's optimization profiles: the ranges of pictures an engine takes, and the shapes its kernels are tuned for.

Sizes are (height, width) in LR pixels. Profile 0 takes all pictures up to a square. Wide and tall pictures get profiles
whose ranges are disjoint from it, which Triton's choice between profiles needs: it never looks at a request's width.
The small one lies within profile 0, so that whichever is chosen is right; and Triton's choice, which prefers the nearer
in height, takes it for all pictures that it holds.
"""

from __future__ import annotations

from dataclasses import dataclass

# What people send every day is tuned for apart, where profile 0 is tuned for larger pictures than SMALL_MAX.
SMALL_OPT, SMALL_MAX = 512, 1024
SMALL = "small"


@dataclass(frozen=True)
class Profile:
    """An optimization profile of input `image` [1, H, W, 3]; tuned for its largest shape unless it says otherwise."""

    name: str
    min_hw: tuple[int, int]
    max_hw: tuple[int, int]
    tuned_for: tuple[int, int] | None = None

    @property
    def opt_hw(self) -> tuple[int, int]:
        """What TensorRT chooses kernels for."""
        return self.tuned_for or self.max_hw

    def holds(self, height: int, width: int) -> bool:
        (h0, w0), (h1, w1) = self.min_hw, self.max_hw
        return h0 <= height <= h1 and w0 <= width <= w1

    @property
    def max_px(self) -> int:
        return self.max_hw[0] * self.max_hw[1]

    @property
    def opt_px(self) -> int:
        return self.opt_hw[0] * self.opt_hw[1]


def profiles_of(side: int, *, wide: bool) -> tuple[Profile, ...]:
    """Profile 0 for everything up to side x side; with `wide`, two more for 16:9 and 9:16 of the same area.

    Their ranges are disjoint: only the wide one has W > side, only the tall one H > side.
    """
    square = Profile("square", (1, 1), (side, side))
    if not wide:
        return (square,)
    short, long = side * 3 // 4, side * 4 // 3
    return (square, Profile("wide", (1, side + 1), (short, long)), Profile("tall", (side + 1, 1), (long, short)))


def with_small(profiles: tuple[Profile, ...], largest: int) -> tuple[Profile, ...]:
    """The same with one more, for pictures up to `largest` x `largest`, unless profile 0 is tuned for such itself.

    Triton would not always choose it beside a profile 0 that is tuned for pictures it holds.
    """
    if min(profiles[0].opt_hw) <= SMALL_MAX:
        return profiles
    small = Profile(SMALL, (1, 1), (largest, largest), (SMALL_OPT, SMALL_OPT))
    return (*profiles, small)


def outermost(profiles: tuple[Profile, ...]) -> tuple[Profile, ...]:
    """Those that say what an engine takes: all but the small one, which lies within another."""
    return tuple(profile for profile in profiles if profile.name != SMALL)
