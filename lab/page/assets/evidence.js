// Evidence on demand: everything about a cell, a connection, a message or an event.

/** @type {Map<string, string>} */
const known = new Map();

/**
 * The evidence with an id, as HTML that Python made; null where there is none.
 * @param {string} id
 * @returns {Promise<string | null>}
 */
export async function find(id) {
  const found = known.get(id);
  if (found !== undefined) return found;
  const html = document.body.hasAttribute("data-live") ? await fetched(id) : await unpacked(id);
  if (html !== null) known.set(id, html);
  return html;
}

/**
 * @param {string} id
 * @returns {Promise<string | null>}
 */
async function fetched(id) {
  const answer = await fetch(`evidence/${encodeURI(id)}`);
  return answer.ok ? answer.text() : null;
}

/**
 * A report has its evidence in blocks, each compressed by itself (RFC 1952) and in base64.
 * @param {string} id
 * @returns {Promise<string | null>}
 */
async function unpacked(id) {
  for (const block of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll("script.packed"))) {
    if (!` ${block.dataset.ids} `.includes(` ${id} `)) continue;
    const octets = Uint8Array.from(atob(block.textContent ?? ""), (one) => one.charCodeAt(0));
    const stream = new Blob([octets]).stream().pipeThrough(new DecompressionStream("gzip"));
    /** @type {Record<string, string>} */
    const all = JSON.parse(await new Response(stream).text());
    for (const [name, html] of Object.entries(all)) known.set(name, html);
    return known.get(id) ?? null;
  }
  return null;
}

/**
 * Puts HTML that Python made into an element. No script in it would run.
 * @param {HTMLElement} where
 * @param {string} html
 */
export function fill(where, html) {
  const made = new DOMParser().parseFromString(html, "text/html");
  for (const run of made.querySelectorAll(".whole .run"))
    run.textContent = run.textContent?.match(/../g)?.join(" ") ?? "";
  where.replaceChildren(...[...made.body.childNodes].map((one) => document.importNode(one, true)));
}

/**
 * Keeps bytes and their fields in step: the field under the pointer, or the one that has the focus, lights up in both.
 */
export function lightFields() {
  for (const event of ["pointerover", "focusin"]) {
    document.addEventListener(event, (happened) => {
      const target = /** @type {Element | null} */ (happened.target instanceof Element ? happened.target : null);
      const box = target?.closest("[data-bytes]");
      const field = /** @type {HTMLElement | null} */ (target?.closest("[data-field]"));
      if (box && field) light(box, field.dataset.field ?? "", event === "focusin");
    });
  }
  document.addEventListener("keydown", (event) => {
    const at = /** @type {Element | null} */ (document.activeElement)?.closest(".fields li[data-field]");
    if (!at || !["ArrowDown", "ArrowUp"].includes(event.key)) return;
    const other = event.key === "ArrowDown" ? at.nextElementSibling : at.previousElementSibling;
    if (other instanceof HTMLElement && other.dataset.field) other.focus();
    event.preventDefault();
  });
}

/**
 * @param {Element} box
 * @param {string} field
 * @param {boolean} scrolls
 */
function light(box, field, scrolls) {
  for (const one of /** @type {NodeListOf<HTMLElement>} */ (box.querySelectorAll("[data-field]"))) {
    const lit = one.dataset.field === field;
    if (lit && scrolls && !one.classList.contains("lit")) one.scrollIntoView({ block: "nearest" });
    one.classList.toggle("lit", lit);
  }
}
