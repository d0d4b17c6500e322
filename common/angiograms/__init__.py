"""X-ray coronary angiograms: reading, loading, saving and showing stills and sequences."""
