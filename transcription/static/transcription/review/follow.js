// What is spoken is lit and kept in view, and what is selected is where keys work: they are the same while it plays.

import { byId } from "./page.js";
import { elementOf, finish, list, segmentOf, wordElements } from "./list.js";
import { isPlaying, player, seek, time } from "./player.js";
import { transcript } from "./transcript.js";
import { wordAt } from "./words.js";

const SETTLE_MS = 800; // so long our own scrolling may take
const ROUNDING = 0.01; // a player that is sent to the start of a segment may stand a sample before it

let spoken = null;
let lit = null;
let selected = null;
let isFollowing = true;
let scrolledAt = -Infinity;

export const selectedSegment = () => transcript.get(selected?.id) ?? transcript.at(time()) ?? transcript.segments[0];

/** Let keys work on a segment; `focus` for who moves by keys. */
export function select(segment, { focus = false } = {}) {
  if (!segment) return;
  const item = elementOf(segment);
  if (segment.id !== selected?.id) {
    reachable(elementOf(selected), false);
    reachable(item, true);
  }
  selected = segment;
  if (!focus || !item) return;
  item.focus({ preventScroll: true });
  bringIntoView(segment);
}

/** Of all segments one is in the order of the tab key. */
function reachable(item, is) {
  if (!item) return;
  item.classList.toggle("selected", is);
  item.tabIndex = is ? 0 : -1;
  for (const button of item.querySelectorAll(".segment-head button")) button.tabIndex = is ? 0 : -1;
}

/** The neighbour of the selected segment, with focus; what is heard goes on there. */
export function step(by) {
  const from = selectedSegment();
  if (!from) return;
  const to = by < 0 ? transcript.before(from) : transcript.after(from);
  if (!to) return;
  select(to, { focus: true });
  seek(to.start);
}

/** Go to a time, wherever the person has scrolled to. */
export function goTo(seconds) {
  finish();
  seek(seconds);
  isFollowing = true;
  const segment = transcript.at(seconds) ?? transcript.segments[0];
  select(segment);
  if (segment) bringIntoView(segment, { middle: true });
}

export function bringIntoView(segment, { middle = false } = {}) {
  const item = elementOf(segment);
  if (!item || (!middle && isInView(item))) return;
  scrolledAt = performance.now();
  const [near, still] = [isNear(item), matchMedia("(prefers-reduced-motion: reduce)").matches];
  item.scrollIntoView({ block: "center", behavior: near && !still ? "smooth" : "instant" });
}

function isInView(item) {
  const { top, bottom } = item.getBoundingClientRect();
  return top >= byId("player").getBoundingClientRect().bottom && bottom <= window.innerHeight;
}

function isNear(item) {
  return Math.abs(item.getBoundingClientRect().top) < 2 * window.innerHeight;
}

function light() {
  const now = time() + ROUNDING;
  const segment = transcript.at(now);
  if (segment?.id !== spoken?.id) {
    elementOf(spoken)?.classList.remove("spoken");
    elementOf(segment)?.classList.add("spoken");
    if (isPlaying()) {
      select(segment);
      if (segment && isFollowing && !list.querySelector(".editing")) bringIntoView(segment);
    }
  }
  spoken = segment;
  const word = segment && wordElements(segment)[wordAt(segment, now)];
  if (word !== lit) {
    lit?.classList.remove("lit");
    word?.classList.add("lit");
    lit = word;
  }
  offerReturn();
}

function offerReturn() {
  byId("to-spoken").hidden = isFollowing || !isPlaying();
}

// Once the person has scrolled what is spoken out of view, it is left to them where to look.
window.addEventListener(
  "scroll",
  () => {
    if (performance.now() - scrolledAt < SETTLE_MS) return;
    const item = elementOf(spoken);
    isFollowing = !item || !isPlaying() || isInView(item);
    offerReturn();
  },
  { passive: true },
);

byId("to-spoken").addEventListener("click", () => goTo(time()));
list.addEventListener("focusin", ({ target }) => select(segmentOf(target)));
player.addEventListener("time", light);
player.addEventListener("state", () => {
  if (isPlaying()) select(transcript.at(time()));
  offerReturn();
});
transcript.addEventListener("change", () => {
  lit = null;
  spoken = transcript.get(spoken?.id);
  elementOf(spoken)?.classList.add("spoken");
  light();
});
list.addEventListener("filled", light);

// What is brought into view must not be under the player.
new ResizeObserver(([entry]) => {
  document.documentElement.style.setProperty("--player-height", `${Math.ceil(entry.borderBoxSize[0].blockSize)}px`);
}).observe(byId("player"));
