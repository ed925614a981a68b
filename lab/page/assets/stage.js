// The stage: which scene and which step of it is shown. The address has it (`#why.2`), so that it can be kept and sent.

/** @typedef {{scene: string, step: number}} Place */

/** @returns {HTMLElement[]} */
export function scenes() {
  return /** @type {HTMLElement[]} */ ([...document.querySelectorAll("#stage > .scene[data-steps]")]);
}

/** @param {string} id */
export function byId(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`the page has no ${id}`);
  return found;
}

/** @param {HTMLElement} scene */
export function steps(scene) {
  return Number(scene.dataset.steps);
}

/**
 * What stands behind # in an address, which somebody may have cut.
 * @param {string} hash
 */
export function decoded(hash) {
  try {
    return decodeURIComponent(hash);
  } catch {
    return hash;
  }
}

/**
 * The place that an address names; null for none, or for a scene that is not there yet.
 * @param {string} hash
 * @returns {Place | null}
 */
export function parse(hash) {
  const [id, number] = decoded(hash).replace(/^#/, "").split(".");
  const scene = scenes().find((one) => one.id === id);
  if (!scene) return null;
  return { scene: id, step: Math.min(Math.max(Number(number) || 1, 1), steps(scene)) };
}

/** @param {Place} place */
export function written(place) {
  return place.step > 1 ? `#${place.scene}.${place.step}` : `#${place.scene}`;
}

/**
 * The place after this one, or before it; null at the end.
 * @param {Place} place
 * @param {1 | -1} by
 * @returns {Place | null}
 */
export function beside(place, by) {
  const all = scenes();
  const at = all.findIndex((one) => one.id === place.scene);
  const step = place.step + by;
  if (step >= 1 && step <= steps(all[at])) return { scene: place.scene, step };
  const other = all[at + by];
  return other ? { scene: other.id, step: by > 0 ? 1 : steps(other) } : null;
}

/**
 * Shows a step of a scene, and hides what is not there yet or no longer.
 * @param {Place} place
 */
export function show(place) {
  const scene = byId(place.scene);
  for (const part of /** @type {NodeListOf<HTMLElement>} */ (scene.querySelectorAll("[data-from]"))) {
    const from = Number(part.dataset.from);
    const until = Number(part.dataset.until ?? Infinity);
    part.classList.toggle("off", place.step < from || place.step > until);
  }
  turnTo(scene);
  reach(scene);
  const all = scenes();
  const at = all.indexOf(scene);
  const marks = [...document.querySelectorAll("#progress li:not(.pending)")];
  marks.forEach((mark, number) => {
    mark.classList.toggle("now", number === at);
    if (number === at) mark.querySelector("a")?.setAttribute("aria-current", "step");
    else mark.querySelector("a")?.removeAttribute("aria-current");
    [...mark.querySelectorAll("i")].forEach((one, step) => {
      one.classList.toggle("past", number < at || (number === at && step < place.step));
    });
  });
  const pending = document.querySelectorAll("#progress li.pending").length;
  byId("place").textContent = `${at + 1} / ${all.length + pending}`;
}

/**
 * Lets the keyboard reach what scrolls, and no more; where more of it is to come, its edge fades.
 * @param {HTMLElement} section
 */
export function reach(section) {
  const inside = /** @type {NodeListOf<HTMLElement>} */ (
    section.querySelectorAll(".drawing, .hex, .fields, .scroll, .cells, dd")
  );
  for (const box of [section, ...inside]) {
    const { overflowX, overflowY } = getComputedStyle(box);
    const scrolls =
      (overflowY === "auto" && box.scrollHeight > box.clientHeight) ||
      (overflowX === "auto" && box.scrollWidth > box.clientWidth);
    if (scrolls) box.tabIndex = 0;
    else if (box === section) box.tabIndex = -1;
    else box.removeAttribute("tabindex");
    fade(box);
  }
}

/**
 * Shows at its edges whether a box has more below or on the right.
 * @param {HTMLElement} box
 */
export function fade(box) {
  const { overflowX, overflowY } = getComputedStyle(box);
  const below = overflowY === "auto" && box.scrollTop + box.clientHeight < box.scrollHeight - 2;
  const right = overflowX === "auto" && box.scrollLeft + box.clientWidth < box.scrollWidth - 2;
  box.classList.toggle("more", below || right);
  box.style.setProperty("--below", below ? "#0000" : "#000");
  box.style.setProperty("--right", right ? "#0000" : "#000");
}

/**
 * Brings one section of the stage to the front.
 * @param {HTMLElement} section
 */
export function turnTo(section) {
  const before = document.querySelector("#stage > .now");
  if (before === section) return;
  for (const one of document.querySelectorAll("#stage > .scene")) one.classList.toggle("now", one === section);
  section.hidden = false;
  section.scrollTop = 0;
  if (before) section.focus({ preventScroll: true });
}
