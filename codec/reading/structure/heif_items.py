"""Reads the items of an AVIF or HEIC file: their kinds, properties and relations."""

from __future__ import annotations

from .boxes import Box, Boxes
from .steps import number

IMAGES = {b"av01", b"hvc1", b"avc1", b"vvc1", b"jpeg", b"j2k1", b"unci", b"grid", b"iovl", b"iden"}


class Items:
    """What the "meta" box of a file says about its items.

    Attributes:
        primary: the number of the item that is the picture.
        kinds: by an item's number, its kind: four letters, or a media type.
        properties: by an item's number, the boxes of its properties.
        references: by a kind of reference, such as "dimg", and the number of an item, the numbers
            of the items that it refers to.
    """

    def __init__(self, boxes: Boxes, meta: Box) -> None:
        self._boxes, self._data = boxes, boxes.data
        self.primary = 0
        self.kinds: dict[int, bytes] = {}
        self.properties: dict[int, list[Box]] = {}
        self.references: dict[bytes, dict[int, list[int]]] = {}
        for box in boxes.inside(meta, 4):
            wide = 4 if number(self._data, box.start, 1) else 2
            if box.name == b"pitm":
                self.primary = number(self._data, box.start + 4, wide)
            elif box.name == b"iinf":
                self._read_kinds(box, wide)
            elif box.name == b"iref":
                self._read_references(box, wide)
            elif box.name == b"iprp":
                self._read_properties(box)

    def related(self, name: bytes, source: int) -> list[int]:
        """The items that an item refers to, by the kind of reference.

        For example, "dimg" refers to the items that an item is made of.
        """
        return self.references.get(name, {}).get(source, [])

    def _read_kinds(self, box: Box, wide: int) -> None:
        for item in self._boxes.inside(box, 4 + wide):
            size = 4 if number(self._data, item.start, 1) > 2 else 2
            kind = item.start + 4 + size + 2
            end = min(item.end, kind + 200)
            name = self._data[kind : kind + 4]
            if name == b"mime":
                name = self._data[kind + 4 : end].partition(b"\0")[2].partition(b"\0")[0]
            self.kinds[number(self._data, item.start + 4, size)] = name

    def _read_references(self, box: Box, wide: int) -> None:
        for one in self._boxes.inside(box, 4):
            source = number(self._data, one.start, wide)
            targets = self.references.setdefault(one.name, {}).setdefault(source, [])
            for at in range(one.start + wide + 2, one.end - wide + 1, wide):
                next(self._boxes.steps)
                targets.append(number(self._data, at, wide))

    def _read_properties(self, box: Box) -> None:
        known = list(self._boxes.inside(self._boxes.find(box, b"ipco")))
        for uses in self._boxes.inside(box):
            if uses.name != b"ipma":
                continue
            wide = 4 if number(self._data, uses.start, 1) else 2
            size = 2 if number(self._data, uses.start + 3, 1) & 1 else 1
            at = uses.start + 8
            for _ in range(number(self._data, uses.start + 4, 4)):
                next(self._boxes.steps)
                if at >= uses.end:
                    break
                own = self.properties.setdefault(number(self._data, at, wide), [])
                at += wide + 1
                for _ in range(number(self._data, at - 1, 1)):
                    next(self._boxes.steps)
                    index = number(self._data, at, size) & (0x7FFF if size == 2 else 0x7F)
                    own.extend(known[index - 1 : index] if index else [])
                    at += size
