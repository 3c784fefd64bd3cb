// Keys outside of text fields, and clicks on segments: one listener for all of them.

import { clock, notice } from "../shared.js";
import * as edits from "./edits.js";
import { edit, joinWithNext, removeSegment } from "./editing.js";
import { hearAgain } from "./retranslate.js";
import { select, selectedSegment, step } from "./follow.js";
import { showHistoryOf } from "./history.js";
import { list, segmentOf, textOf } from "./list.js";
import { FIELDS, byId, facts } from "./page.js";
import { STEP, faster, pauseAtUsualSpeed, playFrom, skip, toggle } from "./player.js";
import { chooseSpeaker } from "./speakers.js";
import { stepSuspects } from "./suspects.js";
import { wordOf } from "./words.js";

const NATIVE = "button, a, summary, [role=tab], input";
const ELSEWHERE = ".panels, .tabs, details";

const onSelected = (act) => () => {
  const segment = selectedSegment();
  if (segment) act(segment);
};

const KEYS = {
  " ": toggle,
  ArrowLeft: (event) => skip(event.shiftKey ? -1 : -STEP),
  ArrowRight: (event) => skip(event.shiftKey ? 1 : STEP),
  ArrowUp: () => step(-1),
  ArrowDown: () => step(1),
  j: () => skip(-STEP),
  k: pauseAtUsualSpeed,
  l: faster,
  n: (event) => stepSuspects(event.shiftKey ? -1 : 1),
  s: onSelected(chooseSpeaker),
  r: onSelected(hearAgain),
  Enter: onSelected((segment) => edit(segment)),
  "?": () => byId("keys-dialog").showModal(),
};

document.addEventListener("keydown", (event) => {
  if (event.defaultPrevented || event.isComposing || event.altKey) return;
  if (event.target.closest(FIELDS) || document.querySelector("dialog[open]")) return;
  if (event.ctrlKey || event.metaKey) {
    if (event.key.toLowerCase() !== "z" || event.shiftKey) return;
    event.preventDefault();
    edits.undoLatest();
    return;
  }
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const act = KEYS[key];
  if (!act) return;
  if ((key === " " || key === "Enter") && event.target.closest(NATIVE)) return;
  if (key.startsWith("Arrow") && event.target.closest(ELSEWHERE)) return;
  event.preventDefault();
  act(event);
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
  if (!segment || !text || event.target.closest(".editor")) return;
  const caret = caretIn(textOf(event.target.closest(".segment")), event);
  getSelection().removeAllRanges();
  edit(segment, caret ?? segment.text.length);
});

// Space plays and pauses after a click on a segment's button, and does not press it again.
list.addEventListener("mousedown", (event) => {
  if (!event.target.closest(".segment-head button")) return;
  event.preventDefault();
  event.target.closest(".segment").focus({ preventScroll: true });
});

/** The index in the text under the pointer. */
function caretIn(place, { clientX, clientY }) {
  const found = document.caretPositionFromPoint?.(clientX, clientY);
  if (!found || !place.contains(found.offsetNode)) return null;
  const range = document.createRange();
  range.setStart(place, 0);
  range.setEnd(found.offsetNode, found.offset);
  return range.toString().length;
}

const MORE = {
  edit: (segment) => edit(segment),
  speaker: chooseSpeaker,
  again: hearAgain,
  join: joinWithNext,
  history: showHistoryOf,
  link: copyLink,
  remove: removeSegment,
};
const more = byId("more-dialog");

function showMore(segment) {
  byId("more-title").textContent = `Segment at ${clock(segment.start)}`;
  more.returnValue = "";
  more.onclose = () => {
    const act = MORE[more.returnValue];
    if (act) act(segment);
    else select(segment, { focus: true });
  };
  more.showModal();
}

async function copyLink({ start }) {
  const link = new URL(`/app/jobs/${facts.id}/?t=${start.toFixed(2)}`, location.href);
  try {
    await navigator.clipboard.writeText(link.href);
    notice("The link was copied.");
  } catch {
    notice(`The browser does not let it be copied: ${link.href}`);
  }
}

byId("show-keys").addEventListener("click", () => byId("keys-dialog").showModal());

