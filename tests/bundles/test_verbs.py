"""The verbs of ``python -m monai.bundle`` on every bundle, in place and as it is unpacked from its zip."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import monai.bundle
import onnxruntime
import pytest
import torch
from monai.bundle import ConfigParser
from monai.data import load_net_with_metadata
from monai.networks import trt_compiler

from ..conftest import BUNDLES, XCA
from .conftest import SHORT, BundleCopy, write_list

ROUNDING = 1e-5  # of the largest logit: how far an export may be from the network


@dataclass(frozen=True)
class Network:
    """A network of a bundle, with the smallest shape that it takes and another one."""

    bundle: Path
    shape: list[int]
    other_shape: list[int]
    wrong_shape: list[int]
    script_error: str = ""  # why TorchScript cannot compile it; then it is traced
    name: str = "network_def"
    weights: str = "model.pt"

    def __str__(self):
        return f"{self.bundle.name}-{self.name}"


def network(bundle, *shapes, **options):
    return Network(next(path for path in BUNDLES if path.name == f"{bundle}_bundle"), *map(list, shapes), **options)


GENERATOR = "Can not iterate over a module list or tuple with a value that does not have a statically determinable"
NETWORKS = [
    network("casnet", (1, 1, 32, 32, 32), (2, 1, 48, 32, 16), (1, 1, 24, 32, 32), script_error=GENERATOR),
    network("centerline_unet", (1, 2, 32, 32, 32), (2, 2, 48, 32, 16), (1, 2, 24, 32, 32)),
    network(
        *("centerline_unet", (1, 1, 32, 32, 32), (2, 1, 48, 32, 16), (1, 1, 24, 32, 32)),
        name="coarse_network_def",
        weights="model_coarse.pt",
    ),
    network("syncas", (1, 1, 32, 32, 32), (2, 1, 48, 32, 64), (1, 1, 16, 32, 32)),
    network(
        "casrnet",
        (1, 3, 64, 64),
        (2, 3, 96, 64),
        (1, 3, 80, 64),
        script_error="Unknown type name 'Module'|get_submodule",
    ),
    network("svsnet", (1, 1, 4, 64, 64), (2, 1, 4, 128, 64), (1, 1, 4, 96, 64)),
]


class Place:
    """A bundle in the repository, or unpacked from its zip; the working folder is its own, as in its README."""

    def __init__(self, root):
        self.root = root
        self.suffix = "json" if (root / "configs" / "inference.json").exists() else "yaml"

    def config(self, name):
        return f"configs/{name}.{self.suffix}"

    def eager(self, network):
        """Build a network from the config, with the released weights."""
        config = ConfigParser()
        config.read_config(self.config("inference"))
        built = config.get_parsed_content(network.name)
        built.load_state_dict(torch.load(f"models/{network.weights}", weights_only=True))
        return built.eval()

    def export(self, verb, network, path, **options):
        verb(
            net_id=network.name,
            filepath=str(path),
            ckpt_file=f"models/{network.weights}",
            meta_file="configs/metadata.json",
            config_file=self.config("inference"),
            **options,
        )


@pytest.fixture
def _fresh_import(request):
    """Forget a bundle's package before a test, so that it is imported from where the test says, and after it."""
    params = request.node.callspec.params
    bundle = params["network"].bundle if "network" in params else params["bundle"]
    package = bundle.name.removesuffix("_bundle")

    def forget():
        return {name: sys.modules.pop(name) for name in list(sys.modules) if name.split(".")[0] == package}

    known = forget()
    yield
    forget()
    sys.modules.update(known)


@pytest.fixture(params=[pytest.param(True, id="in place"), pytest.param(False, id="packed", marks=pytest.mark.slow)])
def place(request, unpacked, monkeypatch, _fresh_import):
    params = request.node.callspec.params
    bundle = params["network"].bundle if "network" in params else params["bundle"]
    root = bundle if request.param else unpacked(bundle)
    monkeypatch.chdir(root)
    monkeypatch.setattr(sys, "path", [str(root), *sys.path])
    return Place(root)


@pytest.mark.usefixtures("bundle")
def test_the_metadata_fit_the_schema_of_monai(place, real_data):
    schema = real_data.parent / "schema" / "meta_schema_20240725.json"
    if not schema.is_file():
        pytest.skip("no copy of MONAI's metadata schema, which verify_metadata would download")
    monai.bundle.verify_metadata(meta_file=str(place.root / "configs" / "metadata.json"), filepath=str(schema))


@pytest.mark.parametrize("network", [item for item in NETWORKS if item.name == "network_def"], ids=str)
def test_the_network_has_the_inputs_and_outputs_of_the_metadata(network, place):
    monai.bundle.verify_net_in_out(
        net_id=network.name,
        meta_file="configs/metadata.json",
        config_file=place.config("inference"),
        device="cpu",
    )


@pytest.mark.slow
@pytest.mark.parametrize("network", NETWORKS, ids=str)
def test_torchscript_computes_what_the_network_does_in_any_shape(network, place, tmp_path):
    path = tmp_path / "model.ts"
    traced = {"use_trace": True, "input_shape": network.shape} if network.script_error else {}
    place.export(monai.bundle.ckpt_export, network, path, **traced)
    exported, metadata, files = load_net_with_metadata(str(path), more_extra_files=["inference.json"])
    assert metadata["version"] == json.loads(Path("configs/metadata.json").read_text())["version"]
    assert network.name in json.loads(files["inference.json"])
    for shape in (network.shape, network.other_shape):
        compare(place.eager(network), exported, torch.rand(shape))
    message = "Sizes of tensors must match" if network.script_error else "multiples? of"
    with torch.no_grad(), pytest.raises((RuntimeError, torch.jit.Error), match=message):
        exported(torch.rand(network.wrong_shape))


@pytest.mark.slow
@pytest.mark.parametrize("network", [item for item in NETWORKS if item.script_error], ids=str)
def test_a_network_that_torchscript_cannot_compile_is_refused_without_tracing(network, place, tmp_path):
    with pytest.raises(RuntimeError, match=network.script_error):
        place.export(monai.bundle.ckpt_export, network, tmp_path / "model.ts")


@pytest.mark.slow
@pytest.mark.parametrize("network", NETWORKS, ids=str)
def test_onnx_computes_what_the_network_does_in_the_shape_it_was_exported_for(network, place, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))  # MONAI leaves a file of weights there
    path = tmp_path / "model.onnx"
    place.export(monai.bundle.onnx_export, network, path, input_shape=network.shape)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    compare(place.eager(network), partial(run_onnx, session), torch.rand(network.shape))
    with pytest.raises(Exception, match="Got invalid dimensions"):
        run_onnx(session, torch.rand(network.other_shape))


def run_onnx(session, image):
    return torch.from_numpy(session.run(None, {session.get_inputs()[0].name: image.numpy()})[0])


def compare(network, export, image, rounding=ROUNDING):
    with torch.no_grad():
        expected, found = network(image), export(image)
    difference = (found - expected).abs().max().item() / expected.abs().max().item()
    print(f"shape {list(image.shape)}: largest difference {difference:.1e} of the largest logit")
    assert found.shape == expected.shape
    assert difference <= rounding


def trt_workflow(copy, **options):
    folder = write_list(copy.root / "data", test=[]).parent
    return copy.workflow("inference.yaml", "inference_trt.yaml", dataset_dir=str(folder), **options)


def test_without_tensorrt_the_overlay_warns_and_leaves_the_network_as_it_is(copy, monkeypatch):
    said = []
    monkeypatch.setattr(trt_compiler, "trt_imported", False)
    monkeypatch.setattr(trt_compiler.get_logger("monai.networks.trt_compiler"), "warning", said.append)
    config = trt_workflow(copy).parser
    network = config.get_parsed_content("network")
    assert network is config.get_parsed_content("network_def")
    assert not hasattr(network, "_trt_compiler")
    assert said == ["TensorRT and/or polygraphy packages are not available! trt_compile() has no effect."]


@pytest.mark.slow
def test_the_overlay_exports_what_tensorrt_builds_from_and_falls_back_where_that_fails(copy, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    config = trt_workflow(copy, device="$torch.device('cpu')").parser
    with monkeypatch.context() as patch:
        for name in ("trt_imported", "polygraphy_imported"):
            patch.setattr(trt_compiler, name, True)
        patch.setattr(torch.cuda, "is_available", lambda: True)
        network = config.get_parsed_content("network").eval()
    sessions = []

    def build(compiler, path):
        assert Path(compiler.plan_path) == copy.weights.with_name("model.pt.plan")
        sessions.append(onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]))
        raise RuntimeError("no TensorRT here")

    monkeypatch.setattr(trt_compiler.TrtCompiler, "_onnx_to_trt", build)
    shape = next(item.shape for item in NETWORKS if item.bundle.name == copy.root.name)
    plain = network.orig_forward
    compare(plain, network, torch.rand(shape))
    for batch in (1, 3):
        images = torch.rand(batch, *shape[1:])
        compare(plain, partial(run_onnx, sessions[0]), images, 1e-4)  # untrained, attention is steep


@pytest.fixture
def packed_copy(bundle, unpacked, tmp_path, _fresh_import):
    """A copy of an unpacked bundle with small networks, to be written to."""

    class PackedCopy(BundleCopy):
        def files(self, *names):
            return [name.replace(".yaml", ".json") for name in super().files(*names)]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [str(unpacked(bundle)), *sys.path])
        yield PackedCopy(unpacked(bundle), tmp_path)


@pytest.mark.slow
def test_a_packed_bundle_trains_evaluates_and_segments(bundle, packed_copy, tmp_path, request):
    cases = request.getfixturevalue("angiograms" if bundle in XCA else "hearts")
    data = write_list(tmp_path / "data", training=cases[:2], validation=cases[2:3], test=cases[3:]).parent
    options = {"dataset_dir": str(data), "overlap": 0.0}
    for names in (["train.yaml"], ["evaluate.yaml"], ["inference.yaml"]):
        own = {"image": cases[0]["image"]} if names == ["inference.yaml"] else {}
        own |= SHORT if names == ["train.yaml"] else {}
        workflow = packed_copy.workflow(*names, make=monai.bundle.create_workflow, **options, **own)
        assert workflow.check_properties() == []
    packed_copy.run("training", "train.yaml", **options, **SHORT)
    packed_copy.run("evaluating", "evaluate.yaml", **options)
    packed_copy.run("run", "inference.yaml", image=cases[0]["image"], overlap=0.0)
    assert (packed_copy.root / "models" / "model_released.pt").exists()
    assert len((packed_copy.eval / "metrics.csv").read_text().splitlines()) > 1
    assert len(list(packed_copy.eval.glob("*_seg*"))) == 1


@pytest.fixture
def url_of(archive_of):
    """Address of the zip of a bundle: of the file, or of a server on this machine."""
    servers = []

    def url(bundle, scheme):
        path = archive_of(bundle)
        if scheme == "file":
            return path.as_uri()
        handler = partial(SimpleHTTPRequestHandler, directory=path.parent)
        servers.append(ThreadingHTTPServer(("127.0.0.1", 0), handler))
        Thread(target=servers[0].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{servers[0].server_port}/{path.name}"

    yield url
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["file", "http"])
def test_a_download_is_the_bundle_that_was_packed(bundle, scheme, url_of, unpacked, tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monai.bundle.download(bundle.name, url=url_of(bundle, scheme), bundle_dir=str(tmp_path), progress=False)
    assert contents(tmp_path / bundle.name) == contents(unpacked(bundle))


@pytest.mark.slow
def test_the_command_that_downloads_does_so_from_any_folder(url_of, unpacked, tmp_path):
    bundle = BUNDLES[0]
    words = ["-m", "monai.bundle", "download", "--name", bundle.name, "--url", url_of(bundle, "file")]
    process(*words, "--bundle_dir", str(tmp_path / "here"), cwd=tmp_path)
    assert contents(tmp_path / "here" / bundle.name) == contents(unpacked(bundle))


def contents(root):
    return {path.relative_to(root): path.read_bytes() for path in root.rglob("*.*") if "__pycache__" not in path.parts}


def process(*words, cwd):
    """Run Python with nothing on its path but its own packages."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-W", "ignore", *words]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, encoding="utf-8", check=True)


LOAD = """
import sys, torch, monai.bundle
network = monai.bundle.load(sys.argv[1], bundle_dir="..", device="cpu")
torch.save(network.state_dict(), sys.argv[2])
print(sys.modules[type(network).__module__].__file__)
"""


@pytest.mark.slow
def test_a_packed_bundle_loads_with_its_weights(bundle, unpacked, tmp_path):
    root = unpacked(bundle)
    result = process("-c", LOAD, bundle.name, str(tmp_path / "loaded.pt"), cwd=root)
    assert Path(result.stdout.split()[-1]).is_relative_to(root)
    loaded = torch.load(tmp_path / "loaded.pt", weights_only=True)
    released = torch.load(bundle / "models" / "model.pt", weights_only=True)
    assert list(loaded) == list(released)
    assert all(torch.equal(loaded[name], tensor.to(loaded[name].dtype)) for name, tensor in released.items())
