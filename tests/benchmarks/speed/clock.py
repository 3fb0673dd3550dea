"""Times the stages of encoding and decoding."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

#: The stages that are shown. "wavefront" is the time of entropy coding without h_s and rANS. In the
#: joint model, which has no wavefront, it is the time of its rows. In the C extension it includes
#: the rANS of y. "other" is the time that belongs to no stage.
STAGES = {
    "encode": ("g_a", "h_a", "h_s", "wavefront", "rANS", "other"),
    "decode": ("h_s", "wavefront", "rANS", "g_s", "other"),
}
#: The stages that form the exact path.
EXACT = ("h_s", "wavefront", "rANS")


class Clock(defaultdict[str, float]):
    """Adds up the seconds spent in functions, by name.

    Functions are replaced by timed ones until `restore` is called.
    """

    def __init__(self) -> None:
        super().__init__(float)
        self.replaced: list[tuple[Any, str, Any]] = []

    def watch(self, name: str, owner: Any, *attributes: str) -> None:
        """Time functions of an object, a class or a module.

        Args:
            name: the name under which their seconds are added up.
            owner: the object, class or module.
            attributes: the functions' names in it.
        """
        for attribute in attributes:
            function = getattr(owner, attribute)
            setattr(owner, attribute, self._timed(name, function))
            self.replaced.append((owner, attribute, function))

    def _timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **options: Any) -> Any:
            start = time.perf_counter()
            result = function(*args, **options)
            self[name] += time.perf_counter() - start
            return result

        return timed

    def restore(self) -> None:
        """Put back all functions that `watch` replaced."""
        for owner, attribute, function in reversed(self.replaced):
            setattr(owner, attribute, function)
        self.replaced.clear()

    def measure(self, way: str, function: Callable[..., Any], *args: Any) -> tuple[Any, Any]:
        """(result, seconds in all and of each stage of `STAGES`) of one call of ticodec.

        Raises RuntimeError if no function of a stage was called, because its code has moved.
        """
        self.clear()
        result, total = timed(function, *args)
        spans = dict(self)
        unseen = {"entropy", *STAGES[way]} - {"wavefront", "other"} - set(spans)
        if unseen:
            names = ", ".join(sorted(unseen))
            raise RuntimeError(f"{way}: no call of {names} was seen; see `watch_stages`")
        spans["wavefront"] = spans.pop("entropy") - spans["h_s"] - spans["rANS"]
        spans["other"] = total - sum(spans.values())
        return result, {way: total} | {f"{way} {stage}": spans[stage] for stage in STAGES[way]}


def timed(function: Callable[..., Any], *args: Any) -> tuple[Any, float]:
    """(result, seconds) of one call."""
    start = time.perf_counter()
    result = function(*args)
    return result, time.perf_counter() - start


def watch_stages(clock: Clock, codec: Any) -> None:
    """Time the functions of each stage of `STAGES`, in a codec and in modules that codecs share.

    If the code of a stage has moved, `Clock.measure` raises an error.
    """
    from ticodec.entropy import icat_rows
    from ticodec.entropy.rans import Reader, Writer
    from ticodec.entropy.tic_coder import TicLatentCoder

    for stage in ("g_a", "h_a", "g_s"):
        clock.watch(stage, getattr(codec, stage), "run")
    clock.watch("entropy", codec.entropy, "encode_many", "decode_many")
    clock.watch("h_s", TicLatentCoder, "hyper", "hidden")
    clock.watch("h_s", icat_rows, "mean_scale")
    clock.watch("rANS", Writer, "write", "finish")
    clock.watch("rANS", Reader, "read")
