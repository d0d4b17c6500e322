"""Published checkpoints become weights of a bundle: read, mapped by position and shape, compared, written."""
