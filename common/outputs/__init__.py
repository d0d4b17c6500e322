"""What inference writes beside masks, for other programs and for people: one module for each format."""
