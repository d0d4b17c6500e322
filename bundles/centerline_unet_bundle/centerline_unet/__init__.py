"""Centerline-guided U-Nets for coronary arteries in CT angiography."""
