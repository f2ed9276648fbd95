"""Reading text in pictures with RapidOCR (PP-OCR models on onnxruntime): its models come in its wheel, so nothing is
fetched at run time."""

from __future__ import annotations

import threading
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from heldard.worker.plate_text import TextLine

Pixels = npt.NDArray[np.uint8]

DETECT_SIDE = 320
"""Crops are searched for text at no more than this many pixels on their longer side; reading uses the full crop."""


class TextReader(Protocol):
    """Finds lines of text in a picture."""

    def read(self, bgr: Pixels) -> list[TextLine]: ...


class RapidReader:
    """One engine for all tasks of a process; it reads one picture at a time."""

    def __init__(self, threads: int = 1) -> None:
        from rapidocr import RapidOCR

        self._lock = threading.Lock()
        self._engine = RapidOCR(
            params={
                "Global.log_level": "error",
                "Global.use_cls": False,  # plates do not stand on their heads
                "Global.return_word_box": True,
                "Global.return_single_char_box": True,
                "EngineConfig.onnxruntime.intra_op_num_threads": threads,
                "Det.limit_type": "max",
                "Det.limit_side_len": DETECT_SIDE,
            }
        )

    def read(self, bgr: Pixels) -> list[TextLine]:
        with self._lock:
            found = self._engine(np.ascontiguousarray(bgr))
        texts, scores, boxes = (getattr(found, name, None) for name in ("txts", "scores", "boxes"))
        if texts is None or scores is None or boxes is None:
            return []
        words = getattr(found, "word_results", None) or [()] * len(texts)
        return [_line(*parts) for parts in zip(texts, scores, boxes, words, strict=False)]


@lru_cache(maxsize=1)
def shared_reader() -> TextReader:
    """The process's reader, made when first needed."""
    return RapidReader()


def _line(text: str, score: float, corners: Any, words: Any) -> TextLine:
    points = np.asarray(corners, float)
    (left, top), (right, bottom) = points.min(axis=0), points.max(axis=0)
    characters = tuple((str(word[0]), float(word[1])) for word in words or () if word and len(str(word[0])) == 1)
    box = (float(left), float(top), float(right - left), float(bottom - top))
    return TextLine(str(text), float(score), characters, box)
