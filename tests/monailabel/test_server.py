"""MONAI Label serves, trains and scores with the packed bundles: run by `make test-monailabel`."""

import json
import shutil
import subprocess
import sys
from contextlib import ExitStack
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import monai.bundle
import nibabel
import numpy as np
import pytest
from PIL import Image

from common.phantom.dataset import write_dataset

from ..conftest import BUNDLES, ROOT
from .server import Server

sitk = pytest.importorskip("SimpleITK", reason="MONAI Label has a virtual environment of its own: make test-monailabel")
pytest.importorskip("monailabel")
pytestmark = pytest.mark.monailabel

ALL = [bundle.name for bundle in BUNDLES]
MASKS = {  # image of the studies that each bundle segments
    "casnet_bundle": "ccta_3_0000",
    "centerline_unet_bundle": "ccta_3_0000",
    "syncas_bundle": "ncct_3_0000",
    "casrnet_bundle": "xca_3_0000",
    "svsnet_bundle": "xca_3_0000",
}
SHORT = {  # MONAI Label passes no options to a training but those of its own, so they are written into train.json
    "casnet_bundle": {"patch_size": [64, 64, 64], "num_patches": 1, "overlap": 0.0, "num_workers": 0},
    "svsnet_bundle": {"patch_size": [64, 64], "num_windows": 2, "num_workers": 0},
}


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    """Address of the packed bundles, served from loopback."""
    folder = tmp_path_factory.mktemp("release")
    subprocess.run([sys.executable, "-m", "common", "pack", "all", "--out", str(folder)], cwd=ROOT, check=True)
    handler = partial(SimpleHTTPRequestHandler, directory=folder)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def app(release, tmp_path_factory):
    """The app `monaibundle` with all bundles, downloaded as from a release on GitHub."""
    folder = tmp_path_factory.mktemp("apps")
    command = ["monailabel.main", "apps", "--download", "--name", "monaibundle", "--output", str(folder)]
    subprocess.run([sys.executable, "-m", *command], cwd=folder, check=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("monai.bundle.scripts._get_git_release_url", lambda *_, filename, **__: f"{release}/{filename}")
        for name in ALL:
            model = folder / "monaibundle" / "model"
            monai.bundle.download(name, "0.1.0", model, source="github", repo="OWNER/REPO/v0.1.0", progress=False)
    for name, options in SHORT.items():
        set_options(folder / "monaibundle" / "model" / name / "configs" / "train.json", options)
    return folder / "monaibundle"


def set_options(config, options):
    config.write_text(json.dumps({**json.loads(config.read_text()), **options}))


def make_studies(folder, modality, cases, labels, **options):
    """Phantoms in a folder as MONAI Label wants it, some with labels."""
    phantoms = folder / "phantoms"
    write_dataset(phantoms, cases=cases, seed=3, modality=modality, **options)
    studies = folder / "studies"
    (studies / "labels" / "final").mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(sorted((phantoms / "images").glob("*.nii.gz"))):
        shutil.copy(image, studies)
        if number < labels:
            shutil.copy(phantoms / "labels" / image.name, studies / "labels" / "final")
    shutil.rmtree(phantoms)
    return studies


@pytest.fixture(scope="module")
def volumes(tmp_path_factory):
    """Two CCTA phantoms with labels, one without contrast and label."""
    folder, size = tmp_path_factory.mktemp("ct"), {"shape": (96, 96, 96), "spacing": 0.5}
    make_studies(folder, "ccta", 2, 2, **size)
    return make_studies(folder, "ncct", 1, 0, **size)


@pytest.fixture(scope="module")
def angiograms(tmp_path_factory):
    """Two sequences with labels, and two stills without: the same frame as NIfTI and as PNG."""
    studies = make_studies(tmp_path_factory.mktemp("xca"), "xca", 2, 2, shape=(128, 128), frames=4)
    sequence = nibabel.load(studies / "xca_3_0000.nii.gz")
    frame = np.asanyarray(sequence.dataobj)[:100, :, 2].astype(np.uint8)  # columns, rows
    nibabel.save(nibabel.Nifti1Image(frame, sequence.affine), studies / "still_nifti.nii.gz")
    Image.fromarray(frame.T).save(studies / "still_png.png")
    return studies


@pytest.fixture(scope="module")
def servers(app, volumes, angiograms):
    """A server with all bundles for each kind of images."""
    with ExitStack() as stack:
        scored = {"ct": (volumes, "syncas_bundle"), "xca": (angiograms, "svsnet_bundle")}
        yield {
            kind: stack.enter_context(Server(app, studies, ALL, epistemic_model=model, epistemic_simulation_size=2))
            for kind, (studies, model) in scored.items()
        }


def server_for(servers, model):
    return servers["xca" if model in {"casrnet_bundle", "svsnet_bundle"} else "ct"]


def files_of(app):
    return {path for path in app.rglob("*") if path.is_file() and "__pycache__" not in path.parts}


def mask_of(path):
    return np.asarray(Image.open(path)) > 0 if path.suffix == ".png" else np.asarray(nibabel.load(path).dataobj) > 0


def image_of(server, name):
    return next(server.log.parent.glob(f"{name}.*"))


def test_the_server_offers_every_bundle_for_inference_and_training(servers):
    info = servers["ct"].get("info/")
    labels = {name: model["labels"] for name, model in info["models"].items()}
    assert labels == {name: {"coronary artery": 1} for name in ALL}
    assert set(info["trainers"]) == set(ALL)
    assert info["models"]["casnet_bundle"]["config"]["threshold"] == 0.5


@pytest.mark.parametrize(
    ("model", "image"),
    [*MASKS.items(), ("svsnet_bundle", "still_nifti"), ("svsnet_bundle", "still_png"), ("casrnet_bundle", "still_png")],
    ids=str,
)
def test_the_mask_is_the_one_that_the_bundle_writes_itself(servers, app, tmp_path, model, image):
    server = server_for(servers, model)
    before = files_of(app)
    returned = server.infer(model, image, tmp_path)
    assert files_of(app) == before
    bundle, source = app / "model" / model, image_of(server, image)
    options = {"image": str(source), "output_dir": str(tmp_path / "own"), "bundle_root": str(bundle), "device": "cpu"}
    monai.bundle.run(config_file=str(bundle / "configs" / "inference.json"), **options)
    (own,) = (tmp_path / "own").glob("*_seg.*")
    assert mask_of(own).any()
    np.testing.assert_array_equal(mask_of(returned).squeeze(), mask_of(own).squeeze())
    if source.suffix != ".png":
        np.testing.assert_allclose(nibabel.load(returned).affine, nibabel.load(source).affine, atol=1e-5)


@pytest.mark.parametrize(
    ("model", "image"),
    [
        ("syncas_bundle", "ncct_3_0000"),
        ("svsnet_bundle", "xca_3_0000"),
        ("svsnet_bundle", "still_nifti"),
        ("svsnet_bundle", "still_png"),
    ],
    ids=str,
)
def test_a_mask_for_3d_slicer_lies_where_its_image_does(servers, tmp_path, model, image):
    server = server_for(servers, model)
    mask = sitk.ReadImage(str(server.infer(model, image, tmp_path, result_extension=".nrrd", result_dtype="uint8")))
    if image.startswith("still"):  # 3D Slicer has volumes only
        assert mask.GetSize()[2] == 1
        mask = mask[:, :, 0]
    original = sitk.ReadImage(str(image_of(server, image)))
    assert mask.GetSize() == original.GetSize()
    np.testing.assert_allclose(mask.GetOrigin(), original.GetOrigin(), atol=1e-4)
    np.testing.assert_allclose(mask.GetSpacing(), original.GetSpacing(), rtol=1e-5)
    np.testing.assert_allclose(mask.GetDirection(), original.GetDirection(), atol=1e-5)
    assert set(np.unique(sitk.GetArrayViewFromImage(mask))) == {0, 1}


@pytest.mark.parametrize(
    ("model", "option", "small", "large"),
    [
        ("svsnet_bundle", "threshold", 0.9, 0.1),
        ("svsnet_bundle", "min_area", 60, 0),
        ("syncas_bundle", "min_volume_mm3", 1e6, 0.0),
    ],
    ids=str,
)
def test_an_option_takes_effect(servers, tmp_path, model, option, small, large):
    server = server_for(servers, model)
    fewer, more = (mask_of(server.infer(model, MASKS[model], tmp_path, **{option: value})) for value in (small, large))
    assert fewer.sum() < more.sum()


@pytest.mark.parametrize("model", list(SHORT))
def test_a_training_writes_new_weights_and_keeps_the_released_ones(servers, app, model):
    models = app / "model" / model / "models"
    shipped = (models / "model.pt").read_bytes()
    server = server_for(servers, model)
    server.run("train", model, max_epochs=1, val_split=0.5)
    assert (models / "model.pt").read_bytes() != shipped
    assert (models / "model_released.pt").read_bytes() == shipped
    offered = server.get("info/")["trainers"][model]["config"]["model_filename"]
    assert offered[0] == "model.pt"  # which MONAI Label takes


@pytest.mark.parametrize(("model", "image"), [("syncas_bundle", "ncct_3_0000"), ("svsnet_bundle", "still_png")])
def test_scoring_enters_the_uncertainty_of_an_image_without_label(servers, model, image):
    server = server_for(servers, model)
    server.run("scoring", model)
    assert 0 < server.get(f"datastore/image/info?image={image}")["epistemic_entropy"] < 1


def test_each_of_two_bundles_uses_its_own_common(app, angiograms, tmp_path):
    models = {"casrnet_bundle": 1, "svsnet_bundle": 5}
    copy = tmp_path / "monaibundle"
    ignored = shutil.ignore_patterns("__pycache__", "eval", *(name for name in ALL if name not in models))
    shutil.copytree(app, copy, ignore=ignored)
    module = copy / "model" / "svsnet_bundle" / "svsnet" / "common" / "angiograms" / "volumes.py"
    source = module.read_text()
    module.write_text(source.replace(".to(torch.uint8)", ".to(torch.uint8) * 5"))
    assert module.read_text() != source
    with Server(copy, angiograms, list(models)) as server:
        for model, value in [*models.items(), *models.items()]:  # each after the other
            returned = nibabel.load(server.infer(model, "xca_3_0000", tmp_path))
            assert set(np.unique(np.asarray(returned.dataobj))) == {0, value}, model
