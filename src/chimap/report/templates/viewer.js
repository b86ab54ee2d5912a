/* The report's three-plane viewer and its few conveniences. Plain canvas, no libraries, no network. */
(function () {
"use strict";
const $ = (id) => document.getElementById(id);

/* ---- around the viewer ---- */
window.addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((d) => { d.open = true; }));
if ($("copy")) $("copy").addEventListener("click", () => {
  const range = document.createRange();
  range.selectNodeContents($("methods-text"));
  const selection = window.getSelection();
  selection.removeAllRanges();
  selection.addRange(range);
  const done = (ok) => { $("copy").textContent = ok ? "Copied" : "Selected: press Ctrl+C"; };
  try { done(document.execCommand("copy")); } catch (e) { done(false); }
});
if (!$("vw-meta")) return;

/* ---- data ---- */
const meta = JSON.parse($("vw-meta").textContent);
const [NX, NY, NZ] = meta.shape;
const COUNT = NX * NY * NZ, MISSING = -32768;
const STRIDE = [1, NX, NX * NY];
const PLANES = [
  { name: "Axial", h: 0, v: 1, n: 2 },
  { name: "Coronal", h: 0, v: 2, n: 1 },
  { name: "Sagittal", h: 1, v: 2, n: 0 },
];
const ENDS = [["L", "R"], ["P", "A"], ["I", "S"]];
const state = {
  at: meta.centre.slice(), base: -1, over: -1, opacity: 0.5, radiological: true, zoom: 1,
  cross: true, smooth: true, hide: false, overHidden: false,
};
const volumes = meta.volumes.map((m, i) => Object.assign({ id: i, data: null, pending: null }, m));
volumes.forEach((v) => {
  if (v.kind === "map") { v.low = v.window[0]; v.high = v.window[1]; v.colours = v.colormap; }
});
const brain = volumes.find((v) => v.kind === "mask") || null;

function bytesOf(text) {
  const raw = atob(text), out = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) out[i] = raw.charCodeAt(i);
  return out;
}
const tables = {};
Object.keys(meta.colormaps).forEach((k) => { tables[k] = bytesOf(meta.colormaps[k]); });

function load(volume) {
  if (volume.data) return Promise.resolve(volume);
  if (volume.pending) return volume.pending;
  const text = $("vw-volume-" + volume.id).textContent;
  const stream = new Blob([bytesOf(text)]).stream().pipeThrough(new DecompressionStream("gzip"));
  volume.pending = new Response(stream).arrayBuffer().then((buffer) => {
    const raw = new Uint8Array(buffer);
    if (volume.kind === "mask") {
      if (raw.length !== COUNT) throw new Error("a mask of " + raw.length + " voxels");
      volume.data = raw;
      return volume;
    }
    if (raw.length !== 2 * COUNT) throw new Error("a map of " + raw.length / 2 + " voxels");
    const out = new Int16Array(COUNT);
    if (!volume.difference) {
      for (let i = 0; i < COUNT; i++) out[i] = raw[i] | (raw[i + COUNT] << 8);
    } else {
      for (let row = 0, i = 0; row < NY * NZ; row++) {
        let sum = 0;
        for (let x = 0; x < NX; x++, i++) {
          const folded = raw[i] | (raw[i + COUNT] << 8);
          sum = ((sum + ((folded >> 1) ^ -(folded & 1))) << 16) >> 16;
          out[i] = sum;
        }
      }
    }
    volume.data = out;
    return volume;
  });
  return volume.pending;
}
const fail = (why) => {
  $("vw").hidden = true;
  $("vw-failed").hidden = false;
  $("vw-failed").textContent = why;
};

/* ---- geometry ---- */
const apply = (m, p) => m.map((r) => r[0] * p[0] + r[1] * p[1] + r[2] * p[2] + r[3]);
const INVERSE = (function (m) {
  const [a, b, c] = m[0], [d, e, f] = m[1], [g, h, i] = m[2];
  const A = e * i - f * h, B = f * g - d * i, C = d * h - e * g, det = a * A + b * B + c * C;
  return [[A, c * h - b * i, b * f - c * e], [B, a * i - c * g, c * d - a * f], [C, b * g - a * h, a * e - b * d]]
    .map((r) => r.map((x) => x / det));
})(meta.to_mm);
const fromMm = (p) => {
  const d = [0, 1, 2].map((r) => p[r] - meta.to_mm[r][3]);
  return INVERSE.map((r) => r[0] * d[0] + r[1] * d[1] + r[2] * d[2]);
};
const clampAt = (p) => p.map((x, i) => Math.min(Math.max(Math.round(x), 0), meta.shape[i] - 1));
const offset = (p) => p[0] + p[1] * STRIDE[1] + p[2] * STRIDE[2];
/* Whether screen left is the axis' high end: patient's right in radiological view; the face looks left. */
const flipped = (axis) => axis === 1 || (axis === 0 && state.radiological);
const digitsFor = (step) => Math.max(0, -Math.floor(Math.log10(step) + 1e-9));

/* ---- drawing ---- */
const shown = (v) => (v && v.data ? v : null);
const base = () => shown(volumes[state.base]);
const over = () => (state.overHidden ? null : shown(volumes[state.over]));

function lookup(v) {
  const table = tables[v.colours], labels = v.colours === "labels";
  const gain = 255 * v.step / (v.high - v.low), shift = -v.low * 255 / (v.high - v.low);
  return { table, index: labels ? (q) => Math.abs(q) % 256 : (q) => {
    const t = q * gain + shift;
    return t <= 0 ? 0 : t >= 255 ? 255 : (t + 0.5) | 0;
  } };
}

function slice(plane) {
  const w = meta.shape[plane.h], h = meta.shape[plane.v];
  const image = new ImageData(w, h), out = image.data;
  const b = base(), o = over(), start = state.at[plane.n] * STRIDE[plane.n];
  const sh = STRIDE[plane.h], sv = STRIDE[plane.v], flip = flipped(plane.h);
  const bl = b && lookup(b), inside = brain && brain.data;
  const ol = o && o.kind === "map" ? lookup(o) : null, opacity = state.opacity;
  const lowest = ol ? o.low / o.step : 0;
  for (let y = 0; y < h; y++) {
    for (let x = 0; x < w; x++) {
      const i = start + (flip ? w - 1 - x : x) * sh + (h - 1 - y) * sv, p = 4 * (y * w + x);
      let r = 0, g = 0, u = 0;
      if (b) {
        const q = b.data[i];
        if (q !== MISSING && (q !== 0 || !inside || inside[i])) {
          const c = 3 * bl.index(q);
          r = bl.table[c]; g = bl.table[c + 1]; u = bl.table[c + 2];
        }
      }
      if (o) {
        let a = 0, cr = 255, cg = 176, cb = 0;
        if (ol) {
          const q = o.data[i];
          if (q !== MISSING && (q !== 0 || (inside && inside[i] && o.colours !== "labels")) && !(state.hide && q < lowest)) {
            const c = 3 * ol.index(q);
            a = opacity; cr = ol.table[c]; cg = ol.table[c + 1]; cb = ol.table[c + 2];
          }
        } else if (o.data[i]) {
          const cx = flip ? w - 1 - x : x, cy = h - 1 - y;
          const edge = cx === 0 || cx === w - 1 || cy === 0 || cy === h - 1 ||
            !o.data[i - sh] || !o.data[i + sh] || !o.data[i - sv] || !o.data[i + sv];
          a = edge ? 1 : 0.5 * opacity;
        }
        r += (cr - r) * a; g += (cg - g) * a; u += (cb - u) * a;
      }
      out[p] = r; out[p + 1] = g; out[p + 2] = u; out[p + 3] = 255;
    }
  }
  return image;
}

function view(plane) {
  /* Screen pixels of the plane's canvas: where voxel edges 0 lie and how large a voxel is. */
  const c = plane.canvas, w = meta.shape[plane.h], h = meta.shape[plane.v];
  const sx = c.width / w * state.zoom, sy = c.height / h * state.zoom;
  const px = flipped(plane.h) ? w - 0.5 - state.at[plane.h] : state.at[plane.h] + 0.5;
  const py = h - 0.5 - state.at[plane.v];
  const fit = (p, size, s, whole) => Math.min(0, Math.max(size - whole * s, size / 2 - p * s));
  return {
    sx, sy, x0: state.zoom === 1 ? 0 : fit(px, c.width, sx, w), y0: state.zoom === 1 ? 0 : fit(py, c.height, sy, h), px, py,
  };
}

function draw(plane) {
  const c = plane.canvas, g = c.getContext("2d"), w = meta.shape[plane.h], h = meta.shape[plane.v];
  plane.scratch.getContext("2d").putImageData(slice(plane), 0, 0);
  const { sx, sy, x0, y0, px, py } = view(plane);
  g.fillStyle = "#000";
  g.fillRect(0, 0, c.width, c.height);
  g.imageSmoothingEnabled = state.smooth;
  g.imageSmoothingQuality = "high";
  g.drawImage(plane.scratch, x0, y0, w * sx, h * sy);
  const dpr = c.width / c.clientWidth || 1;
  if (state.cross) {
    const x = Math.round(x0 + px * sx) + 0.5, y = Math.round(y0 + py * sy) + 0.5, gap = 7 * dpr;
    g.strokeStyle = "rgba(90,220,120,.85)";
    g.lineWidth = Math.max(1, Math.round(dpr));
    g.beginPath();
    [[0, y, x - gap, y], [x + gap, y, c.width, y], [x, 0, x, y - gap], [x, y + gap, x, c.height]]
      .forEach((l) => { g.moveTo(l[0], l[1]); g.lineTo(l[2], l[3]); });
    g.stroke();
  }
  g.fillStyle = "#9fd0ff";
  g.strokeStyle = "#000";
  g.lineWidth = 3 * dpr;
  g.lineJoin = "round";
  g.font = 13 * dpr + "px system-ui, sans-serif";
  const write = (text, x, y, align, line) => { g.textAlign = align; g.textBaseline = line; g.strokeText(text, x, y); g.fillText(text, x, y); };
  const [lo, hi] = ENDS[plane.h], [down, up] = ENDS[plane.v], m = 4 * dpr;
  write(flipped(plane.h) ? hi : lo, m, c.height / 2, "left", "middle");
  write(flipped(plane.h) ? lo : hi, c.width - m, c.height / 2, "right", "middle");
  write(up, c.width / 2, m, "center", "top");
  write(down, c.width / 2, c.height - m, "center", "bottom");
  c.dataset.left = flipped(plane.h) ? hi : lo;
  plane.slider.value = state.at[plane.n];
  plane.number.textContent = state.at[plane.n] + 1 + "/" + meta.shape[plane.n];
}

function valueText(v, q) {
  if (v.kind === "mask") return { text: q ? "inside" : "outside", value: q ? 1 : 0 };
  if (q === MISSING) return { text: "no value", value: NaN };
  const value = q * v.step;
  const text = (x, step) => x.toFixed(digitsFor(step)).replace("-", "−");
  let out = text(value * v.shown_scale, v.step * v.shown_scale) + " " + v.shown_unit;
  if (v.shown_unit !== v.unit) out += " (" + text(value, v.step) + " " + v.unit + ")";
  return { text: out.trim(), value: Number(value.toFixed(digitsFor(v.step))) };
}

function readout() {
  const out = $("vw-readout"), i = offset(state.at), b = base(), o = over();
  const mm = apply(meta.to_mm, state.at), voxel = apply(meta.to_voxel, state.at).map((x) => Math.round(x));
  out.textContent = "";
  const add = (v) => {
    const value = valueText(v, v.data[i]), strong = document.createElement("b");
    strong.textContent = value.text;
    out.append(v.title + ": ", strong, "  ");
    return value.value;
  };
  if (b) out.dataset.value = add(b);
  if (o) out.dataset.overlayValue = add(o); else delete out.dataset.overlayValue;
  out.append(document.createElement("br"), "at x " + mm.map((x) => x.toFixed(1).replace("-", "−")).join(", ").replace(", ", ", y ").replace(/, (?=[^,]*$)/, ", z ") +
    " mm, voxel " + voxel.join(", ") + (meta.factor > 1 ? " (mean of " + meta.factor + " × " + meta.factor + " × " + meta.factor + " voxels)" : ""));
  out.dataset.ijk = voxel.join(",");
  out.dataset.xyz = mm.map((x) => x.toFixed(3)).join(",");
  out.dataset.map = b ? b.key : "";
  ["x", "y", "z"].forEach((n, a) => { if (document.activeElement !== $("vw-" + n)) $("vw-" + n).value = mm[a].toFixed(1); });
}

function bar(canvas, v) {
  const g = canvas.getContext("2d"), table = tables[v.colours];
  for (let x = 0; x < canvas.width; x++) {
    const c = 3 * Math.round(255 * x / (canvas.width - 1));
    g.fillStyle = "rgb(" + table[c] + "," + table[c + 1] + "," + table[c + 2] + ")";
    g.fillRect(x, 0, 1, canvas.height);
  }
}

function controls() {
  const fill = (prefix, v) => {
    const digits = digitsFor(v.step * v.shown_scale), span = v.window[1] - v.window[0];
    [["low", v.low], ["high", v.high]].forEach(([end, value]) => {
      const input = $(prefix + end);
      input.step = Number((v.step * v.shown_scale * 5).toPrecision(3));
      if (document.activeElement !== input) input.value = (value * v.shown_scale).toFixed(digits);
      const slide = $(prefix + end + "-slide");
      if (slide) { slide.min = v.window[0] - span; slide.max = v.window[1] + span; slide.value = value; }
    });
    $(prefix + "unit").textContent = v.shown_unit;
    $(prefix + "colours").value = v.colours;
    bar($(prefix + "scale"), v);
  };
  const b = volumes[state.base], o = volumes[state.over];
  $("vw-base").value = state.base;
  $("vw-over").value = state.over;
  if (b) fill("vw-", b);
  const ranged = o && o.kind === "map" && o.colormap !== "labels";
  $("vw-over-controls").hidden = !ranged;
  if (ranged) fill("vw-over-", o);
  $("vw-zoom").value = state.zoom;
  $("vw-cross").checked = state.cross;
  $("vw-opacity").value = 100 * state.opacity;
}

let waiting = false;
function refresh() {
  readout();
  if (waiting) return;
  waiting = true;
  window.requestAnimationFrame(() => { waiting = false; PLANES.forEach(draw); });
}
function choose(which, id) {
  state[which] = id;
  const v = volumes[id];
  if (which === "over") state.overHidden = false;
  controls();
  if (v) load(v).then(() => { controls(); refresh(); }).catch((e) => fail("The viewer could not read its data (" + e.message + "). The pictures below are complete."));
  else refresh();
}
function moveTo(p) { state.at = clampAt(p); refresh(); }

/* ---- layout ---- */
function layout() {
  const box = $("vw-planes"), full = document.fullscreenElement === $("vw");
  const mm = meta.shape.map((n, a) => n * meta.voxel_mm[a]), room = box.clientWidth - 24;
  const across = 2 * mm[0] + mm[1], tall = Math.max(mm[1], mm[2]);
  const stacked = room < 620;
  box.classList.toggle("stacked", stacked);
  let perMm = stacked ? Math.min(room / Math.max(mm[0], mm[1]), 2.2) : room / across;
  if (!stacked) perMm = Math.min(perMm, (window.innerHeight - (full ? 300 : 160)) / tall);
  perMm = Math.max(perMm, 0.5);
  const dpr = Math.min(window.devicePixelRatio || 1, 2);
  PLANES.forEach((plane) => {
    const w = Math.round(mm[plane.h] * perMm), h = Math.round(mm[plane.v] * perMm);
    plane.canvas.style.width = w + "px";
    plane.canvas.style.height = h + "px";
    plane.canvas.width = Math.round(w * dpr);
    plane.canvas.height = Math.round(h * dpr);
  });
  refresh();
}

function build() {
  PLANES.forEach((plane) => {
    const cell = document.createElement("div"), canvas = document.createElement("canvas");
    const label = document.createElement("label"), slider = document.createElement("input"), number = document.createElement("span");
    canvas.tabIndex = 0;
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", plane.name + " slice. Arrow keys move the crosshair, Page Up and Page Down the slice.");
    slider.type = "range"; slider.min = 0; slider.max = meta.shape[plane.n] - 1; slider.step = 1;
    slider.setAttribute("aria-label", plane.name + " slice");
    label.append(plane.name, slider, number);
    cell.append(canvas, label);
    $("vw-planes").append(cell);
    const scratch = document.createElement("canvas");
    scratch.width = meta.shape[plane.h]; scratch.height = meta.shape[plane.v];
    Object.assign(plane, { canvas, slider, number, scratch });

    slider.addEventListener("input", () => { const p = state.at.slice(); p[plane.n] = Number(slider.value); moveTo(p); });
    const point = (e) => {
      const r = canvas.getBoundingClientRect(), s = canvas.width / r.width, t = plane.held || view(plane);
      const sx = Math.floor(((e.clientX - r.left) * s - t.x0) / t.sx), sy = Math.floor(((e.clientY - r.top) * s - t.y0) / t.sy);
      const p = state.at.slice();
      p[plane.h] = flipped(plane.h) ? meta.shape[plane.h] - 1 - sx : sx;
      p[plane.v] = meta.shape[plane.v] - 1 - sy;
      moveTo(p);
    };
    /* While dragging, a zoomed picture is measured as it lay when the drag began, or it would run away. */
    canvas.addEventListener("pointerdown", (e) => { plane.held = view(plane); canvas.setPointerCapture(e.pointerId); canvas.focus({ preventScroll: true }); point(e); });
    canvas.addEventListener("pointermove", (e) => { if (plane.held) point(e); });
    ["pointerup", "pointercancel"].forEach((n) => canvas.addEventListener(n, () => { plane.held = null; }));
    canvas.addEventListener("wheel", (e) => {
      if (document.activeElement !== canvas || e.ctrlKey) return;  /* else the page scrolls */
      e.preventDefault();
      const p = state.at.slice(); p[plane.n] += e.deltaY < 0 ? 1 : -1; moveTo(p);
    }, { passive: false });
    canvas.addEventListener("keydown", (e) => {
      const p = state.at.slice(), side = flipped(plane.h) ? -1 : 1;
      const steps = {
        ArrowLeft: [plane.h, -side], ArrowRight: [plane.h, side], ArrowUp: [plane.v, 1], ArrowDown: [plane.v, -1],
        PageUp: [plane.n, 1], PageDown: [plane.n, -1],
      };
      const key = e.key.length === 1 ? e.key.toLowerCase() : e.key;
      if (e.ctrlKey || e.metaKey || e.altKey) return;
      if (steps[key]) { p[steps[key][0]] += steps[key][1] * (e.shiftKey ? 5 : 1); moveTo(p); }
      else if (key === "Home") moveTo(meta.centre);
      else if (key === "o") { state.overHidden = !state.overHidden; refresh(); }
      else if (key === "x") { state.cross = !state.cross; controls(); refresh(); }
      else if (key === "+" || key === "=") { state.zoom = Math.min(6, state.zoom + 0.25); controls(); refresh(); }
      else if (key === "-") { state.zoom = Math.max(1, state.zoom - 0.25); controls(); refresh(); }
      else return;
      e.preventDefault();
    });
  });

  const option = (select, value, text) => { const o = document.createElement("option"); o.value = value; o.textContent = text; select.append(o); };
  option($("vw-over"), -1, "none");
  volumes.forEach((v) => {
    if (v.kind === "map") option($("vw-base"), v.id, v.title);
    option($("vw-over"), v.id, v.kind === "mask" ? "Mask: " + v.title : v.title);
  });
  ["vw-colours", "vw-over-colours"].forEach((id) => Object.keys(tables).forEach((k) => option($(id), k, k)));

  const on = (id, event, act) => $(id).addEventListener(event, act);
  on("vw-base", "change", (e) => choose("base", Number(e.target.value)));
  on("vw-over", "change", (e) => choose("over", Number(e.target.value)));
  on("vw-opacity", "input", (e) => { state.opacity = e.target.value / 100; refresh(); });
  on("vw-hide", "change", (e) => { state.hide = e.target.checked; refresh(); });
  on("vw-cross", "change", (e) => { state.cross = e.target.checked; refresh(); });
  on("vw-smooth", "change", (e) => { state.smooth = e.target.checked; refresh(); });
  on("vw-side", "change", (e) => { state.radiological = e.target.value === "R"; refresh(); });
  on("vw-zoom", "input", (e) => { state.zoom = Number(e.target.value); refresh(); });
  const windowEnd = (id, which, end, scaled) => on(id, "input", (e) => {
    const v = volumes[state[which]], x = parseFloat(e.target.value) / (scaled ? v.shown_scale : 1);
    if (!isFinite(x)) return;
    if (end === "low") v.low = Math.min(x, v.high - v.step); else v.high = Math.max(x, v.low + v.step);
    controls();
    refresh();
  });
  [["vw-", "base"], ["vw-over-", "over"]].forEach(([prefix, which]) => ["low", "high"].forEach((end) => {
    windowEnd(prefix + end, which, end, true);
    $(prefix + end).addEventListener("change", controls);
    if ($(prefix + end + "-slide")) windowEnd(prefix + end + "-slide", which, end, false);
    on(prefix + "colours", "change", (e) => { volumes[state[which]].colours = e.target.value; controls(); refresh(); });
  }));
  ["x", "y", "z"].forEach((n, a) => on("vw-" + n, "change", (e) => {
    const p = apply(meta.to_mm, state.at);
    p[a] = parseFloat(e.target.value);
    if (isFinite(p[a])) moveTo(fromMm(p));
  }));
  on("vw-reset", "click", () => {
    volumes.forEach((v) => { if (v.kind === "map") { v.low = v.window[0]; v.high = v.window[1]; v.colours = v.colormap; } });
    Object.assign(state, { zoom: 1, opacity: 0.5, overHidden: false });
    controls();
    moveTo(meta.centre);
  });
  if ($("vw").requestFullscreen) on("vw-full", "click", () => {
    if (document.fullscreenElement) document.exitFullscreen(); else $("vw").requestFullscreen();
  }); else $("vw-full").hidden = true;
  document.addEventListener("fullscreenchange", layout);
  window.addEventListener("resize", layout);
  window.addEventListener("hashchange", fromHash);
}

/* #xyz=10,-20,30 (mm) or #ijk=80,100,90 (voxel), then &map=key, &overlay=key or mask name: a place to share. */
function fromHash() {
  const given = {};
  location.hash.slice(1).split("&").forEach((part) => { const [k, v] = part.split("="); if (v) given[k] = decodeURIComponent(v); });
  const numbers = (text) => { const p = text.split(",").map(Number); return p.length === 3 && p.every(isFinite) ? p : null; };
  if (given.xyz && numbers(given.xyz)) moveTo(fromMm(numbers(given.xyz)));
  if (given.ijk && numbers(given.ijk)) moveTo(fromMm(fromVoxel(numbers(given.ijk))));
  const find = (key) => volumes.findIndex((v) => (v.key || v.title) === key);
  if (given.map && find(given.map) >= 0 && volumes[find(given.map)].kind === "map") choose("base", find(given.map));
  if (given.overlay && find(given.overlay) >= 0) choose("over", find(given.overlay));
  return Object.keys(given).length > 0;
}
/* to_voxel only turns, shifts and scales along axes, so its inverse is its transpose over the squared scale. */
function fromVoxel(voxel) {
  const m = meta.to_voxel, d = voxel.map((x, r) => x - m[r][3]);
  const p = [0, 1, 2].map((c) => (m[0][c] * d[0] + m[1][c] * d[1] + m[2][c] * d[2]) / (meta.factor * meta.factor));
  return apply(meta.to_mm, p);
}

if (typeof DecompressionStream === "undefined" || !Response.prototype.arrayBuffer) {
  fail("This browser is too old for the interactive viewer (it needs Chrome or Edge 80, Firefox 113, Safari 16.4 or later). The pictures below are complete.");
  return;
}
$("vw").hidden = false;
build();
layout();
const preferred = volumes.reduce((best, v) => (v.kind === "map" && v.shown_unit === "ppb" && !/noise/.test(v.key) ? v.id : best), 0);
(brain ? load(brain) : Promise.resolve()).then(() => {
  choose("base", preferred);
  if (brain) state.over = -1;
  fromHash();
  return load(volumes[state.base]);
}).then(() => { controls(); refresh(); document.documentElement.dataset.viewer = "ready"; })
  .catch((e) => fail("The viewer could not read its data (" + e.message + "). The pictures below are complete."));
})();
