"""Whatever picture or NIfTI file an angiogram comes in, its frames are (T, H, W) in the scale of the file."""

import nibabel
import numpy as np
import pytest
from PIL import Image

from common.angiograms.reading import read_angiogram

H, W = 5, 7
FRAME = np.arange(H * W, dtype=np.uint8).reshape(H, W) * 7
SEQUENCE = np.stack([FRAME, FRAME + 5, FRAME[::-1]])


def saved(path, pixels, mode=None, **options):
    Image.fromarray(pixels, mode).save(path, **options)
    return path


def nifti(path, array, affine=None, unit=None):
    image = nibabel.Nifti1Image(array, np.diag([-1, -1, 1, 1]) if affine is None else affine)
    if unit:
        image.header.set_xyzt_units("mm", unit)
        image.header["pixdim"][4] = 0.08
    nibabel.save(image, path)
    return path


@pytest.mark.parametrize("suffix", ["png", "pgm", "bmp", "tif", "TIFF", "PNG"])
def test_a_grey_picture_is_a_still_of_rows_and_columns(tmp_path, suffix):
    angiogram = read_angiogram(saved(tmp_path / f"a.{suffix}", FRAME))
    assert (angiogram.format, angiogram.bits, angiogram.numbers, angiogram.source_frames) == ("image", 8, (0,), 1)
    assert angiogram.frames.dtype == np.float32
    np.testing.assert_array_equal(angiogram.frames, FRAME[None])


def test_a_jpeg_is_read(tmp_path):
    flat = np.full((16, 16), 90, np.uint8)
    np.testing.assert_array_equal(read_angiogram(saved(tmp_path / "a.jpg", flat)).frames, flat[None])


@pytest.mark.parametrize("suffix", ["png", "pgm", "tif"])
def test_16_bits_are_kept(tmp_path, suffix):
    angiogram = read_angiogram(saved(tmp_path / f"a.{suffix}", FRAME.astype(np.uint16) * 200))
    assert angiogram.bits == 16
    np.testing.assert_array_equal(angiogram.frames[0], FRAME * 200.0)


def test_equal_channels_stand_for_grey(tmp_path):
    rgb = np.repeat(FRAME[..., None], 3, axis=2)
    opaque = np.concatenate([rgb, np.full((H, W, 1), 255, np.uint8)], axis=2)
    palette = Image.fromarray(FRAME // 7)
    palette.putpalette(np.repeat(np.arange(256, dtype=np.uint8)[:, None] * 7, 3, axis=1).tobytes())
    palette.save(tmp_path / "palette.png")
    grey_alpha = np.stack([FRAME, np.full_like(FRAME, 255)], axis=2)
    for path in (
        saved(tmp_path / "rgb.bmp", rgb),
        saved(tmp_path / "rgba.png", opaque),
        saved(tmp_path / "la.png", grey_alpha),
        tmp_path / "palette.png",
    ):
        np.testing.assert_array_equal(read_angiogram(path).frames, FRAME[None], err_msg=path.name)


def test_colours_are_refused_by_name(tmp_path):
    rgb = np.repeat(FRAME[..., None], 3, axis=2)
    rgb[2, 3] = 255, 0, 0
    with pytest.raises(ValueError, match=r"a\.png is a colour image: its channels differ in 1 of 35 pixels"):
        read_angiogram(saved(tmp_path / "a.png", rgb))


def test_transparent_parts_are_refused(tmp_path):
    rgba = np.repeat(FRAME[..., None], 4, axis=2)
    with pytest.raises(ValueError, match="transparent parts"):
        read_angiogram(saved(tmp_path / "a.png", rgba))


def test_a_picture_of_several_pages_is_refused(tmp_path):
    saved(tmp_path / "a.tif", FRAME, save_all=True, append_images=[Image.fromarray(FRAME)])
    with pytest.raises(ValueError, match="has 2 pages; save them as numbered files"):
        read_angiogram(tmp_path / "a.tif")


@pytest.mark.parametrize(
    ("shape", "count"),
    [((W, H), 1), ((W, H, 1), 1), ((W, H, 3), 3), ((W, H, 1, 3), 3), ((W, H, 3, 1), 3), ((W, H, 1, 1), 1)],
    ids=["still", "still with a third axis", "sequence", "sequence with a time axis", "a last axis of 1", "two of 1"],
)
@pytest.mark.parametrize("frame", [None, 0])
def test_nifti_has_columns_before_rows_and_frames_last(tmp_path, shape, count, frame):
    path = nifti(tmp_path / "a.nii.gz", SEQUENCE[:count].transpose(2, 1, 0).reshape(shape))
    angiogram = read_angiogram(path, frame)
    np.testing.assert_array_equal(angiogram.frames, SEQUENCE[:count] if frame is None else SEQUENCE[:1])
    assert (angiogram.format, angiogram.bits, angiogram.source_frames) == ("nifti", 8, count)
    assert angiogram.pixel_mm == 0  # 1 mm is what unknown sizes are written as


def test_nifti_tells_pixel_size_frame_time_and_affine(tmp_path):
    affine = np.diag([-0.3, -0.3, 1, 1])
    path = nifti(tmp_path / "a.nii", SEQUENCE.transpose(2, 1, 0)[:, :, None], affine, "sec")
    angiogram = read_angiogram(path)
    assert angiogram.pixel_mm == pytest.approx(0.3)
    assert angiogram.frame_ms == pytest.approx(80)
    np.testing.assert_allclose(angiogram.affine, affine, atol=1e-6)


def test_the_bits_of_16_bit_nifti_are_unknown(tmp_path):
    assert read_angiogram(nifti(tmp_path / "a.nii", FRAME.T.astype(np.uint16))).bits == 0


def test_the_frame_time_belongs_to_the_axis_of_the_frames(tmp_path):
    path = nifti(tmp_path / "a.nii", SEQUENCE.transpose(2, 1, 0)[..., None], None, "sec")
    assert read_angiogram(path).frame_ms == 0


def test_nifti_of_complex_values_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"a\.nii is a colour or complex image"):
        read_angiogram(nifti(tmp_path / "a.nii", np.zeros((W, H), np.complex64)))


def test_nifti_of_other_axes_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"an angiogram has the axes \(W, H\), .* got \(2, 2, 2, 2\)"):
        read_angiogram(nifti(tmp_path / "a.nii", np.zeros((2, 2, 2, 2), np.uint8)))


def test_numbered_pictures_in_a_folder_are_the_frames_of_a_sequence(tmp_path):
    for number, frame in zip((9, 10, 11), SEQUENCE, strict=True):
        saved(tmp_path / f"run_{number}.png", frame)
    angiogram = read_angiogram(tmp_path)
    assert (angiogram.format, angiogram.numbers, angiogram.source_frames) == ("folder", (0, 1, 2), 3)
    np.testing.assert_array_equal(angiogram.frames, SEQUENCE)


def test_one_frame_of_a_folder_is_read_alone(tmp_path):
    for number, frame in enumerate(SEQUENCE):
        saved(tmp_path / f"{number}.png", frame)
    (tmp_path / "0.png").write_bytes(b"broken")
    angiogram = read_angiogram(tmp_path, frame=2)
    assert (angiogram.numbers, angiogram.source_frames) == ((2,), 3)
    np.testing.assert_array_equal(angiogram.frames, SEQUENCE[2:])
    with pytest.raises(ValueError, match="has 3 frames, from 0 to 2; there is no frame 3"):
        read_angiogram(tmp_path, frame=3)


def test_a_broken_frame_is_refused_by_its_name(tmp_path):
    saved(tmp_path / "f1.png", FRAME)
    (tmp_path / "f2.png").write_bytes((tmp_path / "f1.png").read_bytes()[:50])
    with pytest.raises(ValueError, match=r"cannot read .*f2\.png; is it complete"):
        read_angiogram(tmp_path)


def test_frames_of_different_size_are_refused(tmp_path):
    saved(tmp_path / "f1.png", FRAME)
    saved(tmp_path / "f2.png", FRAME[:-1])
    with pytest.raises(ValueError, match=r"have one size \(H, W\), but there are \(4, 7\), \(5, 7\)"):
        read_angiogram(tmp_path)


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.jpg", "a.tif", "a.nii", "a.nii.gz"])
@pytest.mark.parametrize("share", [0.5, 0.0])
def test_a_truncated_file_is_refused_by_name(tmp_path, name, share):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)
    path = tmp_path / name
    nifti(path, noise) if ".nii" in name else saved(path, noise)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ValueError, match=f"cannot read .*{name}; is it complete"):
        read_angiogram(path)


def test_what_is_no_angiogram_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no file or folder"):
        read_angiogram(tmp_path / "absent.png")
    (tmp_path / "a.txt").write_text("text")
    with pytest.raises(ValueError, match=r"a\.txt is not a supported angiogram"):
        read_angiogram(tmp_path / "a.txt")


def test_real_frames_in_equal_colour_channels_are_read(real_data):
    angiogram = read_angiogram(real_data / "xca_sequence" / "image_dir")
    assert angiogram.frames.shape == (6, 512, 512)
    assert angiogram.bits == 8
