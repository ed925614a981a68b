// The disc that carries a certificate or a proof along the wire to a gateway.

const MILLISECONDS = 900;
const WAITING = 0.3;
const UNDER_WAY = 1;

/**
 * Puts a scene's disc where it belongs in a step; moves it there if the step before was shown.
 * @param {HTMLElement} scene
 * @param {number} step
 * @param {boolean} moves
 */
export function carry(scene, step, moves) {
  const disc = /** @type {HTMLElement | null} */ (scene.querySelector(".disc"));
  if (!disc) return;
  const places = way(scene, disc);
  for (const running of disc.getAnimations()) running.cancel();
  disc.style.visibility = places.length ? "visible" : "hidden";
  if (!places.length) return;
  const waiting = places[Math.floor(places.length * WAITING)];
  const arrives = step > UNDER_WAY;
  disc.style.transform = arrives ? places[places.length - 1] : waiting;
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  if (moves && arrives && step === UNDER_WAY + 1 && !still) {
    const rest = places.slice(Math.floor(places.length * WAITING));
    disc.animate(
      rest.map((transform) => ({ transform })),
      { duration: MILLISECONDS, easing: "ease-in-out" },
    );
  }
}

/**
 * The way to the gateway as transforms; empty where no wire is drawn.
 * @param {HTMLElement} scene
 * @param {HTMLElement} disc
 * @returns {string[]}
 */
function way(scene, disc) {
  const path = /** @type {SVGPathElement | null} */ (scene.querySelector(".to-bank path.here"));
  const matrix = path?.getScreenCTM();
  const origin = disc.offsetParent?.getBoundingClientRect();
  if (!path || !matrix || !origin || !path.checkVisibility()) return [];
  const length = path.getTotalLength();
  return Array.from({ length: 41 }, (_, number) => {
    const point = path.getPointAtLength((length * number) / 40).matrixTransform(matrix);
    return `translate(${(point.x - origin.x).toFixed(1)}px, ${(point.y - origin.y).toFixed(1)}px)`;
  });
}
