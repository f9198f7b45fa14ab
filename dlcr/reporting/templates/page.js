"use strict";
// The two browsers, sorted tables, folded parts that open when a link leads into them, and the place in the contents.
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

const words = (prompt) => prompt.split("|").map((part) => part.trim()).join(", ");
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

// ---- retrievals: a query in two of the rankings

const person = (place) => data.pictures[place][2];
const title = (ranking) => `${ranking.name}, ${ranking.kind}${ranking.row ? ` (Table A1, ${/^\d/.test(ranking.row) ? "row " : ""}${ranking.row})` : ""}`;

function hit(item, [place, similarity], at) {
  const right = person(place) === item.subject;
  const alt = `Rank ${at + 1}: person ${person(place)}, ${right ? "right" : "wrong"}`;
  return make("li", { class: `tile ${right ? "right" : "wrong"}` },
    picture(place, alt), make("b", {}, judged(right)), `${person(place)} · ${share(similarity)}`);
}

/** What every training seed made of the query. */
function outcomes(item, at) {
  return item.ranked[at].seeds.map((outcome, place) => {
    const seed = `seed ${data.rankings[at].seeds[place]} `;
    if (!outcome) return make("li", {}, seed, "not there");
    return make("li", {}, seed, make("span", { class: outcome[0] ? "right" : "wrong" }, judged(outcome[0])), `, AP ${share(outcome[1])}`);
  });
}

function ranking(item, at) {
  const { hits, seeds } = item.ranked[at];
  return [make("h3", {}, title(data.rankings[at])),
    seeds.length ? make("ul", { class: "outcomes", "aria-label": "By training seed" }, outcomes(item, at)) : null,
    hits.length ? make("ol", { class: "tiles ten", role: "list" }, hits.map((one, rank) => hit(item, one, rank)))
      : make("p", { class: "gap" }, "Not among its queries.")];
}

function vote([place, , worth, counted]) {
  const alt = `Person ${person(place)}, ${counted ? "counted" : "not counted"}`;
  return make("li", { class: counted ? "tile" : "tile idle" },
    picture(place, alt), bar([worth, counted ? "" : "idle"]),
    make(counted ? "b" : "s", {}, `+${share(worth)}`), make("span", {}, person(place)));
}

function source(name, shown, what, votes, skipped) {
  return make("li", { class: "source" },
    make("div", { class: "tile" }, picture(shown, `${name}. ${what}`), make("b", {}, name), what),
    votes ? make("ol", { class: "tiles", role: "list", "aria-label": `Votes of: ${name}` }, votes.hits.map(vote))
      : make("p", { class: "gap" }, skipped ? "No votes." : "Votes were not recorded."));
}

function scores(item, hits) {
  const most = Math.max(...hits.map(([, score]) => score));
  const row = ([place, score, own], at) => make("tr", {}, make("th", { scope: "row" }, `${at + 1}. person ${person(place)}`),
    make("td", {}, bar([own / most, "own"], [(score - own) / most, ""])),
    make("td", {}, share(score)), make("td", {}, share(own)), make("td", {}, judged(person(place) === item.subject)));
  const heads = ["Person", "", "Score", "From the query", "Right?"];
  return make("div", { class: "scroll scores", role: "region", "aria-label": "Scores", tabindex: "0" },
    make("table", {}, make("caption", {}, "The sum of all votes counted; the first is the prediction. Dark: from the query, blue: from its variants"),
      make("thead", {}, make("tr", {}, heads.map((text) => (text ? make("th", { scope: "col" }, text) : make("td", {}))))),
      make("tbody", {}, hits.map(row))));
}

/** How the variants voted in a ranking that is refined. */
function election(item, at) {
  if (data.rankings[at].kind !== "refined") return [];
  const cast = item.votes[at];
  const variants = item.variants.map((one, number) => source(`Variant ${number + 1}`, one.picture,
    one.skipped ? `left out: ${one.skipped}` : words(one.prompt), cast?.sources[number], one.skipped));
  return [
    make("h3", {}, `How the votes fell: ${title(data.rankings[at])}`),
    make("p", { class: "soft" }, "Each source ranks the gallery; its best images vote for their persons, by similarity relative to its own best. Only persons among the query’s own best count; other votes are struck out."),
    cast ? null : make("p", { class: "gap" }, "Its votes are not on this page."),
    make("ol", { class: "sources", role: "list" }, source("The query itself", item.picture, "", cast?.sources[-1], ""), variants),
    make("h3", {}, "Final scores"),
    cast?.scores.hits.length ? scores(item, cast.scores.hits) : make("p", { class: "gap" }, "Not recorded."),
  ];
}

function retrieval(item, [left, right]) {
  const facts = make("div", { class: "tile" }, picture(item.picture, `The query, person ${item.subject}`),
    make("span", {}, make("b", {}, `person ${item.subject}`), `clothes ${item.clothes}, camera ${item.camera}`));
  return [
    make("div", { class: "split" },
      make("div", {}, make("h3", {}, "Query"), facts),
      make("div", {}, ranking(item, left), left === right ? null : ranking(item, right))),
    ...election(item, left === right || data.rankings[right].kind === "refined" ? right : left),
  ];
}

/** Whether a ranking's first image is right with a training seed; undefined where the seed has not the query. */
function first(item, at, seed) {
  return item.ranked[at].seeds[data.rankings[at].seeds.indexOf(seed)]?.[0];
}

const KIND = [["failed", "fixed"], ["broken", "right"]];

/** The browser of retrievals: `start`, for the pair of rankings and the training seed that are chosen. */
function startRetrievals(browser) {
  const [left, right, seed] = ["left", "right", "seed"].map((name) => browser.querySelector(`[name=${name}]`));
  const options = data.rankings.map(title);
  for (const select of [left, right]) select.append(...options.map((text) => make("option", {}, text)));
  [left.selectedIndex, right.selectedIndex] = data.pair;
  const pair = () => [left.selectedIndex, right.selectedIndex];
  const seeds = () => [...new Set(pair().flatMap((at) => data.rankings[at].seeds))].sort((a, b) => a - b);
  const offer = () => {
    const chosen = seed.value;
    seed.replaceChildren(...seeds().map((value) => make("option", {}, String(value))));
    if (seeds().includes(Number(chosen)) && chosen !== "") seed.value = chosen;
  };
  const right1 = (item) => pair().map((at) => first(item, at, Number(seed.value)));
  const kindOf = (item) => KIND[right1(item)[0]]?.[right1(item)[1]] ?? "";
  const said = (value) => (value === undefined ? "not there" : value ? "right" : "wrong");
  const describe = (item) => {
    const [one, other] = right1(item).map(said);
    return `${item.id}, person ${item.subject}. With seed ${seed.value}: ${data.rankings[pair()[0]].name} ${one}, ${data.rankings[pair()[1]].name} ${other}.`;
  };
  const key = (at) => `${data.rankings[at].name}:${data.rankings[at].kind}`;
  const link = browser.querySelector(".link");
  const view = start(browser, data.retrievals, (item) => retrieval(item, pair()), describe, kindOf, (item) => {
    link.hash = new URLSearchParams({ query: item.id, left: key(pair()[0]), right: key(pair()[1]), seed: seed.value });
  });
  const changed = () => {
    offer();
    view.refresh();
  };
  for (const select of [left, right, seed]) select.addEventListener("change", changed);
  changed();

  /** Show what a link names: #query=…, and the rankings and the seed if it has them. */
  const follow = () => {
    const wanted = new URLSearchParams(location.hash.slice(1));
    if (!wanted.has("query")) return;
    for (const [select, name] of [[left, "left"], [right, "right"]]) {
      const at = data.rankings.findIndex((_, place) => key(place) === wanted.get(name));
      if (at >= 0) select.selectedIndex = at;
    }
    offer();
    if (seeds().map(String).includes(wanted.get("seed"))) seed.value = wanted.get("seed");
    view.open(wanted.get("query"));
    browser.scrollIntoView();
  };
  window.addEventListener("hashchange", follow);
  follow();
}

// ---- samples

function variant(item) {
  const measures = Object.entries(item.measures).map(([name, value]) => [make("dt", {}, name), make("dd", {}, share(value))]);
  const prompt = words(item.prompt);
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

/** Let one item be chosen among those of a kind. `kindOf` may change: then `refresh`. `open` shows an item by its ID. */
function start(browser, items, show, describe, kindOf, drawn) {
  const select = browser.querySelector(".choice select");
  const shown = browser.querySelector(".shown");
  const status = browser.querySelector(".status");
  const radios = [...browser.querySelectorAll("input")];
  let among = items;

  const draw = () => {
    const item = among[select.selectedIndex];
    shown.replaceChildren(...show(item).flat().filter(Boolean));
    status.textContent = `${select.selectedIndex + 1} of ${among.length}: ${describe(item)}`;
    drawn(item);
  };
  const choose = (id) => {
    const kind = radios.find((radio) => radio.checked)?.value ?? "";
    among = items.filter((item) => kind === "" || kindOf(item) === kind);
    select.replaceChildren(...among.map((item) => make("option", {}, item.id)));
    select.selectedIndex = Math.max(0, among.findIndex((item) => item.id === id));
    draw();
  };
  const refresh = () => {
    for (const radio of radios) {
      const count = items.filter((item) => radio.value === "" || kindOf(item) === radio.value).length;
      radio.parentElement.querySelector(".count").textContent = count;
      radio.disabled = count === 0;
      if (radio.disabled && radio.checked) radios[0].checked = true; // all
    }
    choose(select.value);
  };
  const open = (id) => {
    for (const radio of radios) radio.checked = radio.value === "";
    choose(id);
    refresh();
    if (!items.some((item) => item.id === id)) status.textContent = `${id} is not among the ${items.length} on this page.`;
  };
  const step = (by) => {
    select.selectedIndex = (select.selectedIndex + by + among.length) % among.length;
    draw();
  };
  select.addEventListener("change", draw);
  for (const radio of radios) radio.addEventListener("change", () => choose(""));
  for (const button of browser.querySelectorAll("[data-step]")) button.addEventListener("click", () => step(Number(button.dataset.step)));
  browser.addEventListener("keydown", (event) => {
    // a list, a radio button and a scrolling part have their own use for the arrows
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!by || event.altKey || event.ctrlKey || event.metaKey || event.target.closest("select, input, .scroll")) return;
    event.preventDefault();
    step(by);
  });
  browser.hidden = false;
  refresh();
  return { refresh, open };
}

const samples = document.querySelector("[data-browser=samples]");
if (samples) start(samples, data.samples, sample, sampleStatus, (item) => item.kind, () => {});
const retrievals = document.querySelector("[data-browser=retrievals]");
if (retrievals) startRetrievals(retrievals);

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
