"""CASR-Net: coronary arteries in single X-ray angiograms."""
