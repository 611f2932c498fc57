"""Draw the pictures of the README: the report and the call list of the sample, as a browser shows them.

python docs/make/pictures.py            (make pictures; needs chromium, and trains and scores the sample)
"""

from __future__ import annotations

import csv
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from jinja2 import Environment
from PIL import Image, ImageChops

from churn_spark.cli import main

ROOT = Path(__file__).parents[2]
IMAGES = ROOT / "docs" / "images"
CALLS = 8
PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><style>{{ style }}
body{padding:24px}main{max-width:1240px}td{font-size:15px}th,td.id{white-space:nowrap;overflow-wrap:normal}
td.n{font-weight:600}.card{padding:10px 26px 18px}</style></head>
<body><main><div class="card"><table><thead><tr><th>customer</th><th class="n">risk</th><th class="n">worth</th>
<th style="width:24%">why</th><th>and</th></tr></thead><tbody>{% for row in rows %}
<tr><td class="id">{{ row.customer_id }}</td>
<td class="n">{{ "%.0f" | format(100 * row.churn_probability | float) }}%</td>
<td class="n">{{ "%.2f" | format(row.expected_value | float) }}</td>
<td>{{ row.reason_1_text }}</td><td>{{ row.reason_2_text }}</td></tr>{% endfor %}
</tbody></table></div></main></body></html>"""


def call_list(folder: Path) -> Path:
    """The first rows of an exported call list as a page."""
    with (folder / "calls.csv").open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))[:CALLS]
    style = (ROOT / "churn_spark/report/templates/report.css").read_text()
    page = folder / "calls.html"
    page.write_text(Environment(autoescape=True).from_string(PAGE).render(rows=rows, style=style))
    return page


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


def run(folder: Path) -> Path:
    """Train and score the sample; the package's report."""
    output = ["--output", str(folder / "out")]
    for command in (["train", *output], ["score", *output, "--score-date", "2026-01-31"],
                    ["export", *output, "--top", str(CALLS), "--to", str(folder / "calls.csv")]):  # fmt: skip
        if code := main(command):
            sys.exit(code)
    return next((folder / "out/models").glob("m-*/report.html"))


if __name__ == "__main__":
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        report = run(Path(scratch))
        picture(report, "report", width=1160, height=1000)
        picture(call_list(Path(scratch)), "call_list", width=1160, height=1400)
