"""The folders that data sets of coronary arteries come in, recognised and turned into cases."""
