/* The list of scans beside the maps, and the choice of light or dark. */
var chimapSidebar = (function () {
"use strict";
const make = (tag, props, ...inner) => { const e = Object.assign(document.createElement(tag), props); e.append(...inner); return e; };

/* side: {scan, key} that is shown as A; alike(scan, key): the scan's map most like another; choose(key) shows one. */
function list(box, scans, find, side, alike, choose) {
  const focus = document.activeElement && document.activeElement.dataset.pick;
  const pick = (key, text, current) => {
    const b = make("button", { type: "button", className: "pick", textContent: text });
    b.dataset.pick = text + key.slice(0, key.lastIndexOf("/"));
    if (current) b.setAttribute("aria-current", "true");
    b.addEventListener("click", () => choose(key));
    return b;
  };
  let folder = null, subject = null, ul = null, inner = null;
  box.textContent = "";
  scans.filter((s) => (s.folder + " " + s.name).toLowerCase().includes(find.trim().toLowerCase())).forEach((s) => {
    if (s.folder !== folder) {
      box.append(make("h2", { textContent: s.folder }), ul = make("ul", {}));
      folder = s.folder; subject = null;
    }
    const many = s.subject && scans.some((t) => t !== s && t.folder === s.folder && t.subject === s.subject);
    if (many && s.subject !== subject) ul.append(make("li", { textContent: "Subject " + s.subject }, inner = make("ul", {})));
    subject = s.subject;
    const current = side.scan === s;
    const row = make("div", { className: "row" }, pick(side.key ? alike(s, side.key) : s.maps[0].key, s.name, current));
    if (s.report) {
      const link = make("a", { href: "report?key=" + encodeURIComponent(s.report), target: "_blank", rel: "noopener noreferrer", textContent: "report" });
      link.setAttribute("aria-label", "Report of " + s.name + " in " + s.folder);
      row.append(link);
    }
    const item = make("li", {}, row);
    if (current) item.append(make("ul", {}, ...s.maps.map((m) => make("li", {}, pick(m.key, m.title, side.key === m.key)))));
    (many ? inner : ul).append(item);
  });
  if (focus) Array.from(box.querySelectorAll("button")).filter((b) => b.dataset.pick === focus).slice(0, 1).forEach((b) => b.focus());
}

/* The dark colours stand under a media query of the style sheet; a choice answers it. */
function theme(select) {
  const rules = Array.from(document.styleSheets).flatMap((s) => Array.from(s.cssRules))
    .filter((r) => r instanceof CSSMediaRule && r.media.mediaText.includes("prefers-color-scheme")).map((r) => [r, r.media.mediaText]);
  select.addEventListener("change", () => {
    rules.forEach(([r, own]) => { r.media.mediaText = { light: "not all", dark: "all" }[select.value] || own; });
    document.documentElement.style.colorScheme = select.value === "system" ? "" : select.value;
  });
}

return { list, theme };
})();
