"""Model files: what is written is read again; anything else is one clear error."""

import json
import math
import os
import resource
import tracemalloc

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import networks
from stylecli.core import model_files, tensor_files
from stylecli.core.architectures import ARCHITECTURES
from stylecli.core.generators import Generator
from stylecli.core.model_files import (
    ModelInfo,
    find_model,
    list_models,
    load_generator,
    load_model,
    read_info,
    save_model,
)
from stylecli.core.spec import MAX_STYLES, GeneratorSpec
from stylecli.core.tensor_files import save_tensors
from stylecli.engine import Stylizer
from stylecli.errors import StyleCliError


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """Only these folders are searched: the bundled, the user's, here."""
    found = [tmp_path / name for name in ("bundled", "user", "here")]
    monkeypatch.setattr(model_files, "model_folders", lambda: found)
    return found


def saved(path, arch="residual", norm="in", **more):
    generator = Generator(GeneratorSpec(arch, norm, 4)).eval()
    generator.remix(torch.ones(len(more.get("styles", [""])), 1))
    info = ModelInfo(name=path.stem, spec=GeneratorSpec(arch, norm, 4), **more)
    save_model(path, generator, info)
    return generator


@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize("norm", ["in", "bn", "none"])
def test_a_loaded_model_paints_exactly_as_the_saved_one(tmp_path, arch, norm):
    generator = saved(tmp_path / "m.safetensors", arch, norm, losses={"total": 1.5}, license="CC0")
    loaded, info = load_model(str(tmp_path / "m.safetensors"))
    photo = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(generator(photo), loaded(photo))
    assert (info.spec.arch, info.spec.norm, info.spec.width) == (arch, norm, 4)
    assert (info.losses, info.license) == ({"total": 1.5}, "CC0")
    assert not loaded.training


def test_a_model_file_has_the_names_that_other_versions_know_and_is_read_as_it_was(tmp_path):
    path = tmp_path / "m.safetensors"
    spec = GeneratorSpec("residual", "in", 4, "gaussian", "bilinear")
    info = ModelInfo("m", spec, {"steps": 3}, {"total": 1.5}, ["m"], "", "CC0")
    save_model(path, Generator(spec), info)
    metadata = tensor_files.read_metadata(path)
    assert metadata.keys() == {
        *("name", "arch", "norm", "width", "output", "noise", "upsampling", "activation"),
        *("training", "losses", "styles", "thumbnail", "license", "format_version"),
    }
    assert (metadata["output"], metadata["activation"]) == ("linear", "relu")
    assert read_info(path) == info


def test_a_name_is_looked_for_among_the_bundled_then_at_the_users_then_here(folders):
    bundled, user, here = folders
    saved(here / "a.safetensors")
    assert find_model("a") == here / "a.safetensors"
    saved(user / "a.safetensors")
    assert find_model("a") == user / "a.safetensors"
    saved(bundled / "a.safetensors")
    assert find_model("a") == bundled / "a.safetensors"
    assert [path.parent.name for path, _ in list_models()] == ["bundled", "user", "here"]
    assert model_files.name_for(bundled / "a.safetensors") == "a"
    assert model_files.name_for(here / "a.safetensors") == str(here / "a.safetensors")


@pytest.mark.parametrize("place", [1, 2], ids=["added", "here"])
@pytest.mark.parametrize("name", ["a", "A", "b", "trio", "Trio"])
def test_no_other_model_takes_over_a_bundled_name(folders, place, name):
    saved_trio(folders[0] / "trio.safetensors")
    for other in ("a", "b", "trio"):
        saved(folders[place] / f"{other}.safetensors", styles=["x"])
    saved(folders[place] / "0.safetensors", styles=["a", "A", "B", "trio", "Trio"])
    found = find_model(name)
    if name in ("A", "Trio"):  # it is not the bundled name, which is in lower case
        found = find_model(name.lower())
    assert found == folders[0] / "trio.safetensors"


def test_a_name_may_be_written_in_another_way(folders):
    saved_trio(folders[0] / "the-trio.safetensors")
    saved(folders[1] / "one.safetensors", styles=["Café at Night"])
    for name in ("The Trio", "the_trio", "THE-TRIO"):
        assert find_model(name) == folders[0] / "the-trio.safetensors"
    path, _, mix = model_files.find_style("The Trio", "B:1, c:3")
    assert (path.stem, mix) == ("the-trio", [0, 0.25, 0.75])
    assert model_files.find_style("B")[2] == [0, 1, 0]
    assert model_files.find_style("B", "b")[2] == [0, 1, 0]
    assert find_model("cafe-at-night") == folders[1] / "one.safetensors"


def test_the_name_of_one_style_and_another_style_is_an_error(folders):
    saved_trio(folders[0] / "trio.safetensors")
    with pytest.raises(StyleCliError, match="--style c is another") as caught:
        load_model("b", "c")
    assert caught.value.hint == "pass --model trio --style c"


def test_a_blend_in_place_of_a_model_is_told_how_to_be_given(folders):
    saved_trio(folders[0] / "trio.safetensors")
    with pytest.raises(StyleCliError, match=r"a:0\.5,b:0\.5 is a blend of styles") as caught:
        find_model("a:0.5,b:0.5")
    assert caught.value.hint == "pass --model trio --style a:0.5,b:0.5"
    with pytest.raises(StyleCliError, match="there is no model named 'a:0"):
        find_model("a:0.5,d:0.5")


def test_a_missing_name_suggests_the_nearest(folders):
    saved(folders[0] / "starry-night.safetensors")
    with pytest.raises(StyleCliError, match="there is no model named 'stary-nigt'") as caught:
        find_model("stary-nigt")
    assert "did you mean starry-night?" in caught.value.hint


def saved_trio(path):
    return load_generator(networks.saved(path, "a", "b", "c"))


def test_a_style_in_a_model_of_several_is_found_by_its_name_and_blended_by_shares(folders):
    trio = saved_trio(folders[1] / "trio.safetensors")
    photo = torch.rand(1, 3, 32, 32)

    def painted(*choice):
        with torch.no_grad():
            return load_model(*choice)[0](photo)

    with torch.no_grad():
        assert torch.equal(painted("b"), trio(photo, torch.tensor([1])))
    assert torch.equal(painted("trio", "b"), painted("b"))
    assert torch.equal(painted("trio", "b:1, c:0"), painted("b"))
    assert torch.equal(painted("trio", "a:3,b:1"), painted("trio", "a:0.75,b:0.25"))
    assert not torch.equal(painted("trio", "a:0.75,b:0.25"), painted("a"))
    saved(folders[0] / "b.safetensors")
    assert find_model("b") == folders[0] / "b.safetensors"  # a bundled one comes first


@pytest.mark.parametrize(
    ("style", "message"),
    [
        (None, "holds 3 styles, and none was chosen"),
        ("d", "has no style 'd'"),
        ("a:0.7,d:0.3", "has no style 'd'"),
        ("a:much", "'a:much' is not a share"),
        ("a:-1,b:2", "'a:-1' is not a share"),
        ("a:nan", "is not a share"),
        ("a:0", "add up to 0"),
        ("", "has no style ''"),
    ],
)
def test_a_style_that_cannot_be_meant_is_an_error(folders, style, message):
    saved_trio(folders[0] / "trio.safetensors")
    with pytest.raises(StyleCliError, match=message):
        load_model("trio", style)


def test_the_loss_network_and_broken_files_are_not_listed_as_models(folders):
    folder = folders[0]
    saved(folder / "good.safetensors")
    save_file({"conv1_1.weight": torch.zeros(2)}, folder / "foreign.safetensors")
    (folder / "broken.safetensors").write_bytes(b"\x00" * 20)
    assert [path.stem for path, _ in list_models()] == ["good"]


def cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def foreign(path):
    save_file({"weight": torch.zeros(2)}, path)


def other_weights(path):
    info = {"name": "m", "arch": "pyramid", "norm": "in", "width": 4, "output": "linear"}
    save_tensors(path, {"weight": torch.zeros(2)}, info)


def from_the_future(path):
    save_tensors(path, {"weight": torch.zeros(2)}, {"format_version": 99})


def training_state(path):
    save_tensors(path, {"weight": torch.zeros(2)}, {"step": 3, "config": {}})


def odd_metadata(path):
    save_file({"weight": torch.zeros(2)}, path, metadata={"stylecli": "[1, 2]"})


def odd_types(path):
    info = {"name": "m", "arch": [], "norm": "in", "width": "4", "output": "linear"}
    save_tensors(path, {"weight": torch.zeros(2)}, info)


def with_metadata(path, text):
    """Give a model file another description, whatever it is, and leave its tensors."""
    save_file(load_file(path), path, metadata={"stylecli": text})


def told(path, **changes):
    """Change fields of a model's description."""
    with_metadata(path, json.dumps({**tensor_files.read_metadata(path), **changes}))


def of_format_1(path):
    """A pyramid with batch norm, whose activation files of format 1 did not name."""
    saved(path, "pyramid", "bn")
    known = {**tensor_files.read_metadata(path), "format_version": 1}
    for name in ("noise", "upsampling", "activation"):
        del known[name]
    with_metadata(path, json.dumps(known))


def with_weights(path, change):
    """Change a model's first tensor."""
    tensors = load_file(path)
    name = "body.0.0.weight"
    save_tensors(path, {**tensors, name: change(tensors[name])}, tensor_files.read_metadata(path))


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (cut, "cannot be read as a model"),
        (lambda path: path.write_bytes(b""), "cannot be read as a model"),
        (lambda path: path.write_text("PK pickle"), "cannot be read as a model"),
        (foreign, "not one that stylecli wrote"),
        (other_weights, "do not fit"),
        (from_the_future, "format 99"),
        (training_state, "is not a model"),
        (odd_metadata, "cannot be read as a model"),
        (odd_types, r"cannot be used: --arch takes a text, not \[\]"),
        (lambda path: with_metadata(path, "[" * 100_000), "cannot be read as a model"),
        (lambda path: with_metadata(path, '{"width": NaN}'), "cannot be read as a model"),
        (lambda path: with_metadata(path, '{"width": 1e999}'), "cannot be read as a model"),
        (lambda path: told(path, format_version=True), "damaged description: its format_version"),
        (lambda path: told(path, format_version="x"), "damaged description: its format_version"),
        (lambda path: told(path, styles=[1, 2]), "damaged description: its styles"),
        (lambda path: told(path, styles=["a", "a"]), "damaged description: its styles"),
        (lambda path: told(path, styles=["a", ""]), "damaged description: its styles"),
        (lambda path: told(path, styles=["a" * 300]), "damaged description: its styles"),
        (lambda path: told(path, styles=["a\x1b[2J"]), "damaged description: its styles"),
        (lambda path: told(path, styles=["a\u200fb"]), "damaged description: its styles"),
        (lambda path: told(path, styles=["a\udcffb"]), "damaged description: its styles"),
        (lambda path: told(path, name="a\rb"), "damaged description: its name"),
        (lambda path: told(path, norm="i\nn"), r"cannot be used: unknown --norm 'i\\nn'"),
        (lambda path: told(path, width=True), "cannot be used: --width"),
        (lambda path: told(path, width=4.0), "cannot be used: --width"),
        (lambda path: told(path, width=-4), "cannot be used: --width"),
        (lambda path: told(path, width=10**9), "cannot be used: --width"),
        (lambda path: told(path, losses={"total": "1"}), "damaged description: its losses"),
        (lambda path: told(path, losses={"total": 10**400}), "damaged description: its losses"),
        (lambda path: told(path, losses=[1]), "damaged description: its losses"),
        (lambda path: told(path, training=[1]), "damaged description: its training"),
        (lambda path: told(path, training={"curve": 3}), "damaged description: its training"),
        (lambda path: told(path, thumbnail=5), "damaged description: its thumbnail"),
        (lambda path: told(path, license=None), "damaged description: its license"),
        (lambda path: told(path, arch="cubist"), "cannot be used: unknown --arch 'cubist'"),
        (lambda path: told(path, width=None), "cannot be used: its width is missing"),
        (lambda path: told(path, output="tanh"), "its output is 'tanh', and only linear is"),
        (lambda path: told(path, activation="leaky_relu"), "its activation is 'leaky_relu'"),
        (of_format_1, "its activation is 'leaky_relu', and only relu is supported"),
        (lambda path: told(path, width=5), "do not fit"),
        (lambda path: with_weights(path, lambda x: x * math.nan), "are not all finite"),
        (lambda path: with_weights(path, lambda x: x / 0), "are not all finite"),
        (lambda path: with_weights(path, lambda x: x.to(torch.int32)), "do not fit"),
        (lambda path: with_weights(path, lambda x: x.to(torch.complex64)), "do not fit"),
    ],
)
def test_a_bad_file_is_one_clear_error(tmp_path, damage, says):
    path = tmp_path / "m.safetensors"
    saved(path)
    damage(path)
    with pytest.raises(StyleCliError, match=says) as caught:
        load_model(str(path))
    assert "\n" not in caught.value.message
    assert caught.value.hint


def test_nothing_is_allocated_from_a_file_that_claims_to_be_larger_than_it_is(tmp_path):
    path = tmp_path / "m.safetensors"
    saved(path)
    told(path, width=512)  # a network of 1.5 GB
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # KiB
    with pytest.raises(StyleCliError, match="do not fit"):
        load_model(str(path))
    told(path, width=4, styles=["a", "b"])
    with pytest.raises(StyleCliError, match="do not fit"):
        load_model(str(path), "a")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 * 1024


def test_broken_files_do_not_keep_the_others_from_being_listed_and_found(folders):
    folder = folders[0]
    saved(folder / "good.safetensors", styles=["sunny"])
    for name, text in {"deep": "[" * 100_000, "list": "[]", "text": "hello"}.items():
        saved(folder / f"{name}.safetensors")
        with_metadata(folder / f"{name}.safetensors", text)
    saved(folder / "numbers.safetensors")
    told(folder / "numbers.safetensors", styles=[["sunny"], 3])
    os.mkfifo(folder / "pipe.safetensors")
    assert [path.stem for path, _ in list_models()] == ["good"]
    assert find_model("sunny") == folder / "good.safetensors"
    with pytest.raises(StyleCliError, match="no model named"):
        find_model("cloudy")


def test_each_file_is_read_once_to_start_a_stylizer(folders, monkeypatch):
    """Its description once, and its weights; no file twice, and none that is not needed."""
    saved(folders[1] / "many.safetensors", styles=["dawn", "dusk"])
    saved(folders[1] / "other.safetensors")
    opened = []

    def counted(path, *arguments, **more):
        opened.append(path.name)
        return safe_open(path, *arguments, **more)

    monkeypatch.setattr(tensor_files, "safe_open", counted)
    assert Stylizer("dusk", device="cpu").info.styles == ["dawn", "dusk"]
    assert opened == ["many.safetensors"] * 2


def test_a_file_that_is_replaced_while_the_program_runs_is_read_again(tmp_path):
    path = tmp_path / "model.safetensors"
    for styles in (["a", "b"], ["c", "d"], ["e", "f"]):
        saved(path, styles=styles)
        assert read_info(path).styles == styles
    path.write_bytes(b"no model")
    with pytest.raises(StyleCliError, match="cannot be read as a model"):
        read_info(path)
    path.unlink()
    with pytest.raises(StyleCliError, match="cannot open"):
        read_info(path)


def with_header(path, text):
    """A safetensors file with a header of this text, and nothing behind it."""
    content = text.encode()
    path.write_bytes(len(content).to_bytes(8, "little") + content)


def test_a_description_of_many_megabytes_is_refused_before_it_is_read(folders):
    path = folders[2] / "long.safetensors"
    path.parent.mkdir()
    saved(folders[2] / "good.safetensors")
    long = {"stylecli": json.dumps({"license": "x" * 30_000_000})}
    with_header(path, json.dumps({"__metadata__": long}))
    for i in range(20):
        os.link(path, folders[2] / f"{i}.safetensors")
    tracemalloc.start()
    try:
        assert [found.stem for found, _ in list_models()] == ["good"]
        for read in (read_info, model_files.load_arrays):
            with pytest.raises(StyleCliError, match=r"its header would have 30,\d+,\d+ bytes"):
                read(path)
        with pytest.raises(StyleCliError, match="its header would have"):
            tensor_files.load_tensors(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 20_000_000


def test_the_longest_description_that_there_can_be_is_read(tmp_path):
    names = [f"{i:04}{chr(0x1F3A8) * 251}" for i in range(MAX_STYLES)]
    info = ModelInfo("m", GeneratorSpec("residual", "in", 4), styles=names, thumbnail="x" * 2**20)
    generator = Generator(GeneratorSpec(width=4)).remix(torch.ones(len(names), 1))
    save_model(tmp_path / "m.safetensors", generator, info)
    assert read_info(tmp_path / "m.safetensors").styles == names
