"""The straightforward way, to compare with: upstream's tables and transactions on aiohttp and a pool of aiosqlite.

One transaction for a batch, one per consumer's claim, one for the mark that ends it; random text keys, text times, JSON
boxes, three indexes. Two consumers claim every batch and do nothing with it. Bodies are decoded as heldard's are, so
that only the structure differs.

    python -m tests.bench.baseline PATH PORT full|normal
"""

from __future__ import annotations

import asyncio
import sqlite3
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiosqlite
import msgspec
from aiohttp import web

from heldard.ingest.model import BatchPost

POOL = 16
ROWS = 83
"""Detections one statement inserts: 12 columns each, below SQLite's old limit of 999 parameters."""

CONSUMERS = ("zones", "anpr")
SCHEMA = """
CREATE TABLE IF NOT EXISTS detections (
  id TEXT PRIMARY KEY, camera_id TEXT NOT NULL, task_type TEXT NOT NULL, timestamp TEXT NOT NULL, label TEXT,
  confidence REAL, bbox TEXT, track_id TEXT, attributes TEXT NOT NULL DEFAULT '{}', created_at TEXT NOT NULL,
  frame_id TEXT, provenance TEXT NOT NULL DEFAULT 'client');
CREATE INDEX IF NOT EXISTS detections_camera ON detections (camera_id, timestamp);
CREATE INDEX IF NOT EXISTS detections_label ON detections (label);
CREATE TABLE IF NOT EXISTS outbox (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, topic TEXT NOT NULL, camera_id TEXT, site_id TEXT, frame_id TEXT,
  task_type TEXT, detection_count INTEGER NOT NULL DEFAULT 0, created_at TEXT NOT NULL, fanned_out_at TEXT,
  provenance TEXT NOT NULL DEFAULT 'client', produced_by TEXT);
CREATE UNIQUE INDEX IF NOT EXISTS outbox_frame ON outbox (camera_id, frame_id) WHERE frame_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS outbox_created ON outbox (created_at);
CREATE INDEX IF NOT EXISTS outbox_unfinished ON outbox (seq) WHERE fanned_out_at IS NULL;
CREATE TABLE IF NOT EXISTS consumer_fanout (
  consumer TEXT NOT NULL, camera_id TEXT NOT NULL, frame_id TEXT NOT NULL, fanned_at TEXT NOT NULL,
  PRIMARY KEY (consumer, camera_id, frame_id));
CREATE INDEX IF NOT EXISTS consumer_fanout_at ON consumer_fanout (fanned_at);
"""
COLUMNS = (
    "id, camera_id, task_type, timestamp, label, confidence, bbox, track_id, attributes, created_at, frame_id, "
    "provenance"
)
_DECODER = msgspec.json.Decoder(BatchPost)
POOL_KEY = web.AppKey("pool", asyncio.Queue)


def connect(path: Path, durability: str) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, timeout=30, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA synchronous = {durability.upper()}")
    return connection


def now() -> str:
    return datetime.now(UTC).isoformat()


def rows_of(post: BatchPost, frame_id: str, moment: str) -> list[tuple[Any, ...]]:
    provenance = {"source": "worker", "_prov": {"key": "system", "task": None, "worker": None}}
    return [
        (
            str(uuid.uuid4()), post.camera_id, post.task_type, moment, found.label, found.confidence,
            None if found.bbox is None else msgspec.json.encode(found.bbox).decode(), found.track_id,
            msgspec.json.encode({**msgspec.json.decode(bytes(found.attributes)), **provenance}).decode(),
            moment, frame_id, "worker",
        )
        for found in post.detections
    ]  # fmt: skip


def insert_sql(rows: int) -> str:
    return f"INSERT INTO detections ({COLUMNS}) VALUES {', '.join(['(' + ', '.join('?' * 12) + ')'] * rows)}"


async def take(request: web.Request) -> web.Response:
    post: BatchPost = _DECODER.decode(await request.read())
    frame_id = f"w:{post.frame_id}"
    moment = now()
    rows = rows_of(post, frame_id, moment)
    pool = request.app[POOL_KEY]
    async with _using(pool) as connection:
        await connection.execute("BEGIN IMMEDIATE")
        await connection.execute(
            "INSERT INTO outbox (topic, camera_id, frame_id, task_type, detection_count, created_at, provenance, "
            "produced_by) VALUES ('detections', ?, ?, ?, ?, ?, 'worker', 'apikey:system')",
            (post.camera_id, frame_id, post.task_type, len(rows), moment),
        )
        for start in range(0, len(rows), ROWS):
            part = rows[start : start + ROWS]
            await connection.execute(insert_sql(len(part)), [value for row in part for value in row])
        await connection.execute("COMMIT")
    for consumer in CONSUMERS:
        async with _using(pool) as connection:
            await connection.execute(
                "INSERT OR IGNORE INTO consumer_fanout VALUES (?, ?, ?, ?)",
                (consumer, post.camera_id, frame_id, now()),
            )
    async with _using(pool) as connection:
        await connection.execute(
            "UPDATE outbox SET fanned_out_at = ? WHERE camera_id = ? AND frame_id = ?",
            (now(), post.camera_id, frame_id),
        )
    body = msgspec.json.encode({"detections_ingested": len(rows), "ticketed": False})
    return web.Response(body=body, content_type="application/json")


@asynccontextmanager
async def _using(pool: asyncio.Queue[aiosqlite.Connection]) -> AsyncIterator[aiosqlite.Connection]:
    connection = await pool.get()
    try:
        yield connection
    finally:
        pool.put_nowait(connection)


def build(path: Path, durability: str) -> web.Application:
    app = web.Application(client_max_size=8 * 1024 * 1024)
    app[POOL_KEY] = asyncio.Queue()

    async def running(app: web.Application) -> AsyncIterator[None]:
        opened = [
            await aiosqlite.Connection(lambda: connect(path, durability), iter_chunk_size=256) for _ in range(POOL)
        ]
        await opened[0].executescript(SCHEMA)
        for connection in opened:
            app[POOL_KEY].put_nowait(connection)
        yield
        for connection in opened:
            await connection.close()

    async def ready(_: web.Request) -> web.Response:
        return web.json_response({"ready": True})

    app.cleanup_ctx.append(running)
    app.router.add_post("/api/v1/ai/events", take)
    app.router.add_get("/readyz", ready)
    return app


if __name__ == "__main__":
    web.run_app(build(Path(sys.argv[1]), sys.argv[3]), host="127.0.0.1", port=int(sys.argv[2]), access_log=None,
                print=None)  # fmt: skip
