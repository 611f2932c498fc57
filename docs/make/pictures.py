"""Draw the pictures of the README: the report and the call list of the sample, as a browser shows them.

python docs/make/pictures.py            (make pictures; needs chromium, and trains and scores the sample)
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image, ImageChops

from churn_spark.cli import main

ROOT = Path(__file__).parents[2]
IMAGES = ROOT / "docs" / "images"
CALLS = 8


def picture(page: Path, name: str, *, width: int, height: int) -> None:
    """Photograph a page and keep the PNG small: 128 colors, no empty space below."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        sys.exit("error: no chromium found\nnext: install it, e.g. apt-get install chromium")
    target = IMAGES / f"{name}.png"
    flags = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        "--force-device-scale-factor=1",
    ]
    subprocess.run([browser, *flags, f"--window-size={width},{height}", f"--screenshot={target}", page.as_uri()],
                   check=True, capture_output=True)  # fmt: skip
    image = Image.open(target).convert("RGB")
    empty = Image.new("RGB", image.size, image.getpixel((0, image.height - 1)))
    box = ImageChops.difference(image, empty).getbbox() or (0, 0, *image.size)
    cropped = image.crop((0, 0, image.width, min(image.height, box[3] + 24)))
    cropped.quantize(128, dither=Image.Dither.NONE).save(target, optimize=True)


def run(folder: Path) -> tuple[Path, Path]:
    """Train and score the sample; the package's report, and the call list for people."""
    output, calls = ["--output", str(folder / "out")], folder / "calls.html"
    for command in (["train", *output], ["score", *output, "--score-date", "2026-01-31"],
                    ["call-list", *output, "--html", "--top", str(CALLS), "--to", str(calls)]):  # fmt: skip
        if code := main(command):
            sys.exit(code)
    return next((folder / "out/models").glob("m-*/report.html")), calls


if __name__ == "__main__":
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        report, calls = run(Path(scratch))
        picture(report, "report", width=1160, height=1000)
        picture(calls, "call_list", width=1160, height=1400)
