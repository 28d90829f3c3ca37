"""Small model files that no training made."""

from pathlib import Path

import torch

from stylecli.core.generators import Generator
from stylecli.core.model_files import ModelInfo, save_model
from stylecli.core.spec import GeneratorSpec


def saved(path: Path, *styles: str, **more: object) -> Path:
    """A model of these styles, each unlike the others; without any, of one that the file names."""
    torch.manual_seed(0)
    generator = Generator(GeneratorSpec(width=4)).remix(torch.ones(len(styles) or 1, 1)).eval()
    for _, table in generator.tables():
        table.data.copy_(torch.randn(table.shape))
    save_model(path, generator, ModelInfo(path.stem, generator.spec, styles=[*styles], **more))
    return path
