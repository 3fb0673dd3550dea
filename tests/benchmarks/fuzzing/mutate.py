"""Damages bytes and arrays of integers."""

from __future__ import annotations

import numpy as np

Random = np.random.Generator

#: Numbers that could cause an overflow or slip through a check.
EDGES = [0, 1, -1, 2, 255, 256, 2**15 - 1, 2**15, 2**16 - 1, 2**16, 2**16 + 1]
EDGES += [2**31 - 1, 2**31, -(2**31), 2**32, 2**62, 2**63 - 1, -(2**63)]


def mutated(data: bytes, random: Random) -> bytes:
    """A stream that is cut off, changed, lengthened, or replaced by other bytes."""
    changed = bytearray(data)
    for _ in range(random.integers(1, 4)):
        at = int(random.integers(0, len(changed) + 1))
        more = random.bytes(int(random.integers(0, 9)))
        match random.integers(0, 8):
            case 0:
                del changed[at:]
            case 1:
                del changed[at : at + len(more)]
            case 2:
                changed[at:at] = more
            case 3:
                changed[at : at + len(more)] = more
            case 4 if at < len(changed):
                changed[at] ^= 1 << random.integers(0, 8)
            case 5:
                changed[at:] = bytes([random.choice([0, 255])]) * (len(changed) - at)
            case 6:
                changed[:8] = random.choice([0, 255], 8).astype(np.uint8).tobytes()
            case 7:
                changed[:] = random.bytes(int(random.integers(0, 64)))
    return bytes(changed)


def mutated_integers(numbers: np.ndarray, random: Random) -> np.ndarray:
    """An int64 array with numbers of EDGES, small changes, swapped numbers or missing numbers."""
    changed = numbers.copy()
    for _ in range(random.integers(1, 3)):
        if not len(changed):
            return changed
        at, other = random.integers(0, len(changed), 2)
        match random.integers(0, 6):
            case 0:
                changed[at] = random.choice(EDGES)
            case 1:
                changed[at : at + 1] += random.integers(-2, 3)
            case 2:
                changed[[at, other]] = changed[[other, at]]
            case 3:
                changed = np.delete(changed, at)
            case 4:
                changed = np.insert(changed, at, random.choice(EDGES))
            case 5:  # the sum is unchanged, perhaps after an overflow
                step = random.choice(np.array([1, 2**16, 2**62, 2**63 - 1]))
                changed[at : at + 1] += step  # slices, because arrays overflow without a warning
                changed[other : other + 1] -= step
    return changed
