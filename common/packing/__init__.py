"""From a bundle folder of this repository to a zip that runs anywhere."""
