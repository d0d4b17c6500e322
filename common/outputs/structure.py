"""What the files call the segmented structure, and its colour."""

from __future__ import annotations

NAME = "coronary artery"
COLOUR = (216, 101, 79)
"""Red, green, blue: what 3D Slicer gives arteries."""
