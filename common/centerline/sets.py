"""Disjoint sets of numbers that are united step by step."""

from __future__ import annotations

from collections.abc import Iterable


class DisjointSets:
    """Sets of numbers; each number is a set of its own at first."""

    def __init__(self) -> None:
        self._parent: dict[int, int] = {}

    def find(self, number: int) -> int:
        """Return the number that stands for the set of ``number``."""
        while (parent := self._parent.setdefault(number, number)) != number:
            self._parent[number] = number = self._parent[parent]
        return number

    def join(self, numbers: Iterable[int]) -> bool:
        """Unite the sets of all numbers and return True, or leave them and return False if two are in one already."""
        roots = [self.find(number) for number in numbers]
        if len(set(roots)) < len(roots):
            return False
        self._parent.update(dict.fromkeys(roots, roots[0]))
        return True
