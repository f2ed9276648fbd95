"""Make `heldard_anpr/plates/confusions.json`: how often a character of a plate is taken for which other one.

Method: each of A-Z and 0-9 is drawn in the sans-serif font that comes inside Pillow, squeezed to the proportions of a
plate, and damaged as a camera would: scaled down to 7..11 pixels of height at a random sub-pixel place, sheared and
squeezed a little, blurred, smeared by dirt, with noise. A nearest-template reader (highest normalised correlation
with the clean characters) names what it sees. What it gets wrong is counted. The seed is fixed: the same Pillow and
numpy give the same file.

    python tools/make_confusions.py 4000

The weight of reading `o` where `t` is printed is its share among all wrong readings of `t`.
"""

from __future__ import annotations

import json
import string
import sys
from pathlib import Path
from typing import Any

import numpy
import PIL
from PIL import Image, ImageDraw, ImageFilter, ImageFont

CHARACTERS = string.ascii_uppercase + string.digits
WIDTH, HEIGHT = 24, 40
KEPT_SHARE = 0.01
OUT = Path(__file__).parent.parent / "heldard_anpr" / "plates" / "confusions.json"

Picture = Any


def clean(character: str) -> Image.Image:
    """The character filling its cell, dark on light, with the margin between characters."""
    font = ImageFont.load_default(60)
    canvas = Image.new("L", (120, 120), 255)
    ImageDraw.Draw(canvas).text((30, 20), character, font=font, fill=0)
    box = canvas.point(lambda value: 255 - value).getbbox()
    glyph = canvas.crop(box)
    width = min(WIDTH - 4, max(6, round(glyph.width * (HEIGHT - 4) / glyph.height * 0.75)))
    cell = Image.new("L", (WIDTH, HEIGHT), 255)
    cell.paste(glyph.resize((width, HEIGHT - 4)), ((WIDTH - width) // 2, 2))
    return cell


def damaged(cell: Image.Image, random: numpy.random.Generator) -> Picture:
    shear = random.normal(0, 0.08)
    scale = random.normal(1, 0.06)
    dx, dy = random.normal(0, 1.2, 2)
    form = (1 / scale, shear, WIDTH * (1 - 1 / scale) / 2 - shear * HEIGHT / 2 + dx, 0, 1, dy)
    moved = cell.transform((WIDTH, HEIGHT), Image.Transform.AFFINE, form, Image.Resampling.BILINEAR, fillcolor=255)
    if random.random() < 0.3:
        x, y = random.integers(0, WIDTH - 6), random.integers(0, HEIGHT - 6)
        shade = int(random.choice([0, 255]))
        ImageDraw.Draw(moved).ellipse((x, y, x + random.integers(4, 10), y + random.integers(4, 10)), fill=shade)
    blurred = moved.filter(ImageFilter.GaussianBlur(random.uniform(1.0, 3.2)))
    height = int(random.integers(7, 12))
    small = blurred.resize((max(4, round(WIDTH * height / HEIGHT)), height), Image.Resampling.BOX)
    pixels = numpy.asarray(small, dtype=float) + random.normal(0, 18, (height, small.width))
    again = Image.fromarray(numpy.clip(pixels, 0, 255).astype("uint8")).resize((WIDTH, HEIGHT))
    return numpy.asarray(again, dtype=float)


def normal(picture: Picture) -> Picture:
    flat = picture.ravel() - picture.mean()
    return flat / (numpy.linalg.norm(flat) + 1e-9)


def main(samples: int) -> None:
    random = numpy.random.default_rng(20)
    cells = {character: clean(character) for character in CHARACTERS}
    blurs = (1.0, 2.0, 3.0)
    templates = numpy.stack([
        normal(numpy.asarray(cells[character].filter(ImageFilter.GaussianBlur(blur)), dtype=float))
        for character in CHARACTERS for blur in blurs
    ])  # fmt: skip
    weights: dict[str, dict[str, float]] = {}
    errors = 0
    for true in CHARACTERS:
        seen = numpy.stack([normal(damaged(cells[true], random)) for _ in range(samples)])
        named = numpy.argmax(seen @ templates.T, axis=1) // len(blurs)
        counts = {CHARACTERS[k]: int(n) for k, n in zip(*numpy.unique(named, return_counts=True), strict=True)}
        counts.pop(true, None)
        total = sum(counts.values())
        errors += total
        kept = {read: round(n / total, 3) for read, n in counts.items() if n / total >= KEPT_SHARE}
        weights[true] = dict(sorted(kept.items(), key=lambda item: (-item[1], item[0])))
    document = {
        "how": "tools/make_confusions.py: drawn characters, damaged, read by nearest template; shares of wrong reads",
        "pillow": PIL.__version__, "numpy": numpy.__version__, "samples_per_character": samples,
        "wrong_share": round(errors / samples / len(CHARACTERS), 4),
        "weights": weights,
    }  # fmt: skip
    text = json.dumps(document, indent=1, ensure_ascii=False)
    OUT.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 4000)
