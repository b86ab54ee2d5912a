/* Three linked slices of a volume on canvas: geometry, colours, drawing, mouse and keys. Used by the report's
   viewer and by `chimap view`. Plain canvas, no libraries, no network. */
var chimapPlanes = (function () {
"use strict";
const MISSING = -32768;
const PLANES = [
  { name: "Axial", h: 0, v: 1, n: 2 },
  { name: "Coronal", h: 0, v: 2, n: 1 },
  { name: "Sagittal", h: 1, v: 2, n: 0 },
];
const ENDS = [["L", "R"], ["P", "A"], ["I", "S"]];

/* ---- numbers ---- */
const apply = (m, p) => m.map((r) => r[0] * p[0] + r[1] * p[1] + r[2] * p[2] + r[3]);
const inverse = (m) => {
  const [a, b, c] = m[0], [d, e, f] = m[1], [g, h, i] = m[2];
  const A = e * i - f * h, B = f * g - d * i, C = d * h - e * g, det = a * A + b * B + c * C;
  return [[A, c * h - b * i, b * f - c * e], [B, a * i - c * g, c * d - a * f], [C, b * g - a * h, a * e - b * d]]
    .map((r) => r.map((x) => x / det));
};
const digitsFor = (step) => Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
const minus = (text) => text.replace(/-/g, "−");

function bytesOf(text) {
  const raw = atob(text), out = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) out[i] = raw.charCodeAt(i);
  return out;
}
/* Colour tables come as 256 times red, green, blue in base64. */
const tablesOf = (texts) => Object.fromEntries(Object.entries(texts).map(([k, v]) => [k, bytesOf(v)]));

/* A grid with axes right, front, up: {shape, voxel_mm, factor, to_mm, to_voxel, centre}. */
class Grid {
  constructor(meta) {
    Object.assign(this, meta);
    this.stride = [1, meta.shape[0], meta.shape[0] * meta.shape[1]];
    this.count = this.stride[2] * meta.shape[2];
    this.back = inverse(meta.to_mm);
    this.backVoxel = inverse(meta.to_voxel);
  }
  mm(p) { return apply(this.to_mm, p); }
  fromMm(mm) { return this.undo(this.back, this.to_mm, mm); }
  /* Index in the file's own array. */
  voxel(p) { return apply(this.to_voxel, p).map((x) => Math.round(x)); }
  fromVoxel(voxel) { return this.undo(this.backVoxel, this.to_voxel, voxel); }
  undo(back, m, q) {
    const d = [0, 1, 2].map((r) => q[r] - m[r][3]);
    return back.map((r) => r[0] * d[0] + r[1] * d[1] + r[2] * d[2]);
  }
  clamp(p) { return p.map((x, i) => Math.min(Math.max(Math.round(x), 0), this.shape[i] - 1)); }
  offset(p) { return p[0] + p[1] * this.stride[1] + p[2] * this.stride[2]; }
  /* Whether two grids have the same voxels at the same places, to a thousandth of a voxel. */
  same(other) {
    const near = 0.001 * Math.min(...this.voxel_mm);
    return this.factor === other.factor && this.shape.every((n, a) => n === other.shape[a]) &&
      [[0, 0, 0], this.shape].every((p) => { const q = other.mm(p); return this.mm(p).every((x, a) => Math.abs(x - q[a]) <= near); });
  }
}

function valueText(v, q) {
  if (v.kind === "mask") return { text: q ? "inside" : "outside", value: q ? 1 : 0 };
  if (q === MISSING) return { text: "no value", value: NaN };
  const value = q * v.step, name = v.labels && v.labels[q];
  const text = (x, step) => minus(x.toFixed(digitsFor(step)));
  let out = text(value * v.shown_scale, v.step * v.shown_scale) + " " + v.shown_unit;
  if (v.shown_unit !== v.unit) out += " (" + text(value, v.step) + " " + v.unit + ")";
  if (v.cut && Math.abs(q) === 32767) out = (q > 0 ? "at least " : "at most ") + out;
  return { text: (out.trim() + (name ? " " + name : "")), value: Number(value.toFixed(digitsFor(v.step))) };
}

/* ---- colours ---- */
function lookup(v, tables) {
  const table = tables[v.colours];
  if (v.colours === "labels") return { table, index: (q) => (q === 0 ? 0 : 1 + (Math.abs(q) - 1) % 255) };
  const gain = 255 * v.step / (v.high - v.low), shift = -v.low * 255 / (v.high - v.low);
  return { table, index: (q) => {
    const t = q * gain + shift;
    return t <= 0 ? 0 : t >= 255 ? 255 : (t + 0.5) | 0;
  } };
}

function colourBar(canvas, table) {
  const g = canvas.getContext("2d");
  for (let x = 0; x < canvas.width; x++) {
    const c = 3 * Math.round(255 * x / (canvas.width - 1));
    g.fillStyle = "rgb(" + table[c] + "," + table[c + 1] + "," + table[c + 2] + ")";
    g.fillRect(x, 0, 1, canvas.height);
  }
}

/* ---- three planes ----
   look: {radiological, zoom, cross, smooth, split}, which several views may share.
   scene(): {base, inside, layers: [{volume, opacity, hide}], after}; volumes have their numbers in `data`; `inside` is a
     mask that tells a 0 that is a value from a 0 that is none; `hide` clears what is below the window. With `after`, a
     divider at `look.split` of the width has `base` on its left and `after` on its right.
   act: moved(p); changed() after a change of `look`; key(name), true if it was used; windowed(across, up), a drag
     with the right button, in parts of the canvas. */
class Planes {
  constructor(host, grid, tables, look, scene, act) {
    Object.assign(this, { host, grid, tables, look, scene, act, at: grid.centre.slice() });
    this.planes = PLANES.map((p) => this.build(Object.assign({ held: null }, p)));
  }

  /* Whether screen left is the axis' high end: patient's right in radiological view; the face looks left. */
  flipped(axis) { return axis === 1 || (axis === 0 && this.look.radiological); }

  slice(plane, base, { inside, layers }) {
    const { grid, at, tables } = this;
    const w = grid.shape[plane.h], h = grid.shape[plane.v];
    const image = new ImageData(w, h), out = image.data;
    const start = at[plane.n] * grid.stride[plane.n], sh = grid.stride[plane.h], sv = grid.stride[plane.v];
    const flip = this.flipped(plane.h), bl = base && lookup(base, tables);
    const extra = layers.map((l) => {
      const map = l.volume.kind !== "mask";
      return Object.assign({ map, data: l.volume.data, colours: map ? lookup(l.volume, tables) : null,
        labels: l.volume.colours === "labels", lowest: map ? l.volume.low / l.volume.step : 0 }, l);
    });
    for (let y = 0; y < h; y++) {
      for (let x = 0; x < w; x++) {
        const cx = flip ? w - 1 - x : x, cy = h - 1 - y, i = start + cx * sh + cy * sv, p = 4 * (y * w + x);
        let r = 0, g = 0, u = 0;
        if (base) {
          const q = base.data[i];
          if (q !== MISSING && (q !== 0 || !inside || inside[i])) {
            const c = 3 * bl.index(q);
            r = bl.table[c]; g = bl.table[c + 1]; u = bl.table[c + 2];
          }
        }
        for (const l of extra) {
          const q = l.data[i];
          let a = 0, cr = 255, cg = 176, cb = 0;
          if (l.map) {
            if (q !== MISSING && (q !== 0 || (inside && inside[i] && !l.labels)) && !(l.hide && q < l.lowest)) {
              const c = 3 * l.colours.index(q), t = l.colours.table;
              a = l.opacity; cr = t[c]; cg = t[c + 1]; cb = t[c + 2];
            }
          } else if (q) {
            const edge = cx === 0 || cx === w - 1 || cy === 0 || cy === h - 1 ||
              !l.data[i - sh] || !l.data[i + sh] || !l.data[i - sv] || !l.data[i + sv];
            a = edge ? 1 : 0.5 * l.opacity;
          }
          r += (cr - r) * a; g += (cg - g) * a; u += (cb - u) * a;
        }
        out[p] = r; out[p + 1] = g; out[p + 2] = u; out[p + 3] = 255;
      }
    }
    return image;
  }

  frame(plane) {
    /* Screen pixels of the plane's canvas: where voxel edges 0 lie and how large a voxel is. */
    const { grid, at, look } = this, c = plane.canvas, w = grid.shape[plane.h], h = grid.shape[plane.v];
    const sx = c.width / w * look.zoom, sy = c.height / h * look.zoom;
    const px = this.flipped(plane.h) ? w - 0.5 - at[plane.h] : at[plane.h] + 0.5, py = h - 0.5 - at[plane.v];
    const fit = (p, size, s, whole) => (look.zoom === 1 ? 0 : Math.min(0, Math.max(size - whole * s, size / 2 - p * s)));
    return { sx, sy, x0: fit(px, c.width, sx, w), y0: fit(py, c.height, sy, h), px, py };
  }

  drawPlane(plane) {
    const { grid, look } = this, c = plane.canvas, g = c.getContext("2d");
    const w = grid.shape[plane.h], h = grid.shape[plane.v];
    const scene = this.scene(), edge = Math.round((scene.after ? look.split : 1) * c.width);
    const { sx, sy, x0, y0, px, py } = this.frame(plane);
    g.fillStyle = "#000";
    g.fillRect(0, 0, c.width, c.height);
    g.imageSmoothingEnabled = look.smooth;
    g.imageSmoothingQuality = "high";
    const paint = (base, from, to) => {
      plane.scratch.getContext("2d").putImageData(this.slice(plane, base, scene), 0, 0);
      g.save();
      g.beginPath();
      g.rect(from, 0, to - from, c.height);
      g.clip();
      g.drawImage(plane.scratch, x0, y0, w * sx, h * sy);
      g.restore();
    };
    paint(scene.base, 0, edge);
    if (scene.after) paint(scene.after, edge, c.width);
    const dpr = c.width / c.clientWidth || 1;
    if (look.cross) {
      const x = Math.round(x0 + px * sx) + 0.5, y = Math.round(y0 + py * sy) + 0.5, gap = 7 * dpr;
      g.strokeStyle = "rgba(90,220,120,.85)";
      g.lineWidth = Math.max(1, Math.round(dpr));
      g.beginPath();
      [[0, y, x - gap, y], [x + gap, y, c.width, y], [x, 0, x, y - gap], [x, y + gap, x, c.height]]
        .forEach((l) => { g.moveTo(l[0], l[1]); g.lineTo(l[2], l[3]); });
      g.stroke();
    }
    g.strokeStyle = "#000";
    g.lineWidth = 3 * dpr;
    g.lineJoin = "round";
    g.font = 13 * dpr + "px system-ui, sans-serif";
    const write = (text, x, y, align, line) => { g.textAlign = align; g.textBaseline = line; g.strokeText(text, x, y); g.fillText(text, x, y); };
    if (scene.after) this.divider(plane, scene, edge, dpr, write);
    g.fillStyle = "#9fd0ff";
    const [lo, hi] = ENDS[plane.h], [down, up] = ENDS[plane.v], m = 4 * dpr, flip = this.flipped(plane.h);
    write(flip ? hi : lo, m, c.height / 2, "left", "middle");
    write(flip ? lo : hi, c.width - m, c.height / 2, "right", "middle");
    write(up, c.width / 2, m, "center", "top");
    write(down, c.width / 2, c.height - m, "center", "bottom");
    c.dataset.left = flip ? hi : lo;
    plane.slider.value = this.at[plane.n];
    plane.number.textContent = this.at[plane.n] + 1 + "/" + grid.shape[plane.n];
  }

  divider(plane, { base, after }, x, dpr, write) {
    const g = plane.canvas.getContext("2d"), y = plane.canvas.height - 26 * dpr, r = 10 * dpr;
    g.save();
    g.fillStyle = "#fff";
    g.shadowColor = "#000";
    g.shadowBlur = 4 * dpr;
    g.fillRect(x - dpr, 0, 2 * dpr, plane.canvas.height);
    g.beginPath();
    g.arc(x, y, r, 0, 2 * Math.PI);
    g.fill();
    g.restore();
    g.fillStyle = "#12161b";
    [-1, 1].forEach((s) => {
      g.beginPath();
      [[0.65, 0], [0.2, -0.4], [0.2, 0.4]].forEach(([a, b], i) => (i ? g.lineTo(x + s * a * r, y + b * r) : g.moveTo(x + s * a * r, y)));
      g.fill();
    });
    if (plane.n !== 2 || !base) return;
    g.fillStyle = "#fff";
    g.lineWidth = 3 * dpr;
    write(base.title, x - 6 * dpr, 20 * dpr, "right", "top");
    write(after.title, x + 6 * dpr, 20 * dpr, "left", "top");
  }
  /* Whether a pointer is at the divider. */
  grabs(plane, e) {
    const r = plane.canvas.getBoundingClientRect();
    return Boolean(this.scene().after) && Math.abs(e.clientX - r.left - this.look.split * r.width) < 10;
  }
  splitAt(plane, e) {
    const r = plane.canvas.getBoundingClientRect();
    this.look.split = Math.min(1, Math.max(0, (e.clientX - r.left) / r.width));
    this.act.changed();
  }

  draw() { this.planes.forEach((p) => { if (!p.cell.hidden) this.drawPlane(p); }); }

  sizeMm() { return this.grid.shape.map((n, a) => n * this.grid.voxel_mm[a]); }
  layout(perMm) {
    const mm = this.sizeMm(), dpr = Math.min(window.devicePixelRatio || 1, 2);
    this.planes.forEach((plane) => {
      const w = Math.round(mm[plane.h] * perMm), h = Math.round(mm[plane.v] * perMm);
      plane.canvas.style.width = w + "px";
      plane.canvas.style.height = h + "px";
      plane.canvas.width = Math.round(w * dpr);
      plane.canvas.height = Math.round(h * dpr);
    });
  }

  moveTo(p) { this.at = this.grid.clamp(p); this.act.moved(this.at); }

  build(plane) {
    const { grid } = this, cell = document.createElement("div"), canvas = document.createElement("canvas");
    const label = document.createElement("label"), slider = document.createElement("input"), number = document.createElement("span");
    canvas.tabIndex = 0;
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", plane.name + " slice. Arrow keys move the crosshair, Page Up and Page Down the slice.");
    slider.type = "range"; slider.min = 0; slider.max = grid.shape[plane.n] - 1; slider.step = 1;
    slider.setAttribute("aria-label", plane.name + " slice");
    label.append(plane.name, slider, number);
    cell.append(canvas, label);
    this.host.append(cell);
    const scratch = document.createElement("canvas");
    scratch.width = grid.shape[plane.h]; scratch.height = grid.shape[plane.v];
    slider.addEventListener("input", () => { const p = this.at.slice(); p[plane.n] = Number(slider.value); this.moveTo(p); });
    Object.assign(plane, { cell, canvas, slider, number, scratch });
    this.mouse(plane);
    canvas.addEventListener("keydown", (e) => { if (!e.ctrlKey && !e.metaKey && !e.altKey && this.key(plane, e)) e.preventDefault(); });
    return plane;
  }

  mouse(plane) {
    const { grid } = this, canvas = plane.canvas;
    let last = null;
    const point = (e) => {
      const r = canvas.getBoundingClientRect(), s = canvas.width / r.width, t = plane.held;
      const sx = Math.floor(((e.clientX - r.left) * s - t.x0) / t.sx), sy = Math.floor(((e.clientY - r.top) * s - t.y0) / t.sy);
      const p = this.at.slice();
      p[plane.h] = this.flipped(plane.h) ? grid.shape[plane.h] - 1 - sx : sx;
      p[plane.v] = grid.shape[plane.v] - 1 - sy;
      this.moveTo(p);
    };
    canvas.addEventListener("pointerdown", (e) => {
      canvas.setPointerCapture(e.pointerId);
      canvas.focus({ preventScroll: true });
      if (e.button === 2) { last = [e.clientX, e.clientY]; return; }
      if (e.button !== 0) return;
      plane.splits = this.grabs(plane, e);
      if (plane.splits) return;
      /* While dragging, a zoomed picture is measured as it lay when the drag began, or it would run away. */
      plane.held = this.frame(plane);
      point(e);
    });
    canvas.addEventListener("pointermove", (e) => {
      if (plane.splits) this.splitAt(plane, e);
      else if (plane.held) point(e);
      else canvas.style.cursor = this.grabs(plane, e) ? "ew-resize" : "";
      if (last) {
        this.act.windowed((e.clientX - last[0]) / canvas.clientWidth, (last[1] - e.clientY) / canvas.clientHeight);
        last = [e.clientX, e.clientY];
      }
    });
    ["pointerup", "pointercancel"].forEach((n) => canvas.addEventListener(n, () => { plane.held = null; plane.splits = false; last = null; }));
    canvas.addEventListener("contextmenu", (e) => e.preventDefault());
    canvas.addEventListener("wheel", (e) => {
      if (document.activeElement !== canvas || e.ctrlKey) return;  /* else the page scrolls */
      e.preventDefault();
      const p = this.at.slice(); p[plane.n] += e.deltaY < 0 ? 1 : -1; this.moveTo(p);
    }, { passive: false });
  }

  key(plane, e) {
    const { look } = this, p = this.at.slice(), side = this.flipped(plane.h) ? -1 : 1;
    const steps = {
      ArrowLeft: [plane.h, -side], ArrowRight: [plane.h, side], ArrowUp: [plane.v, 1], ArrowDown: [plane.v, -1],
      PageUp: [plane.n, 1], PageDown: [plane.n, -1],
    };
    const key = e.key.length === 1 ? e.key.toLowerCase() : e.key;
    if (steps[key]) { p[steps[key][0]] += steps[key][1] * (e.shiftKey ? 5 : 1); this.moveTo(p); return true; }
    if (key === "Home") { this.moveTo(this.grid.centre); return true; }
    if ((key === "," || key === ".") && this.scene().after) look.split = Math.min(1, Math.max(0, look.split + (key === "," ? -0.02 : 0.02)));
    else if (key === "x") look.cross = !look.cross;
    else if (key === "+" || key === "=") look.zoom = Math.min(6, look.zoom + 0.25);
    else if (key === "-") look.zoom = Math.max(1, look.zoom - 0.25);
    else return this.act.key(key);
    this.act.changed();
    return true;
  }
}

/* Level and width of a volume's window after a drag: across is width, up is level, in windows as they were made. */
function windowBy(v, across, up) {
  const span = v.window[1] - v.window[0], middle = (v.low + v.high) / 2 + up * span;
  const half = Math.max(v.high - v.low + 2 * across * span, 2 * v.step) / 2;
  v.low = middle - half; v.high = middle + half;
}

return { MISSING, Grid, Planes, bytesOf, tablesOf, digitsFor, minus, valueText, colourBar, windowBy };
})();
