/* The report's viewer and its few conveniences; the slices are drawn by planes.js. */
(function () {
"use strict";
const $ = (id) => document.getElementById(id);

/* ---- around the viewer ---- */
window.addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((d) => { d.open = true; }));
document.querySelectorAll("button[data-copy]").forEach((button) => button.addEventListener("click", () => {
  const range = document.createRange();
  range.selectNodeContents($(button.dataset.copy));
  const selection = window.getSelection();
  selection.removeAllRanges();
  selection.addRange(range);
  const done = (ok) => { button.textContent = ok ? "Copied" : "Selected: press Ctrl+C"; };
  try { done(document.execCommand("copy")); } catch (e) { done(false); }
}));

/* ---- light and dark: as the system has it, until the reader chooses ---- */
const root = document.documentElement, systemDark = window.matchMedia("(prefers-color-scheme: dark)");
const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : systemDark.matches);
const sayTheme = () => { $("theme").textContent = isDark() ? "Light page" : "Dark page"; };
/* Some browsers keep nothing for pages from the disk. */
try { root.dataset.theme = localStorage.getItem("chimap-theme") || ""; } catch (e) { root.dataset.theme = ""; }
$("theme").hidden = false;
$("theme").addEventListener("click", () => {
  root.dataset.theme = isDark() ? "light" : "dark";
  try { localStorage.setItem("chimap-theme", root.dataset.theme); } catch (e) { /* kept for this page only */ }
  sayTheme();
});
systemDark.addEventListener("change", sayTheme);
sayTheme();
if (!$("vw-meta")) return;

/* ---- data ---- */
const core = chimapPlanes, { digitsFor, valueText, minus } = core;
const meta = JSON.parse($("vw-meta").textContent);
const grid = new core.Grid(meta), tables = core.tablesOf(meta.colormaps);
const [NX, NY, NZ] = meta.shape, COUNT = grid.count;
const look = { radiological: true, zoom: 1, cross: true, smooth: true, split: 0.5 };
const state = { base: -1, after: -1, over: -1, opacity: 0.5, hide: false, overHidden: false };
const volumes = meta.volumes.map((m, i) => Object.assign({ id: i, data: null, pending: null }, m));
volumes.forEach((v) => {
  if (v.kind === "map") { v.low = v.window[0]; v.high = v.window[1]; v.colours = v.colormap; }
});
const brain = volumes.find((v) => v.kind === "mask") || null;

function load(volume) {
  if (volume.data) return Promise.resolve(volume);
  if (volume.pending) return volume.pending;
  const text = $("vw-volume-" + volume.id).textContent;
  const stream = new Blob([core.bytesOf(text)]).stream().pipeThrough(new DecompressionStream("gzip"));
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

/* ---- what is shown ---- */
const shown = (v) => (v && v.data ? v : null);
const base = () => shown(volumes[state.base]);
const over = () => (state.overHidden ? null : shown(volumes[state.over]));
const scene = () => ({
  base: base(),
  inside: brain && brain.data,
  after: shown(volumes[state.after]),
  layers: over() ? [{ volume: over(), opacity: state.opacity, hide: state.hide }] : [],
});

function readout() {
  const out = $("vw-readout"), i = grid.offset(planes.at), b = base(), o = over(), a = shown(volumes[state.after]);
  const mm = grid.mm(planes.at), voxel = grid.voxel(planes.at);
  out.textContent = "";
  const add = (v) => {
    const value = valueText(v, v.data[i]), strong = document.createElement("b");
    strong.textContent = value.text;
    out.append(v.title + ": ", strong, "\u2003");
    return value.value;
  };
  if (b) out.dataset.value = add(b);
  if (a) out.dataset.afterValue = add(a); else delete out.dataset.afterValue;
  if (o) out.dataset.overlayValue = add(o); else delete out.dataset.overlayValue;
  out.append(document.createElement("br"), "at x " + mm.map((x) => minus(x.toFixed(1))).join(", ").replace(", ", ", y ").replace(/, (?=[^,]*$)/, ", z ") +
    " mm, voxel " + voxel.join(", ") + (meta.factor > 1 ? " (mean of " + meta.factor + " × " + meta.factor + " × " + meta.factor + " voxels)" : ""));
  out.dataset.ijk = voxel.join(",");
  out.dataset.xyz = mm.map((x) => x.toFixed(3)).join(",");
  out.dataset.map = b ? b.key : "";
  ["x", "y", "z"].forEach((n, a) => { if (document.activeElement !== $("vw-" + n)) $("vw-" + n).value = mm[a].toFixed(1); });
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
    core.colourBar($(prefix + "scale"), tables[v.colours]);
  };
  const b = volumes[state.base], o = volumes[state.over];
  $("vw-base").value = state.base;
  $("vw-after").value = state.after;
  $("vw-split-label").hidden = state.after < 0;
  $("vw-split").value = Math.round(100 * look.split);
  $("vw-over").value = state.over;
  document.querySelectorAll("#vw-views button").forEach((v) => v.setAttribute("aria-pressed",
    String(["base", "after", "over"].every((k) => state[k] === find(v.dataset[k])))));
  if (b) fill("vw-", b);
  const ranged = o && o.kind === "map" && o.colormap !== "labels";
  $("vw-over-controls").hidden = !ranged;
  if (ranged) fill("vw-over-", o);
  $("vw-zoom").value = look.zoom;
  $("vw-cross").checked = look.cross;
  $("vw-opacity").value = 100 * state.opacity;
}

let waiting = false;
function refresh() {
  readout();
  if (waiting) return;
  waiting = true;
  window.requestAnimationFrame(() => { waiting = false; planes.draw(); });
}
const find = (key) => (key ? volumes.findIndex((v) => (v.key || v.title) === key) : -1);
function choose(which, id) {
  state[which] = id;
  const v = volumes[id];
  if (which === "over") state.overHidden = false;
  controls();
  if (v) load(v).then(() => { controls(); refresh(); }).catch((e) => fail("The viewer could not read its data (" + e.message + "). The pictures below are complete."));
  else refresh();
}
const moveTo = (p) => planes.moveTo(p);

/* To where each plane shows most labelled voxels. */
function toMost({ data }) {
  const counts = meta.shape.map((n) => new Uint32Array(n));
  for (let i = 0; i < COUNT; i++) {
    if (data[i]) { counts[0][i % NX]++; counts[1][Math.floor(i / NX) % NY]++; counts[2][Math.floor(i / (NX * NY))]++; }
  }
  if (counts[0].some((n) => n)) moveTo(counts.map((c) => c.indexOf(Math.max(...c))));
}

/* ---- layout ---- */
const planes = new core.Planes($("vw-planes"), grid, tables, look, scene, {
  moved: refresh,
  changed: () => { controls(); refresh(); },
  key: (name) => {
    if (name !== "o") return false;
    state.overHidden = !state.overHidden;
    refresh();
    return true;
  },
  windowed: (across, up) => { if (base()) { core.windowBy(base(), across, up); controls(); refresh(); } },
});

function layout() {
  const box = $("vw-planes"), full = document.fullscreenElement === $("vw");
  const mm = planes.sizeMm(), room = box.clientWidth - 24;
  const across = 2 * mm[0] + mm[1], tall = Math.max(mm[1], mm[2]);
  const stacked = room < 620;
  box.classList.toggle("stacked", stacked);
  let perMm = stacked ? Math.min(room / Math.max(mm[0], mm[1]), 2.2) : room / across;
  if (!stacked) perMm = Math.min(perMm, (window.innerHeight - (full ? 300 : 160)) / tall);
  planes.layout(Math.max(perMm, 0.5));
  refresh();
}

function build() {
  const option = (select, value, text) => { const o = document.createElement("option"); o.value = value; o.textContent = text; select.append(o); };
  option($("vw-over"), -1, "none");
  option($("vw-after"), -1, "nothing");
  volumes.forEach((v) => {
    if (v.kind === "map") { option($("vw-base"), v.id, v.title); option($("vw-after"), v.id, v.title); }
    option($("vw-over"), v.id, v.kind === "mask" ? "Mask: " + v.title : v.title);
  });
  ["vw-colours", "vw-over-colours"].forEach((id) => Object.keys(tables).forEach((k) => option($(id), k, k)));

  const on = (id, event, act) => $(id).addEventListener(event, act);
  on("vw-base", "change", (e) => choose("base", Number(e.target.value)));
  on("vw-over", "change", (e) => choose("over", Number(e.target.value)));
  on("vw-after", "change", (e) => choose("after", Number(e.target.value)));
  on("vw-split", "input", (e) => { look.split = e.target.value / 100; refresh(); });
  document.querySelectorAll("#vw-views button").forEach((v) => v.addEventListener("click", () => {
    if (v.dataset.over) state.opacity = 0.9;
    look.split = 0.5;
    ["base", "after", "over"].forEach((which) => choose(which, find(v.dataset[which])));
    if (v.dataset.over) load(volumes[state.over]).then(toMost);
  }));
  on("vw-opacity", "input", (e) => { state.opacity = e.target.value / 100; refresh(); });
  on("vw-hide", "change", (e) => { state.hide = e.target.checked; refresh(); });
  on("vw-cross", "change", (e) => { look.cross = e.target.checked; refresh(); });
  on("vw-smooth", "change", (e) => { look.smooth = e.target.checked; refresh(); });
  on("vw-side", "change", (e) => { look.radiological = e.target.value === "R"; refresh(); });
  on("vw-zoom", "input", (e) => { look.zoom = Number(e.target.value); refresh(); });
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
    const p = grid.mm(planes.at);
    p[a] = parseFloat(e.target.value);
    if (isFinite(p[a])) moveTo(grid.fromMm(p));
  }));
  on("vw-reset", "click", () => {
    volumes.forEach((v) => { if (v.kind === "map") { v.low = v.window[0]; v.high = v.window[1]; v.colours = v.colormap; } });
    Object.assign(state, { opacity: 0.5, overHidden: false, after: -1 });
    look.zoom = 1;
    look.split = 0.5;
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

/* #xyz=10,-20,30 (mm) or #ijk=80,100,90 (voxel), then &map=key, &compare=key, &split=percent, &overlay=key or mask name: a place to share. */
function fromHash() {
  const given = {};
  location.hash.slice(1).split("&").forEach((part) => { const [k, v] = part.split("="); if (v) given[k] = decodeURIComponent(v); });
  const numbers = (text) => { const p = text.split(",").map(Number); return p.length === 3 && p.every(isFinite) ? p : null; };
  if (given.xyz && numbers(given.xyz)) moveTo(grid.fromMm(numbers(given.xyz)));
  if (given.ijk && numbers(given.ijk)) moveTo(grid.fromVoxel(numbers(given.ijk)));
  const map = (key) => find(key) >= 0 && volumes[find(key)].kind === "map";
  if (map(given.map)) choose("base", find(given.map));
  if (map(given.compare)) choose("after", find(given.compare));
  if (given.split && isFinite(given.split)) { look.split = Math.min(1, Math.max(0, Number(given.split) / 100)); controls(); }
  if (given.overlay && find(given.overlay) >= 0) choose("over", find(given.overlay));
  return Object.keys(given).length > 0;
}

/* Rows of tables that have a place lead to it; without the viewer their link leads to its section. */
function follow() {
  const links = document.querySelectorAll("a[data-place]");
  links.forEach((link) => link.closest("tr").classList.add("place"));
  document.addEventListener("click", (e) => {
    const row = e.target.closest("tr.place"), own = e.target.closest("a");
    if (!row || $("vw").hidden || e.ctrlKey || e.metaKey || e.shiftKey) return;
    /* Someone may be marking text to copy it. */
    if (!own && String(window.getSelection())) return;
    e.preventDefault();
    document.querySelectorAll("tr[aria-current]").forEach((r) => r.removeAttribute("aria-current"));
    row.setAttribute("aria-current", "true");
    /* A step in the browser's history, so that Back leads to the row. */
    location.hash = row.querySelector("a[data-place]").dataset.place;
    fromHash();
    $("viewer").scrollIntoView();
    $("vw-planes").querySelector("canvas").focus({ preventScroll: true });
  });
}

if (typeof DecompressionStream === "undefined" || !Response.prototype.arrayBuffer) {
  fail("This browser is too old for the interactive viewer (it needs Chrome or Edge 80, Firefox 113, Safari 16.4 or later). The pictures below are complete.");
  return;
}
$("vw").hidden = false;
build();
follow();
layout();
const preferred = volumes.reduce((best, v) => (v.kind === "map" && v.shown_unit === "ppb" && !/noise|residual/.test(v.key) ? v.id : best), 0);
(brain ? load(brain) : Promise.resolve()).then(() => {
  choose("base", preferred);
  if (brain) state.over = -1;
  fromHash();
  return load(volumes[state.base]);
}).then(() => { controls(); refresh(); document.documentElement.dataset.viewer = "ready"; })
  .catch((e) => fail("The viewer could not read its data (" + e.message + "). The pictures below are complete."));
})();
