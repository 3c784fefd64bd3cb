// Edits of the transcript: each is sent to the API, then shown, and can be undone.

import { ApiError, api, notice } from "../shared.js";
import { byId, facts } from "./page.js";
import { keepColour } from "./palette.js";
import { transcript } from "./transcript.js";

/** Dispatches "done" after each edit, and "proposed" after each retranslation. */
export const edits = new EventTarget();

const DONE_MESSAGES = {
  text: "Text changed.",
  speaker: "Speaker changed.",
  split: "Segment split.",
  merge: "Segments merged.",
  remove: "Segment removed.",
  rename: "Speaker renamed everywhere.",
};
const ownEdits = []; // ids of the edits made on this page, latest last
let latestNotice = null; // replaced by the next edit's notice

const path = (segment, rest = "") => `/api/transcribe/segments/${segment.id}${rest}`;

/** Change a segment's text, speaker, or both. `was` is the segment that the user saw. */
export function change(segment, values, was = segment) {
  const seen = Object.fromEntries(Object.keys(values).map((name) => [name, was[name]]));
  return send(() => api("PATCH", path(segment), { ...values, was: seen }));
}

/** Split a segment at an index of its text, in UTF-16 units; the API counts code points. */
export function split(segment, index) {
  const position = [...segment.text.slice(0, index)].length;
  return send(() => api("POST", path(segment, "/split"), { position, was: { text: segment.text } }));
}

export function merge(segment, following) {
  const next = { id: following.id, text: following.text };
  return send(() => api("POST", path(segment, "/merge"), { next, was: { text: segment.text } }));
}

export function remove(segment) {
  return send(() => api("DELETE", `${path(segment)}?was=${encodeURIComponent(segment.text)}`));
}

export function rename(from, to) {
  keepColour(from, to);
  return send(() => api("POST", `/api/transcribe/speakers/${facts.id}`, { from, to }));
}

export async function undo(id) {
  const answer = await api("POST", `/api/transcribe/edits/${facts.id}/${id}/undo`);
  apply(answer);
  const index = ownEdits.indexOf(id);
  if (index >= 0) ownEdits.splice(index, 1);
  edits.dispatchEvent(new Event("done"));
  return answer;
}

/** Undo the latest edit made on this page, and show a notice. */
export async function undoLatest() {
  if (!ownEdits.length) return notice("You have no edits left to undo on this page. All edits are in the history.");
  await undoWithNotice(ownEdits.at(-1));
}

async function undoWithNotice(id) {
  try {
    const { edit } = await undo(id);
    notice(`Undone: ${edit.summary}`);
  } catch (error) {
    notice(error.message);
  }
}

async function send(request) {
  const answer = await request();
  apply(answer);
  const { edit } = answer;
  if (edit) {
    ownEdits.push(edit.id);
    latestNotice?.remove();
    notice(DONE_MESSAGES[edit.kind], { action: { label: "Undo", run: () => undoWithNotice(edit.id) } });
    latestNotice = byId("notices").lastElementChild;
    edits.dispatchEvent(new Event("done"));
  }
  return answer;
}

/** Apply an answer's changes; if others changed the transcript in between, reload it. */
function apply({ segments, removed, revision }) {
  const isNext = transcript.revision === null || revision <= transcript.revision + 1;
  transcript.change(segments, removed);
  if (isNext) transcript.revision = revision;
  else reload();
}

export function reload() {
  return transcript.load().catch((error) => notice(`The transcript could not be reloaded: ${error.message}`));
}

/** Show why an edit was rejected, and reload if the segment has changed. Returns the current segment. */
export async function showRejection(error, segment) {
  notice(error instanceof ApiError ? error.message : String(error));
  if (error.status === 409 || error.status === 404) await reload();
  return transcript.get(segment?.id);
}
