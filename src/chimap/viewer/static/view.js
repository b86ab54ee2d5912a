/* The page of `chimap view`: what is chosen, and the panels that show it. planes.js draws, maps.js fetches. */
(function () {
"use strict";
const $ = (id) => document.getElementById(id);
const core = chimapPlanes, maps = chimapMaps, second = chimapOverlay, { digitsFor, minus } = core;
const look = { radiological: true, zoom: 1, cross: true, smooth: true };
const state = { mm: null, compare: false, same: true, difference: false, opacity: 0.5, hidden: false, plane: "" };
/* A, B and their difference: what is chosen, the volume as it is shown, the mask that says where a 0 is a value. */
const sides = { a: {}, b: {}, d: { face: null } };
const extra = { over: null, outline: null, second: null };
let scans = [], tables = {}, ready = false;

const make = (tag, props = {}, ...inner) => { const e = Object.assign(document.createElement(tag), props); e.append(...inner); return e; };
const fill = (select, choices, chosen) => {
  select.textContent = "";
  choices.forEach(([value, text]) => select.append(make("option", { value, textContent: text })));
  if (chosen !== undefined) select.value = chosen;
};
const say = (id, text) => { $(id).hidden = !text; $(id).textContent = text || ""; };
const mapOf = (key) => scans.flatMap((s) => s.maps).find((m) => m.key === key);
const scanOf = (key) => scans.find((s) => s.maps.some((m) => m.key === key));
const nameOf = (s) => (scans.filter((t) => t.name === s.name).length > 1 ? s.name + " in " + s.folder : s.name);
const methodsOf = (s) => ["field", "background", "inversion"].filter((k) => s.methods[k]).map((k) => k + " " + s.methods[k]).join(", ");
const shownSides = () => ["a", "b", "d"].filter((n) => sides[n].face && (n === "a" || state.compare) && (n !== "d" || state.difference));

/* ---- what is chosen ---- */
async function brainOf(scan) {
  const found = ["Brain mask", "Valid mask"].map((t) => scan.maps.find((m) => m.title === t)).find(Boolean);
  return found ? maps.load(found.key) : null;
}

async function choose(name, key, part = 0) {
  const side = sides[name], scan = scanOf(key), turn = (side.turn || 0) + 1;
  Object.assign(side, { turn, key, scan });
  $("panels").setAttribute("aria-busy", "true");
  controls();
  try {
    const [volume, mask] = await Promise.all([maps.load(key, part), brainOf(scan).catch(() => null)]);
    if (side.turn !== turn) return;  /* another map was chosen meanwhile */
    const before = side.face;
    side.face = maps.face(volume);
    /* A window that was set stays when the same kind of map of another scan is chosen. */
    if (before && before.title === volume.title && before.unit === volume.unit && before.kind === volume.kind) {
      Object.assign(side.face, { low: before.low, high: before.high, colours: before.colours });
    }
    side.mask = mask;
    side.inside = maps.isMasked(volume, mask) ? mask.data : null;
    say("problem", "");
    if (name === "a") overlays();
    subtract();
    show();
  } catch (e) {
    if (side.turn !== turn) return;
    side.face = null;
    say("problem", mapOf(key).file + " cannot be shown: " + e.message);
    show();
  }
  $("panels").setAttribute("aria-busy", "false");
}

/* The map of another scan that is most like this one; else the first. */
const alike = (scan, key) => {
  const m = mapOf(key);
  return (scan.maps.find((n) => m && n.title === m.title) || scan.maps[0]).key;
};
/* What to compare with at first: the same map of the same scan made otherwise, of another scan, another map. */
function partner(key) {
  const own = scanOf(key), m = mapOf(key), has = (s) => s !== own && s.maps.some((n) => n.title === m.title);
  const other = scans.find((s) => has(s) && s.name === own.name) || scans.find(has);
  return other ? alike(other, key) : (own.maps.find((n) => n.key !== key && n.kind === "map") || m).key;
}

function subtract() {
  const { a, b, d } = sides;
  d.face = null;
  say("notice", "");
  if (!state.compare || !a.face || !b.face) return;
  if (!a.face.grid.same(b.face.grid) && !state.difference) say("notice", "A and B are on different grids; the cursors are linked by position in mm.");
  if (!state.difference) return;
  try {
    d.face = maps.face(maps.difference(a.face, b.face, [a.mask, b.mask]));
    d.inside = a.inside || b.inside;
  } catch (e) { say("notice", e.message); }
}

function overlays() {
  const a = sides.a, choices = { over: "labels", outline: "mask", second: "map" };
  Object.entries(choices).forEach(([id, kind]) => {
    const own = a.scan, near = [own, ...scans.filter((s) => s !== own && s.name === own.name), ...scans.filter((s) => s.name !== own.name)];
    const list = near.flatMap((s) => s.maps.filter((m) => m.kind === kind && !(id === "second" && m.key === a.key)).map((m) => [m.key, m.title + (s === own ? "" : " (" + nameOf(s) + ")")]));
    const chosen = extra[id] && list.some(([k]) => k === extra[id].key) ? extra[id].key : "";
    fill($(id), [["", "none"], ...list], chosen);
    if (!chosen && extra[id]) { extra[id] = null; if (id === "second") second.take(null); }
    $(id).disabled = list.length === 0;
  });
}
async function overlay(id, key) {
  try {
    extra[id] = key ? maps.face(await maps.load(key)) : null;
    if (id === "second") second.take(extra.second);
    state.hidden = false;
    subtract();
    if (extra[id] && sides.a.face && !extra[id].grid.same(sides.a.face.grid)) say("notice", extra[id].title + " is on another grid than A, and is not drawn on it.");
  } catch (e) {
    say("notice", e.message); extra[id] = null; $(id).value = "";
    if (id === "second") second.take(null);
  }
  refresh();
}

/* ---- panels ---- */
function layersOn(face) {
  if (state.hidden) return [];
  const on = (v) => v && v.grid.same(face.grid);
  const out = face === sides.d.face ? [] : second.layers(face.grid);
  if (on(extra.over)) out.push({ volume: extra.over, opacity: state.opacity, hide: false });
  return on(extra.outline) ? [...out, { volume: extra.outline, opacity: 0, hide: false }] : out;
}

function panel(name) {
  const side = sides[name], { face } = side;
  if (side.panel && side.grid && side.grid.same(face.grid)) return;
  if (side.panel) side.panel.remove();
  const heading = make("h2", { id: "h-" + name }), host = make("div", { className: "planes" }), value = make("p", { className: "value", id: "value-" + name });
  side.panel = make("section", { id: "panel-" + name }, heading, host, value);
  side.panel.setAttribute("aria-labelledby", "h-" + name);
  value.setAttribute("aria-live", "polite");
  side.grid = face.grid;
  const scene = () => ({ base: side.face, inside: side.inside, layers: layersOn(side.face) });
  side.planes = new core.Planes(host, face.grid, tables, look, scene, {
    moved: (p) => { state.mm = side.grid.mm(p); link(name); refresh(); },
    changed: () => { controls(); refresh(); },
    key: (key) => {
      if (key === "o") state.hidden = !state.hidden;
      else if (!second.key(key)) return false;
      second.show(); refresh();
      return true;
    },
    windowed: (across, up) => {
      const f = name === "b" && twin() ? sides.a.face : side.face;
      core.windowBy(f, across, name === "d" ? 0 : up);
      controls(); refresh();
    },
  });
  side.planes.planes.forEach((p) => p.canvas.setAttribute("aria-label", (name === "d" ? "Difference" : name.toUpperCase()) + ", " + p.canvas.getAttribute("aria-label")));
}

/* All panels but the one that was moved go to its place. */
function link(from) {
  ["a", "b", "d"].forEach((n) => {
    const s = sides[n];
    if (n !== from && s.planes && s.face) s.planes.at = s.grid.clamp(s.grid.fromMm(state.mm));
  });
}
const within = (grid, mm) => grid.fromMm(mm).every((x, i) => x > -0.5 && x < grid.shape[i] - 0.5);

function show() {
  const names = shownSides(), box = $("panels");
  names.forEach(panel);
  const order = names.map((n) => sides[n].panel);
  if (order.length !== box.children.length || order.some((p, i) => box.children[i] !== p)) box.replaceChildren(...order);
  if (names.length) {
    const { grid } = sides[names[0]];
    if (!state.mm || !within(grid, state.mm)) state.mm = grid.mm(grid.centre);
    link("");
  }
  controls();
  layout();
}

function layout() {
  const box = $("panels"), names = shownSides(), single = state.plane !== "";
  const abreast = single && names.length > 1, room = box.clientWidth / (abreast ? names.length : 1) - 40;
  box.classList.toggle("abreast", abreast);
  const all = names.map((n) => {
    const { planes } = sides[n], mm = planes.sizeMm();
    planes.planes.forEach((p) => { p.cell.hidden = single && p.name !== state.plane; });
    const open = planes.planes.filter((p) => !p.cell.hidden);
    return { planes, widths: open.map((p) => mm[p.h]), tall: Math.max(...open.map((p) => mm[p.v])) };
  });
  const stacked = !single && room < 560;
  /* One scale for all panels. */
  const perMm = Math.min(...all.map(({ widths, tall }) => {
    if (stacked) return Math.min(room / Math.max(...widths), 2.2);
    /* What is compared should be seen together, the controls scrolled away. */
    const height = abreast || names.length === 1 ? 0.72 * window.innerHeight - 60 : Math.max(0.97 * window.innerHeight / names.length - 100, 140);
    return Math.min((room - 6 * widths.length) / widths.reduce((s, w) => s + w, 0), height / tall);
  }));
  all.forEach(({ planes }) => { planes.host.classList.toggle("stacked", stacked); planes.layout(Math.max(perMm, 0.4)); });
  refresh();
}

/* ---- controls ---- */
const twin = () => state.same && sides.a.face && sides.b.face && sides.a.face.kind === sides.b.face.kind && sides.a.face.unit === sides.b.face.unit;
const rounded = (v, x) => (x * v.shown_scale).toFixed(digitsFor(v.step * v.shown_scale));

function controls() {
  if (twin()) Object.assign(sides.b.face, { low: sides.a.face.low, high: sides.a.face.high, colours: sides.a.face.colours });
  ["a", "b"].forEach((n) => {
    const side = sides[n], f = side.face, c = side.controls, get = (k) => c.querySelector("." + k);
    c.hidden = n === "b" && !state.compare;
    if (!side.key) return;
    const scan = get("scan");
    if (scan.options.length !== scans.length) fill(scan, scans.map((s, i) => [i, nameOf(s)]));
    scan.value = scans.indexOf(side.scan);
    fill(get("map"), side.scan.maps.map((m) => [m.key, m.title]), side.key);
    const report = get("report");
    report.hidden = !side.scan.report;
    report.href = "report?key=" + encodeURIComponent(side.scan.report);
    if (!f) return;
    get("part-label").hidden = f.volumes < 2;
    Object.assign(get("part"), { max: f.volumes, value: f.part + 1 });
    ["low", "high"].forEach((end) => {
      const input = get(end);
      input.step = Number((f.step * f.shown_scale * 5).toPrecision(3));
      if (document.activeElement !== input) input.value = rounded(f, f[end]);
      input.disabled = f.kind === "mask" || (f.kind === "labels" && f.colours === "labels") || (n === "b" && Boolean(twin()));
    });
    get("unit").textContent = f.shown_unit;
    get("colours").value = f.colours;
    get("colours").disabled = n === "b" && Boolean(twin());
    core.colourBar(get("scale"), tables[f.colours]);
  });
  $("compare").checked = state.compare; $("compare-controls").hidden = !state.compare;
  $("same").checked = state.same; $("difference").checked = state.difference;
  const d = sides.d.face;
  $("d-controls").hidden = !d;
  if (d) {
    if (document.activeElement !== $("d-high")) $("d-high").value = rounded(d, d.high);
    $("d-high").step = Number((d.step * d.shown_scale * 5).toPrecision(3));
    $("d-unit").textContent = d.shown_unit;
    $("d-colours").value = d.colours;
    core.colourBar($("d-scale"), tables[d.colours]);
  }
  $("cross").checked = look.cross; $("zoom").value = look.zoom; $("opacity").value = 100 * state.opacity;
  $("planes").value = state.plane;
  list();
}

function list() {
  $("filter-label").hidden = scans.length < 13;
  chimapSidebar.list($("scans"), scans, $("filter").value, sides.a, alike, (key) => choose("a", key));
}

/* ---- values ---- */
function readout() {
  shownSides().forEach((n) => {
    const { face, planes, panel: section, scan } = sides[n], out = section.querySelector(".value"), head = section.querySelector("h2");
    const i = face.grid.offset(planes.at), v = core.valueText(face, face.data[i]), o = extra.over;
    const far = state.mm && !within(face.grid, state.mm);
    out.replaceChildren(make("b", { textContent: far ? "outside this image" : v.text }));
    Object.assign(out.dataset, { value: v.value, ijk: face.grid.voxel(planes.at).join(",") });
    out.dataset.second = n === "d" ? "" : second.value(face.grid, i);
    if (n !== "d") out.append(second.text(face.grid, i));
    if (o && o.grid.same(face.grid) && n !== "d") out.append("\u2003" + o.title + ": " + core.valueText(o, o.data[i]).text);
    const notes = [];
    if (n === "d") {
      const { stats } = face, digits = digitsFor(face.step * face.shown_scale);
      const text = (x) => minus((x * face.shown_scale).toFixed(digits).replace(/^-(?=[0.]*$)/, "")) + " " + face.shown_unit;
      notes.push(stats.n + " voxels: mean " + text(stats.mean) + ", standard deviation " + text(stats.sd));
    } else {
      if (state.compare) notes.push(face.title);
      notes.push(nameOf(scan) + (methodsOf(scan) ? " (" + methodsOf(scan) + ")" : ""));
      if (face.title === "Susceptibility" && scan.reference) notes.push("relative to " + scan.reference);
    }
    if (face.factor > 1) notes.push("reduced: " + (face.kind === "map" ? "means over" : "one voxel of each") + " " + [0, 0, 0].map(() => face.factor).join(" × ") + " voxels");
    head.replaceChildren(make("b", { textContent: n === "d" ? "Difference A − B" : state.compare ? n.toUpperCase() : face.title }), "\u2002" + notes.join(", "));
  });
  if (!state.mm || !sides.a.face) return;
  const a = sides.a, mm = state.mm;
  ["x", "y", "z"].forEach((n, k) => { if (document.activeElement !== $(n)) $(n).value = mm[k].toFixed(1); });
  const voxel = a.grid.voxel(a.planes.at);
  $("voxel").textContent = "voxel " + voxel.join(", ") + " of A";
  const tilt = a.grid.tilt_deg;
  $("limits").textContent = (tilt > 2 ? "The scan is oblique: slices follow its own grid, up to " + tilt + "° away from the directions that the letters name; positions in mm are exact. " : "") +
    "Values are rounded to steps of " + Number((a.face.step * a.face.shown_scale).toPrecision(2)) + (a.face.shown_unit ? " " + a.face.shown_unit : "") + ".";
  remember();
}

let waiting = false;
function refresh() {
  if (!ready) return;
  readout();
  if (waiting) return;
  waiting = true;
  window.requestAnimationFrame(() => { waiting = false; shownSides().forEach((n) => sides[n].planes.draw()); });
}

/* ---- the address: #a=key&b=key&d=1&over=key&outline=key&second=key&plane=Axial&xyz=10,-20,30 ---- */
let later = 0;
function remember() {
  window.clearTimeout(later);
  later = window.setTimeout(() => {
    const q = new URLSearchParams({ a: sides.a.key });
    if (state.compare) q.set("b", sides.b.key);
    if (state.compare && state.difference) q.set("d", "1");
    Object.keys(extra).forEach((k) => { if (extra[k]) q.set(k, extra[k].key); });
    if (state.plane) q.set("plane", state.plane);
    q.set("xyz", state.mm.map((x) => x.toFixed(2)).join(","));
    history.replaceState(null, "", "#" + q);
  }, 300);
}

async function compare(on, key) {
  state.compare = on;
  if (on && (key || !sides.b.key)) await choose("b", key || partner(sides.a.key));
  subtract(); show();
}

/* ---- start ---- */
function wire() {
  ["a", "b"].forEach((n) => {
    const side = sides[n], copy = $("side").content.cloneNode(true);
    side.controls = copy.querySelector("fieldset");
    side.controls.id = "side-" + n;
    side.controls.querySelector("legend").textContent = n.toUpperCase();
    const get = (k) => side.controls.querySelector("." + k);
    ["scan", "map", "part", "colours", "low", "high"].forEach((k) => {
      const name = { scan: "scan", map: "map", part: "volume of the file", colours: "colours", low: "window, lower end", high: "window, upper end" }[k];
      get(k).setAttribute("aria-label", n.toUpperCase() + ", " + name);
    });
    fill(get("colours"), Object.keys(tables).map((t) => [t, t]));
    get("scan").addEventListener("change", (e) => choose(n, alike(scans[e.target.value], side.key)));
    get("map").addEventListener("change", (e) => choose(n, e.target.value));
    get("part").addEventListener("change", (e) => {
      const part = Math.min(Math.max(Math.round(Number(e.target.value)) || 1, 1), side.face ? side.face.volumes : 1);
      choose(n, side.key, part - 1);
    });
    get("colours").addEventListener("change", (e) => { if (side.face) { side.face.colours = e.target.value; controls(); refresh(); } });
    ["low", "high"].forEach((end) => {
      get(end).addEventListener("input", (e) => {
        const f = side.face, x = parseFloat(e.target.value) / (f ? f.shown_scale : 1);
        if (!f || !isFinite(x)) return;
        if (end === "low") f.low = Math.min(x, f.high - f.step); else f.high = Math.max(x, f.low + f.step);
        controls(); refresh();
      });
      get(end).addEventListener("change", () => { get(end).blur(); controls(); });
    });
    $("sides").append(copy);
  });
  fill($("d-colours"), Object.keys(tables).map((t) => [t, t]));
  const on = (id, event, act) => $(id).addEventListener(event, (e) => { act(e.target); });
  on("compare", "change", (t) => {
    /* Side by side is one plane of each; three planes go below each other. */
    if (t.checked && !state.plane) state.plane = "Axial";
    compare(t.checked);
  });
  on("same", "change", (t) => { state.same = t.checked; controls(); refresh(); });
  on("difference", "change", (t) => { state.difference = t.checked; subtract(); show(); });
  on("d-high", "input", (t) => {
    const d = sides.d.face, x = parseFloat(t.value) / d.shown_scale;
    if (x > 0) { d.high = Math.max(x, d.step); d.low = -d.high; controls(); refresh(); }
  });
  on("d-colours", "change", (t) => { sides.d.face.colours = t.value; controls(); refresh(); });
  on("over", "change", (t) => overlay("over", t.value));
  on("outline", "change", (t) => overlay("outline", t.value));
  on("second", "change", (t) => overlay("second", t.value));
  second.wire(tables, refresh);
  on("opacity", "input", (t) => { state.opacity = t.value / 100; refresh(); });
  on("planes", "change", (t) => { state.plane = t.value; layout(); });
  on("zoom", "input", (t) => { look.zoom = Number(t.value); refresh(); });
  on("cross", "change", (t) => { look.cross = t.checked; refresh(); });
  on("smooth", "change", (t) => { look.smooth = t.checked; refresh(); });
  on("left", "change", (t) => { look.radiological = t.value === "R"; refresh(); });
  on("filter", "input", list);
  on("again", "click", () => lookAgain().catch((e) => say("problem", e.message)));
  on("reset", "click", () => {
    ["a", "b", "d"].map((n) => sides[n].face).filter(Boolean).forEach((f) => Object.assign(f, { low: f.window[0], high: f.window[1], colours: f.colormap }));
    Object.assign(state, { opacity: 0.5, hidden: false, mm: null });
    look.zoom = 1;
    second.reset();
    show();
  });
  ["x", "y", "z"].forEach((n, k) => on(n, "change", (t) => {
    const mm = state.mm.slice();
    mm[k] = parseFloat(t.value);
    if (isFinite(mm[k]) && sides.a.planes) { t.blur(); sides.a.planes.moveTo(sides.a.grid.fromMm(mm)); }
  }));
  window.addEventListener("resize", layout);
  chimapSidebar.theme($("theme"));
}

async function lookAgain() {
  const found = await maps.json("catalogue");
  scans = found.scans;
  say("refused", found.refused ? found.refused + (found.refused > 1 ? " files or folders are" : " file or folder is") + " left out: links that lead elsewhere, or names that are no text." : "");
  ["a", "b"].forEach((n) => { if (sides[n].key) sides[n].scan = scanOf(sides[n].key) || sides[n].scan; });
  if (sides.a.scan) { overlays(); sides.a.controls.querySelector(".scan").textContent = ""; sides.b.controls.querySelector(".scan").textContent = ""; controls(); }
}

(async function start() {
  tables = core.tablesOf(await maps.json("colours"));
  await lookAgain();
  wire();
  const q = new URLSearchParams(location.hash.slice(1)), asked = (k) => (mapOf(q.get(k)) ? q.get(k) : null);
  const xyz = (q.get("xyz") || "").split(",").map(Number);
  if (xyz.length === 3 && xyz.every(isFinite)) state.mm = xyz;
  if (["Axial", "Coronal", "Sagittal"].includes(q.get("plane"))) state.plane = q.get("plane");
  state.difference = q.has("d");
  ready = true;
  await choose("a", asked("a") || scans[0].maps[0].key);
  if (asked("b")) await compare(true, asked("b"));
  for (const id of Object.keys(extra)) if (asked(id)) { await overlay(id, asked(id)); $(id).value = asked(id); }
  document.documentElement.dataset.viewer = "ready";
})().catch((e) => say("problem", "The page could not start: " + e.message));
})();
