"use strict";
// The live page. It shows, for each camera, the newest frame that has been analysed with exactly the boxes found in it,
// the camera's zones and state, and the newest events. Everything comes from the API; text is set as text, never as HTML.

const FRAMES_KEPT = 40;
const SHOWN_AFTER_MS = 900; // how long a frame waits for its detections before it is shown without
const EVENTS_SHOWN = 80;
const COLOURS = { person: "#ffd166", zone: "#4cc9f0", other: "#7bf1a8" };

const $ = (id) => document.getElementById(id);
const pause = (ms) => new Promise((done) => setTimeout(done, ms));
let entered = null; // resolved when somebody has logged in, while that is waited for

class Refused extends Error {}

async function ask(path, options = {}) {
  const response = await fetch(`api/v1${path}`, { cache: "no-store", ...options });
  if (response.status === 401) {
    await login();
    throw new Refused("it was not asked again");
  }
  return response;
}

async function json(path, otherwise) {
  const response = await ask(path);
  return response.ok ? response.json() : otherwise;
}

// Whether the zones plugin runs: asked until there is an answer, for asking for zones without it is an error.
let zonesRun = null;
async function hasZones() {
  zonesRun ??= (await json("/plugins", null))?.some(({ name, state }) => name === "zones" && state === "active") ?? null;
  return zonesRun === true;
}

// Do something for ever; faults show in the header and are tried again.
async function keep(work, everyMs) {
  for (;;) {
    try {
      await work();
      link("live", "good");
      await pause(everyMs);
    } catch (error) {
      if (error instanceof Refused) continue;
      link("no answer", "bad");
      await pause(2000);
    }
  }
}

// Show the form and wait until somebody is in. All loops that are refused meet here.
let waiting = null;
function login() {
  waiting ??= new Promise((done) => {
    entered = () => {
      waiting = null;
      $("login").hidden = true;
      $("main").hidden = false;
      $("refusal").textContent = "";
      done();
    };
    $("login").hidden = false;
    $("main").hidden = true;
    link("log in", "warn");
  });
  return waiting;
}

function link(text, kind) {
  $("link").textContent = text;
  $("link").className = `chip ${kind}`;
}

// --- a camera ---------------------------------------------------------------------------------------------------------

const cameras = new Map();

class CameraView {
  constructor(camera, profile) {
    this.id = camera.id;
    this.profile = profile;
    this.frames = new Map(); // capture time in ms -> {bitmap, had}
    this.boxes = new Map(); // capture time in ms -> detections
    this.zones = [];
    this.plates = new Map(); // task and track -> the plate last read on it
    this.after = null;
    this.shown = 0;
    this.card = $("camera").content.firstElementChild.cloneNode(true);
    this.card.querySelector(".name").textContent = camera.name;
    this.canvas = this.card.querySelector("canvas");
    this.canvas.setAttribute("aria-label", `Latest analysed frame of ${camera.name}`);
    $("cameras").append(this.card);
    this.gone = false;
    this.loop(() => this.pull(), 20);
    this.loop(() => this.detect(), 250);
    this.loop(() => this.rezone(), 5000);
    this.loop(async () => this.draw(), 60);
  }

  async loop(work, everyMs) {
    while (!this.gone) {
      try {
        await work();
        await pause(everyMs);
      } catch (error) {
        if (!(error instanceof Refused)) await pause(2000); // the header says so: other loops run into the same
      }
    }
  }

  close() {
    this.gone = true;
    this.card.remove();
  }

  state(sampler) {
    const chip = this.card.querySelector(".chip");
    chip.textContent = sampler.state;
    chip.className = `chip ${sampler.state === "sampling" ? "good" : sampler.state === "connecting" ? "warn" : "bad"}`;
    const rate = (sampler.observed_fps ?? sampler.fps ?? 0).toFixed(1);
    const healthy = sampler.state === "sampling";
    this.card.querySelector(".facts").textContent =
      `${sampler.stream_profile} · ${rate} frames/s · ${sampler.width} px` + (healthy ? "" : ` · ${sampler.reason ?? ""}`);
  }

  async pull() {
    const after = this.after ? `&after=${encodeURIComponent(this.after)}&wait=5` : "";
    const response = await ask(`/cameras/${this.id}/frame?profile=${this.profile}${after}`);
    if (response.status !== 200) return pause(response.status === 304 ? 0 : 1000);
    const captured = Date.parse(response.headers.get("x-frame-captured-at"));
    this.after = response.headers.get("x-frame-id");
    this.frames.set(captured, { bitmap: await createImageBitmap(await response.blob()), had: performance.now() });
    while (this.frames.size > FRAMES_KEPT) {
      const [oldest, frame] = this.frames.entries().next().value;
      frame.bitmap.close();
      this.frames.delete(oldest);
    }
    if (!this.after) await pause(200);
    return undefined;
  }

  async detect() {
    const found = await json(`/cameras/${this.id}/detections?limit=100`, []);
    this.boxes = new Map();
    for (const detection of found.reverse()) {
      const plate = detection.attributes?.plate;
      if (plate) this.plates.set(trackOf(detection), plate);
      if (this.plates.size > 200) this.plates.delete(this.plates.keys().next().value);
      const captured = captureTime(detection);
      if (!this.boxes.has(captured)) this.boxes.set(captured, []);
      this.boxes.get(captured).push(detection);
    }
  }

  async rezone() {
    if (!(await hasZones())) return;
    this.zones = (await json(`/cameras/${this.id}/zones`, [])).filter((zone) => zone.enabled);
  }

  // The newest frame whose detections are there, or one that has waited for them long enough.
  draw() {
    const now = performance.now();
    let best = 0;
    for (const [captured, frame] of this.frames) {
      if (captured > best && (this.boxes.has(captured) || now - frame.had > SHOWN_AFTER_MS)) best = captured;
    }
    if (!best || best === this.shown) return;
    this.shown = best;
    const { bitmap } = this.frames.get(best);
    if (this.canvas.width !== bitmap.width || this.canvas.height !== bitmap.height) {
      this.canvas.width = bitmap.width;
      this.canvas.height = bitmap.height;
    }
    const pen = this.canvas.getContext("2d");
    pen.drawImage(bitmap, 0, 0);
    const unit = bitmap.width / 640;
    for (const zone of this.zones) drawZone(pen, zone, bitmap, unit);
    for (const detection of this.boxes.get(best) ?? []) drawBox(pen, detection, this.plates.get(trackOf(detection)), bitmap, unit);
  }
}

// `<task>:<milliseconds>` or `<task>:<RFC 3339>`; without a frame id, the detection's own time.
function captureTime(detection) {
  const id = detection.frame_id ?? "";
  const digits = /:(\d+)$/.exec(id);
  if (digits) return Number(digits[1]);
  const text = /\d{4}-\d\d-\d\dT.*$/.exec(id);
  return Date.parse(text ? text[0] : detection.timestamp);
}

const trackOf = (detection) => `${detection.task_id} ${detection.track_id}`;

function drawZone(pen, zone, size, unit) {
  const points = zone.polygon.map(([x, y]) => [x * size.width, y * size.height]);
  pen.beginPath();
  points.forEach(([x, y], i) => (i ? pen.lineTo(x, y) : pen.moveTo(x, y)));
  if (zone.kind !== "line") {
    pen.closePath();
    pen.fillStyle = `${COLOURS.zone}22`;
    pen.fill();
  }
  pen.strokeStyle = COLOURS.zone;
  pen.lineWidth = 2 * unit;
  pen.stroke();
  const left = Math.min(...points.map((p) => p[0]));
  const top = Math.min(...points.map((p) => p[1]));
  drawLabel(pen, zone.name, left, top, COLOURS.zone, size, unit);
}

function drawBox(pen, detection, plate, size, unit) {
  if (!Array.isArray(detection.bbox)) return;
  const [x, y, w, h] = detection.bbox;
  const colour = COLOURS[detection.label] ?? COLOURS.other;
  pen.strokeStyle = colour;
  pen.lineWidth = 2 * unit;
  pen.strokeRect(x * size.width, y * size.height, w * size.width, h * size.height);
  const words = [plate ?? detection.label, detection.track_id && `#${detection.track_id}`];
  drawLabel(pen, words.filter(Boolean).join(" "), x * size.width, y * size.height, colour, size, unit);
}

function drawLabel(pen, text, x, y, colour, size, unit) {
  pen.font = `${13 * unit}px system-ui, sans-serif`;
  const width = pen.measureText(text).width + 6 * unit;
  const height = 17 * unit;
  const left = Math.max(0, Math.min(x, size.width - width));
  const top = Math.max(0, y - height);
  pen.fillStyle = colour;
  pen.fillRect(left, top, width, height);
  pen.fillStyle = "#111";
  pen.textBaseline = "middle";
  pen.fillText(text, left + 3 * unit, top + height / 2);
}

async function look() {
  const [known, samplers] = await Promise.all([json("/cameras", []), json("/ai/samplers", [])]);
  $("none").hidden = known.length > 0;
  for (const [id, view] of cameras) {
    if (!known.some((camera) => camera.id === id)) {
      view.close();
      cameras.delete(id);
    }
  }
  for (const camera of known) {
    const sampler = samplers.find((status) => status.camera_id === camera.id);
    if (!cameras.has(camera.id)) {
      cameras.set(camera.id, new CameraView(camera, sampler?.stream_profile ?? "sub"));
    }
    const view = cameras.get(camera.id);
    if (sampler) view.profile = sampler.stream_profile;
    const idle = { state: camera.enabled ? "not sampled" : "disabled", stream_profile: view.profile, width: 0 };
    view.state(sampler ?? { ...idle, reason: camera.enabled ? "no task needs it" : "" });
  }
}

// --- events -----------------------------------------------------------------------------------------------------------

let newest = null;

const ZONE_WORDS = {
  zone_enter: "enters", zone_exit: "leaves", zone_dwell: "stays in",
  zone_cross_ab: "crosses", zone_cross_ba: "crosses back over", zone_static_suppressed: "is parked in",
};

function words(event) {
  const said = event.payload ?? {};
  const verb = ZONE_WORDS[event.event_type];
  if (verb) {
    const stay = said.dwell_seconds ? ` ${event.event_type === "zone_exit" ? "after" : "for"} ${Math.round(said.dwell_seconds)} s` : "";
    return `${said.label || "something"} ${verb} ${said.zone ?? "a zone"}${stay}`;
  }
  if (event.event_type.startsWith("entry_")) {
    return `${said.plate || "no plate"}: ${event.event_type.slice(6)}`;
  }
  return event.event_type.replaceAll("_", " ");
}

async function tell() {
  const found = await json(`/events?limit=${EVENTS_SHOWN}`, []);
  if (!found.length || found[0].id === newest) return;
  newest = found[0].id;
  $("quiet").hidden = true;
  $("events").replaceChildren(...found.map(line));
}

function line(event) {
  const item = document.createElement("li");
  item.className = event.severity;
  const when = document.createElement("time");
  when.dateTime = event.timestamp;
  when.textContent = new Date(event.timestamp).toLocaleTimeString();
  const what = document.createElement("b");
  what.textContent = words(event);
  const where = document.createElement("small");
  where.textContent = [event.camera_id, event.event_type].filter(Boolean).join(" · ");
  item.append(when, what, where);
  return item;
}

// --- start ------------------------------------------------------------------------------------------------------------

$("login").addEventListener("submit", async (submitted) => {
  submitted.preventDefault();
  const said = { username: $("username").value, password: $("password").value };
  const headers = { "content-type": "application/json" };
  const response = await fetch("api/v1/auth/login", { method: "POST", headers, body: JSON.stringify(said) });
  $("password").value = "";
  // From here on the browser sends the session's cookie; the page itself keeps nothing.
  if (response.ok) entered?.(); else $("refusal").textContent = (await response.json()).error;
});

keep(async () => {
  const site = await json("/site", {});
  $("site").textContent = [site.name, site.version].filter(Boolean).join(" ");
}, 60000);
keep(look, 1000);
keep(tell, 500);
