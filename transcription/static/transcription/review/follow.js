// Highlights the segment and word at the player's position and scrolls with it; keeps the selected segment, on which keys
// act. During playback both are the same segment.

import { byId } from "./page.js";
import { elementOf, list, renderAll, segmentOf, wordElements } from "./list.js";
import { isPlaying, player, seek, time } from "./player.js";
import { transcript } from "./transcript.js";
import { wordAt } from "./words.js";

const SCROLL_MS = 800; // how long a smooth scroll may take
const ROUNDING = 0.01; // after seeking to a segment's start, the player may be a sample before it

let spoken = null; // the segment at the player's position
let litWord = null; // the element of the word there
let selected = null;
let isFollowing = true;
let scrolledAt = -Infinity;

export const selectedSegment = () => transcript.get(selected?.id) ?? transcript.at(time()) ?? transcript.segments[0];

/** Select a segment; with `focus`, also move the keyboard focus to it. */
export function select(segment, { focus = false } = {}) {
  if (!segment) return;
  const item = elementOf(segment);
  if (segment.id !== selected?.id) {
    setTabbable(elementOf(selected), false);
    setTabbable(item, true);
  }
  selected = segment;
  if (!focus || !item) return;
  item.focus({ preventScroll: true });
  scrollToSegment(segment);
}

/** Only the selected segment can be reached with the Tab key (roving tabindex). */
function setTabbable(item, isTabbable) {
  if (!item) return;
  item.classList.toggle("selected", isTabbable);
  item.tabIndex = isTabbable ? 0 : -1;
  for (const button of item.querySelectorAll(".segment-head button")) button.tabIndex = isTabbable ? 0 : -1;
}

/** Select and focus the next (1) or previous (-1) segment, and move the player to it. */
export function step(by) {
  const from = selectedSegment();
  if (!from) return;
  const to = by < 0 ? transcript.before(from) : transcript.after(from);
  if (!to) return;
  select(to, { focus: true });
  seek(to.start);
}

/** Move the player to a time, and scroll to it. */
export function goTo(seconds) {
  renderAll();
  seek(seconds);
  isFollowing = true;
  const segment = transcript.at(seconds) ?? transcript.segments[0];
  select(segment);
  if (segment) scrollToSegment(segment, { middle: true });
}

export function scrollToSegment(segment, { middle = false } = {}) {
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

function updateHighlight() {
  const now = time() + ROUNDING;
  const segment = transcript.at(now);
  if (segment?.id !== spoken?.id) {
    elementOf(spoken)?.classList.remove("spoken");
    elementOf(segment)?.classList.add("spoken");
    if (isPlaying()) {
      select(segment);
      if (segment && isFollowing && !list.querySelector(".editing")) scrollToSegment(segment);
    }
  }
  spoken = segment;
  const word = segment && wordElements(segment)[wordAt(segment, now)];
  if (word !== litWord) {
    litWord?.classList.remove("lit");
    word?.classList.add("lit");
    litWord = word;
  }
  showFollowButton();
}

function showFollowButton() {
  byId("follow-playback").hidden = isFollowing || !isPlaying();
}

// Stop following once the user has scrolled the spoken segment out of view.
window.addEventListener(
  "scroll",
  () => {
    if (performance.now() - scrolledAt < SCROLL_MS) return;
    const item = elementOf(spoken);
    isFollowing = !item || !isPlaying() || isInView(item);
    showFollowButton();
  },
  { passive: true },
);

byId("follow-playback").addEventListener("click", () => goTo(time()));
list.addEventListener("focusin", ({ target }) => select(segmentOf(target)));
player.addEventListener("time", updateHighlight);
player.addEventListener("state", () => {
  if (isPlaying()) select(transcript.at(time()));
  showFollowButton();
});
transcript.addEventListener("change", () => {
  litWord = null;
  spoken = transcript.get(spoken?.id);
  elementOf(spoken)?.classList.add("spoken");
  updateHighlight();
});
list.addEventListener("rendered", updateHighlight);

// CSS keeps segments that are scrolled into view clear of the sticky player.
new ResizeObserver(([entry]) => {
  document.documentElement.style.setProperty("--player-height", `${Math.ceil(entry.borderBoxSize[0].blockSize)}px`);
}).observe(byId("player"));
