// What a person should look at: stepped through, and heard again one by one or all at once.

import { api, clock, notice } from "../shared.js";
import { hearAgain, reviewProposals } from "./retranslate.js";
import { edits } from "./edits.js";
import { goTo, select } from "./follow.js";
import { markSuspects } from "./list.js";
import { offerSpeechModels } from "./models.js";
import { byId, facts, pause, tell } from "./page.js";
import { transcript } from "./transcript.js";

const REASONS = {
  repetition: "says the same again and again",
  low_log_probability: "the model was unsure",
  high_compression: "says little for its length",
  speech_without_text: "speech without text",
  text_in_silence: "text where nobody seems to speak",
};
const LOOK_MS = 1500;
const MOST_PROPOSALS = 1000;

let suspects = [];
let index = -1;
let waiting = [];

const inWords = (codes) => codes.map((code) => REASONS[code] ?? code).join("; ");

export async function loadSuspects() {
  if (!facts.is_completed) return;
  try {
    ({ suspects } = await api("GET", `/api/transcribe/suspects/${facts.id}`));
    const path = `/api/retranslate/?job_id=${facts.id}&limit=${MOST_PROPOSALS}`;
    showProposals((await api("GET", path)).retranslations);
  } catch (error) {
    byId("suspect-here").textContent = error.message;
    return;
  }
  index = -1;
  const places = suspects.length === 1 ? "1 place to look at" : `${suspects.length} places to look at`;
  byId("suspects-count").textContent = places;
  byId("suspect-here").textContent = "";
  byId("suspect-again").hidden = true;
  byId("suspects-steps").hidden = !suspects.length;
  const marked = suspects.filter(({ segment_id }) => segment_id !== null);
  markSuspects(new Map(marked.map(({ segment_id, reasons }) => [segment_id, inWords(reasons)])));
}

export function stepSuspects(by) {
  if (!suspects.length) return notice("There is no place that needs to be looked at.");
  index = index < 0 && by < 0 ? suspects.length - 1 : (index + by + suspects.length) % suspects.length;
  const { start, end, reasons, segment_id } = suspects[index];
  goTo(start);
  select(transcript.get(segment_id), { focus: true });
  const place = `${index + 1} of ${suspects.length}, ${clock(start)} – ${clock(end)}`;
  byId("suspect-here").textContent = `${place}: ${inWords(reasons)}`;
  byId("suspect-again").hidden = false;
}

function hearThisAgain() {
  const { segment_id, start, end } = suspects[index];
  hearAgain({ id: segment_id ?? `speech-at-${start.toFixed(2)}`, start, end });
}

// ---- All of them

const allDialog = byId("all-again-dialog");

async function askForAll() {
  tell(byId("all-again-problem"));
  allDialog.showModal();
  try {
    await offerSpeechModels(byId("all-again-model"));
  } catch (error) {
    tell(byId("all-again-problem"), error.message);
  }
}

async function startAll(event) {
  event.preventDefault();
  const model = encodeURIComponent(byId("all-again-model").value);
  let batch;
  try {
    batch = await api("POST", `/api/retranslate/suspects?job_id=${facts.id}&model_name=${model}`);
  } catch (error) {
    return tell(byId("all-again-problem"), error.message);
  }
  allDialog.close();
  byId("suspects-again").disabled = true;
  await watch(batch);
  byId("suspects-again").disabled = false;
}

async function watch(batch) {
  byId("batch").hidden = false;
  try {
    while (batch.status === "processing") {
      byId("batch-message").textContent = `Hearing again: ${batch.message}`;
      byId("batch-progress").value = batch.progress;
      await pause(LOOK_MS);
      batch = await api("GET", `/api/retranslate/suspects/${batch.job_id}`);
    }
    notice(batch.status === "completed" ? "All places were heard again." : batch.message);
  } catch (error) {
    notice(error.message);
  }
  byId("batch").hidden = true;
  await loadSuspects();
}

/** Those that wait for a decision. */
function showProposals(all) {
  waiting = all
    .filter(({ status, decision, changes }) => status === "completed" && decision === "none" && changes.length)
    .sort((a, b) => a.start_time - b.start_time);
  const button = byId("review-proposals");
  button.hidden = !waiting.length;
  const parts = waiting.length === 1 ? "1 part was" : `${waiting.length} parts were`;
  button.textContent = `${parts} heard again: decide`;
}

byId("suspect-next").addEventListener("click", () => stepSuspects(1));
byId("suspect-previous").addEventListener("click", () => stepSuspects(-1));
byId("suspect-again").addEventListener("click", hearThisAgain);
byId("suspects-again").addEventListener("click", askForAll);
byId("all-again-form").addEventListener("submit", startAll);
byId("review-proposals").addEventListener("click", () => reviewProposals(waiting));
byId("mark-unsure").addEventListener("change", ({ target }) => {
  byId("segments").classList.toggle("unmarked", !target.checked);
});
edits.addEventListener("proposed", loadSuspects);
edits.addEventListener("done", loadSuspects);
