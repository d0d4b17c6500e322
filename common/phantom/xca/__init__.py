"""X-ray coronary angiograms (XCA) of a phantom: projection, motion, contrast flow, background, detector, files."""
