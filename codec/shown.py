"""Makes file names and other foreign text safe to print."""

from __future__ import annotations

import unicodedata

#: The Unicode categories of control characters, of surrogates (Python uses them for bytes that are
#: not text), and of line and paragraph separators.
_UNSEEN = ("Cc", "Cs", "Zl", "Zp")
#: The Unicode classes of characters that reverse the text after them. With them "gpj.exe" can look
#: like "exe.jpg".
_TURNING = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")


def shown(name: str) -> str:
    r"""Escape the characters of a name that could confuse a terminal: a line break becomes `\n`.

    Letters of all languages and emoji are not changed.
    """
    if name.isprintable():
        return name
    return "".join(_escaped(letter) for letter in name)


def _escaped(letter: str) -> str:
    is_unseen = unicodedata.category(letter) in _UNSEEN
    if is_unseen or unicodedata.bidirectional(letter) in _TURNING:
        return letter.encode("unicode_escape").decode("ascii")
    return letter
