// The list of segments. All segments have elements, so that the browser's text search finds them. They are in groups: the
// browser renders only the groups near the viewport (content-visibility), and only those get elements for words.

import { clock } from "../shared.js";
import { byId, clone, element, facts } from "./page.js";
import { colourOf } from "./palette.js";
import { transcript } from "./transcript.js";
import { showWords } from "./words.js";

const GROUP = 25, FIRST_BATCH = 2 * GROUP, BATCH = 10 * GROUP;

export const list = byId("segments");
const elements = new Map();
/** The ids of segments in the editor: their text must not be replaced. */
const locked = new Set();
let marks = new Map();

/** Elements near the viewport whose words are not loaded yet. */
const awaitingWords = new Set();

function renderWords(item) {
  const segment = transcript.get(item.dataset.id);
  if (!segment?.words) {
    awaitingWords.add(item);
    return;
  }
  awaitingWords.delete(item);
  if (!locked.has(segment.id) && !textOf(item).childElementCount) showWords(textOf(item), segment);
}

list.addEventListener(
  "contentvisibilityautostatechange",
  ({ target: group, skipped }) => {
    group.dataset.near = skipped ? "" : "yes";
    for (const item of group.children) {
      if (skipped) awaitingWords.delete(item);
      else renderWords(item);
    }
  },
  { capture: true },
);

transcript.addEventListener("words", () => awaitingWords.forEach(renderWords));

export const elementOf = (segment) => elements.get(segment?.id);
export const segmentOf = (inside) => transcript.get(inside?.closest?.(".segment")?.dataset.id);
export const textOf = (item) => item.querySelector(".said");

/** Keep the segment's element and text unchanged while it is edited, even if others remove the segment. */
export function lock(segment) {
  locked.add(segment.id);
}

export function unlock(id) {
  locked.delete(id);
  const [item, segment] = [elements.get(id), transcript.get(id)];
  if (!item) return;
  if (segment) updateItem(item, segment);
  else removeItem(id);
}

/** The elements of a segment's words; creates them if necessary. */
export function wordElements(segment) {
  const item = elements.get(segment.id);
  if (!item || locked.has(segment.id)) return [];
  const text = textOf(item);
  if (!text.childElementCount) showWords(text, segment);
  return text.children;
}

/** Show the suspects. `reasons` maps segment ids to a text. */
export function markSuspects(reasons) {
  const before = marks;
  marks = reasons;
  for (const id of new Set([...before.keys(), ...marks.keys()])) {
    if (elements.has(id)) showMarks(elements.get(id), transcript.get(id));
  }
}

function updateItem(item, segment) {
  const [play, speaker] = [item.querySelector(".time"), item.querySelector(".speaker")];
  const from = clock(segment.start);
  play.textContent = from;
  play.setAttribute("aria-label", `${from}, play from here`);
  const name = segment.speaker ?? "No speaker";
  speaker.lastElementChild.textContent = name;
  if (facts.can_change) speaker.setAttribute("aria-label", `${name}, change the speaker`);
  item.style.setProperty("--own", `var(${colourOf(segment.speaker)})`);
  showMarks(item, segment);
  if (locked.has(segment.id)) return;
  textOf(item).textContent = segment.text;
  if (item.parentElement?.dataset.near) renderWords(item);
}

function showMarks(item, segment) {
  if (!segment) return;
  const tags = [];
  if (segment.edited) tags.push(element("span", { class: "tag", text: "edited" }));
  if (marks.has(segment.id)) tags.push(element("span", { class: "tag suspect", text: marks.get(segment.id) }));
  item.querySelector(".segment-marks").replaceChildren(...tags);
}

function createItem(segment) {
  const item = clone("segment-template");
  item.id = `s${segment.id}`;
  item.dataset.id = segment.id;
  elements.set(segment.id, item);
  updateItem(item, segment);
  return item;
}

function removeItem(id) {
  if (locked.has(id)) return;
  const item = elements.get(id);
  if (!item) return;
  awaitingWords.delete(item);
  const group = item.parentElement;
  item.remove();
  if (!group.childElementCount) group.remove();
  elements.delete(id);
}

// ---- Positions in the groups

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

/** Move an element before another, or to the end. One that is there already is not touched: it keeps the focus. */
function placeItem(item, next) {
  if (item.parentElement && itemAfter(item) === next) return;
  if (next) next.before(item);
  else append(item);
  if (item.parentElement.dataset.near) renderWords(item);
}

// ---- Initial rendering, in batches that keep the page responsive

let next = 0; // the index of the first segment that may have no element yet
let isRendering = false;

function renderBatch(size) {
  const { segments } = transcript;
  const end = Math.min(next + size, segments.length);
  for (; next < end; next += 1) {
    if (!elements.has(segments[next].id)) append(createItem(segments[next]));
  }
  isRendering = next < segments.length;
  if (isRendering) setTimeout(() => isRendering && renderBatch(BATCH));
  else list.dispatchEvent(new Event("rendered"));
}

/** Create all remaining elements at once. */
export function renderAll() {
  if (isRendering) renderBatch(Infinity);
}

transcript.addEventListener("change", ({ detail: { updated, removed } }) => {
  list.hidden = !transcript.segments.length;
  showEmptyMessage();
  if (!elements.size && updated.length > FIRST_BATCH) {
    next = 0;
    renderBatch(FIRST_BATCH);
    return;
  }
  renderAll();
  for (const id of removed) removeItem(id);
  // From last to first, so that the next element is in place already.
  for (const segment of updated.toSorted((a, b) => b.start - a.start || b.id - a.id)) {
    const item = elements.get(segment.id);
    if (item) updateItem(item, segment);
    placeItem(item ?? createItem(segment), elementOf(transcript.after(segment)) ?? null);
  }
});

export function showEmptyMessage() {
  const message = byId("nothing");
  message.hidden = transcript.segments.length > 0;
  message.textContent = facts.is_active
    ? "The first segments will appear in a moment."
    : "No speech was found in this recording.";
}
