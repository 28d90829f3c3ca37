"""The folder of a comparison: whose it is, what its arms may be trained on, what is done."""

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from stylecli.config import CompareConfig
from stylecli.core.checkpoints import SUFFIX
from stylecli.errors import StyleCliError
from stylecli.files.atomic import atomic_path
from stylecli.files.content import ContentPhotos, bundled_photos
from stylecli.files.images import Picture, Rgb, read_picture, write_picture

# These may change from run to run of one comparison, or are told by fingerprints.
_FREE = {"out", "gatys", "gatys_steps", "norms", "archs", "device", "size"}
_FREE |= {"photos", "style", "content"}


class ComparisonFolder:
    """Where a comparison keeps what it trained and computed.

    Args:
        config: the comparison; ``out`` is the folder.
        painting_sha: fingerprint of its painting.
        photos: what is compared on.

    Raises:
        StyleCliError: the folder holds another comparison, or other things.
    """

    def __init__(self, config: CompareConfig, painting_sha: str, photos: Sequence[Path]) -> None:
        self.config, self.out = config, config.out
        self.shas = {path: _sha(path.read_bytes()) for path in photos}
        self.mark = self.out / "comparison.json"
        settings = {key: value for key, value in asdict(config).items() if key not in _FREE}
        content = str(config.content.resolve()) if config.content else "bundled"
        shas = sorted(self.shas.values())
        told = {**settings, "content": content, "painting": painting_sha, "photos": shas}
        self.identity: dict[str, Any] = json.loads(json.dumps(told))
        self._check()

    @property
    def models(self) -> Path:
        """Where its arms are."""
        return self.out / "models"

    def _check(self) -> None:
        if not self.out.exists():
            return
        if not self.out.is_dir():
            raise StyleCliError(f"{self.out} is a file", hint="pass a folder with --out")
        if self._is_claimed():
            theirs = self._claimed()
            changed = [key for key in self.identity if self.identity[key] != theirs.get(key)]
            if changed:
                raise StyleCliError(
                    f"{self.out} holds another comparison; it differs in: {', '.join(changed)}",
                    hint="pass another folder with --out",
                )
        elif not self.mark.exists() and any(self.out.iterdir()):
            raise StyleCliError(
                f"{self.out} is not empty, and holds no comparison",
                hint="pass another folder with --out",
            )

    def _is_claimed(self) -> bool:
        """A mark counts once something was trained or made: a first try may have been mistyped."""
        made = [*self.models.glob(f"*{SUFFIX}"), self.out / "results.json"]
        return self.mark.exists() and any(path.exists() for path in made)

    def _claimed(self) -> dict[str, Any]:
        try:
            claimed: dict[str, Any] = json.loads(self.mark.read_text(encoding="utf-8"))
        except ValueError:
            return {}
        return claimed

    def claim(self) -> None:
        """Make the folder this comparison's own."""
        if self._is_claimed():
            return
        self.out.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(self.out / "content", ignore_errors=True)  # of a first try
        with atomic_path(self.mark) as temporary:
            temporary.write_text(json.dumps(self.identity, indent=1), encoding="utf-8")

    def content_photos(self) -> list[Path]:
        """The bundled photos that are not compared on.

        Raises:
            StyleCliError: none is left.
        """
        compared = set(self.shas.values())
        others = [path for path in bundled_photos() if _sha(path.read_bytes()) not in compared]
        if not others:
            raise StyleCliError(
                "all bundled photos are compared on, and none is left to train on",
                hint="pass --content with a folder of other photos",
            )
        return others

    def check_content(self) -> None:
        """Raise StyleCliError if there is nothing to train on."""
        if self.config.content:
            ContentPhotos(self.config.content, self.config.seed)
        else:
            self.content_photos()

    def content(self) -> Path:
        """A folder of the photos to train on: the user's, or a copy of the bundled others."""
        if self.config.content:
            return self.config.content
        folder, partial = self.out / "content", self.out / ".content"
        if not folder.is_dir():
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            for path in self.content_photos():
                shutil.copyfile(path, partial / path.name)
            partial.rename(folder)  # whole, or not at all
        return folder

    def kept_gatys(self, photo: Path, key: str) -> tuple[Rgb, list[float]] | None:
        """What an earlier run optimized for a photo: the picture, and its totals."""
        picture, totals = self._gatys_files(photo, key)
        if not (picture.exists() and totals.exists()):
            return None
        return read_picture(picture).rgb, json.loads(totals.read_text(encoding="utf-8"))

    def keep_gatys(self, photo: Path, key: str, rgb: Rgb, totals: list[float]) -> None:
        """Keep it for the next run."""
        picture, file = self._gatys_files(photo, key)
        write_picture(picture, Picture(rgb))
        with atomic_path(file) as temporary:
            temporary.write_text(json.dumps(totals), encoding="utf-8")

    def _gatys_files(self, photo: Path, key: str) -> tuple[Path, Path]:
        name = _sha(f"{self.shas[photo]} {key}".encode())[:16]
        return self.out / "gatys" / f"{name}.png", self.out / "gatys" / f"{name}.json"


def _sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
