"""The names that there are to choose from, without torch; a new one is added here."""

from typing import Literal

Arch = Literal["residual", "pyramid"]  # each is a module of stylecli.core.architectures
Norm = Literal["in", "bn", "none"]
Output = Literal["linear", "tanh"]
Noise = Literal["none", "gaussian"]
Upsampling = Literal["nearest", "bilinear"]
Activation = Literal["relu", "leaky_relu"]
Recipe = Literal["layers", "paper"]  # of a training
Optimizer = Literal["muon", "adam"]
LossPadding = Literal["replicate", "zeros"]
Precision = Literal["auto", "float32", "bfloat16"]
BackendChoice = Literal["auto", "openvino", "torch"]
