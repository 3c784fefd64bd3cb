// Edits of the transcript: each is told to the service, then shown, and can be undone.

import { ApiError, api, notice } from "../shared.js";
import { byId, facts } from "./page.js";
import { renamed } from "./palette.js";
import { transcript } from "./transcript.js";

/** "done" after each edit. */
export const edits = new EventTarget();

const DONE = {
  text: "Text changed.",
  speaker: "Speaker changed.",
  split: "Segment split.",
  merge: "Segments joined.",
  remove: "Segment removed.",
  rename: "Speaker renamed everywhere.",
};
const mine = []; // ids of what was edited here, the latest last
let told = null; // the notice of the latest: of many quick edits one is enough

const path = (segment, rest = "") => `/api/transcribe/segments/${segment.id}${rest}`;

/** Give it another text, speaker, or both. `was` is what the person saw. */
export function change(segment, values, was = segment) {
  const seen = Object.fromEntries(Object.keys(values).map((name) => [name, was[name]]));
  return run(() => api("PATCH", path(segment), { ...values, was: seen }));
}

/** Cut it in two at an index of the text as JavaScript counts; the service counts code points. */
export function split(segment, index) {
  const position = [...segment.text.slice(0, index)].length;
  return run(() => api("POST", path(segment, "/split"), { position, was: { text: segment.text } }));
}

export function merge(segment, following) {
  const next = { id: following.id, text: following.text };
  return run(() => api("POST", path(segment, "/merge"), { next, was: { text: segment.text } }));
}

export function remove(segment) {
  return run(() => api("DELETE", `${path(segment)}?was=${encodeURIComponent(segment.text)}`));
}

export function rename(from, to) {
  renamed(from, to);
  return run(() => api("POST", `/api/transcribe/speakers/${facts.id}`, { from, to }));
}

export async function undo(id) {
  const answer = await api("POST", `/api/transcribe/edits/${facts.id}/${id}/undo`);
  take(answer);
  const index = mine.indexOf(id);
  if (index >= 0) mine.splice(index, 1);
  edits.dispatchEvent(new Event("done"));
  return answer;
}

/** Undo what was edited here last, and say what happened. */
export async function undoLatest() {
  if (!mine.length) return notice("Nothing of yours is left to undo on this page. The history has everything.");
  await undoAndTell(mine.at(-1));
}

async function undoAndTell(id) {
  try {
    const { edit } = await undo(id);
    notice(`Undone: ${edit.summary}`);
  } catch (error) {
    notice(error.message);
  }
}

async function run(ask) {
  const answer = await ask();
  take(answer);
  const { edit } = answer;
  if (edit) {
    mine.push(edit.id);
    told?.remove();
    notice(DONE[edit.kind], { action: { label: "Undo", run: () => undoAndTell(edit.id) } });
    told = byId("notices").lastElementChild;
    edits.dispatchEvent(new Event("done"));
  }
  return answer;
}

/** Show what an answer says is different; where others changed something in between, all is fetched. */
function take({ segments, removed, revision }) {
  const isNext = transcript.revision === null || revision <= transcript.revision + 1;
  transcript.change(segments, removed);
  if (isNext) transcript.revision = revision;
  else catchUp();
}

export function catchUp() {
  return transcript.load().catch((error) => notice(`The transcript could not be fetched anew: ${error.message}`));
}

/** Say why an edit was refused, and show the segment as it is by now. */
export async function tellRefusal(error, segment) {
  notice(error instanceof ApiError ? error.message : String(error));
  if (error.status === 409 || error.status === 404) await catchUp();
  return transcript.get(segment?.id);
}
