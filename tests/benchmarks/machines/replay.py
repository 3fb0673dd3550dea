"""Repeats recorded calls of the C extension, and reports whether all results are the same.

It runs on machines that have no numpy and no torch, so it uses only the standard library.
`other_machines.py` starts it as: python replay.py EXTENSION JOBS. It prints JSON: what differs, for
each job and each instruction set of the processor. "" means that nothing differs.
"""

from __future__ import annotations

import importlib.util
import json
import pickle
import sys
import threading
from array import array
from importlib.machinery import ExtensionFileLoader
from pathlib import Path


def load(path):
    """Import the extension from this file."""
    loader = ExtensionFileLoader("_exact", path)
    spec = importlib.util.spec_from_file_location("_exact", path, loader=loader)
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def swapped(numbers):
    """An array converted from little-endian to this machine's byte order, or back."""
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers


def replay(module, job, blobs, instructions):
    """Repeat the calls of a job. Returns what differs, and "" if nothing does."""
    arrays = [swapped(array(code, blobs[before])) for code, before, _ in job["arrays"]]
    made, helpers, arguments = {}, [], []

    def value_of(form):
        kind, value = form
        if kind == "tuple":
            return tuple(value_of(part) for part in value)
        if kind == "instructions":
            return instructions
        return {"array": arrays, "made": made}[kind][value] if kind != "value" else value

    for name, helper, forms, (kind, expected) in job["calls"]:
        arguments = [value_of(form) for form in forms]
        if kind == "dropped":
            del made[expected]
            continue
        if helper:
            helpers.append(threading.Thread(target=getattr(module, name), args=arguments))
            helpers[-1].start()
            continue
        result = getattr(module, name)(*arguments)
        if kind == "made":
            made[expected] = result
            result = None
        elif result != expected:
            return f"{name} returns something else"
        if name == "run":
            while helpers:
                helpers.pop().join()
    for number, (_, _, after) in enumerate(job["arrays"]):
        if swapped(arrays[number]).tobytes() != blobs[after]:
            return f"array {number} has other numbers"
    return ""


def main(extension, jobs):
    module = load(extension)
    blobs, all_jobs = pickle.loads(Path(jobs).read_bytes())
    names = module.INSTRUCTIONS
    found = [{name: replay(module, job, blobs, name) for name in names} for job in all_jobs]
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
