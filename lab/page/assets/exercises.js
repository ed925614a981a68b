// The exercises: hints and answers are looked up by GET, and what was right is kept in this browser.
const run = document.body.dataset.run;

/**
 * @param {string} number
 * @param {string} what
 */
const kept = (number, what) => localStorage.getItem(`certreplay:${run}:${number}:${what}`);

/**
 * @param {string} number
 * @param {string} what
 * @param {string} value
 */
const keep = (number, what, value) => localStorage.setItem(`certreplay:${run}:${number}:${what}`, value);

/** @param {{code: boolean, text: string}} block */
function paint(block) {
  const element = document.createElement(block.code ? "pre" : "p");
  element.textContent = block.text.replaceAll("`", "");
  return element;
}

/**
 * @param {HTMLElement} section
 * @param {string} what
 */
function inside(section, what) {
  return /** @type {HTMLElement} */ (section.querySelector(what));
}

for (const section of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll(".exercise"))) {
  const number = section.dataset.number ?? "";
  const hints = Number(section.dataset.hints);
  const list = inside(section, ".hints");
  const more = /** @type {HTMLButtonElement} */ (inside(section, ".hint"));
  const state = inside(section, ".state");
  const verdict = inside(section, ".verdict");
  const check = /** @type {HTMLButtonElement | null} */ (section.querySelector(".check"));

  const done = () => {
    section.classList.add("done");
    state.textContent = "done";
  };
  const tell = (/** @type {boolean} */ right, /** @type {string} */ why) => {
    verdict.hidden = false;
    verdict.className = `verdict ${right ? "right" : "wrong"}`;
    verdict.textContent = `${right ? "Right. " : "Not yet. "}${why}`;
  };
  const show = async (/** @type {number} */ wanted) => {
    while (list.children.length < wanted) {
      const answer = await fetch(`exercises/${number}/hint?number=${list.children.length + 1}`);
      if (!answer.ok) return;
      const item = document.createElement("li");
      item.append(...(await answer.json()).map(paint));
      list.append(item);
    }
    const left = hints - list.children.length;
    inside(section, ".left").textContent = `${left} left`;
    more.disabled = left === 0;
    keep(number, "hints", String(list.children.length));
  };

  if (state.textContent === "done" || kept(number, "done")) done();
  const before = Number(kept(number, "hints"));
  if (before > 0) show(Math.min(before, hints));
  more.addEventListener("click", () => show(list.children.length + 1));
  check?.addEventListener("click", async () => {
    const typed = section.querySelector("textarea")?.value ?? "";
    check.disabled = true;
    try {
      const answer = await fetch(`exercises/${number}/answer?answer=${encodeURIComponent(typed)}`);
      if (!answer.ok) {
        tell(false, await answer.text());
        return;
      }
      const { right, why } = await answer.json();
      tell(right, why);
      if (right) {
        keep(number, "done", "yes");
        done();
      }
    } catch {
      tell(false, "The lab does not answer: is certreplay show still running?");
    } finally {
      check.disabled = false;
    }
  });
}
