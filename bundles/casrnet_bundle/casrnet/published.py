"""Published checkpoints for CASR-Net, for ``python -m casrnet.common convert``: ImageNet weights of its encoder."""

from __future__ import annotations

from .common.conversion.source import Source, renamed

PUBLISHED = {
    "imagenet": Source(
        title="a DenseNet121 trained on ImageNet",
        modules=lambda features: renamed(features, [(r"\.layers\.", ".")]),
        input_shape=lambda features: (1, features.conv0.in_channels, 64, 64),
        part="encoder.features",
        file="model_encoder.pt",
        spelling=((r"\.(norm|conv)\.([12])\.", r".\1\2."), (r"\.layers\.", ".")),
        left_aside=r"(^|\.)(classifier|class_layers)\.",
        notes=("it is the encoder alone: train with network_def::encoder_weights set to this file",),
    ),
}
