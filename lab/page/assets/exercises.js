// The exercises: hints and answers are looked up by GET, and what was right is kept in this browser.
const run = document.body.dataset.run;

const kept = (number, what) => localStorage.getItem(`certreplay:${run}:${number}:${what}`);
const keep = (number, what, value) => localStorage.setItem(`certreplay:${run}:${number}:${what}`, value);

function paint(block) {
  const element = document.createElement(block.code ? "pre" : "p");
  element.textContent = block.text.replaceAll("`", "");
  return element;
}

for (const section of document.querySelectorAll(".exercise")) {
  const { number, hints } = section.dataset;
  const list = section.querySelector(".hints");
  const more = section.querySelector(".hint");
  const state = section.querySelector(".state");
  const verdict = section.querySelector(".verdict");

  const done = () => {
    section.classList.add("done");
    state.textContent = "done";
  };
  const tell = (right, why) => {
    verdict.hidden = false;
    verdict.className = `verdict ${right ? "right" : "wrong"}`;
    verdict.textContent = `${right ? "Right. " : "Not yet. "}${why}`;
  };
  const show = async (wanted) => {
    while (list.children.length < wanted) {
      const answer = await fetch(`exercises/${number}/hint?number=${list.children.length + 1}`);
      if (!answer.ok) return;
      const item = document.createElement("li");
      item.append(...(await answer.json()).map(paint));
      list.append(item);
    }
    const left = hints - list.children.length;
    section.querySelector(".left").textContent = `${left} left`;
    more.disabled = left === 0;
    keep(number, "hints", list.children.length);
  };

  if (state.textContent === "done" || kept(number, "done")) done();
  if (kept(number, "hints") > 0) show(Math.min(kept(number, "hints"), hints));
  more.addEventListener("click", () => show(list.children.length + 1));
  section.querySelector(".check")?.addEventListener("click", async (event) => {
    const typed = section.querySelector("textarea")?.value ?? "";
    event.target.disabled = true;
    try {
      const answer = await fetch(`exercises/${number}/answer?answer=${encodeURIComponent(typed)}`);
      const { right, why } = await answer.json();
      tell(right, why);
      if (right) {
        keep(number, "done", "yes");
        done();
      }
    } catch {
      tell(false, "The lab does not answer: is certreplay show still running?");
    } finally {
      event.target.disabled = false;
    }
  });
}
