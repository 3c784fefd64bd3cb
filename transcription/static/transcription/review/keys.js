// Keyboard shortcuts outside of text fields, and clicks on segments (delegated to one listener).

import { clock, notice } from "../shared.js";
import * as edits from "./edits.js";
import { edit, mergeWithNext, removeSegment } from "./editing.js";
import { retranslate } from "./retranslate.js";
import { select, selectedSegment, step } from "./follow.js";
import { showHistoryOf } from "./history.js";
import { list, segmentOf, textOf } from "./list.js";
import { TEXT_FIELDS, byId, facts } from "./page.js";
import { STEP, faster, pauseAndResetSpeed, playFrom, skip, toggle } from "./player.js";
import { chooseSpeaker } from "./speakers.js";
import { stepSuspects } from "./suspects.js";
import { wordOf } from "./words.js";

const OWN_ENTER_AND_SPACE = "button, a, summary, [role=tab], input";
const OWN_ARROW_KEYS = ".panels, .tabs, details";

const onSelected = (action) => () => {
  const segment = selectedSegment();
  if (segment) action(segment);
};

const KEYS = {
  " ": toggle,
  ArrowLeft: (event) => skip(event.shiftKey ? -1 : -STEP),
  ArrowRight: (event) => skip(event.shiftKey ? 1 : STEP),
  ArrowUp: () => step(-1),
  ArrowDown: () => step(1),
  j: () => skip(-STEP),
  k: pauseAndResetSpeed,
  l: faster,
  "?": () => byId("keys-dialog").showModal(),
};
if (!facts.is_link) KEYS.n = (event) => stepSuspects(event.shiftKey ? -1 : 1);
if (facts.can_change) {
  KEYS.s = onSelected(chooseSpeaker);
  KEYS.r = onSelected(retranslate);
  KEYS.Enter = onSelected((segment) => edit(segment));
}

document.addEventListener("keydown", (event) => {
  if (event.defaultPrevented || event.isComposing || event.altKey) return;
  if (event.target.closest(TEXT_FIELDS) || document.querySelector("dialog[open]")) return;
  if (event.ctrlKey || event.metaKey) {
    if (event.key.toLowerCase() !== "z" || event.shiftKey || !facts.can_change) return;
    event.preventDefault();
    edits.undoLatest();
    return;
  }
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const action = KEYS[key];
  if (!action) return;
  if ((key === " " || key === "Enter") && event.target.closest(OWN_ENTER_AND_SPACE)) return;
  if (key.startsWith("Arrow") && event.target.closest(OWN_ARROW_KEYS)) return;
  event.preventDefault();
  action(event);
});

// ---- Clicks on segments

const ACTIONS = {
  play: (segment) => playFrom(segment.start),
  speaker: chooseSpeaker,
  edit: (segment) => edit(segment),
  more: showMore,
};

list.addEventListener("click", (event) => {
  const segment = segmentOf(event.target);
  if (!segment || event.target.closest(".editor")) return;
  select(segment);
  const button = event.target.closest("[data-do]");
  if (button) return ACTIONS[button.dataset.do](segment);
  if (!event.target.closest(".said") || !getSelection().isCollapsed || event.detail > 1) return;
  const clicked = event.target.closest(".word");
  playFrom((clicked && wordOf(segment, clicked)?.start) ?? segment.start);
});

list.addEventListener("dblclick", (event) => {
  const segment = segmentOf(event.target);
  const text = event.target.closest(".said");
  if (!segment || !text || event.target.closest(".editor") || !facts.can_change) return;
  const caret = caretIn(textOf(event.target.closest(".segment")), event);
  getSelection().removeAllRanges();
  edit(segment, caret ?? segment.text.length);
});

// After a click on a segment's button, keep the focus on the segment: Space then toggles playback.
list.addEventListener("mousedown", (event) => {
  if (!event.target.closest(".segment-head button")) return;
  event.preventDefault();
  event.target.closest(".segment").focus({ preventScroll: true });
});

/** The index of the character under the pointer. */
function caretIn(container, { clientX, clientY }) {
  const position = document.caretPositionFromPoint?.(clientX, clientY);
  if (!position || !container.contains(position.offsetNode)) return null;
  const range = document.createRange();
  range.setStart(container, 0);
  range.setEnd(position.offsetNode, position.offset);
  return range.toString().length;
}

const MORE = {
  edit: (segment) => edit(segment),
  speaker: chooseSpeaker,
  retranslate,
  merge: mergeWithNext,
  history: showHistoryOf,
  link: copyLink,
  remove: removeSegment,
};
const more = byId("more-dialog");

function showMore(segment) {
  byId("more-title").textContent = `Segment at ${clock(segment.start)}`;
  more.returnValue = "";
  more.onclose = () => {
    const action = MORE[more.returnValue];
    if (action) action(segment);
    else select(segment, { focus: true });
  };
  more.showModal();
}

async function copyLink({ start }) {
  const link = new URL(`/app/jobs/${facts.id}/?t=${start.toFixed(2)}`, location.href);
  try {
    await navigator.clipboard.writeText(link.href);
    notice("Link copied.");
  } catch {
    notice(`The browser does not allow copying. The link is ${link.href}`);
  }
}

byId("show-keys").addEventListener("click", () => byId("keys-dialog").showModal());

