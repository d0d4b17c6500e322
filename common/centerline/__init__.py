"""Centerlines: extracted from masks, read and written, compared, and cropped along."""
