"use strict";
// The two browsers, folded parts that open when a link leads into them, and the place in the contents.
// Texts are written as text, never as HTML: some were made by models.

const data = JSON.parse(document.getElementById("browser-data").textContent);

/** An element with attributes (null ones are left out) and children: elements, texts, or null. */
function make(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) if (value !== null) element.setAttribute(name, value);
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== ""));
  return element;
}

function picture(place, alt) {
  if (place === null) return make("span", { class: "blank" }, "no picture");
  const [name, uri] = data.pictures[place];
  return make("img", { src: uri, alt, title: name, loading: "lazy", decoding: "async" });
}

const share = (value) => value.toFixed(2);
const judged = (right) => (right ? "✓ right" : "✗ wrong");

/** A bar of parts [share of the width, class], for the eye only: the number stands beside it. */
function bar(...parts) {
  const stack = make("span", { class: "bar stack", "aria-hidden": "true" });
  for (const [width, kind] of parts) {
    const part = make("i", { class: kind });
    part.style.width = `${Math.max(0, Math.min(1, width)) * 100}%`;
    stack.append(part);
  }
  return stack;
}

// ---- retrievals

function hit(item, rank) {
  const alt = `Rank ${rank}: person ${item.subject}, ${item.right ? "right" : "wrong"}`;
  return make("li", { class: `tile ${item.right ? "right" : "wrong"}` },
    picture(item.picture, alt), make("b", {}, judged(item.right)), `${item.subject} · ${share(item.similarity)}`);
}

function ranking(title, items) {
  return [make("h3", {}, title),
    items.length ? make("ol", { class: "tiles ten", role: "list" }, items.map((item, at) => hit(item, at + 1)))
      : make("p", { class: "gap" }, "Not run.")];
}

function vote(item) {
  const alt = `Person ${item.subject}, ${item.counted ? "counted" : "not counted"}`;
  return make("li", { class: item.counted ? "tile" : "tile idle" },
    picture(item.picture, alt), bar([item.vote, item.counted ? "" : "idle"]),
    make(item.counted ? "b" : "s", {}, `+${share(item.vote)}`), make("span", {}, item.subject));
}

function source(item) {
  const name = item.variant < 0 ? "The query itself" : `Variant ${item.variant + 1}`;
  const what = item.skipped ? `left out: ${item.skipped}` : item.prompt.split("|").map((part) => part.trim()).join(", ");
  return make("li", { class: "source" },
    make("div", { class: "tile" }, picture(item.picture, `${name}. ${what}`), make("b", {}, name), what),
    item.votes.length ? make("ol", { class: "tiles", role: "list", "aria-label": `Votes of: ${name}` }, item.votes.map(vote))
      : make("p", { class: "gap" }, item.skipped ? "No votes." : "Votes were not recorded."));
}

function scores(items) {
  const most = Math.max(...items.map((item) => item.score));
  const row = (item, at) => make("tr", {}, make("th", { scope: "row" }, `${at + 1}. person ${item.subject}`),
    make("td", {}, bar([item.query / most, "own"], [(item.score - item.query) / most, ""])),
    make("td", {}, share(item.score)), make("td", {}, share(item.query)), make("td", {}, judged(item.right)));
  const heads = ["Person", "", "Score", "From the query", "Right?"];
  return make("div", { class: "scroll scores", role: "region", "aria-label": "Scores", tabindex: "0" },
    make("table", {}, make("caption", {}, "The sum of all votes counted; the first is the prediction. Dark: from the query, blue: from its variants"),
      make("thead", {}, make("tr", {}, heads.map((text) => (text ? make("th", { scope: "col" }, text) : make("td", {}))))),
      make("tbody", {}, items.map(row))));
}

function retrieval(item) {
  const facts = make("div", { class: "tile" }, picture(item.picture, `The query, person ${item.subject}`),
    make("span", {}, make("b", {}, `person ${item.subject}`), `clothes ${item.clothes}, camera ${item.camera}`));
  return [
    make("div", { class: "split" },
      make("div", {}, make("h3", {}, "Query"), facts),
      make("div", {}, ranking("Baseline: its ten best, with person and cosine", item.before), ranking("DLCR, refined: its ten best", item.after))),
    make("h3", {}, "How the votes fell"),
    make("p", { class: "soft" }, "Each source ranks the gallery; its best images vote for their persons, by similarity relative to its own best. Only persons among the query’s own best count; other votes are struck out."),
    make("ol", { class: "sources", role: "list" }, item.sources.map(source)),
    make("h3", {}, "Final scores"),
    item.scores.length ? scores(item.scores) : make("p", { class: "gap" }, "Not recorded."),
  ];
}

function retrievalStatus(item) {
  const first = (items) => (items.length ? `${items[0].right ? "right" : "wrong"} (person ${items[0].subject})` : "not run");
  return `${item.id}, person ${item.subject}. Baseline ${first(item.before)}, DLCR ${first(item.after)}.`;
}

// ---- samples

function variant(item) {
  const measures = Object.entries(item.measures).map(([name, value]) => [make("dt", {}, name), make("dd", {}, share(value))]);
  const prompt = item.prompt.split("|").map((part) => part.trim()).join(", ");
  return make("li", { class: "tile" },
    item.skipped ? make("span", { class: "blank" }, item.skipped) : picture(item.picture, `Variant ${item.number}: ${prompt}`),
    make("b", {}, `Variant ${item.number}`), prompt, make("br", {}), `clothes ${item.clothes}`,
    measures.length ? make("dl", { class: "measures" }, measures) : null);
}

function sample(item) {
  const covers = item.mask.area === undefined ? "" : `${Math.round(100 * item.mask.area)} % of the image; `;
  const mask = item.mask.picture === null ? make("span", { class: "blank" }, item.mask.status) : picture(item.mask.picture, "The mask, orange");
  return [make("h3", {}, "Original, mask and variants"), make("ul", { class: "tiles wide", role: "list" },
    make("li", { class: "tile" }, picture(item.picture, `Original, person ${item.subject}`), make("b", {}, "Original"), `person ${item.subject}, clothes ${item.clothes}, camera ${item.camera}`),
    make("li", { class: "tile" }, mask, make("b", {}, "Mask"), `${covers}${item.mask.status}`),
    item.variants.map((one, at) => variant({ ...one, number: at + 1 })))];
}

function sampleStatus(item) {
  const missing = item.variants.filter((one) => one.skipped).length;
  return `${item.id}, person ${item.subject}. ${item.variants.length} variants${missing ? `, ${missing} not made or dropped` : ""}.`;
}

// ---- choosing, the same for both

function start(browser, items, show, describe) {
  const select = browser.querySelector("select");
  const shown = browser.querySelector(".shown");
  const status = browser.querySelector(".status");
  let among = items;

  const draw = () => {
    const item = among[select.selectedIndex];
    shown.replaceChildren(...show(item).flat());
    status.textContent = `${select.selectedIndex + 1} of ${among.length}: ${describe(item)}`;
  };
  const choose = (kind) => {
    among = items.filter((item) => kind === "" || item.kind === kind);
    select.replaceChildren(...among.map((item) => make("option", {}, item.id)));
    draw();
  };
  const step = (by) => {
    select.selectedIndex = (select.selectedIndex + by + among.length) % among.length;
    draw();
  };
  select.addEventListener("change", draw);
  for (const radio of browser.querySelectorAll("input")) radio.addEventListener("change", () => choose(radio.value));
  for (const button of browser.querySelectorAll("[data-step]")) button.addEventListener("click", () => step(Number(button.dataset.step)));
  browser.addEventListener("keydown", (event) => {
    // a list, a radio button and a scrolling part have their own use for the arrows
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!by || event.altKey || event.ctrlKey || event.metaKey || event.target.closest("select, input, .scroll")) return;
    event.preventDefault();
    step(by);
  });
  browser.hidden = false;
  choose("");
}

for (const [name, show, describe] of [["retrievals", retrieval, retrievalStatus], ["samples", sample, sampleStatus]]) {
  const browser = document.querySelector(`[data-browser="${name}"]`);
  if (browser) start(browser, data[name], show, describe);
}

// ---- tables sorted by a heading: up, down, and as they were

const SECONDS = { h: 3600, min: 60, s: 1 };

/** What a cell is sorted by: a number (of a time its seconds), a text, or null for a gap. What stands below is left out. */
function sortKey(cell) {
  const text = [...cell.childNodes].filter((node) => node.nodeName !== "SMALL").map((node) => node.textContent).join("").trim();
  if (text === "" || text === "–" || cell.classList.contains("not-run")) return null;
  const times = [...text.matchAll(/([\d.]+) (h|min|s)\b/g)];
  if (times.length) return times.reduce((sum, [, value, unit]) => sum + Number(value) * SECONDS[unit], 0);
  const found = text.match(/^[<+-]?\s?(\d[\d,]*\.?\d*)(?=$|[\s%/])/);
  return found ? Number(found[0].replace(/[<,\s]/g, "")) : text;
}

/** Gaps come last in either direction, so `down` is part of the comparison. */
function compare(a, b, down) {
  if (a === null || b === null) return (a === null) - (b === null);
  const kinds = (typeof a === "string") - (typeof b === "string");
  const order = kinds || (typeof a === "number" ? a - b : a.localeCompare(b, undefined, { numeric: true }));
  return down ? -order : order;
}

function sortable(table) {
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = make("button", { type: "button", class: "sort" }, ...head.childNodes);
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const next = { ascending: "descending", descending: null }[head.getAttribute("aria-sort")];
      for (const other of heads) other.removeAttribute("aria-sort");
      if (next === null) return body.replaceChildren(...rows);
      head.setAttribute("aria-sort", next ?? "ascending");
      const keys = new Map(rows.map((row) => [row, sortKey(row.cells[column])]));
      body.replaceChildren(...[...rows].sort((a, b) => compare(keys.get(a), keys.get(b), next === "descending")));
    });
  });
}
for (const table of document.querySelectorAll("main table")) if (table.tHead && table.tBodies[0].rows.length > 1) sortable(table);

// ---- folded parts and contents

function unfold() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!target) return;
  for (let part = target; part; part = part.parentElement) if (part.tagName === "DETAILS") part.open = true;
  if (target.tagName === "DETAILS") {
    target.scrollIntoView();
    target.querySelector("summary").focus({ preventScroll: true });
  }
}
window.addEventListener("hashchange", unfold);
unfold();
window.addEventListener("beforeprint", () => {
  for (const part of document.querySelectorAll("details.table, .claim details")) part.open = true;
});
for (const button of document.querySelectorAll("[data-open]")) {
  button.parentElement.hidden = false;
  button.addEventListener("click", () => {
    for (const part of document.querySelectorAll(button.dataset.open)) part.open = true;
  });
}

const links = new Map([...document.querySelectorAll("nav a")].map((link) => [link.hash.slice(1), link]));
const place = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    if (!entry.isIntersecting) continue;
    for (const [id, link] of links) {
      if (id === entry.target.id) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    }
    const link = links.get(entry.target.id);
    const row = link.closest("ul");
    row.scrollLeft = link.offsetLeft - row.offsetLeft - row.clientWidth / 2 + link.offsetWidth / 2;
  }
}, { rootMargin: "-20% 0px -75% 0px" });
for (const section of document.querySelectorAll("main > section")) place.observe(section);
