"""CAS-Net: coronary arteries in CT angiography."""
