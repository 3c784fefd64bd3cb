// A job that is under way: segments as they come, how far it is, and its end.

import { api, listen, notice } from "../shared.js";
import { edits } from "./edits.js";
import { byId, facts } from "./page.js";
import { makeReady } from "./player.js";
import { transcript } from "./transcript.js";
import { loadPeaks } from "./waveform.js";

const LOOK_MS = 2000;

let coming = [];
let lookedAt = -Infinity;

/** Follow the job to its end. */
export function follow() {
  facts.is_active = true;
  facts.is_completed = false;
  if (facts.status !== "queued") facts.status = "running";
  showState();
  listen(facts.id, {
    onStatus,
    onSegment(segment) {
      if (!coming.length) setTimeout(putComing, 50);
      coming.push(segment);
    },
    onSpeakers({ segments, removed }) {
      putComing();
      transcript.change(segments, removed);
    },
    onRestarted() {
      coming = [];
      transcript.clear();
      notice("The job was begun again.");
    },
    onEnd,
  });
}

function putComing() {
  const segments = coming;
  coming = [];
  transcript.change(segments);
}

let latest = null;
function onStatus(message) {
  latest = message;
  byId("message").textContent = message.message;
  byId("progress").value = message.progress;
  if (facts.status === "queued" && message.chunk_info.total_chunks) {
    facts.status = "running";
    showState();
  }
  lookWhetherRead();
}

/** The recording can be heard once it is decoded, long before it is transcribed. */
async function lookWhetherRead() {
  if (facts.is_read || performance.now() - lookedAt < LOOK_MS) return;
  lookedAt = performance.now();
  try {
    const { stages } = await api("GET", `/api/transcribe/debug/${facts.id}`);
    facts.is_read ||= stages.some(({ kind, state }) => kind === "prepare" && state === "done");
  } catch {
    return; // the next status asks again
  }
  if (facts.is_read) letHear();
}

export function letHear() {
  makeReady();
  return loadPeaks();
}

async function onEnd(reason) {
  facts.is_active = false;
  if (reason === "not_found") {
    facts.status = "deleted";
    byId("failure").hidden = false;
    byId("failure-reason").textContent = "The recording was deleted.";
    showState();
    return;
  }
  facts.is_completed = latest?.status === "completed";
  facts.has_failed = !facts.is_completed;
  // To the API a cancelled job is a failed one, which says so.
  facts.status = facts.is_completed ? "completed" : latest?.message === "Cancelled" ? "cancelled" : "failed";
  putComing();
  try {
    const { language } = await transcript.load();
    facts.language = language ?? "";
  } catch (error) {
    notice(error.message);
  }
  showState();
  lookedAt = -Infinity;
  await lookWhetherRead();
  notice(facts.is_completed ? "The transcript is complete." : `The job ended: ${latest?.message}`);
  edits.dispatchEvent(new Event("done"));
}

export function showState() {
  byId("state").textContent = facts.status;
  byId("state").className = `tag ${facts.status}`;
  byId("language").textContent = facts.language;
  byId("language").hidden = !facts.language;
  byId("progress-area").hidden = !facts.is_active;
  byId("diarize").disabled = !facts.is_completed;
  byId("failure").hidden = facts.is_active || facts.is_completed;
  if (!byId("failure").hidden && latest) byId("failure-reason").textContent = latest.message;
}
