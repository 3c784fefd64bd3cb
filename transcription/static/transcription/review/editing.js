// The editor of a segment's text, in its place. One is open at a time; unsaved text is never discarded silently.
// A request may be answered after its editor was left: each action changes its own editor, not the open one.

import { api, notice } from "../shared.js";
import { diffElements } from "./diff.js";
import * as edits from "./edits.js";
import { clone, showProblem } from "./page.js";
import { elementOf, lock, renderAll, textOf, unlock } from "./list.js";
import { scrollToSegment, select } from "./follow.js";
import { playPart } from "./player.js";
import { transcript } from "./transcript.js";

/** The open editor: {id, was, form, field, running}: the segment when it was opened, and the action that is running. */
let open = null;
/** Editors whose text is being sent. */
const saving = new Set();

const editedText = (editor) => editor.field.value.replace(/\s+/g, " ").trim();
const isChanged = (editor) => editedText(editor) !== editor.was.text;

/** Open the editor of a segment, with the caret at an index of the text, by default at its end. */
export async function edit(segment, caret = segment.text.length) {
  if (open?.id === segment.id) return open.field.focus();
  while (open) if (!(await saveAndClose())) return;
  const fresh = transcript.get(segment.id);
  if (!fresh) return;
  renderAll();
  select(fresh);
  const form = clone("editor-template");
  open = { id: fresh.id, was: fresh, form, field: form.querySelector("textarea"), running: null };
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
  "merge-previous": () => runOnce((editor) => merge(editor, -1)),
  "merge-next": () => runOnce((editor) => merge(editor, 1)),
  "keep-mine": () => runOnce(keepMine),
  "take-theirs": () => discard(),
};

/** Run an action of the open editor, unless one is running already: a key may be pressed twice. */
async function runOnce(action) {
  const editor = open;
  if (!editor || editor.running) return;
  editor.field.readOnly = true;
  editor.form.setAttribute("aria-busy", "true");
  editor.running = action(editor);
  try {
    await editor.running;
  } finally {
    editor.running = null;
    editor.field.readOnly = false;
    editor.form.removeAttribute("aria-busy");
  }
}

/** Close an editor, unless it was left already. */
function close(editor) {
  if (open !== editor) return;
  const { id } = editor;
  const segment = transcript.get(id);
  elementOf({ id })?.classList.remove("editing");
  open = null;
  unlock(id);
  if (segment) select(segment, { focus: true });
}

/** Close without saving. Text that is being sent is saved all the same, unless the service rejects it. */
function discard() {
  const editor = open;
  close(editor);
  if (isChanged(editor) && !saving.has(editor)) offerRestore(editor);
}

/** Let the user restore the text of an editor that was left. */
function offerRestore({ id, field }, message = "Your text was not saved.") {
  const run = async () => {
    const segment = transcript.get(id);
    if (!segment) return notice(`The segment was removed. Your text was: ${field.value}`);
    await edit(segment);
    if (open?.id !== id) return offerRestore({ id, field }, message);
    open.field.value = field.value;
    resizeField();
  };
  notice(message, { action: { label: "Restore", run } });
}

/** Save and close an editor. Returns false if saving failed or the editor was left meanwhile. */
async function save(editor) {
  if (isChanged(editor) && !(await saveText(editor))) return false;
  close(editor);
  return true;
}

/** Wait for what the open editor does, and save and close it if it is still open. Returns whether none is open. */
async function saveAndClose() {
  await open?.running;
  if (open) await runOnce(save);
  return !open;
}

/** Save and keep the editor open. Returns false if saving failed or the editor was left meanwhile. */
async function saveText(editor, was = editor.was) {
  const text = editedText(editor);
  if (!text) {
    showEditorProblem(editor, "A segment cannot be empty. To remove it from the transcript, choose Remove under ⋯.");
    return false;
  }
  try {
    await sendText(editor, text, was);
  } catch (error) {
    if (open !== editor) offerRestore(editor, `Your text was not saved: ${error.message}`);
    else if (error.status === 409) await showConflict(editor, error);
    else if (error.status === 404) showEditorProblem(editor, `${error.message} Copy your text if you need it.`);
    else showEditorProblem(editor, `${error.message} Your text is still here: try again.`);
    return false;
  }
  editor.was = transcript.get(editor.id) ?? editor.was;
  return open === editor;
}

async function sendText(editor, text, was) {
  saving.add(editor);
  try {
    await edits.change(editor.was, { text }, was);
  } finally {
    saving.delete(editor);
  }
}

function showEditorProblem(editor, text) {
  showProblem(editor.form.querySelector(".editor-problem"), text);
}

// ---- Conflicts with other users' edits

async function showConflict(editor, conflict) {
  let theirs;
  try {
    theirs = await api("GET", `/api/transcribe/segments/${editor.id}`);
  } catch (error) {
    showEditorProblem(editor, `${error.message} Copy your text if you need it.`);
    return;
  }
  transcript.change([theirs]);
  if (theirs.text === editor.was.text) return showEditorProblem(editor, conflict.message);
  editor.theirs = theirs;
  showEditorProblem(editor, "");
  const panel = editor.form.querySelector(".conflict");
  panel.querySelector(".conflict-theirs").replaceChildren(...diffElements(editedText(editor), theirs.text));
  panel.hidden = false;
  panel.querySelector("[data-edit=keep-mine]").focus();
}

async function keepMine(editor) {
  editor.form.querySelector(".conflict").hidden = true;
  if (await saveText(editor, editor.theirs)) close(editor);
}

// ---- Split and merge

async function splitHere(editor) {
  const before = editor.field.value.slice(0, editor.field.selectionStart);
  const index = before.replace(/\s+/g, " ").trimStart().length;
  if (isChanged(editor) && !(await saveText(editor))) return;
  const { id } = editor;
  await restructure(editor, () => edits.split(transcript.get(id), index), () => nextOfSpeaker(transcript.get(id)));
}

/** The next segment of the same speaker: another one may speak meanwhile. */
function nextOfSpeaker(segment) {
  let next = transcript.after(segment);
  while (next && next.speaker !== segment.speaker) next = transcript.after(next);
  return next;
}

async function merge(editor, by) {
  const segment = transcript.get(editor.id);
  const other = segment && (by < 0 ? transcript.before(segment) : transcript.after(segment));
  if (!other) return showEditorProblem(editor, by < 0 ? "This is the first segment." : "This is the last segment.");
  if (isChanged(editor) && !(await saveText(editor))) return;
  const current = transcript.get(editor.id);
  const [first, second] = by < 0 ? [other, current] : [current, other];
  await restructure(editor, () => edits.merge(first, second), () => transcript.get(first.id), first.text.length);
}

/** Send a split or merge, then edit the segment that `pick` returns. */
async function restructure(editor, request, pick, caret = 0) {
  try {
    await request();
  } catch (error) {
    return open === editor ? showEditorProblem(editor, error.message) : notice(error.message);
  }
  if (open !== editor) return;
  const segment = pick();
  close(editor);
  if (segment) await edit(segment, caret);
}

async function saveAndMove(by) {
  await runOnce(async (editor) => {
    const segment = transcript.get(editor.id);
    const next = segment && (by < 0 ? transcript.before(segment) : transcript.after(segment));
    if ((await save(editor)) && next) await edit(transcript.get(next.id) ?? next);
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
  if (!(await saveAndClose())) return;
  try {
    await request();
  } catch (error) {
    await edits.showRejection(error, segment);
  }
}

window.addEventListener("beforeunload", (event) => {
  if ((open && isChanged(open)) || saving.size) event.preventDefault();
});
