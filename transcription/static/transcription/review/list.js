// The segments as elements. All are there, so that the browser finds text in them; they stand in groups, of which it
// renders those near the view alone (content-visibility), and words are made there.

import { clock } from "../shared.js";
import { byId, clone, element, facts } from "./page.js";
import { colourOf } from "./palette.js";
import { transcript } from "./transcript.js";
import { showWords } from "./words.js";

const GROUP = 25, FIRST_BATCH = 2 * GROUP, BATCH = 10 * GROUP;

export const list = byId("segments");
const elements = new Map();
/** The segment that is being edited: its text is the editor's as long as it is. */
const held = new Set();
let marks = new Map();

/** Elements near the view whose words are not known yet. */
const wordless = new Set();

function wordsInto(item) {
  const segment = transcript.get(item.dataset.id);
  if (!segment?.words) {
    wordless.add(item);
    return;
  }
  wordless.delete(item);
  if (!held.has(segment.id) && !textOf(item).childElementCount) showWords(textOf(item), segment);
}

list.addEventListener(
  "contentvisibilityautostatechange",
  ({ target: group, skipped }) => {
    group.dataset.near = skipped ? "" : "yes";
    for (const item of group.children) {
      if (skipped) wordless.delete(item);
      else wordsInto(item);
    }
  },
  { capture: true },
);

transcript.addEventListener("words", () => wordless.forEach(wordsInto));

export const elementOf = (segment) => elements.get(segment?.id);
export const segmentOf = (inside) => transcript.get(inside?.closest?.(".segment")?.dataset.id);
export const textOf = (item) => item.querySelector(".said");

/** While a segment is held nothing touches its text, and it stays where it is even if it is removed. */
export function hold(segment) {
  held.add(segment.id);
}

export function letGo(id) {
  held.delete(id);
  const [item, segment] = [elements.get(id), transcript.get(id)];
  if (!item) return;
  if (segment) fill(item, segment);
  else drop(id);
}

/** Words of the segment whatever is in view, for who lights them. */
export function wordElements(segment) {
  const item = elements.get(segment.id);
  if (!item || held.has(segment.id)) return [];
  const text = textOf(item);
  if (!text.childElementCount) showWords(text, segment);
  return text.children;
}

/** What is worth a look: a map from ids of segments to the reasons, in words. */
export function markSuspects(reasons) {
  const before = marks;
  marks = reasons;
  for (const id of new Set([...before.keys(), ...marks.keys()])) {
    if (elements.has(id)) showMarks(elements.get(id), transcript.get(id));
  }
}

function fill(item, segment) {
  const [play, speaker] = [item.querySelector(".time"), item.querySelector(".speaker")];
  const from = clock(segment.start);
  play.textContent = from;
  play.setAttribute("aria-label", `${from}, play from here`);
  const name = segment.speaker ?? "No speaker";
  speaker.lastElementChild.textContent = name;
  speaker.setAttribute("aria-label", `${name}, change the speaker`);
  item.style.setProperty("--own", `var(${colourOf(segment.speaker)})`);
  showMarks(item, segment);
  if (held.has(segment.id)) return;
  textOf(item).textContent = segment.text;
  if (item.parentElement?.dataset.near) wordsInto(item);
}

function showMarks(item, segment) {
  if (!segment) return;
  const found = [];
  if (segment.edited) found.push(element("span", { class: "tag", text: "edited" }));
  if (marks.has(segment.id)) found.push(element("span", { class: "tag suspect", text: marks.get(segment.id) }));
  item.querySelector(".segment-marks").replaceChildren(...found);
}

function make(segment) {
  const item = clone("segment-template");
  item.id = `s${segment.id}`;
  item.dataset.id = segment.id;
  elements.set(segment.id, item);
  fill(item, segment);
  return item;
}

function drop(id) {
  if (held.has(id)) return;
  const item = elements.get(id);
  if (!item) return;
  wordless.delete(item);
  const group = item.parentElement;
  item.remove();
  if (!group.childElementCount) group.remove();
  elements.delete(id);
}

// ---- Places in the groups

function append(item) {
  let group = list.lastElementChild;
  if (!group || group.childElementCount >= GROUP) {
    group = list.appendChild(element("div", { class: "group", role: "none" }));
  }
  group.append(item);
}

function itemAfter(item) {
  return item.nextElementSibling ?? item.parentElement.nextElementSibling?.firstElementChild ?? null;
}

/** Let an element stand before another, or at the end; one that stands there already keeps the focus. */
function place(item, next) {
  if (item.parentElement && itemAfter(item) === next) return;
  if (next) next.before(item);
  else append(item);
  if (item.parentElement.dataset.near) wordsInto(item);
}

// ---- Many at once: in batches, between which the page answers

let next = 0; // the index of the first segment that may have no element yet
let isFilling = false;

function fillOn(size) {
  const { segments } = transcript;
  const end = Math.min(next + size, segments.length);
  for (; next < end; next += 1) {
    if (!elements.has(segments[next].id)) append(make(segments[next]));
  }
  isFilling = next < segments.length;
  if (isFilling) setTimeout(() => isFilling && fillOn(BATCH));
  else list.dispatchEvent(new Event("filled"));
}

/** All elements are there when this returns. */
export function finish() {
  if (isFilling) fillOn(Infinity);
}

transcript.addEventListener("change", ({ detail: { put, removed } }) => {
  list.hidden = !transcript.segments.length;
  tellNothing();
  if (!elements.size && put.length > FIRST_BATCH) {
    next = 0;
    fillOn(FIRST_BATCH);
    return;
  }
  finish();
  for (const id of removed) drop(id);
  // From the last to the first: what an element stands before is in its place already.
  for (const segment of put.toSorted((a, b) => b.start - a.start || b.id - a.id)) {
    const item = elements.get(segment.id);
    if (item) fill(item, segment);
    place(item ?? make(segment), elementOf(transcript.after(segment)) ?? null);
  }
});

export function tellNothing() {
  const nothing = byId("nothing");
  nothing.hidden = transcript.segments.length > 0;
  nothing.textContent = facts.is_active
    ? "The first segments come in a moment."
    : "There are no words in this recording.";
}
