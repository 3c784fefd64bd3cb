// "Hear it again": a part transcribed once more with another model, shown as a diff, accepted or rejected.

import { api, clock, notice } from "../shared.js";
import { diffElements } from "./diff.js";
import { catchUp, edits } from "./edits.js";
import { offerSpeechModels } from "./models.js";
import { byId, element, facts, tell } from "./page.js";
import { length, playPart } from "./player.js";

const LEAST_SECONDS = 0.4;

const dialog = byId("again-dialog");
/** {id, start, end}: a segment, or a stretch without one (its id a name of its own). */
let part = null;
let proposal = null;
let queue = [];
/** Whoever closes the dialog while it works is told of the result. */
let round = 0;

/** Ask which model is to hear a part, then show what it heard. */
export async function hearAgain(asked) {
  begin(asked);
  queue = [];
  show("ask");
  dialog.showModal();
  try {
    await offerSpeechModels(byId("again-model"));
  } catch (error) {
    tell(byId("again-problem"), error.message);
  }
}

/** Show proposals that wait for a decision, one after the other. */
export function reviewProposals(proposals) {
  queue = [...proposals];
  showNext();
}

function begin(asked) {
  round += 1;
  part = asked;
  proposal = null;
  byId("again-place").textContent = `${clock(part.start)} – ${clock(part.end)}`;
  tell(byId("again-problem"));
}

function show(what) {
  byId("again-ask").hidden = what !== "ask";
  byId("again-work").hidden = what !== "work";
  byId("again-proposal").hidden = what !== "proposal";
  for (const id of ["again-accept", "again-reject"]) byId(id).hidden = what !== "proposal";
  byId("again-close").textContent = queue.length > 0 || what === "proposal" ? "Decide later" : "Close";
}

async function start() {
  const [own, model_name] = [round, byId("again-model").value];
  tell(byId("again-problem"));
  byId("again-message").textContent = `${model_name} listens. This may take a minute or more.`;
  show("work");
  const wish = { segment_id: String(part.id), ...heardTimes(part), model_name };
  try {
    const { id } = await api("POST", `/api/retranslate/segment-from-full?job_id=${facts.id}`, wish);
    const found = await api("GET", `/api/retranslate/${id}`);
    if (own === round && dialog.open) showProposal(found);
    else tellOfResult(found);
    edits.dispatchEvent(new Event("proposed"));
  } catch (error) {
    if (own !== round || !dialog.open) return notice(error.message);
    show("ask");
    tell(byId("again-problem"), error.message);
  }
}

/** A word may be said to have no length; nothing can be heard in that. */
function heardTimes({ start, end }) {
  const missing = Math.max(0, LEAST_SECONDS - (end - start)) / 2;
  return { start_time: Math.max(0, start - missing), end_time: Math.min(end + missing, length()) };
}

function tellOfResult(found) {
  const action = { label: "Look", run: () => reviewProposals([found]) };
  notice(`${clock(found.start_time)} was heard again.`, { action });
}

function showNext() {
  const next = queue.shift();
  if (!next) return dialog.close();
  begin({ id: next.segment_id, start: next.start_time, end: next.end_time });
  if (!dialog.open) dialog.showModal();
  showProposal(next);
}

function showProposal(found) {
  proposal = found;
  const changes = found.changes.filter(({ old_text, new_text }) => old_text !== new_text);
  const lines = changes.map(({ old_text, new_text }) => element("p", {}, ...diffElements(old_text ?? "", new_text ?? "")));
  if (!lines.length) lines.push(element("p", { text: `The same was heard: ${found.text}` }));
  byId("again-diff").replaceChildren(...lines);
  const sure = found.confidence === null ? "" : `, ${Math.round(100 * found.confidence)} % sure on average`;
  const more = queue.length ? ` ${queue.length} more after this one.` : "";
  byId("again-facts").textContent = `Heard by ${found.model_used}${sure}.${more}`;
  show("proposal");
  byId("again-accept").hidden = !changes.length;
  (changes.length ? byId("again-accept") : byId("again-reject")).focus();
}

async function decide(decision) {
  tell(byId("again-problem"));
  const { id } = proposal;
  try {
    await api("POST", `/api/retranslate/${id}/${decision}`);
  } catch (error) {
    return tell(byId("again-problem"), error.message);
  }
  if (decision === "accept") {
    await catchUp();
    notice("What was heard again is in the transcript.", { action: { label: "Undo", run: () => undoAccepted(id) } });
  }
  edits.dispatchEvent(new Event("done"));
  showNext();
}

export async function undoAccepted(id) {
  try {
    await api("POST", `/api/retranslate/${id}/undo`);
  } catch (error) {
    return notice(error.message);
  }
  await catchUp();
  edits.dispatchEvent(new Event("done"));
}

byId("again-start").addEventListener("click", start);
byId("again-accept").addEventListener("click", () => decide("accept"));
byId("again-reject").addEventListener("click", () => decide("reject"));
byId("again-hear").addEventListener("click", () => playPart(part));
