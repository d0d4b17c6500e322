"""Stands in for torchvision, so that MONAI Label starts with any build of PyTorch."""
