"""Every option of inference on X-ray angiograms does what its comment says, and what is no option is refused."""

import nibabel
import numpy as np
import pytest
import torch
from casrnet.refinement import refine
from casrnet.refinement_rule import RefinementRule
from PIL import Image
from pydicom import dcmread

from common.components import remove_small_components
from common.phantom.xca.dicom import write_xa

from ..conftest import XCA
from .conftest import BundleCopy, write_list
from .test_bad_input import refusal

CASRNET, SVSNET = XCA
FRAMES = 6


def sequence(frames=FRAMES, seed=0):
    """Noise ``(T, H, W)`` that is smooth enough to make pieces of many sizes."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 128, (frames, 16, 16)).repeat(4, 1).repeat(4, 2)
    return (2 * (coarse // 2 + rng.integers(0, 64, coarse.shape))).astype(np.uint8)  # even: halves are exact


def write(frames, path):
    nibabel.save(nibabel.Nifti1Image(frames.transpose(2, 1, 0), np.diag([-1, -1, 1, 1])), path)
    return path


def read(path):
    """Frames ``(T, H, W)`` of a mask or a map."""
    voxels = np.asanyarray(nibabel.load(path).dataobj)
    return (voxels if voxels.ndim == 3 else voxels[..., None]).transpose(2, 1, 0)


def widen(copy):
    """Give a copy of SVS-net's bundle a network of chance whose maps are not the same at most pixels."""
    if copy.root.name == SVSNET.name:
        copy.small = copy.small | {"network_def::widths": [8, 8, 8]}
        torch.save(copy.small_network("network_def").state_dict(), copy.weights)


class Segmenter:
    """A copy of a bundle, and what it writes for a file."""

    def __init__(self, bundle, folder):
        self.copy = BundleCopy(bundle, folder)
        self.folder = folder
        self.runs = 0
        widen(self.copy)
        self.sequence = write(sequence(), folder / "noise.nii.gz")
        self.threshold = float(np.quantile(self.map(self.sequence), 0.9))

    def __call__(self, image, **options):
        """Segment with options; return what is written by what it is called, NIfTI files as frames."""
        self.runs += 1
        out = self.folder / f"out{self.runs}"
        self.copy.run("run", "inference.yaml", image=str(image), output_dir=str(out), **{"film": False, **options})
        written = [path for path in out.iterdir() if path.suffix != ".json"]  # but the report
        paths = {path.name.split(".")[0].rsplit("_", 1)[1]: path for path in written}
        return {kind: read(path) if path.name.endswith(".nii.gz") else path for kind, path in paths.items()}

    def map(self, image, **options):
        """Return the probabilities ``(T, H, W)``."""
        return self(image, save_probability=True, **options)["prob"]


@pytest.fixture(scope="module")
def segmenters(tmp_path_factory):
    return {bundle: Segmenter(bundle, tmp_path_factory.mktemp(bundle.name)) for bundle in XCA}


@pytest.fixture
def casrnet(segmenters):
    return segmenters[CASRNET]


@pytest.fixture
def svsnet(segmenters):
    return segmenters[SVSNET]


@pytest.mark.parametrize("bundle", XCA, ids=lambda path: path.name)
def test_the_probability_is_written_where_asked_for_and_the_threshold_cuts_it(segmenters, bundle):
    segment = segmenters[bundle]
    options = {"refine": False} if bundle == CASRNET else {}
    written = segment(segment.sequence, save_probability=True, threshold=segment.threshold, **options)
    assert set(written) == {"seg", "prob"}
    assert written["prob"].dtype == np.float32
    np.testing.assert_array_equal(written["seg"], written["prob"] >= segment.threshold)
    assert 0.05 < written["seg"].mean() < 0.5


@pytest.mark.parametrize("bundle", XCA, ids=lambda path: path.name)
def test_a_film_has_the_frames_of_the_sequence(segmenters, bundle):
    film = segmenters[bundle](segmenters[bundle].sequence, film="gif")["film"]
    assert film.suffix == ".gif"
    with Image.open(film) as pictures:
        assert pictures.n_frames == FRAMES


@pytest.mark.parametrize("bundle", [pytest.param(CASRNET, marks=pytest.mark.slow), SVSNET], ids=lambda path: path.name)
def test_a_dicom_segmentation_holds_the_mask_of_each_frame(segmenters, bundle, tmp_path):
    segment = segmenters[bundle]
    write_xa(tmp_path / "run.dcm", sequence(), 66.7, 0.3)
    options = {"image": str(tmp_path / "run.dcm"), "output_dir": str(tmp_path), "threshold": segment.threshold}
    segment.copy.run("run", "inference.yaml", film=False, save_dicom_seg=True, **options)
    masks = read(tmp_path / "run_seg.nii.gz")
    assert masks.any()
    np.testing.assert_array_equal(dcmread(tmp_path / "run_seg.dcm").pixel_array, masks)


def test_one_frame_gets_the_mask_that_it_has_among_all(casrnet):
    every = casrnet(casrnet.sequence, threshold=casrnet.threshold)["seg"]
    one = casrnet(casrnet.sequence, threshold=casrnet.threshold, frames=2)["seg"]
    np.testing.assert_array_equal(one, every[2:3])
    assert not np.array_equal(every[1], every[2])


def test_the_frame_of_most_contrast_is_found(casrnet, tmp_path):
    frames = sequence() // 8 + 200
    frames[4, 10:50, 30:32] = 20  # a vessel
    path = write(frames, tmp_path / "vessel.nii.gz")
    np.testing.assert_array_equal(casrnet.map(path, frames="darkest"), casrnet.map(path, frames=4))


def test_flips_average_the_probabilities_of_mirror_images(casrnet, tmp_path):
    frame = sequence(1)[0]
    views = np.stack([frame, frame[::-1], frame[:, ::-1], frame[::-1, ::-1]])
    alike = {"channels": ["gray", "gray", "gray"]}  # enhancement by tiles is not the same for a mirror image
    upright, down, across, both = casrnet.map(write(views, tmp_path / "views.nii.gz"), **alike)
    expected = (upright + down[::-1] + across[:, ::-1] + both[::-1, ::-1]) / 4
    found = casrnet.map(write(frame[None], tmp_path / "one.nii.gz"), flips=[0, 1], **alike)[0]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.abs(found - upright).max() > 1e-3


@pytest.mark.parametrize(
    "options",
    [{}, {"patch_lines": True}, {"patch_lines": True, "min_area": 2000, "max_gap": 200}, {"refine": False}],
    ids=["default", "patch lines", "limits", "unrefined"],
)
def test_the_mask_is_the_unrefined_one_refined_by_the_limits(casrnet, options):
    written = casrnet(casrnet.sequence, threshold=casrnet.threshold, save_unrefined=True, **options)
    raw = written["unrefined"] > 0
    limits = {name: options[name] for name in ("max_gap", "min_area") if name in options}
    expected = [
        refine(frame, rule=RefinementRule(**limits), patch_lines=options.get("patch_lines", False)) for frame in raw
    ]
    if not options.get("refine", True):
        np.testing.assert_array_equal(written["seg"] > 0, raw)
        assert "patches" not in written
        return
    np.testing.assert_array_equal(written["seg"] > 0, [result.mask for result in expected])
    assert ("patches" in written) == options.get("patch_lines", False)
    if "patches" in written:
        np.testing.assert_array_equal(written["patches"] > 0, [result.patches for result in expected])
    if limits:
        assert written["patches"].any()
        assert not np.array_equal(written["seg"] > 0, raw)


def test_the_dense_mode_gives_the_same_where_windows_leave_the_sequence(svsnet):
    windows, dense = svsnet.map(svsnet.sequence), svsnet.map(svsnet.sequence, mode="dense")
    np.testing.assert_allclose(dense[[0, 1, -1]], windows[[0, 1, -1]], atol=1e-5)
    assert not np.allclose(dense[2:-1], windows[2:-1], atol=1e-5)


def test_still_frames_know_nothing_of_each_other(svsnet, tmp_path):
    moving, still = svsnet.map(svsnet.sequence), svsnet.map(svsnet.sequence, still=True, intensity="bits")
    alone = write(sequence()[3:4], tmp_path / "alone.nii.gz")
    np.testing.assert_allclose(svsnet.map(alone, still=True, intensity="bits")[0], still[3], atol=1e-5)
    assert not np.allclose(moving, still, atol=1e-5)


def test_a_stride_sees_every_other_frame(svsnet, tmp_path):
    strided = svsnet.map(svsnet.sequence, frame_stride=2, intensity="bits")
    even = svsnet.map(write(sequence()[::2], tmp_path / "even.nii.gz"), intensity="bits")
    np.testing.assert_allclose(strided[:4:2], even[:2], atol=1e-5)  # the last even frame sees an odd one


def test_the_stride_follows_from_the_frame_time_unless_that_is_turned_off(svsnet, tmp_path):
    write_xa(tmp_path / "fast.dcm", sequence(), frame_ms=33.3, pixel_mm=0.3)
    by_hand = [svsnet.map(svsnet.sequence, frame_stride=stride) for stride in (1, 2)]
    np.testing.assert_allclose(svsnet.map(tmp_path / "fast.dcm"), by_hand[1], atol=1e-5)
    np.testing.assert_allclose(svsnet.map(tmp_path / "fast.dcm", trained_ms=0), by_hand[0], atol=1e-5)
    assert not np.allclose(*by_hand, atol=1e-5)


def test_small_components_of_a_frame_are_dropped_however_long_they_stay(svsnet):
    options = {"threshold": svsnet.threshold, "save_probability": True}
    written = svsnet(svsnet.sequence, min_area=20, **options)
    raw = written["prob"] >= svsnet.threshold
    expected = np.stack([remove_small_components(frame, 20) for frame in raw])
    np.testing.assert_array_equal(written["seg"] > 0, expected)
    assert not np.array_equal(expected, raw)


def test_scaling_each_frame_by_its_maximum_makes_dim_frames_as_bright_as_others(svsnet, tmp_path):
    frame = sequence(1)[0]
    path = write(np.stack([frame, frame // 2]), tmp_path / "dimming.nii.gz")
    bright, dim = svsnet.map(path, intensity="frame_max", still=True)
    np.testing.assert_allclose(dim, bright, atol=1e-5)
    bright, dim = svsnet.map(path, intensity="sequence_max", still=True)
    assert not np.allclose(dim, bright, atol=1e-5)


def test_sequences_of_different_length_are_scored_frame_by_frame(svsnet, tmp_path):
    for kind in ("images", "labels"):
        (tmp_path / kind).mkdir()
    for name, frames in (("long", 5), ("short", 3)):
        write(sequence(frames), tmp_path / "images" / f"{name}.nii.gz")
        write(np.zeros((frames, 64, 64), np.uint8), tmp_path / "labels" / f"{name}.nii.gz")
    write_list(tmp_path, test=sorted((tmp_path / "images").iterdir()))
    workflow = svsnet.copy.workflow("evaluate.yaml", dataset_dir=str(tmp_path), threshold=1.1)  # nothing is vessel
    workflow.initialize()
    workflow.run()
    assert workflow.parser.get_parsed_content("validate::evaluator").state.metrics["val_dice"] == 1
    rows = (svsnet.copy.eval / "metrics.csv").read_text().splitlines()
    assert len(rows) == 1 + 5 + 3


@pytest.mark.parametrize(
    ("bundle", "options", "message"),
    [
        (CASRNET, {"refine": "false"}, "refine must be True or False, got 'false'"),
        (CASRNET, {"patch_lines": "false"}, "patch_lines must be True or False, got 'false'"),
        (CASRNET, {"flips": 0}, "flips must be a list of axes"),
        (CASRNET, {"frames": "brightest"}, 'frames must be None, a number from 0, or "darkest"'),
        (CASRNET, {"frames": FRAMES}, "noise.nii.gz"),
        (CASRNET, {"film": "null"}, "a film ends in .gif or .mp4"),
        (SVSNET, {"still": "false"}, "still must be True or False, got 'false'"),
        (SVSNET, {"still": True, "mode": "dense"}, "still frames have nothing to share"),
        (SVSNET, {"mode": "fast"}, "mode must be one of window, dense"),
        (SVSNET, {"min_area": -1}, "min_area must be at least 0"),
        (SVSNET, {"frame_stride": 0}, "stride must be at least 1"),
        (SVSNET, {"intensity": "max"}, "mode must be one of percentile"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_what_is_no_option_is_refused(segmenters, bundle, options, message):
    segment = segmenters[bundle]
    assert message in refusal(segment.copy, "inference", segment.folder, image=str(segment.sequence), **options)
