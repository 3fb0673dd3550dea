"""Names of files and other text that is not ours, made safe to print."""

from __future__ import annotations

import unicodedata

#: Unicode's categories of control characters, of halves of surrogate pairs (Python has these for
#: bytes that are no text), and of separators of lines and paragraphs.
_UNSEEN = ("Cc", "Cs", "Zl", "Zp")
#: Unicode's classes of characters that turn round the text behind them: then "gpj.exe" can look
#: like "exe.jpg".
_TURNING = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")


def shown(name: str) -> str:
    r"""A name with characters that could harm a terminal escaped: a line break becomes `\n`.

    Letters of all languages and emoji stay as they are.
    """
    if name.isprintable():
        return name
    return "".join(_escaped(letter) for letter in name)


def _escaped(letter: str) -> str:
    is_unseen = unicodedata.category(letter) in _UNSEEN
    if is_unseen or unicodedata.bidirectional(letter) in _TURNING:
        return letter.encode("unicode_escape").decode("ascii")
    return letter
