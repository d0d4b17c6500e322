"""SVS-net: coronary arteries in X-ray angiography sequences."""
