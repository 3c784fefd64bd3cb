// An active job: receives segments and progress through the WebSocket until the job ends.

import { api, listen, notice } from "../shared.js";
import { edits } from "./edits.js";
import { byId, facts } from "./page.js";
import { enable } from "./player.js";
import { transcript } from "./transcript.js";
import { loadPeaks } from "./waveform.js";

const POLL_MS = 2000;

let pending = []; // received segments that are not shown yet
let polledAt = -Infinity;

/** Subscribe to the job until it ends. */
export function subscribe() {
  facts.is_active = true;
  facts.is_completed = false;
  if (facts.status !== "queued") facts.status = "running";
  showState();
  listen(facts.id, {
    onStatus,
    onSegment(segment) {
      if (!pending.length) setTimeout(showPending, 50);
      pending.push(segment);
    },
    onSpeakers({ segments, removed }) {
      showPending();
      transcript.change(segments, removed);
    },
    onRestarted() {
      pending = [];
      transcript.clear();
      notice("The job was restarted.");
    },
    onEnd,
  });
}

function showPending() {
  const segments = pending;
  pending = [];
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
  pollDecoded();
}

/** Enable playback as soon as the recording is decoded, long before it is transcribed. */
async function pollDecoded() {
  if (facts.is_decoded || performance.now() - polledAt < POLL_MS) return;
  polledAt = performance.now();
  try {
    const { is_decoded } = await api("GET", `/app/jobs/${facts.id}/playable`);
    facts.is_decoded ||= is_decoded;
  } catch {
    return; // polled again on the next status
  }
  if (facts.is_decoded) enablePlayback();
}

export function enablePlayback() {
  enable();
  return loadPeaks();
}

async function onEnd(reason) {
  facts.is_active = false;
  if (reason === "not_found") {
    facts.status = "deleted";
    byId("failure").hidden = false;
    byId("failure-reason").textContent = facts.is_owner
      ? "The recording was deleted."
      : "The recording was deleted, or is no longer shared with you.";
    showState();
    return;
  }
  facts.is_completed = latest?.status === "completed";
  facts.has_failed = !facts.is_completed;
  // The API calls a cancelled job failed; its message tells the two apart.
  facts.status = facts.is_completed ? "completed" : latest?.message === "Cancelled" ? "cancelled" : "failed";
  showPending();
  try {
    const { language } = await transcript.load();
    facts.language = language ?? "";
  } catch (error) {
    notice(error.message);
  }
  showState();
  polledAt = -Infinity;
  await pollDecoded();
  notice(facts.is_completed ? "The transcript is complete." : `The job ended: ${latest?.message}`);
  edits.dispatchEvent(new Event("done"));
}

export function showState() {
  byId("state").textContent = facts.status;
  byId("state").className = `tag ${facts.status}`;
  byId("language").textContent = facts.language;
  byId("language").hidden = !facts.language;
  byId("progress-area").hidden = !facts.is_active;
  if (facts.can_change) byId("diarize").disabled = !facts.is_completed;
  byId("failure").hidden = facts.is_active || facts.is_completed;
  if (!byId("failure").hidden && latest) byId("failure-reason").textContent = latest.message;
}
