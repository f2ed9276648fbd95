BEGIN TRANSACTION;
CREATE TABLE actions (
  id INTEGER PRIMARY KEY,
  consumer INTEGER NOT NULL,
  kind TEXT NOT NULL,
  key TEXT NOT NULL,
  camera_id TEXT NOT NULL,
  payload TEXT NOT NULL,
  created_ms INTEGER NOT NULL,
  expires_ms INTEGER NOT NULL,
  state INTEGER NOT NULL DEFAULT 0,
  started_ms INTEGER,
  ended_ms INTEGER,
  outcome TEXT,
  UNIQUE (consumer, key)
);
CREATE TABLE ai_tasks (
  id TEXT PRIMARY KEY,
  camera_id TEXT NOT NULL REFERENCES cameras (id) ON DELETE CASCADE,
  task_type TEXT NOT NULL,
  enabled INTEGER NOT NULL DEFAULT 1,
  stream_profile TEXT NOT NULL DEFAULT 'sub',
  fps REAL NOT NULL,
  width INTEGER NOT NULL,
  config TEXT NOT NULL DEFAULT '{}',
  created_ms INTEGER NOT NULL,
  updated_ms INTEGER NOT NULL,
  UNIQUE (camera_id, task_type, stream_profile)
) WITHOUT ROWID;
INSERT INTO "ai_tasks" VALUES('ai_619ad3cfa553f97ce09bfa1b8f061c1f','gate','detection',1,'sub',5.0,1280,'{}',1795194448906,1795194448906);
CREATE TABLE cameras (
  id TEXT PRIMARY KEY,
  site_id TEXT,
  name TEXT NOT NULL,
  vendor TEXT NOT NULL DEFAULT 'generic',
  model TEXT,
  address TEXT,
  rtsp_port INTEGER NOT NULL DEFAULT 554,
  username TEXT,
  password TEXT,
  main_stream_url TEXT,
  sub_stream_url TEXT,
  record_stream TEXT NOT NULL DEFAULT 'main',
  capabilities TEXT NOT NULL DEFAULT '{}',
  enabled INTEGER NOT NULL DEFAULT 1,
  priority INTEGER NOT NULL DEFAULT 100,
  created_ms INTEGER NOT NULL,
  updated_ms INTEGER NOT NULL
) WITHOUT ROWID;
INSERT INTO "cameras" VALUES('gate',NULL,'Gate','generic',NULL,'192.0.2.1',554,'admin','enc:v1:QT7MkBnJITqm0sTL0IcYtXf07ZRYUCdTDuyryYnvyC3NdA==',NULL,NULL,'main','{}',1,100,1795194448897,1795194448897);
INSERT INTO "cameras" VALUES('yard',NULL,'Yard','generic',NULL,'192.0.2.1',554,'admin','enc:v1:EYphHxkN8scDBOiJuH+9Ux/ezdxerRlubduaQeK4a3O8Ng==',NULL,NULL,'main','{}',1,100,1795194448902,1795194448902);
CREATE TABLE channels (
  id INTEGER PRIMARY KEY,
  camera INTEGER NOT NULL REFERENCES names (id),
  task_type INTEGER NOT NULL REFERENCES names (id),
  task_id TEXT NOT NULL,
  UNIQUE (camera, task_type, task_id)
);
INSERT INTO "channels" VALUES(1,8,11,'');
INSERT INTO "channels" VALUES(2,7,11,'');
CREATE TABLE consumer_fanout (
  seq INTEGER NOT NULL,
  consumer INTEGER NOT NULL,
  state INTEGER NOT NULL,
  attempts INTEGER,
  error TEXT,
  ended_ms INTEGER,
  PRIMARY KEY (seq, consumer)
) WITHOUT ROWID;
CREATE TABLE consumer_lanes (
  consumer INTEGER NOT NULL,
  camera INTEGER NOT NULL,
  at_ms INTEGER NOT NULL,
  PRIMARY KEY (consumer, camera)
) WITHOUT ROWID;
CREATE TABLE consumer_state (
  consumer INTEGER NOT NULL,
  camera INTEGER NOT NULL,
  key TEXT NOT NULL,
  value BLOB NOT NULL,
  PRIMARY KEY (consumer, camera, key)
) WITHOUT ROWID;
CREATE TABLE consumers (
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  since_seq INTEGER NOT NULL,
  quarantined_ms INTEGER,
  last_error TEXT
);
CREATE TABLE detections (
  id INTEGER PRIMARY KEY,
  label INTEGER,
  confidence REAL,
  x REAL, y REAL, w REAL, h REAL,
  track TEXT,
  attributes TEXT
);
INSERT INTO "detections" VALUES(1024,10,0.9,0.1,0.1,0.2,0.3,'t0','{"n": 0}');
INSERT INTO "detections" VALUES(1025,10,0.9,0.1,0.1,0.2,0.3,'t1','{"n": 1}');
INSERT INTO "detections" VALUES(1026,10,0.9,0.1,0.1,0.2,0.3,'t2','{"n": 2}');
INSERT INTO "detections" VALUES(1027,10,0.9,0.1,0.1,0.2,0.3,'t3','{"n": 3}');
INSERT INTO "detections" VALUES(2048,10,0.9,0.1,0.1,0.2,0.3,'t0','{"n": 0}');
INSERT INTO "detections" VALUES(2049,10,0.9,0.1,0.1,0.2,0.3,'t1','{"n": 1}');
INSERT INTO "detections" VALUES(2050,10,0.9,0.1,0.1,0.2,0.3,'t2','{"n": 2}');
INSERT INTO "detections" VALUES(2051,10,0.9,0.1,0.1,0.2,0.3,'t3','{"n": 3}');
INSERT INTO "detections" VALUES(3072,10,0.9,0.1,0.1,0.2,0.3,'t0','{"n": 0}');
INSERT INTO "detections" VALUES(3073,10,0.9,0.1,0.1,0.2,0.3,'t1','{"n": 1}');
INSERT INTO "detections" VALUES(3074,10,0.9,0.1,0.1,0.2,0.3,'t2','{"n": 2}');
INSERT INTO "detections" VALUES(3075,10,0.9,0.1,0.1,0.2,0.3,'t3','{"n": 3}');
INSERT INTO "detections" VALUES(4096,10,0.9,0.1,0.1,0.2,0.3,'t0','{"n": 0}');
INSERT INTO "detections" VALUES(4097,10,0.9,0.1,0.1,0.2,0.3,'t1','{"n": 1}');
INSERT INTO "detections" VALUES(4098,10,0.9,0.1,0.1,0.2,0.3,'t2','{"n": 2}');
INSERT INTO "detections" VALUES(4099,10,0.9,0.1,0.1,0.2,0.3,'t3','{"n": 3}');
INSERT INTO "detections" VALUES(5120,10,0.9,0.1,0.1,0.2,0.3,'t0','{"n": 0}');
INSERT INTO "detections" VALUES(5121,10,0.9,0.1,0.1,0.2,0.3,'t1','{"n": 1}');
INSERT INTO "detections" VALUES(5122,10,0.9,0.1,0.1,0.2,0.3,'t2','{"n": 2}');
INSERT INTO "detections" VALUES(5123,10,0.9,0.1,0.1,0.2,0.3,'t3','{"n": 3}');
INSERT INTO "detections" VALUES(6144,10,0.9,0.1,0.1,0.2,0.3,'t0','{"n": 0}');
INSERT INTO "detections" VALUES(6145,10,0.9,0.1,0.1,0.2,0.3,'t1','{"n": 1}');
INSERT INTO "detections" VALUES(6146,10,0.9,0.1,0.1,0.2,0.3,'t2','{"n": 2}');
INSERT INTO "detections" VALUES(6147,10,0.9,0.1,0.1,0.2,0.3,'t3','{"n": 3}');
INSERT INTO "detections" VALUES(7168,10,0.9,0.1,0.1,0.2,0.3,'t0','{"n": 0}');
INSERT INTO "detections" VALUES(7169,10,0.9,0.1,0.1,0.2,0.3,'t1','{"n": 1}');
INSERT INTO "detections" VALUES(7170,10,0.9,0.1,0.1,0.2,0.3,'t2','{"n": 2}');
INSERT INTO "detections" VALUES(7171,10,0.9,0.1,0.1,0.2,0.3,'t3','{"n": 3}');
INSERT INTO "detections" VALUES(8192,10,0.9,0.1,0.1,0.2,0.3,'t0','{"n": 0}');
INSERT INTO "detections" VALUES(8193,10,0.9,0.1,0.1,0.2,0.3,'t1','{"n": 1}');
INSERT INTO "detections" VALUES(8194,10,0.9,0.1,0.1,0.2,0.3,'t2','{"n": 2}');
INSERT INTO "detections" VALUES(8195,10,0.9,0.1,0.1,0.2,0.3,'t3','{"n": 3}');
INSERT INTO "detections" VALUES(9216,10,0.9,0.1,0.1,0.2,0.3,'t0','{"n": 0}');
INSERT INTO "detections" VALUES(9217,10,0.9,0.1,0.1,0.2,0.3,'t1','{"n": 1}');
INSERT INTO "detections" VALUES(9218,10,0.9,0.1,0.1,0.2,0.3,'t2','{"n": 2}');
INSERT INTO "detections" VALUES(9219,10,0.9,0.1,0.1,0.2,0.3,'t3','{"n": 3}');
INSERT INTO "detections" VALUES(10240,10,0.9,0.1,0.1,0.2,0.3,'t0','{"n": 0}');
INSERT INTO "detections" VALUES(10241,10,0.9,0.1,0.1,0.2,0.3,'t1','{"n": 1}');
INSERT INTO "detections" VALUES(10242,10,0.9,0.1,0.1,0.2,0.3,'t2','{"n": 2}');
INSERT INTO "detections" VALUES(10243,10,0.9,0.1,0.1,0.2,0.3,'t3','{"n": 3}');
INSERT INTO "detections" VALUES(11264,10,0.9,0.1,0.1,0.2,0.3,'t0','{"n": 0}');
INSERT INTO "detections" VALUES(11265,10,0.9,0.1,0.1,0.2,0.3,'t1','{"n": 1}');
INSERT INTO "detections" VALUES(11266,10,0.9,0.1,0.1,0.2,0.3,'t2','{"n": 2}');
INSERT INTO "detections" VALUES(11267,10,0.9,0.1,0.1,0.2,0.3,'t3','{"n": 3}');
INSERT INTO "detections" VALUES(12288,10,0.9,0.1,0.1,0.2,0.3,'t0','{"n": 0}');
INSERT INTO "detections" VALUES(12289,10,0.9,0.1,0.1,0.2,0.3,'t1','{"n": 1}');
INSERT INTO "detections" VALUES(12290,10,0.9,0.1,0.1,0.2,0.3,'t2','{"n": 2}');
INSERT INTO "detections" VALUES(12291,10,0.9,0.1,0.1,0.2,0.3,'t3','{"n": 3}');
CREATE TABLE events (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  event_type INTEGER NOT NULL REFERENCES names (id),
  severity INTEGER NOT NULL,
  camera INTEGER REFERENCES names (id),
  site_id TEXT,
  at_ms INTEGER NOT NULL,
  created_ms INTEGER NOT NULL,
  payload TEXT NOT NULL,
  evidence TEXT
);
INSERT INTO "events" VALUES(1,9,0,8,NULL,1795194448914,1795194448932,'{"n":0}',NULL);
INSERT INTO "events" VALUES(2,9,0,7,NULL,1795194448936,1795194448939,'{"n":1}',NULL);
INSERT INTO "events" VALUES(3,9,0,7,NULL,1795194448947,1795194448947,'{"n":2}',NULL);
INSERT INTO "events" VALUES(4,9,0,8,NULL,1795194448949,1795194448950,'{"n":3}',NULL);
INSERT INTO "events" VALUES(5,9,0,7,NULL,1795194448953,1795194448953,'{"n":4}',NULL);
INSERT INTO "events" VALUES(6,9,0,7,NULL,1795194448961,1795194448961,'{"n":5}',NULL);
INSERT INTO "events" VALUES(7,9,0,8,NULL,1795194448963,1795194448963,'{"n":6}',NULL);
INSERT INTO "events" VALUES(8,9,0,7,NULL,1795194448968,1795194448968,'{"n":7}',NULL);
INSERT INTO "events" VALUES(9,9,0,7,NULL,1795194448975,1795194448975,'{"n":8}',NULL);
INSERT INTO "events" VALUES(10,9,0,8,NULL,1795194448977,1795194448977,'{"n":9}',NULL);
INSERT INTO "events" VALUES(11,9,0,7,NULL,1795194448978,1795194448978,'{"n":10}',NULL);
INSERT INTO "events" VALUES(12,9,0,7,NULL,1795194448984,1795194448984,'{"n":11}',NULL);
CREATE TABLE media_artifacts (
  path TEXT PRIMARY KEY,
  camera_id TEXT NOT NULL,
  kind TEXT NOT NULL,
  captured_ms INTEGER NOT NULL,
  size_bytes INTEGER NOT NULL,
  created_ms INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE migrations (
  owner TEXT NOT NULL, number INTEGER NOT NULL, name TEXT NOT NULL, sha256 TEXT NOT NULL, applied_ms INTEGER NOT NULL,
  PRIMARY KEY (owner, number)
) WITHOUT ROWID
;
INSERT INTO "migrations" VALUES('heldard',1,'start','0753f49eec269a00985936d5a67650f5138612b74068cc10a41d9bd39cc65e11',1795194448842);
CREATE TABLE names (
  id INTEGER PRIMARY KEY,
  text TEXT NOT NULL UNIQUE
);
INSERT INTO "names" VALUES(1,'consumer_quarantined');
INSERT INTO "names" VALUES(2,'consumer_resumed');
INSERT INTO "names" VALUES(3,'ingest_unleased');
INSERT INTO "names" VALUES(4,'camera_offline');
INSERT INTO "names" VALUES(5,'camera_online');
INSERT INTO "names" VALUES(6,'sampler_offline');
INSERT INTO "names" VALUES(7,'gate');
INSERT INTO "names" VALUES(8,'yard');
INSERT INTO "names" VALUES(9,'motion_seen');
INSERT INTO "names" VALUES(10,'person');
INSERT INTO "names" VALUES(11,'detection');
CREATE TABLE outbox (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  camera INTEGER NOT NULL,
  source INTEGER NOT NULL,
  channel INTEGER NOT NULL,
  frame,
  at_ms INTEGER NOT NULL,
  timestamp_ms INTEGER NOT NULL,
  captured_ms INTEGER,
  received_ms INTEGER NOT NULL,
  detection_count INTEGER NOT NULL,
  labels INTEGER NOT NULL,
  fanned_out_ms INTEGER
);
INSERT INTO "outbox" VALUES(1,8,1,1,'w:f0',1795194448914,1795194448914,NULL,1795194448914,4,1024,1795194448914);
INSERT INTO "outbox" VALUES(2,7,2,2,'w:f1',1795194448936,1795194448936,NULL,1795194448936,4,1024,1795194448936);
INSERT INTO "outbox" VALUES(3,7,2,2,'w:f2',1795194448947,1795194448947,NULL,1795194448947,4,1024,1795194448947);
INSERT INTO "outbox" VALUES(4,8,1,1,'w:f3',1795194448949,1795194448949,NULL,1795194448949,4,1024,1795194448949);
INSERT INTO "outbox" VALUES(5,7,2,2,'w:f4',1795194448953,1795194448953,NULL,1795194448953,4,1024,1795194448953);
INSERT INTO "outbox" VALUES(6,7,2,2,'w:f5',1795194448961,1795194448961,NULL,1795194448961,4,1024,1795194448961);
INSERT INTO "outbox" VALUES(7,8,1,1,'w:f6',1795194448963,1795194448963,NULL,1795194448963,4,1024,1795194448963);
INSERT INTO "outbox" VALUES(8,7,2,2,'w:f7',1795194448968,1795194448968,NULL,1795194448968,4,1024,1795194448968);
INSERT INTO "outbox" VALUES(9,7,2,2,'w:f8',1795194448975,1795194448975,NULL,1795194448975,4,1024,1795194448975);
INSERT INTO "outbox" VALUES(10,8,1,1,'w:f9',1795194448977,1795194448977,NULL,1795194448977,4,1024,1795194448977);
INSERT INTO "outbox" VALUES(11,7,2,2,'w:f10',1795194448978,1795194448978,NULL,1795194448978,4,1024,1795194448978);
INSERT INTO "outbox" VALUES(12,7,2,2,'w:f11',1795194448984,1795194448984,NULL,1795194448984,4,1024,1795194448984);
CREATE TABLE settings (
  key TEXT PRIMARY KEY,
  value TEXT NOT NULL,
  updated_ms INTEGER NOT NULL
) WITHOUT ROWID;
INSERT INTO "settings" VALUES('event_namespace','15841127624116047138',0);
CREATE TABLE sources (
  id INTEGER PRIMARY KEY,
  camera INTEGER NOT NULL REFERENCES names (id),
  task_type INTEGER NOT NULL REFERENCES names (id),
  task_id TEXT NOT NULL,
  site_id TEXT NOT NULL,
  epoch TEXT NOT NULL,
  provenance TEXT NOT NULL,
  produced_by TEXT NOT NULL,
  worker TEXT NOT NULL,
  UNIQUE (camera, task_type, task_id, site_id, epoch, provenance, produced_by, worker)
);
INSERT INTO "sources" VALUES(1,8,11,'','','one','worker','apikey:system','');
INSERT INTO "sources" VALUES(2,7,11,'','','one','worker','apikey:system','');
CREATE UNIQUE INDEX outbox_frame ON outbox (channel, frame) WHERE frame IS NOT NULL;
CREATE INDEX outbox_camera_timestamp ON outbox (camera, timestamp_ms, labels);
CREATE INDEX outbox_camera_at ON outbox (camera, at_ms);
CREATE INDEX outbox_unfinished ON outbox (camera, seq) WHERE fanned_out_ms IS NULL;
CREATE INDEX consumer_fanout_odd ON consumer_fanout (consumer, state, seq) WHERE state <> 1;
CREATE INDEX actions_open ON actions (id) WHERE state < 2;
CREATE INDEX events_at ON events (at_ms);
CREATE INDEX events_camera_at ON events (camera, at_ms);
CREATE INDEX events_type_at ON events (event_type, at_ms);
CREATE INDEX media_artifacts_created ON media_artifacts (created_ms);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('outbox',12);
INSERT INTO "sqlite_sequence" VALUES('events',12);
COMMIT;
