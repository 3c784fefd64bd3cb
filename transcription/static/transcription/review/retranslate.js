// Retranslation: a range is transcribed again with another model; the result is shown as a diff, to accept or reject.

import { api, clock, notice } from "../shared.js";
import { diffElements } from "./diff.js";
import { edits, reload } from "./edits.js";
import { openModelDialog } from "./models.js";
import { byId, element, facts, showProblem } from "./page.js";
import { length, playPart } from "./player.js";

const MIN_SECONDS = 0.4;

const dialog = byId("retranslate-dialog");
/** {id, start, end}: a segment, or a range without one (with an id made up here). */
let range = null;
let proposal = null;
let queue = []; // further proposals to decide
let round = 0; // counts the dialog's uses: a result of an earlier one is shown as a notice

/** Open the dialog for a range: choose a model, then see its proposal. */
export async function retranslate(newRange) {
  openFor(newRange);
  queue = [];
  showStep("choice");
  await openModelDialog("retranslate");
}

/** Show undecided proposals, one after the other. */
export function reviewProposals(proposals) {
  queue = [...proposals];
  showNext();
}

function openFor(newRange) {
  round += 1;
  range = newRange;
  proposal = null;
  byId("retranslate-place").textContent = `${clock(range.start)} – ${clock(range.end)}`;
  showProblem(byId("retranslate-problem"));
}

function showStep(step) {
  byId("retranslate-choice").hidden = step !== "choice";
  byId("retranslate-work").hidden = step !== "work";
  byId("retranslate-proposal").hidden = step !== "proposal";
  for (const id of ["retranslate-accept", "retranslate-reject"]) byId(id).hidden = step !== "proposal";
  byId("retranslate-close").textContent = queue.length > 0 || step === "proposal" ? "Decide later" : "Close";
}

async function start() {
  const [startedIn, model_name] = [round, byId("retranslate-model").value];
  showProblem(byId("retranslate-problem"));
  byId("retranslate-message").textContent = `Transcribing with ${model_name}. This may take a minute or more.`;
  showStep("work");
  const body = { segment_id: String(range.id), ...requestTimes(range), model_name };
  try {
    const { id } = await api("POST", `/api/retranslate/segment-from-full?job_id=${facts.id}`, body);
    const result = await api("GET", `/api/retranslate/${id}`);
    if (startedIn === round && dialog.open) showProposal(result);
    else showResultNotice(result);
    edits.dispatchEvent(new Event("proposed"));
  } catch (error) {
    if (startedIn !== round || !dialog.open) return notice(error.message);
    showStep("choice");
    showProblem(byId("retranslate-problem"), error.message);
  }
}

/** The times to send: a range may have no length, so it is padded to MIN_SECONDS. */
function requestTimes({ start, end }) {
  const missing = Math.max(0, MIN_SECONDS - (end - start)) / 2;
  return { start_time: Math.max(0, start - missing), end_time: Math.min(end + missing, length()) };
}

function showResultNotice(result) {
  const action = { label: "Show", run: () => reviewProposals([result]) };
  notice(`The part at ${clock(result.start_time)} was transcribed again.`, { action });
}

function showNext() {
  const next = queue.shift();
  if (!next) return dialog.close();
  openFor({ id: next.segment_id, start: next.start_time, end: next.end_time });
  if (!dialog.open) dialog.showModal();
  showProposal(next);
}

function showProposal(result) {
  proposal = result;
  const changes = result.changes.filter(({ old_text, new_text }) => old_text !== new_text);
  const lines = changes.map(({ old_text, new_text }) => element("p", {}, ...diffElements(old_text ?? "", new_text ?? "")));
  if (!lines.length) lines.push(element("p", { text: `The text is the same: ${result.text}` }));
  byId("retranslate-diff").replaceChildren(...lines);
  const confidence = result.confidence === null ? "" : `, average confidence ${Math.round(100 * result.confidence)} %`;
  const more = queue.length ? ` ${queue.length} more after this one.` : "";
  byId("retranslate-facts").textContent = `Transcribed by ${result.model_used}${confidence}.${more}`;
  showStep("proposal");
  byId("retranslate-accept").hidden = !changes.length;
  (changes.length ? byId("retranslate-accept") : byId("retranslate-reject")).focus();
}

async function decide(decision) {
  showProblem(byId("retranslate-problem"));
  const { id } = proposal;
  try {
    await api("POST", `/api/retranslate/${id}/${decision}`);
  } catch (error) {
    return showProblem(byId("retranslate-problem"), error.message);
  }
  if (decision === "accept") {
    await reload();
    notice("The proposal was accepted.", { action: { label: "Undo", run: () => undoAccepted(id) } });
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
  await reload();
  edits.dispatchEvent(new Event("done"));
}

byId("retranslate-start").addEventListener("click", start);
byId("retranslate-accept").addEventListener("click", () => decide("accept"));
byId("retranslate-reject").addEventListener("click", () => decide("reject"));
byId("retranslate-play").addEventListener("click", () => playPart(range));
