// The editor of a segment's text, in its place. One is open at a time; unsaved text is never discarded silently.

import { api, notice } from "../shared.js";
import { diffElements } from "./diff.js";
import * as edits from "./edits.js";
import { clone, showProblem } from "./page.js";
import { elementOf, lock, renderAll, textOf, unlock } from "./list.js";
import { scrollToSegment, select } from "./follow.js";
import { playPart } from "./player.js";
import { transcript } from "./transcript.js";

/** The open editor: {id, was, form, field, isBusy}; `was` is the segment when the editor was opened. */
let open = null;

const isChanged = () => open !== null && editedText() !== open.was.text;
const editedText = () => open.field.value.replace(/\s+/g, " ").trim();

/** Open the editor of a segment, with the caret at an index of the text, by default at its end. */
export async function edit(segment, caret = segment.text.length) {
  if (open?.id === segment.id) return open.field.focus();
  if (open && !(await save())) return;
  const fresh = transcript.get(segment.id);
  if (!fresh) return;
  renderAll();
  select(fresh);
  const form = clone("editor-template");
  open = { id: fresh.id, was: fresh, form, field: form.querySelector("textarea"), isBusy: false };
  lock(fresh);
  open.field.value = fresh.text;
  textOf(elementOf(fresh)).replaceChildren(form);
  elementOf(fresh).classList.add("editing");
  listen(form);
  resizeField();
  open.field.focus({ preventScroll: true });
  open.field.setSelectionRange(caret, caret);
  scrollToSegment(fresh);
}

function listen(form) {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    runOnce(save);
  });
  form.addEventListener("keydown", onKey);
  form.addEventListener("click", ({ target }) => {
    const action = ACTIONS[target.closest("[data-edit]")?.dataset.edit];
    if (action) action();
  });
  open.field.addEventListener("input", resizeField);
}

function resizeField() {
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
  if (event.key === "Enter" && !event.shiftKey) return ctrl ? ACTIONS.split : () => runOnce(save);
  if (event.key === "Escape") return ACTIONS.cancel;
  if (event.code === "Space" && ctrl) return ACTIONS.play;
  if (event.key === "ArrowDown" && ctrl) return () => saveAndMove(1);
  if (event.key === "ArrowUp" && ctrl) return () => saveAndMove(-1);
  if (event.key === "Backspace" && caret === 0 && !event.repeat) return ACTIONS["merge-previous"];
  if (event.key === "Delete" && caret === value.length && !event.repeat) return ACTIONS["merge-next"];
  return null;
}

const ACTIONS = {
  cancel: () => discard(),
  play: () => playPart(open.was),
  split: () => runOnce(splitHere),
  "merge-previous": () => runOnce(() => merge(-1)),
  "merge-next": () => runOnce(() => merge(1)),
  "keep-mine": () => runOnce(keepMine),
  "take-theirs": () => discard(),
};

/** Run an action, unless one is running already: a key may be pressed twice. */
async function runOnce(action) {
  if (!open || open.isBusy) return;
  const editor = open;
  editor.isBusy = true;
  editor.field.readOnly = true;
  editor.form.setAttribute("aria-busy", "true");
  try {
    await action();
  } finally {
    editor.isBusy = editor.field.readOnly = false;
    editor.form.removeAttribute("aria-busy");
  }
}

function close() {
  const { id } = open;
  const segment = transcript.get(id);
  elementOf({ id })?.classList.remove("editing");
  open = null;
  unlock(id);
  if (segment) select(segment, { focus: true });
}

/** Close without saving; a notice lets the user restore the text. */
function discard() {
  const [{ id, field }, wasChanged] = [open, isChanged()];
  close();
  if (!wasChanged) return;
  const run = async () => {
    const segment = transcript.get(id);
    if (!segment) return notice(`The segment was removed. Your text was: ${field.value}`);
    await edit(segment);
    if (open?.id !== id) return;
    open.field.value = field.value;
    resizeField();
  };
  notice("Your text was not saved.", { action: { label: "Restore", run } });
}

/** Save and close the editor. Returns false, with the editor still open, if saving failed. */
async function save() {
  if (isChanged() && !(await saveText())) return false;
  close();
  return true;
}

/** Save and keep the editor open. Returns whether it was saved. */
async function saveText(was = open.was) {
  const text = editedText();
  if (!text) {
    showEditorProblem("A segment cannot be empty. To remove it from the transcript, choose Remove under ⋯.");
    return false;
  }
  try {
    await edits.change(open.was, { text }, was);
  } catch (error) {
    if (error.status === 409) await showConflict(error);
    else if (error.status === 404) showEditorProblem(`${error.message} Copy your text if you need it.`);
    else showEditorProblem(`${error.message} Your text is still here: try again.`);
    return false;
  }
  open.was = transcript.get(open.id) ?? open.was;
  return true;
}

function showEditorProblem(text) {
  showProblem(open.form.querySelector(".editor-problem"), text);
}

// ---- Conflicts with other users' edits

async function showConflict(conflict) {
  let theirs;
  try {
    theirs = await api("GET", `/api/transcribe/segments/${open.id}`);
  } catch (error) {
    showEditorProblem(`${error.message} Copy your text if you need it.`);
    return;
  }
  transcript.change([theirs]);
  if (theirs.text === open.was.text) return showEditorProblem(conflict.message);
  open.theirs = theirs;
  showEditorProblem("");
  const panel = open.form.querySelector(".conflict");
  panel.querySelector(".conflict-theirs").replaceChildren(...diffElements(editedText(), theirs.text));
  panel.hidden = false;
  panel.querySelector("[data-edit=keep-mine]").focus();
}

async function keepMine() {
  open.form.querySelector(".conflict").hidden = true;
  if (await saveText(open.theirs)) close();
}

// ---- Split and merge

async function splitHere() {
  const before = open.field.value.slice(0, open.field.selectionStart);
  const index = before.replace(/\s+/g, " ").trimStart().length;
  if (isChanged() && !(await saveText())) return;
  const { id } = open;
  await restructure(() => edits.split(transcript.get(id), index), () => transcript.after(transcript.get(id)));
}

async function merge(by) {
  const segment = transcript.get(open.id);
  const other = segment && (by < 0 ? transcript.before(segment) : transcript.after(segment));
  if (!other) return showEditorProblem(by < 0 ? "This is the first segment." : "This is the last segment.");
  if (isChanged() && !(await saveText())) return;
  const current = transcript.get(open.id);
  const [first, second] = by < 0 ? [other, current] : [current, other];
  await restructure(() => edits.merge(first, second), () => transcript.get(first.id), first.text.length);
}

/** Send a split or merge, then edit the segment that `pick` returns. */
async function restructure(request, pick, caret = 0) {
  try {
    await request();
  } catch (error) {
    return showEditorProblem(error.message);
  }
  const segment = pick();
  close();
  if (segment) await edit(segment, caret);
}

async function saveAndMove(by) {
  const segment = transcript.get(open.id);
  const next = segment && (by < 0 ? transcript.before(segment) : transcript.after(segment));
  await runOnce(async () => {
    if ((await save()) && next) await edit(transcript.get(next.id) ?? next);
  });
}

export async function mergeWithNext(segment) {
  const next = transcript.after(segment);
  if (!next) return notice("This is the last segment.");
  await sendEdit(() => edits.merge(segment, next), segment);
}

export async function removeSegment(segment) {
  const neighbour = transcript.after(segment) ?? transcript.before(segment);
  await sendEdit(() => edits.remove(segment), segment);
  select(transcript.get(neighbour?.id), { focus: true });
}

/** Send an edit from outside the editor, which is saved first. */
async function sendEdit(request, segment) {
  if (open && !(await save())) return;
  try {
    await request();
  } catch (error) {
    await edits.showRejection(error, segment);
  }
}

window.addEventListener("beforeunload", (event) => {
  if (isChanged()) event.preventDefault();
});
