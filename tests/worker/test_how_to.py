"""The code on the page "Write a worker" runs."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import pytest
from aiohttp.test_utils import TestServer

from heldard.worker.detector import Picture
from heldard.worker.motion import MotionSettings
from heldard.worker.plates import PlateSettings

from .stub import StubKernel, frame, task

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "write-a-worker.md"
TEXT = PAGE.read_text()


def run_block(containing: str) -> dict[str, Any]:
    """Run the page's Python block that has these words in it; the names it defines."""
    blocks = [block for block in re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL) if containing in block]
    assert len(blocks) == 1
    names: dict[str, Any] = {"__name__": "page"}
    exec(compile(ast.parse(blocks[0]), str(PAGE), "exec"), names)
    return names


def picture_of(brightness: int) -> Picture:
    pixels = np.full((90, 160, 3), brightness, np.uint8)
    return Picture("gate", 0, cv2.imencode(".jpg", pixels)[1].tobytes())


def test_the_detector_on_the_page_detects():
    detector = run_block("class DarknessDetector")["DarknessDetector"]({"below": 30})
    assert detector.detect(picture_of(200)) == []
    assert [d.label for d in detector.detect(picture_of(10))] == ["dark"]


async def test_the_client_program_on_the_page_posts_and_releases():
    look_once = run_block("async def look_once")["look_once"]
    stub = StubKernel(tasks=[task()], frames=[frame(1, x_frame_id="ai_1:1767225601000", x_frame_ticket="f1.x")])
    async with TestServer(stub.app()) as server:
        assert await look_once(str(server.make_url(""))) == 1
    assert stub.posts[0]["frame_id"] == "ai_1:1767225601000"
    assert stub.posts[0]["frame_ticket"] == "f1.x"
    assert stub.released == ["lse_1"]


@pytest.mark.parametrize("settings", [MotionSettings, PlateSettings])
def test_the_page_names_every_key_of_the_reference_detectors_with_its_default(settings: type[msgspec.Struct]):
    for field in msgspec.structs.fields(settings):
        said = re.search(rf"`{field.name}`(?: ([0-9.]+))?", TEXT)
        assert said, f"{field.name} is not on the page"
        if said.group(1):
            assert float(said.group(1).rstrip(".")) == field.default, field.name
