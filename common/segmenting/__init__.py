"""From any one image to its coronary mask: what it is, which bundle fits, and that bundle's inference."""
