// Suspects, the passages that a person should check: step through them, and retranslate one or all of them.

import { api, clock, notice } from "../shared.js";
import { retranslate, reviewProposals } from "./retranslate.js";
import { edits } from "./edits.js";
import { goTo, select } from "./follow.js";
import { markSuspects } from "./list.js";
import { openModelDialog } from "./models.js";
import { byId, facts, sleep, showProblem } from "./page.js";
import { transcript } from "./transcript.js";

const REASONS = {
  repetition: "repeats itself",
  low_log_probability: "the model was unsure",
  high_compression: "repetitive text",
  speech_without_text: "speech without text",
  text_in_silence: "text in silence",
};
const POLL_MS = 1500;
const MAX_PROPOSALS = 1000;

let suspects = []; // in order of time
let here = null; // the suspect that was stepped to last; once it is edited it is no more among the suspects
let undecided = []; // proposals

const describe = (codes) => codes.map((code) => REASONS[code] ?? code).join("; ");

export async function loadSuspects() {
  if (!facts.is_completed || facts.is_link) return;
  try {
    ({ suspects } = await api("GET", `/api/transcribe/suspects/${facts.id}`));
    const path = `/api/retranslate/?job_id=${facts.id}&limit=${MAX_PROPOSALS}`;
    updateProposals((await api("GET", path)).retranslations);
  } catch (error) {
    byId("suspect-here").textContent = error.message;
    return;
  }
  const count = suspects.length === 1 ? "1 passage to check" : `${suspects.length} passages to check`;
  byId("suspects-count").textContent = count;
  showHere();
  byId("suspects-steps").hidden = !suspects.length;
  const marked = suspects.filter(({ segment_id }) => segment_id !== null);
  markSuspects(new Map(marked.map(({ segment_id, reasons }) => [segment_id, describe(reasons)])));
}

export function stepSuspects(by) {
  if (!suspects.length) return notice("There are no passages to check.");
  here = suspects.at(indexAfterStep(by) % suspects.length);
  goTo(here.start);
  select(transcript.get(here.segment_id), { focus: true });
  showHere();
}

/** The index of the next (1) or previous (-1) suspect in time; it may be one beyond either end. */
function indexAfterStep(by) {
  const index = indexOfHere();
  if (index >= 0) return index + by;
  const following = suspects.findIndex(({ start }) => start >= (here?.start ?? -Infinity));
  const next = following < 0 ? suspects.length : following;
  return by > 0 ? next : next - 1;
}

/** The list is loaded anew after each edit: a segment is the same by its id, speech without text by its start. */
function indexOfHere() {
  return suspects.findIndex(({ segment_id, start }) =>
    segment_id === here?.segment_id && (segment_id !== null || start === here.start),
  );
}

function showHere() {
  const index = indexOfHere();
  byId("suspect-retranslate").hidden = index < 0 || !facts.can_change;
  if (index < 0) {
    byId("suspect-here").textContent = "";
    return;
  }
  const { start, end, reasons } = suspects[index];
  const position = `${index + 1} of ${suspects.length}, ${clock(start)} – ${clock(end)}`;
  byId("suspect-here").textContent = `${position}: ${describe(reasons)}`;
}

function retranslateSuspect() {
  const { segment_id, start, end } = here;
  retranslate({ id: segment_id ?? `speech-at-${start.toFixed(2)}`, start, end });
}

// ---- Batch: all suspects

async function startBatch(event) {
  event.preventDefault();
  const model = encodeURIComponent(byId("batch-model").value);
  let batch;
  try {
    batch = await api("POST", `/api/retranslate/suspects?job_id=${facts.id}&model_name=${model}`);
  } catch (error) {
    return showProblem(byId("batch-problem"), error.message);
  }
  byId("batch-dialog").close();
  byId("suspects-retranslate").disabled = true;
  await pollBatch(batch);
  byId("suspects-retranslate").disabled = false;
}

async function pollBatch(batch) {
  byId("batch").hidden = false;
  try {
    while (batch.status === "processing") {
      byId("batch-message").textContent = `Transcribing again: ${batch.message}`;
      byId("batch-progress").value = batch.progress;
      await sleep(POLL_MS);
      batch = await api("GET", `/api/retranslate/suspects/${batch.job_id}`);
    }
    notice(batch.status === "completed" ? "All passages were transcribed again." : batch.message);
  } catch (error) {
    notice(error.message);
  }
  byId("batch").hidden = true;
  await loadSuspects();
}

/** Show the button for undecided proposals. */
function updateProposals(all) {
  undecided = all
    .filter(({ status, decision, changes }) => status === "completed" && decision === "none" && changes.length)
    .sort((a, b) => a.start_time - b.start_time);
  const button = byId("review-proposals");
  button.hidden = !undecided.length || !facts.can_change;
  button.textContent = undecided.length === 1 ? "Review 1 proposal" : `Review ${undecided.length} proposals`;
}

byId("suspect-next").addEventListener("click", () => stepSuspects(1));
byId("suspect-previous").addEventListener("click", () => stepSuspects(-1));
byId("suspect-retranslate").addEventListener("click", retranslateSuspect);
byId("suspects-retranslate").addEventListener("click", () => openModelDialog("batch"));
byId("batch-form").addEventListener("submit", startBatch);
byId("review-proposals").addEventListener("click", () => reviewProposals(undecided));
byId("mark-unsure").addEventListener("change", ({ target }) => {
  byId("segments").classList.toggle("unmarked", !target.checked);
});
edits.addEventListener("proposed", loadSuspects);
edits.addEventListener("done", loadSuspects);
