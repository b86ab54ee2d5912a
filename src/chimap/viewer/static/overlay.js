/* A second map over the shown ones: its controls, and its window, colours and opacity. view.js loads it and draws it. */
var chimapOverlay = (function () {
"use strict";
const $ = (id) => document.getElementById(id);
const core = chimapPlanes;
const STEP = 0.05;
const at = { opacity: 0.5, clear: false };
let face = null, tables = {};

/* A map that was chosen (null: none); gray over gray would not be seen. */
function take(volume) {
  face = volume;
  if (face && face.colours === "gray" && tables.inferno) face.colours = "inferno";
  show();
}

function show() {
  $("second-controls").hidden = !face;
  $("second-opacity").value = Math.round(100 * at.opacity);
  $("second-opacity").setAttribute("aria-valuetext", Math.round(100 * at.opacity) + " %");
  $("second-clear").checked = at.clear;
  if (!face) return;
  ["low", "high"].forEach((end) => {
    const input = $("second-" + end), step = face.step * face.shown_scale;
    input.step = Number((5 * step).toPrecision(3));
    if (document.activeElement !== input) input.value = (face[end] * face.shown_scale).toFixed(core.digitsFor(step));
  });
  $("second-unit").textContent = face.shown_unit;
  $("second-colours").value = face.colours;
  core.colourBar($("second-scale"), tables[face.colours]);
}

/* What planes.js draws above a map; the difference of two maps stays as it is. */
const layers = (grid) => (face && face.grid.same(grid) ? [{ volume: face, opacity: at.opacity, hide: at.clear }] : []);

/* "Title: value" at a place of a grid; "" where the overlay has none. */
const text = (grid, i) => (face && face.grid.same(grid) ? "\u2003" + face.title + ": " + core.valueText(face, face.data[i]).text : "");
const value = (grid, i) => (face && face.grid.same(grid) ? core.valueText(face, face.data[i]).value : "");

/* The bracket keys; true if one was pressed. */
function key(name) {
  if (!face || (name !== "[" && name !== "]")) return false;
  at.opacity = Math.min(1, Math.max(0, at.opacity + (name === "[" ? -STEP : STEP)));
  return true;
}

function reset() {
  Object.assign(at, { opacity: 0.5, clear: false });
  if (face) Object.assign(face, { low: face.window[0], high: face.window[1], colours: face.colormap });
  take(face);
}

function wire(all, changed) {
  tables = all;
  Object.keys(tables).forEach((t) => $("second-colours").append(new Option(t, t)));
  const on = (id, event, act) => $("second-" + id).addEventListener(event, (e) => { act(e.target); show(); changed(); });
  on("opacity", "input", (t) => { at.opacity = t.value / 100; });
  on("clear", "change", (t) => { at.clear = t.checked; });
  on("colours", "change", (t) => { face.colours = t.value; });
  ["low", "high"].forEach((end) => {
    on(end, "input", (t) => {
      const x = parseFloat(t.value) / face.shown_scale;
      if (!isFinite(x)) return;
      if (end === "low") face.low = Math.min(x, face.high - face.step); else face.high = Math.max(x, face.low + face.step);
    });
    $("second-" + end).addEventListener("change", (e) => { e.target.blur(); show(); });
  });
}

return { take, show, layers, text, value, key, reset, wire };
})();
