/* Volumes from the server, and the difference of two. */
var chimapMaps = (function () {
"use strict";
const core = chimapPlanes;
/* Voxels that are kept for when they are asked for again. */
const MOST_KEPT = 2e8;
const kept = new Map();

async function get(address) {
  let answer;
  try { answer = await fetch(address, { credentials: "omit", cache: "no-store" }); }
  catch (e) { throw new Error("the server does not answer; was chimap view stopped?"); }
  if (answer.ok) return answer;
  const said = await answer.json().catch(() => ({}));
  throw new Error(said.error || "the server answers " + answer.status);
}
const json = (address) => get(address).then((a) => a.json());

/* 4 bytes: length of the header; the header as JSON; int16 numbers or mask bytes. */
function decode(buffer) {
  const length = new DataView(buffer).getUint32(0, true);
  const meta = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  const grid = new core.Grid(meta);
  const data = meta.kind === "mask" ? new Uint8Array(buffer, 4 + length) : new Int16Array(buffer, 4 + length);
  if (data.length !== grid.count) throw new Error(meta.title + " came incomplete; load the page again");
  return Object.assign(meta, { grid, data });
}

function load(key, part = 0) {
  const name = part + " " + key;
  let found = kept.get(name);
  if (found) kept.delete(name);
  else {
    found = get("volume?part=" + part + "&key=" + encodeURIComponent(key)).then((a) => a.arrayBuffer()).then(decode);
    found.then((v) => { found.count = v.grid.count; forget(); }, () => kept.delete(name));
  }
  kept.set(name, found);  /* the last used is last */
  return found;
}
function forget() {
  let sum = 0;
  Array.from(kept).reverse().forEach(([name, v], i) => {
    sum += v.count || 0;
    if (sum > MOST_KEPT && i > 5) kept.delete(name);
  });
}

/* How a volume is shown in one place; its numbers are shared. */
const face = (volume) => Object.assign(Object.create(volume), { low: volume.window[0], high: volume.window[1], colours: volume.colormap });

/* Whether a map is 0, "no value", everywhere outside a mask; some voxels are enough to tell. */
function isMasked(volume, mask) {
  if (!mask || !mask.grid.same(volume.grid)) return false;
  for (let i = 0; i < mask.data.length; i += 97) if (!mask.data[i] && volume.data[i]) return false;
  return true;
}

const size = (grid) => grid.shape.join(" × ") + " voxels of " + grid.voxel_mm.map((x) => Number(x.toFixed(2))).join(" × ") + " mm";

/* a minus b, where both have a value. */
function difference(a, b, masks) {
  if (a.kind !== "map" || b.kind !== "map") throw new Error("No difference: masks and labels have no values to subtract.");
  if (a.unit !== b.unit) throw new Error("No difference: A is in " + (a.unit || "arbitrary units") + ", B in " + (b.unit || "arbitrary units") + ".");
  if (!a.grid.same(b.grid)) {
    const same = size(a.grid) === size(b.grid);
    throw new Error("No difference: A and B are on different grids (" + (same ? "the same size, but another place or direction" : "A " + size(a.grid) + ", B " + size(b.grid)) +
      "). Cursors are linked by position in mm. Resample one map onto the grid of the other for a difference.");
  }
  const inside = [isMasked(a, masks[0]) && masks[0].data, isMasked(b, masks[1]) && masks[1].data].filter(Boolean);
  const step = Math.max(a.step, b.step), ka = a.step / step, kb = b.step / step, data = new Int16Array(a.data.length);
  let n = 0, sum = 0, squares = 0, cut = false;
  for (let i = 0; i < data.length; i++) {
    const p = a.data[i], q = b.data[i];
    if (p === core.MISSING || q === core.MISSING || inside.some((m) => !m[i])) { data[i] = core.MISSING; continue; }
    const d = p * ka - q * kb;
    if (Math.abs(d) > 32767) cut = true;
    data[i] = Math.max(-32767, Math.min(32767, Math.round(d)));
    if (inside.length || p || q) { n++; sum += d; squares += d * d; }
  }
  const half = (a.window[1] - a.window[0]) / 6, mean = n ? sum / n : 0;
  return Object.assign(Object.create(a), {
    key: "difference", title: "A − B", data, step, cut, window: [-half, half], colormap: "RdBu_r", labels: null,
    stats: { n, mean: mean * step, sd: n ? Math.sqrt(Math.max(squares / n - mean * mean, 0)) * step : 0 },
  });
}

return { json, load, face, isMasked, difference };
})();
