// Paints the rack as the agent tells it and sends a person's orders. It decides nothing: what is refused is shown in the agent's words.
"use strict";

const $ = (id) => document.getElementById(id);
const seen = new Map(); // name -> { tile, at, button }
let rack = null;
let stream = null;
let asked = null; // the verb that the dialog asks about
let watched = null; // the machine that the details show
const awaited = new Set(); // operations whose end is to be told

const VERBS = {
  on: { key: "o", label: "On", title: (n) => `Switch ${n} on?`, go: "Switch on", text: "It gets power and boots.", kind: "switch" },
  off: { key: "f", label: "Off…", title: (n) => `Switch ${n} off?`, go: "Switch off", text: "It is held off until somebody releases it or switches it on. The agent refuses unless its node is proven empty.", reason: true, drain: true, kind: "switch" },
  cycle: { key: "c", label: "Cycle…", title: (n) => `Power-cycle ${n}?`, go: "Cycle", text: "Off, a pause, and on again. The agent refuses unless its node is proven empty.", reason: true, drain: true, kind: "switch" },
  hold: { key: "h", label: "Hold…", title: (n) => `Hold ${n} as it is?`, go: "Hold", text: "No policy moves it until it is released.", reason: true, kind: "hold" },
  release: { key: "r", label: "Release", title: (n) => `Release ${n}?`, go: "Release", text: "Holds and quarantine end; nothing moves by it.", kind: "hold" },
};

/* How long ago, as the command line says it. */
function ago(ms) {
  const s = Math.floor(ms / 1000);
  if (s >= 10 * 365 * 86400) return "before boot";
  if (s < 120) return `${s}s`;
  if (s < 7200) return `${Math.floor(s / 60)}m`;
  if (s < 172800) return `${Math.floor(s / 3600)}h`;
  return `${Math.floor(s / 86400)}d`;
}

function element(name, className, text) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

/* Only what differs is written: screen readers and focus stay where they are. */
function write(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function paintTile(one) {
  const { tile, button } = one;
  const part = (name) => button.querySelector(name);
  button.dataset.look = tile.look;
  write(part(".name"), tile.name);
  write(part(".head .word"), tile.word);
  write(part(".letter"), tile.look === "unknown" ? "?" : tile.look.endsWith("differs") ? "!" : "");
  const said = tile.marks.map((mark) => `${mark.kind} ${mark.word}`).join();
  const marks = part(".marks");
  if (marks.dataset.said !== said) {
    marks.dataset.said = said;
    marks.replaceChildren(...tile.marks.map((mark) => element("span", `mark ${mark.kind}`, mark.word)));
  }
  const doing = part(".doing");
  doing.hidden = !tile.doing;
  button.toggleAttribute("data-busy", Boolean(tile.doing));
  paintTimes(one);
  const more = tile.marks.map((mark) => mark.text).concat(tile.doing ? [tile.doing.text] : []);
  button.setAttribute("aria-label", [`${tile.name}: ${tile.word}`, ...more].join("; "));
}

/* What grows older by itself. */
function paintTimes({ tile, at, button }) {
  const past = performance.now() - at;
  const by = tile.by;
  const text = by ? `${ago(by.age_ms + past)} ago, ${by.who}${by.reason ? `: ${by.reason}` : ""}` : "never ordered by this agent";
  write(button.querySelector(".by"), text);
  if (!tile.doing) return;
  const { age_ms, left_ms } = tile.doing;
  const bar = button.querySelector("progress");
  let line = tile.doing.text;
  if (left_ms === null) {
    bar.removeAttribute("value");
  } else {
    const left = Math.max(0, left_ms - past);
    bar.value = Math.min(1, (age_ms + past) / Math.max(1, age_ms + left_ms));
    line += `, at most ${ago(left)} more`;
  }
  write(button.querySelector(".doing .text"), line);
}

function paintRack() {
  write($("agent"), rack.agent);
  write($("who"), `${rack.who} (${rack.role})`);
  document.title = `${rack.agent}: Lamplighter`;
  const focused = document.activeElement?.dataset?.machine;
  const sections = rack.groups.map((group, index) => {
    const section = element("section");
    const title = element("h2", "", group.pool === null ? "in no pool" : "pool ");
    title.id = `group-${index}`;
    if (group.pool !== null) title.append(element("b", "", group.pool));
    section.setAttribute("aria-labelledby", title.id);
    const list = element("ul");
    for (const tile of group.machines) {
      const item = $("tile").content.firstElementChild.cloneNode(true);
      const button = item.querySelector("button");
      button.dataset.machine = tile.name;
      const one = { tile, at: performance.now(), button };
      seen.set(tile.name, one);
      paintTile(one);
      list.append(item);
    }
    section.append(title, list);
    return section;
  });
  if (sections.length === 0) sections.push(element("p", "empty", "No machine is declared here that you may see. The agent’s rack file names them: [machines.NAME]."));
  $("rack").replaceChildren(...sections);
  const first = seen.get(focused)?.button ?? $("rack").querySelector(".tile");
  if (first) first.tabIndex = 0;
  if (focused) first?.focus();
}

function takeRack(next) {
  const names = (of) => JSON.stringify(of.groups.map((g) => [g.pool, g.machines.map((m) => m.name)]));
  const same = rack !== null && names(rack) === names(next);
  rack = next;
  if (same) {
    write($("who"), `${rack.who} (${rack.role})`);
    rack.groups.flatMap((group) => group.machines).forEach(takeTile);
  } else {
    seen.clear();
    paintRack();
  }
  summarize();
  paintKeys();
}

function takeTile(tile) {
  const one = seen.get(tile.name);
  if (!one) return;
  const before = JSON.stringify([one.tile.word, one.tile.marks.length, one.tile.doing?.text, one.tile.ended?.operation]);
  one.tile = tile;
  one.at = performance.now();
  paintTile(one);
  if (tile.ended && awaited.delete(tile.ended.operation)) tell(`${tile.name}: ${tile.ended.text}`);
  const after = JSON.stringify([tile.word, tile.marks.length, tile.doing?.text, tile.ended?.operation]);
  if (watched === tile.name && before !== after) showWhy(tile.name);
}

function summarize() {
  const counts = new Map();
  for (const { tile } of seen.values()) counts.set(tile.word, (counts.get(tile.word) ?? 0) + 1);
  const parts = [...counts].sort((a, b) => b[1] - a[1]).map(([word, count]) => `${count} ${word}`);
  const out = [...seen.values()].filter(({ tile }) => tile.marks.some((mark) => mark.kind === "quarantined")).length;
  if (out > 0) parts.push(`${out} of them in quarantine`);
  const all = seen.size === 1 ? "1 machine" : `${seen.size} machines`;
  write($("summary"), seen.size ? `${all}: ${parts.join(", ")}` : "");
}

function paintKeys() {
  const may = offered().map((verb) => [VERBS[verb].key, verb]);
  const keys = [["↑↓←→", "move"], ["Enter", "why"], ...may];
  $("keys").replaceChildren(...keys.flatMap(([key, what]) => [element("kbd", "", key), ` ${what}  `]));
}

function offered() {
  return Object.keys(VERBS).filter((verb) => rack?.may[VERBS[verb].kind]);
}

let hush = 0;
function tell(text) {
  clearTimeout(hush);
  $("told").textContent = text;
  hush = setTimeout(() => { $("told").textContent = ""; }, 8000);
}

/* The agent's events; while they are lost, what is shown is marked as old. */
function connect() {
  stream = new EventSource("/api/watch");
  stream.addEventListener("rack", (event) => {
    $("lost").hidden = true;
    document.body.classList.remove("stale");
    takeRack(JSON.parse(event.data));
  });
  stream.addEventListener("machine", (event) => { takeTile(JSON.parse(event.data)); summarize(); });
  stream.addEventListener("end", (event) => { tell(JSON.parse(event.data)); });
  stream.addEventListener("error", async () => {
    if (!document.body.classList.contains("stale")) {
      document.body.classList.add("stale");
      write($("lost"), `The agent does not answer since ${new Date().toLocaleTimeString()}; what you see is from before that.`);
      $("lost").hidden = false;
    }
    if (stream.readyState !== EventSource.CLOSED) return;
    try {
      const answer = await fetch("/api/rack");
      if (answer.status === 401) return location.reload();
    } catch { /* It is tried again. */ }
    setTimeout(connect, 3000);
  });
}

async function post(path, body) {
  const headers = { "content-type": "application/json", "x-lamplighter": "page" };
  return fetch(path, { method: "POST", headers, body: JSON.stringify(body ?? {}) });
}

function open(name) {
  watched = name;
  write($("details-name"), name);
  const verbs = offered().map((verb) => {
    const button = element("button", "", VERBS[verb].label);
    button.type = "button";
    button.dataset.verb = verb;
    button.addEventListener("click", () => ask(verb, name));
    return button;
  });
  $("details-verbs").replaceChildren(...verbs);
  $("details-why").textContent = "";
  if (!$("details").open) $("details").showModal();
  showWhy(name);
}

async function showWhy(name) {
  const one = seen.get(name);
  write($("details-word"), [one.tile.word, ...one.tile.marks.map((mark) => mark.text)].join(" · "));
  const release = $("details-verbs").querySelector("[data-verb=release]");
  if (release) release.hidden = !one.tile.locked;
  try {
    const answer = await fetch(`/api/machines/${encodeURIComponent(name)}/why`);
    const said = await answer.json();
    if (watched === name) write($("details-why"), answer.ok ? said.lines.join("\n") : said.text);
  } catch {
    if (watched === name) write($("details-why"), "The agent does not answer.");
  }
}

function ask(verb, name) {
  const what = VERBS[verb];
  const busy = seen.get(name)?.tile.doing;
  asked = { verb, name, operation: `page-${[...crypto.getRandomValues(new Uint8Array(16))].map((b) => b.toString(16).padStart(2, "0")).join("")}` };
  write($("asking-title"), what.title(name));
  write($("asking-text"), what.text + (busy ? ` It is busy now: ${busy.text}.` : ""));
  write($("asking-go"), what.go);
  $("asking-reason").value = "";
  $("asking-reason").required = Boolean(what.reason);
  $("asking-reason-label").hidden = $("asking-reason").hidden = verb === "release";
  write($("asking-reason-label"), what.reason ? "Why? Others will read it." : "Why? (may be left empty)");
  $("asking-drain").checked = $("asking-force").checked = false;
  $("asking-drain-label").hidden = !what.drain;
  $("asking-force-label").hidden = !rack.may.force || verb === "hold";
  $("asking-refused").textContent = "";
  $("asking-go").disabled = false;
  $("asking").showModal();
  (verb === "release" ? $("asking-go") : $("asking-reason")).focus();
}

$("asking-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const { verb, name, operation } = asked;
  const body = { reason: $("asking-reason").value, force: $("asking-force").checked };
  if (VERBS[verb].kind === "switch") Object.assign(body, { operation, drain: $("asking-drain").checked });
  $("asking-go").disabled = true;
  $("asking-refused").textContent = "";
  awaited.add(operation);
  try {
    const answer = await post(`/api/machines/${encodeURIComponent(name)}/${verb}`, body);
    const said = await answer.json();
    if (answer.status === 401) return location.reload();
    if (answer.ok) {
      $("asking").close();
      if (awaited.has(operation)) tell(`${name}: ${said.text}`);
    } else {
      awaited.delete(operation);
      $("asking-refused").textContent = said.text;
      // A refused order is answered the same for ever under its id; the next try is another order.
      asked.operation = `${operation.slice(0, 37)}-${Date.now().toString(36)}`;
    }
  } catch {
    // Sent again under the same id it is the same order: nothing is done twice.
    $("asking-refused").textContent = "The agent does not answer. It is safe to send this again.";
  }
  $("asking-go").disabled = false;
});

/* The tile above or below: the nearest in the next row. */
function inColumn(tiles, from, step) {
  const own = from.getBoundingClientRect();
  const away = (tile) => {
    const box = tile.getBoundingClientRect();
    return step < 0 ? own.top - box.top : box.top - own.top;
  };
  const beyond = tiles.filter((tile) => away(tile) > own.height / 2);
  const near = Math.min(...beyond.map(away));
  const row = beyond.filter((tile) => away(tile) < near + 8);
  const aside = (tile) => Math.abs(tile.getBoundingClientRect().left - own.left);
  return row.sort((a, b) => aside(a) - aside(b))[0];
}

$("rack").addEventListener("keydown", (event) => {
  const tile = event.target.closest(".tile");
  if (!tile || event.ctrlKey || event.metaKey || event.altKey) return;
  const tiles = [...$("rack").querySelectorAll(".tile")];
  const index = tiles.indexOf(tile);
  const moves = {
    ArrowRight: () => tiles[index + 1], ArrowLeft: () => tiles[index - 1],
    ArrowDown: () => inColumn(tiles, tile, 1), ArrowUp: () => inColumn(tiles, tile, -1),
    Home: () => tiles[0], End: () => tiles.at(-1),
  };
  if (moves[event.key]) {
    event.preventDefault();
    moves[event.key]()?.focus();
    return;
  }
  const verb = offered().find((verb) => VERBS[verb].key === event.key.toLowerCase());
  if (verb) {
    event.preventDefault();
    ask(verb, tile.dataset.machine);
  }
});
$("rack").addEventListener("focusin", (event) => {
  const tile = event.target.closest(".tile");
  if (!tile) return;
  for (const other of $("rack").querySelectorAll('.tile[tabindex="0"]')) other.tabIndex = -1;
  tile.tabIndex = 0;
});
$("rack").addEventListener("click", (event) => {
  const tile = event.target.closest(".tile");
  if (tile) open(tile.dataset.machine);
});
$("details").addEventListener("close", () => { seen.get(watched)?.button.focus(); watched = null; });
for (const button of document.querySelectorAll("dialog .close")) {
  button.addEventListener("click", () => button.closest("dialog").close());
}
$("logout").addEventListener("click", async () => { await post("/logout"); location.reload(); });
setInterval(() => { for (const one of seen.values()) paintTimes(one); }, 1000);
connect();
