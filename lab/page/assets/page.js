// The page: keys, buttons and addresses. Everything that is shown was made by Python.

import { beside, byId, decoded, fade, parse, reach, scenes, show, turnTo, written } from "./stage.js";
import { carry } from "./disc.js";
import { fill, find, lightFields } from "./evidence.js";
import { listen, tellPlace } from "./live.js";

/** @typedef {import("./stage.js").Place} Place */

const SIZES = [1, 1.25, 1.5, 2, 2.5];
const PLAY_MILLISECONDS = 6000;
const WORDS = { accepted: "lets her in", refused: "refuses her" };

const live = document.body.hasAttribute("data-live");
const presents = document.body.hasAttribute("data-presenter");
const follows = live && new URLSearchParams(location.search).has("follow");

/** @type {Place | null} */
let here = null;
/** @type {Map<string, string>} */
const answers = new Map();
/** @type {number | undefined} */
let playing;

/**
 * Goes where an address says: to a step of a scene, or to evidence.
 * @param {boolean} [first]
 */
async function go(first = false) {
  const hash = decoded(location.hash);
  if (hash === "#back") return void leave();
  if (hash.includes("/")) return void (await open(hash.slice(1)));
  const place = parse(hash) ?? (first || !here ? { scene: scenes()[0]?.id ?? "", step: 1 } : here);
  if (!place.scene) return wait();
  const before = here;
  here = place;
  show(place);
  tellAnswer(place);
  const follow = before?.scene === place.scene && place.step === before.step + 1;
  carry(byId(place.scene), place.step, follow);
  if (presents) tellPlace(written(place));
}

/** @param {string} id */
async function open(id) {
  const section = byId("closeup");
  const asked = location.hash;
  const html = await find(id);
  if (location.hash !== asked) return; // the reader has gone on meanwhile
  if (html === null) {
    const where = document.createElement("p");
    where.textContent = live
      ? "This run has no such evidence."
      : "A file has no room for this: certreplay show has it.";
    section.replaceChildren(where);
  } else fill(section, html);
  section.setAttribute("aria-labelledby", "closeup-title");
  section.classList.remove("now");
  turnTo(section);
  reach(section);
  section.scrollTop = 0;
  section.focus({ preventScroll: true });
  if (presents) tellPlace(`#${id}`);
}

function leave() {
  location.hash = here ? written(here) : "#";
}

function wait() {
  turnTo(byId("waiting"));
}

/**
 * Goes on or back from where the address says: keys come faster than the browser tells of a new address.
 * @param {1 | -1} by
 */
function move(by) {
  if (location.hash.includes("/")) return leave();
  const from = parse(location.hash) ?? here;
  const next = from ? beside(from, by) : null;
  if (next) {
    const same = location.hash === written(next);
    location.hash = written(next);
    if (same) void go();
  } else if (by > 0 && document.querySelector("#progress li.pending")) wait();
  else stop();
}

function play() {
  if (playing !== undefined) return stop();
  playing = setInterval(() => move(1), PLAY_MILLISECONDS);
  byId("play").setAttribute("aria-pressed", "true");
  byId("play").textContent = "❚❚";
}

function stop() {
  clearInterval(playing);
  playing = undefined;
  byId("play").setAttribute("aria-pressed", "false");
  byId("play").textContent = "▶";
}

/** @param {"accepted" | "refused"} answer */
function predict(answer) {
  if (!here || !document.querySelector(".scene.now .asks:not(.off)")) return;
  const asked = parse(location.hash) ?? here;
  if (written(asked) !== written(here)) return; // the reader has gone on, and the question is only still shown
  answers.set(here.scene, answer);
  move(1);
}

/** @param {Place} place */
function tellAnswer(place) {
  const said = /** @type {HTMLElement | null} */ (byId(place.scene).querySelector(".moment:not(.off) .your-answer"));
  const answer = /** @type {"accepted" | "refused" | undefined} */ (answers.get(place.scene));
  if (!said || !answer) return;
  said.hidden = false;
  const right = said.dataset.outcome === answer;
  said.textContent = right ? "As you said." : `You said: it ${WORDS[answer]}.`;
}

/** @param {number} by */
function resize(by) {
  const root = document.documentElement;
  const now = Number(root.style.getPropertyValue("--scale") || "1");
  const at = SIZES.indexOf(now) + by;
  const size = SIZES[by === 0 || at >= SIZES.length ? 0 : Math.max(at, 0)];
  root.style.setProperty("--scale", String(size));
  keep("size", String(size));
}

function darken() {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  keep("theme", root.dataset.theme);
}

/**
 * Keeps a choice for the next visit, where the browser allows it.
 * @param {string} name
 * @param {string} value
 */
function keep(name, value) {
  try {
    localStorage.setItem(`certreplay-${name}`, value);
  } catch {
    // a file, or a private window: then it is forgotten
  }
}

/** @param {string} name */
function kept(name) {
  try {
    return localStorage.getItem(`certreplay-${name}`);
  } catch {
    return null;
  }
}

/** @param {string} id */
function dialog(id) {
  const box = /** @type {HTMLDialogElement} */ (byId(id));
  if (box.open) box.close();
  else box.showModal();
}

/** @type {Record<string, () => void>} */
const KEYS = {
  ArrowRight: () => move(1),
  " ": () => move(1),
  PageDown: () => move(1),
  ArrowLeft: () => move(-1),
  PageUp: () => move(-1),
  p: play,
  1: () => predict("accepted"),
  2: () => predict("refused"),
  "+": () => resize(1),
  "-": () => resize(-1),
  0: () => resize(0),
  d: darken,
  c: () => dialog("list"),
  "?": () => dialog("keys"),
  Escape: () => location.hash.includes("/") && leave(),
};

/** @param {KeyboardEvent} event */
function onKey(event) {
  const target = event.target instanceof Element ? event.target : null;
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  if (target?.closest("select, input, summary") || (event.key === " " && target?.closest("button, a"))) return;
  const act = KEYS[event.key];
  if (!act) return;
  event.preventDefault();
  act();
}

function chooseTables() {
  document.addEventListener("click", (event) => {
    const button = event.target instanceof Element ? event.target.closest("button[data-tls]") : null;
    if (!button) return;
    for (const one of button.parentElement?.children ?? []) one.setAttribute("aria-pressed", String(one === button));
    pick(button);
  });
  document.addEventListener("change", (event) => {
    if (event.target instanceof HTMLSelectElement && event.target.matches("[data-leak]")) pick(event.target);
  });
}

/**
 * Shows the table of the chosen version and leak.
 * @param {Element} inside
 */
function pick(inside) {
  const scene = inside.closest(".scene");
  const select = /** @type {HTMLSelectElement | null} */ (scene?.querySelector("select[data-leak]") ?? null);
  const pressed = /** @type {HTMLElement | null} */ (scene?.querySelector('button[aria-pressed="true"]') ?? null);
  const tables = /** @type {HTMLElement[]} */ ([...(scene?.querySelectorAll(".cells") ?? [])]);
  const leak = select?.value ?? tables[0]?.dataset.leak;
  const fits = tables.filter((one) => one.dataset.leak === leak);
  const shown = fits.find((one) => one.dataset.tls === pressed?.dataset.tls) ?? fits[0];
  for (const one of tables) one.hidden = one !== shown;
  if (scene) reach(/** @type {HTMLElement} */ (scene));
}

function reachAll() {
  const shown = /** @type {HTMLElement | null} */ (document.querySelector("#stage > .now"));
  if (shown) reach(shown);
}

function start() {
  if (live && new URLSearchParams(location.search).has("token")) {
    const rest = new URLSearchParams(location.search);
    rest.delete("token");
    const query = rest.toString();
    history.replaceState(null, "", `${location.pathname}${query ? `?${query}` : ""}${location.hash}`);
  }
  const theme = kept("theme");
  if (theme) document.documentElement.dataset.theme = theme;
  const size = kept("size");
  if (size) document.documentElement.style.setProperty("--scale", size);
  document.documentElement.classList.add("paged");
  for (const one of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll("[data-later]")))
    one.hidden = true;
  byId("back").addEventListener("click", () => move(-1));
  byId("next").addEventListener("click", () => move(1));
  byId("play").addEventListener("click", play);
  byId("dark").addEventListener("click", darken);
  byId("size").addEventListener("click", () => resize(1));
  byId("contents").addEventListener("click", () => dialog("list"));
  byId("ask").addEventListener("click", () => dialog("keys"));
  byId("titles").addEventListener("click", () => /** @type {HTMLDialogElement} */ (byId("list")).close());
  document.addEventListener("click", (event) => {
    const button = event.target instanceof Element ? event.target.closest("[data-answer]") : null;
    if (button) predict(/** @type {"accepted" | "refused"} */ (button.getAttribute("data-answer")));
  });
  document.addEventListener("keydown", onKey);
  addEventListener("hashchange", () => void go());
  addEventListener("resize", () => {
    if (here) carry(byId(here.scene), here.step, false);
    reachAll();
  });
  document.addEventListener("toggle", reachAll, true);
  document.addEventListener("scroll", (event) => event.target instanceof HTMLElement && fade(event.target), true);
  chooseTables();
  lightFields();
  void go(true);
  if (live) {
    listen(
      () => {
        const waiting = byId("waiting").classList.contains("now");
        if (!waiting) return here && show(here);
        const next = here ? beside(here, 1) : { scene: scenes()[0].id, step: 1 };
        if (next) location.hash = written(next);
      },
      (place) => {
        if (follows && location.hash !== place) location.hash = place;
      },
    );
  }
}

start();
