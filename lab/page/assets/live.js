// A run that goes on: scenes that come in, and the place where the presenter is.

import { byId, scenes } from "./stage.js";
import { fill } from "./evidence.js";

/**
 * Listens to what the server tells.
 * @param {(scene: HTMLElement) => void} onScene
 * @param {(place: string) => void} onPlace
 */
export function listen(onScene, onPlace) {
  const events = new EventSource(`events?after=${scenes().length}`);
  events.addEventListener("scene", (event) => {
    const { html, pending } = JSON.parse(/** @type {MessageEvent} */ (event).data);
    const scene = add(html);
    setPending(pending);
    if (scene) onScene(scene);
  });
  events.addEventListener("over", () => setPending([]));
  events.addEventListener("at", (event) => onPlace(JSON.parse(/** @type {MessageEvent} */ (event).data)));
}

/**
 * @param {string} html
 * @returns {HTMLElement | null}
 */
function add(html) {
  const box = document.createElement("div");
  fill(box, html);
  const scene = /** @type {HTMLElement | null} */ (box.querySelector(".scene"));
  if (!scene || document.getElementById(scene.id)) return null;
  byId("stage").insertBefore(scene, byId("waiting"));
  const title = scene.querySelector("h2")?.textContent ?? "";
  const mark = document.createElement("li");
  mark.dataset.scene = scene.id;
  mark.dataset.part = scene.dataset.part;
  const link = document.createElement("a");
  link.href = `#${scene.id}`;
  link.title = title;
  const name = document.createElement("span");
  name.className = "unseen";
  name.textContent = title;
  link.append(name, ...Array.from({ length: Number(scene.dataset.steps) }, () => document.createElement("i")));
  mark.append(link);
  byId("progress").insertBefore(mark, document.querySelector("#progress li.pending"));
  const item = document.createElement("li");
  const again = document.createElement("a");
  again.href = link.href;
  again.textContent = title;
  item.append(again);
  byId("titles").append(item);
  byId("news").textContent = `New scene: ${title}`;
  return scene;
}

/** @param {string[]} pending */
function setPending(pending) {
  for (const mark of document.querySelectorAll("#progress li.pending")) mark.remove();
  for (const _ of pending) {
    const mark = document.createElement("li");
    mark.className = "pending";
    mark.append(document.createElement("i"));
    byId("progress").append(mark);
  }
}

/**
 * Tells the server where the presenter is, for those who follow.
 * @param {string} place
 */
export function tellPlace(place) {
  fetch(`at?place=${encodeURIComponent(place)}`).catch(() => undefined);
}
