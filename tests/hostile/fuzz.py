"""Damaged files through the real command, for as long as asked: ``make fuzz MINUTES=10``.

Each run gives the command a folder of damaged pictures, here or in an object store, damaged models,
a damaged checkpoint or a damaged film. Whatever is in them, it must end in time, within its memory,
with a documented exit code, without a traceback, and having named what it could not read. What
breaks is kept in ``fuzz-failures/``; it belongs into a test then.
"""

import logging
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))
from children import Ended, run
from moto.server import ThreadedMotoServer
from PIL import Image
from seeds import Damage, checkpoint, damaged, damages, film, model, pictures

_AT_ONCE = 8  # pictures in a folder: the start of a process costs more than they do
_ATTEMPTS = 10  # between two looks at the clock
_FAILURES = Path("fuzz-failures")


class Fuzz:
    """The sound files, and the runs over damaged ones.

    Args:
        folder: for all files.
        store: a client of the object store that the command uses.
    """

    def __init__(self, folder: Path, store: Any) -> None:
        self.folder, self.store = folder, store
        painting = Path(__file__).parents[2] / "models" / "paintings" / "cezanne.jpg"
        self.pictures = pictures()
        self.film = film(folder)
        self.model = model(folder)
        self.checkpoint = checkpoint(folder, painting)
        self.photo = self.pictures["plain.jpg"]
        self.tiny = folder / "tiny.safetensors"
        self.counts: dict[str, int] = {}

    def fresh(self, kind: str) -> Path:
        """An empty folder."""
        self.counts[kind] = self.counts.get(kind, 0) + 1
        place = self.folder / "now"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        return place

    def try_pictures(self, changes: list[list[Damage]]) -> None:
        """A folder of damaged pictures: each is painted or named."""
        place = self.fresh("pictures")
        self._write_pictures(place, changes)
        self._check_pictures(place, self._stylize(place, "in", "out"))

    def try_store(self, changes: list[list[Damage]]) -> None:
        """The same in an object store."""
        place = self.fresh("stores")
        self._write_pictures(place, changes)
        bucket = f"run-{self.counts['stores']}"
        self.store.create_bucket(Bucket=bucket)
        for path in (place / "in").iterdir():
            self.store.upload_file(path, bucket, f"in/{path.name}")
        ended = self._stylize(place, f"s3://{bucket}/in", f"s3://{bucket}/out")
        (place / "out").mkdir()
        made = self.store.list_objects_v2(Bucket=bucket, Prefix="out/").get("Contents", [])
        for one in made:
            self.store.download_file(bucket, one["Key"], place / one["Key"])
        self._check_pictures(place, ended)

    def _write_pictures(self, place: Path, changes: list[list[Damage]]) -> None:
        (place / "in").mkdir()
        for i, some in enumerate(changes):
            name, sound, other = self._pick(some)
            (place / "in" / f"{i:02}-{name}").write_bytes(damaged(sound, other, some))

    def _check_pictures(self, place: Path, ended: Ended) -> None:
        made = {path.stem for path in (place / "out").glob("*")}
        for path in (place / "in").iterdir():
            assert path.stem in made or path.name in ended.err, f"{path.name} is lost: {ended.err}"
        for path in (place / "out").glob("*"):
            Image.open(path).load()

    def try_film(self, changes: list[list[Damage]]) -> None:
        """A damaged film."""
        place = self.fresh("films")
        _, other, _ = self._pick(changes[0])
        (place / "film.mp4").write_bytes(damaged(self.film, other, changes[0]))
        ended = self._stylize(place, "film.mp4", "out.mp4")
        assert (ended.code == 0) == (place / "out.mp4").exists()

    def try_models(self, changes: list[list[Damage]]) -> None:
        """Damaged models among those that are listed, added, and used."""
        place = self.fresh("models")
        (place / "models").mkdir()
        for i in range(3):
            bad = damaged(self.model, self.checkpoint, changes[i])
            (place / "models" / f"m{i}.safetensors").write_bytes(bad)
        (place / "photo.jpg").write_bytes(self.photo)
        assert run(place, "models").code == 0
        run(place, "models", "m0")
        ended = run(place, "models", "add", "models/m2.safetensors", "--name", "added")
        assert (ended.code == 0) == (place / "data/stylecli/models/added.safetensors").exists()
        arguments = ("photo.jpg", "out.jpg", "--model", "models/m1.safetensors", "--style", "a")
        ended = run(place, "stylize", *arguments, "--device", "cpu")
        assert (ended.code == 0) == (place / "out.jpg").exists()

    def try_checkpoint(self, changes: list[list[Damage]]) -> None:
        """A damaged checkpoint that is to be resumed."""
        place = self.fresh("checkpoints")
        bad = damaged(self.checkpoint, self.model, changes[0])
        (place / "small.checkpoint.safetensors").write_bytes(bad)
        ended = run(place, "train", "--output", "small.safetensors", "--resume")
        assert (ended.code == 0) == (place / "small.safetensors").exists()

    def _pick(self, changes: list[Damage]) -> tuple[str, bytes, bytes]:
        """A picture's name and bytes, and another's to splice in, by the bytes of a change."""
        names = sorted(self.pictures)
        first = changes[0][3]
        name, other = names[first[0] % len(names)], names[first[-1] % len(names)]
        return name, self.pictures[name], self.pictures[other]

    def _stylize(self, place: Path, source: str, target: str) -> Ended:
        return run(
            place,
            "stylize",
            source,
            target,
            "--model",
            self.tiny,
            "--device",
            "cpu",
            "--style",
            "a",
            "--max-pixels",
            2_000_000,
        )


@contextmanager
def object_store() -> Iterator[Any]:
    """A server of S3's protocol in this process, for the commands too; yields a client of it."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # it names every request
    server.start()
    host, port = server.get_host_and_port()
    os.environ |= {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    try:
        yield boto3.client("s3")
    finally:
        server.stop()


Attempt = Callable[[list[list[Damage]]], None]


def hunt(attempt: Attempt, start: int) -> None:
    """Try some damages; hypothesis repeats what breaks."""

    @seed(start)
    @settings(
        max_examples=_ATTEMPTS,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
    )
    @given(st.lists(damages(), min_size=_AT_ONCE, max_size=_AT_ONCE))
    def some(changes: list[list[Damage]]) -> None:
        attempt(changes)

    some()


def survives(fuzz: Fuzz, attempt: Attempt, minutes: float, start: int) -> bool:
    """Hunt for so long; what breaks is told, and its files are kept."""
    until = time.monotonic() + 60 * minutes
    try:
        while time.monotonic() < until:
            hunt(attempt, start)
            start += 1
    except Exception as failure:
        kept = _FAILURES / f"{attempt.__name__}-{start}"
        shutil.rmtree(kept, ignore_errors=True)
        shutil.copytree(fuzz.folder / "now", kept)
        print(f"{attempt.__name__}: {failure}\nkept in {kept}", flush=True)
        return False
    return True


def main(minutes: float, start: int) -> int:
    """Hunt in each kind of file for a share of the time; tell what broke."""
    with tempfile.TemporaryDirectory() as folder, object_store() as store:
        fuzz = Fuzz(Path(folder), store)
        shares = [(fuzz.try_pictures, 0.3), (fuzz.try_models, 0.2), (fuzz.try_film, 0.2)]
        shares += [(fuzz.try_checkpoint, 0.2), (fuzz.try_store, 0.1)]
        results = [
            survives(fuzz, attempt, minutes * share, 1000 * start) for attempt, share in shares
        ]
        print(f"runs: {fuzz.counts}; kinds of file that broke something: {results.count(False)}")
    return int(not all(results))


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0))
