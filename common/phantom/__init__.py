"""Synthetic hearts with exact truth: coronary tree, chambers and their images."""
