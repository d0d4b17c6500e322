"""SynCAS: coronary arteries in non-contrast CT, learned from synthetic scans."""
