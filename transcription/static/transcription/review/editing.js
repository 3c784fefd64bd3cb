// A segment's text, edited in its place. One at a time; nothing that was typed is lost without a word.

import { api, notice } from "../shared.js";
import { diffElements } from "./diff.js";
import * as edits from "./edits.js";
import { clone, tell } from "./page.js";
import { elementOf, finish, hold, letGo, textOf } from "./list.js";
import { bringIntoView, select } from "./follow.js";
import { playPart } from "./player.js";
import { transcript } from "./transcript.js";

/** The open editor: {id, was, form, field, isBusy}; `was` is the segment as it was when the editor opened. */
let open = null;

const isChanged = () => open !== null && written() !== open.was.text;
const written = () => open.field.value.replace(/\s+/g, " ").trim();

/** Edit a segment; the caret at `caret`, at the end by default. */
export async function edit(segment, caret = segment.text.length) {
  if (open?.id === segment.id) return open.field.focus();
  if (open && !(await save())) return;
  const fresh = transcript.get(segment.id);
  if (!fresh) return;
  finish();
  select(fresh);
  const form = clone("editor-template");
  open = { id: fresh.id, was: fresh, form, field: form.querySelector("textarea"), isBusy: false };
  hold(fresh);
  open.field.value = fresh.text;
  textOf(elementOf(fresh)).replaceChildren(form);
  elementOf(fresh).classList.add("editing");
  listen(form);
  grow();
  open.field.focus({ preventScroll: true });
  open.field.setSelectionRange(caret, caret);
  bringIntoView(fresh);
}

function listen(form) {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    finishWith(save);
  });
  form.addEventListener("keydown", onKey);
  form.addEventListener("click", ({ target }) => {
    const action = ACTIONS[target.closest("[data-edit]")?.dataset.edit];
    if (action) action();
  });
  open.field.addEventListener("input", grow);
}

function grow() {
  open.field.style.height = "auto";
  open.field.style.height = `${open.field.scrollHeight + 2}px`;
}

function onKey(event) {
  if (event.isComposing || event.target !== open?.field) return;
  const action = actionOf(event, open.field);
  if (!action) return;
  event.preventDefault();
  event.stopPropagation();
  action();
}

function actionOf(event, { selectionStart, selectionEnd, value }) {
  const ctrl = event.ctrlKey || event.metaKey;
  const caret = selectionStart === selectionEnd ? selectionStart : null;
  if (event.key === "Enter" && !event.shiftKey) return ctrl ? ACTIONS.split : () => finishWith(save);
  if (event.key === "Escape") return ACTIONS.cancel;
  if (event.code === "Space" && ctrl) return ACTIONS.hear;
  if (event.key === "ArrowDown" && ctrl) return () => goOn(1);
  if (event.key === "ArrowUp" && ctrl) return () => goOn(-1);
  if (event.key === "Backspace" && caret === 0 && !event.repeat) return ACTIONS["join-previous"];
  if (event.key === "Delete" && caret === value.length && !event.repeat) return ACTIONS["join-next"];
  return null;
}

const ACTIONS = {
  cancel: () => dropAndClose(),
  hear: () => playPart(open.was),
  split: () => finishWith(splitHere),
  "join-previous": () => finishWith(() => join(-1)),
  "join-next": () => finishWith(() => join(1)),
  "keep-mine": () => finishWith(keepMine),
  "take-theirs": () => dropAndClose(),
};

/** Do something once, however often a key is pressed. */
async function finishWith(work) {
  if (!open || open.isBusy) return;
  const mine = open;
  mine.isBusy = true;
  mine.field.readOnly = true;
  mine.form.setAttribute("aria-busy", "true");
  try {
    await work();
  } finally {
    mine.isBusy = mine.field.readOnly = false;
    mine.form.removeAttribute("aria-busy");
  }
}

function close() {
  const { id } = open;
  const segment = transcript.get(id);
  elementOf({ id })?.classList.remove("editing");
  open = null;
  letGo(id);
  if (segment) select(segment, { focus: true });
}

/** Close without saving; a key pressed by mistake loses nothing. */
function dropAndClose() {
  const [{ id, field }, wasChanged] = [open, isChanged()];
  close();
  if (!wasChanged) return;
  const run = async () => {
    const segment = transcript.get(id);
    if (!segment) return notice(`The segment was removed. You had written: ${field.value}`);
    await edit(segment);
    if (open?.id !== id) return;
    open.field.value = field.value;
    grow();
  };
  notice("What you had written was not saved.", { action: { label: "Bring it back", run } });
}

/** True if what was written is saved, and the editor closed. */
async function save() {
  if (isChanged() && !(await saved())) return false;
  close();
  return true;
}

/** Save, and keep the editor open. */
async function saved(was = open.was) {
  const text = written();
  if (!text) {
    problem("A segment has some text. To take it out of the transcript, choose Remove under ⋯.");
    return false;
  }
  try {
    await edits.change(open.was, { text }, was);
  } catch (error) {
    if (error.status === 409) await showConflict(error);
    else if (error.status === 404) problem(`${error.message} Copy your text if you need it.`);
    else problem(`${error.message} Your text is still here: try again.`);
    return false;
  }
  open.was = transcript.get(open.id) ?? open.was;
  return true;
}

function problem(text) {
  tell(open.form.querySelector(".editor-problem"), text);
}

// ---- Somebody else was first

async function showConflict(refusal) {
  let theirs;
  try {
    theirs = await api("GET", `/api/transcribe/segments/${open.id}`);
  } catch (error) {
    problem(`${error.message} Copy your text if you need it.`);
    return;
  }
  transcript.change([theirs]);
  if (theirs.text === open.was.text) return problem(refusal.message);
  open.theirs = theirs;
  problem("");
  const place = open.form.querySelector(".conflict");
  place.querySelector(".conflict-theirs").replaceChildren(...diffElements(written(), theirs.text));
  place.hidden = false;
  place.querySelector("[data-edit=keep-mine]").focus();
}

async function keepMine() {
  open.form.querySelector(".conflict").hidden = true;
  if (await saved(open.theirs)) close();
}

// ---- Where segments begin and end

async function splitHere() {
  const before = open.field.value.slice(0, open.field.selectionStart);
  const index = before.replace(/\s+/g, " ").trimStart().length;
  if (isChanged() && !(await saved())) return;
  const { id } = open;
  await restructure(() => edits.split(transcript.get(id), index), () => transcript.after(transcript.get(id)));
}

async function join(by) {
  const segment = transcript.get(open.id);
  const other = segment && (by < 0 ? transcript.before(segment) : transcript.after(segment));
  if (!other) return problem(by < 0 ? "This is the first segment." : "This is the last segment.");
  if (isChanged() && !(await saved())) return;
  const mine = transcript.get(open.id);
  const [first, second] = by < 0 ? [other, mine] : [mine, other];
  await restructure(() => edits.merge(first, second), () => transcript.get(first.id), first.text.length);
}

/** Do it, and go on editing: `pick` says where. */
async function restructure(ask, pick, caret = 0) {
  try {
    await ask();
  } catch (error) {
    return problem(error.message);
  }
  const segment = pick();
  close();
  if (segment) await edit(segment, caret);
}

async function goOn(by) {
  const segment = transcript.get(open.id);
  const next = segment && (by < 0 ? transcript.before(segment) : transcript.after(segment));
  await finishWith(async () => {
    if ((await save()) && next) await edit(transcript.get(next.id) ?? next);
  });
}

export async function joinWithNext(segment) {
  const next = transcript.after(segment);
  if (!next) return notice("This is the last segment: there is none after it.");
  await attempt(() => edits.merge(segment, next), segment);
}

export async function removeSegment(segment) {
  const following = transcript.after(segment) ?? transcript.before(segment);
  await attempt(() => edits.remove(segment), segment);
  select(transcript.get(following?.id), { focus: true });
}

async function attempt(ask, segment) {
  if (open && !(await save())) return;
  try {
    await ask();
  } catch (error) {
    await edits.tellRefusal(error, segment);
  }
}

window.addEventListener("beforeunload", (event) => {
  if (isChanged()) event.preventDefault();
});
