"""Names of files and other text of strangers, safe to print in a message or a table."""

from __future__ import annotations

import unicodedata

#: Control characters, halves of surrogate pairs (they stand for bytes that are no text), and the
#: separators that end a line or a paragraph.
_UNSEEN = ("Cc", "Cs", "Zl", "Zp")
#: What turns the direction of the text behind it, so that "gpj.exe" reads "exe.jpg".
_TURNING = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")


def shown(name: str) -> str:
    r"""A name as it is shown: a line break is `\n`, an escape that colours the terminal `\x1b`.

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
