"""Parallel-beam CT of axial slices: projection, photon noise, reconstruction, whole scans, noise without a scan."""
