"""Pictures of every kind, opened for prediction: a documented result or one clear line."""

import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from calbook.data import pictures
from calbook.data.defects import DataError
from calbook.data.pictures import normalize, open_for_prediction, open_picture, read_pixels

COLOUR = (200, 100, 50)


def plain(size: tuple[int, int] = (8, 6)) -> Image.Image:
    """Left half red, right half blue; size is (width, height)."""
    picture = Image.new("RGB", size, (255, 0, 0))
    picture.paste((0, 0, 255), (size[0] // 2, 0, size[0], size[1]))
    return picture


def save(folder: Path, picture: Image.Image, suffix: str = "png", **options: object) -> Path:
    path = folder / f"picture.{suffix}"
    picture.save(path, **options)
    return path


@pytest.mark.parametrize(
    ("mode", "value", "expected"),
    [
        ("L", 77, (77, 77, 77)),
        ("1", 1, (255, 255, 255)),
        ("RGB", COLOUR, COLOUR),
        ("RGBA", (*COLOUR, 255), COLOUR),
        ("RGBA", (*COLOUR, 0), (255, 255, 255)),
        ("LA", (77, 0), (255, 255, 255)),
        ("I;16", 30000, (117, 117, 117)),
        ("I", 65535, (255, 255, 255)),
    ],
)
def test_modes(tmp_path, mode, value, expected):
    opened = open_for_prediction(save(tmp_path, Image.new(mode, (5, 4), value), "tiff" if mode == "I" else "png"))
    assert opened.size == (4, 5)
    assert opened.pixels.dtype == torch.uint8
    assert opened.pixels.shape == (3, 4, 5)
    assert opened.pixels[:, 2, 2].tolist() == list(expected)


def test_annotated_pictures_of_16_bits_are_scaled_alike(tmp_path):
    path = save(tmp_path, Image.fromarray(np.linspace(0, 65535, 20).astype(np.uint16).reshape(4, 5)))
    assert torch.equal(read_pixels(path), open_for_prediction(path).pixels)
    assert read_pixels(path).float().mean() == pytest.approx(127.5, abs=1)


@pytest.mark.parametrize("mode", ["1", "P", "I;16", "L", "LA", "RGBA", "I"])
def test_a_huge_picture_of_any_mode_is_reduced(tmp_path, monkeypatch, mode):
    grey = np.linspace(0, 65535, 400 * 200).reshape(200, 400)
    deep = {"I;16": np.uint16, "I": np.int32}
    values = grey.astype(deep[mode]) if mode in deep else (grey / 257).astype(np.uint8)
    picture = Image.fromarray(values) if mode in deep else Image.fromarray(values).convert(mode)
    path = save(tmp_path, picture, "tiff" if mode == "I" else "png")
    whole = open_for_prediction(path).pixels.float()
    monkeypatch.setattr(pictures, "MOST_PIXELS", 10_000)
    opened = open_for_prediction(path)
    assert opened.size == (200, 400)
    assert opened.pixels.shape == (3, 50, 100)
    blocks = whole.reshape(3, 50, 4, 100, 4).mean((2, 4))
    assert (opened.pixels - blocks).abs().max() < 2


def test_palette_with_a_transparent_colour(tmp_path):
    picture = plain().convert("P", palette=Image.Palette.ADAPTIVE)
    path = save(tmp_path, picture, transparency=picture.getpixel((0, 0)))
    pixels = open_for_prediction(path).pixels
    assert pixels[:, 0, 0].tolist() == [255, 255, 255]
    assert pixels[2, 0, 7] > 200


def test_cmyk(tmp_path):
    path = save(tmp_path, Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "jpg", quality=95)
    red, green, blue = open_for_prediction(path).pixels[:, 8, 8].tolist()
    assert red > 230
    assert max(green, blue) < 60


def test_floating_point_is_stretched(tmp_path):
    values = np.linspace(-3, 5, 20, dtype=np.float32).reshape(4, 5)
    values[0, 1] = np.nan
    pixels = open_for_prediction(save(tmp_path, Image.fromarray(values), "tiff")).pixels
    assert pixels[0, 0, 0] == 0
    assert pixels[0, 3, 4] == 255


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_turns_the_picture_upright(tmp_path, orientation):
    """Stored turned, with a note saying how to turn back."""
    undo = {
        1: [],
        2: [Image.Transpose.FLIP_LEFT_RIGHT],
        3: [Image.Transpose.ROTATE_180],
        4: [Image.Transpose.FLIP_TOP_BOTTOM],
        5: [Image.Transpose.TRANSPOSE],
        6: [Image.Transpose.ROTATE_90],
        7: [Image.Transpose.TRANSVERSE],
        8: [Image.Transpose.ROTATE_270],
    }
    stored = plain((16, 8))
    for step in undo[orientation]:
        stored = stored.transpose(step)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path, stored, "png", exif=exif)
    opened = open_for_prediction(path)
    assert opened.size == (8, 16)
    assert np.array_equal(opened.pixels.permute(1, 2, 0).numpy(), np.asarray(plain((16, 8))))
    as_stored = read_pixels(path)  # annotations count pixels before turning
    assert tuple(as_stored.shape[1:]) == (stored.height, stored.width)


def test_one_pixel(tmp_path):
    assert open_for_prediction(save(tmp_path, Image.new("RGB", (1, 1), COLOUR))).pixels.flatten().tolist() == list(
        COLOUR
    )


def test_a_wide_picture_of_20000_pixels(tmp_path):
    opened = open_for_prediction(save(tmp_path, plain((20000, 20))))
    assert opened.size == (20, 20000)
    assert opened.pixels.shape == (3, 20, 20000)


@pytest.mark.parametrize(("suffix", "orientation"), [("jpg", 1), ("png", 1), ("jpg", 6)])
def test_a_huge_picture_is_reduced(tmp_path, monkeypatch, suffix, orientation):
    monkeypatch.setattr(pictures, "MOST_PIXELS", 10_000)
    exif = Image.Exif()
    exif[0x0112] = orientation
    opened = open_for_prediction(save(tmp_path, plain((400, 200)), suffix, exif=exif))
    assert opened.size == ((200, 400) if orientation == 1 else (400, 200))
    assert opened.pixels[0].numel() <= 10_000
    first, last = opened.pixels[:, 2, 2], opened.pixels[:, -3, -3]
    assert first.argmax() == 0
    assert last.argmax() == 2


def test_a_jpeg_that_pillow_takes_for_an_attack_is_reduced(tmp_path, monkeypatch):
    path = save(tmp_path, plain((800, 400)), "jpg")
    png = save(tmp_path, plain((800, 400)), "png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50_000)
    monkeypatch.setattr(pictures, "MOST_PIXELS", 25_000)
    opened = open_for_prediction(path)
    assert opened.size == (400, 800)
    assert tuple(opened.pixels.shape) == (3, 100, 200)
    with pytest.raises(DataError, match="million pixels, too many to decode at once; shrink it, or save it as JPEG"):
        open_for_prediction(png)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="measures memory as Linux tells it")
def test_memory_of_a_jpeg_of_20000_by_20000_pixels_is_bounded(tmp_path):
    """400 million pixels would be 1.2 GB."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        path = save(tmp_path, Image.new("L", (20000, 20000), 128), "jpg")
    code = """if True:
        import sys
        from calbook.data.pictures import open_for_prediction
        def peak():  # ru_maxrss would count the parent of this process, too
            return int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0])
        before = peak()
        opened = open_for_prediction(sys.argv[1])
        print(opened.size, tuple(opened.pixels.shape), peak() - before)
    """
    child = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    shapes, kilobytes = child.stdout.rsplit(maxsplit=1)
    assert shapes == "(20000, 20000) (3, 5000, 5000)"
    assert int(kilobytes) < 5 * 3 * 5000 * 5000 / 1000


@pytest.mark.parametrize("opener", [open_for_prediction, open_picture, read_pixels])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a picture"),
        (b"not a picture", "not a picture"),
        (None, "the picture is missing"),
    ],
)
def test_corrupt_files_are_one_line(tmp_path, opener, content, message):
    path = tmp_path / "broken.jpg"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=message) as raised:
        opener(path)
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "bmp"])
def test_truncated_files_are_one_line(tmp_path, suffix):
    path = save(tmp_path, Image.effect_noise((64, 64), 90).convert("RGB"), suffix)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DataError) as raised:
        open_for_prediction(path)
    assert "\n" not in str(raised.value)


def test_the_two_readers_agree_on_plain_pictures(tmp_path):
    path = save(tmp_path, plain())
    assert torch.equal(read_pixels(path), open_for_prediction(path).pixels)
    assert torch.equal(open_picture(path), read_pixels(path).float() / 255)


def test_normalization():
    mean = torch.tensor([0.485, 0.456, 0.406])[None, :, None, None]
    assert normalize(mean.expand(2, 3, 4, 4)).abs().max() < 1e-6
    ones = normalize(torch.ones(1, 3, 1, 1)).flatten()
    torch.testing.assert_close(ones, torch.tensor([0.515 / 0.229, 0.544 / 0.224, 0.594 / 0.225]))
