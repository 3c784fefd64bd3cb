// Uploads: two in parallel, each with its progress. A failed upload stays in the list and can be retried.

import { confirmAction } from "./confirm.js";
import { chosenOptions, describeOptions } from "./choices.js";
import { refreshJobs } from "./jobs.js";
import { notice } from "./shared.js";

const MAX_PARALLEL = 2;
const RATE_WINDOW_MS = 10_000, STALLED_MS = 10_000;
const MB = 1024 * 1024;
const byId = (id) => document.getElementById(id);
const input = byId("files");
const maxBytes = Number(input.dataset.maxBytes);
const uploads = new Set();

/** Queue files for upload with the options chosen now. Recordings exist only here: stopping their upload asks first. */
export function add(files, { isRecording = false } = {}) {
  const options = files.length ? chosenOptions() : null;
  if (!options) return false;
  for (const file of files) {
    const upload = { file, options, isRecording, state: "waiting", ...createRow(file) };
    uploads.add(upload);
    if (file.size > maxBytes) reject(upload);
    else show(upload);
  }
  sendNext();
  return true;
}

function createRow(file) {
  const row = byId("upload-template").content.firstElementChild.cloneNode(true);
  const part = (name) => row.querySelector(name);
  const parts = {
    row, progress: part("progress"), optionsText: part(".options"), stateText: part(".state"), problem: part(".problem"),
    retry: part(".retry"), save: part(".save"), stop: part(".stop"),
  };
  part(".name").textContent = file.name;
  parts.progress.setAttribute("aria-label", `Upload of ${file.name}`);
  byId("uploads").append(row);
  return parts;
}

function sendNext() {
  for (const upload of uploads) {
    if ([...uploads].filter(isSending).length >= MAX_PARALLEL) return;
    if (upload.state === "waiting") send(upload);
  }
}

const isSending = ({ state }) => state === "sending" || state === "sent";

// ---- One upload

function send(upload) {
  const body = new FormData();
  for (const [name, value] of Object.entries(upload.options)) body.append(name, value);
  body.append("file", upload.file, upload.file.name);

  const request = new XMLHttpRequest();
  request.responseType = "json";
  request.upload.addEventListener("progress", ({ loaded, total }) => recordProgress(upload, loaded, total));
  request.upload.addEventListener("load", () => {
    upload.state = "sent";
    show(upload);
  });
  request.addEventListener("load", () => {
    if (request.status === 200) finish(upload, request.response.job_id);
    else fail(upload, request.response?.detail ?? `The service answered ${request.status} ${request.statusText}.`);
  });
  request.addEventListener("error", async () => fail(upload, await interruptionReason(upload)));
  request.open("POST", "/api/transcribe/");
  const now = performance.now();
  Object.assign(upload, { request, state: "sending", samples: [], total: upload.file.size, loaded: 0, progressAt: now });
  upload.timer = setInterval(() => show(upload), 1000);
  show(upload);
  request.send(body);
}

function recordProgress(upload, loaded, total) {
  const now = performance.now();
  Object.assign(upload, { loaded, total, progressAt: now });
  upload.samples.push({ now, loaded });
  while (now - upload.samples[0].now > RATE_WINDOW_MS) upload.samples.shift();
}

async function interruptionReason({ file, state }) {
  if (!navigator.onLine) return "You are offline. Try again when you are connected.";
  try {
    await file.slice(0, 1).arrayBuffer();
  } catch {
    return "The file cannot be read any more: it was changed, moved or locked. Choose it again.";
  }
  if (state === "sent") return "The connection was lost after the file was sent. Check whether it is in the list of transcripts before you try again.";
  return "The connection was lost.";
}

function finish(upload, jobId) {
  remove(upload);
  const isListed = !location.search; // with a search or on a later page it may not be visible
  const action = isListed ? null : { label: "Show", run: () => location.assign(`/app/jobs/${jobId}/`) };
  notice(`${upload.file.name} is uploaded.`, { action });
  refreshJobs();
  sendNext();
}

function fail(upload, reason) {
  clearInterval(upload.timer);
  upload.state = "failed";
  show(upload);
  upload.problem.textContent = reason.replace(/^file: /, ""); // shown beside the file already
  upload.problem.hidden = false;
  sendNext();
}

function reject(upload) {
  upload.isRejected = true;
  fail(upload, `The file is too large: ${formatMb(upload.file.size)} MB; at most ${formatMb(maxBytes)} MB are allowed.`);
}

function retry(upload) {
  const options = chosenOptions();
  if (!options) return;
  Object.assign(upload, { options, state: "waiting" });
  upload.problem.hidden = true;
  show(upload);
  upload.stop.focus();
  sendNext();
}

async function stop(upload) {
  if (!(await confirmStop(upload)) || !uploads.has(upload)) return;
  upload.request?.abort();
  remove(upload);
  sendNext();
}

async function confirmStop({ file, state, isRecording }) {
  if (isRecording) {
    return confirmAction({ title: "Discard the recording?", text: `${file.name} is not uploaded and exists nowhere else.`, yes: "Discard" });
  }
  if (state !== "sending") return true;
  return confirmAction({ title: "Stop this upload?", text: `What was sent of ${file.name} is lost.`, yes: "Stop", no: "Continue" });
}

function remove(upload) {
  clearInterval(upload.timer);
  uploads.delete(upload);
  const { row } = upload;
  const hadFocus = row.contains(document.activeElement);
  const next = (row.nextElementSibling ?? row.previousElementSibling)?.querySelector(".stop");
  row.remove();
  if (hadFocus) (next ?? input).focus();
  URL.revokeObjectURL(upload.save.href);
  showHint();
}

// ---- Display

function show(upload) {
  const { state, isRecording, isRejected } = upload;
  upload.progress.hidden = !isSending(upload);
  upload.optionsText.textContent = describeOptions(upload.options);
  upload.stateText.textContent = describeState(upload);
  upload.retry.hidden = state !== "failed" || Boolean(isRejected);
  upload.save.hidden = state !== "failed" || !isRecording;
  if (!upload.save.hidden && !upload.save.href) {
    Object.assign(upload.save, { href: URL.createObjectURL(upload.file), download: upload.file.name });
  }
  upload.stop.textContent = state === "failed" ? "Remove" : "Cancel";
  const percent = isSending(upload) && upload.total ? (100 * upload.loaded) / upload.total : 0;
  if (state === "sent") upload.progress.removeAttribute("value"); // indeterminate
  else upload.progress.value = percent;
  showHint();
}

function showHint() {
  byId("uploads-section").hidden = !uploads.size;
  byId("uploads-hint").hidden = ![...uploads].some(({ state }) => state !== "failed");
}

function describeState(upload) {
  const { state, loaded, total, progressAt } = upload;
  if (state === "waiting") return `Waiting, ${formatMb(upload.file.size)} MB. ${MAX_PARALLEL} are sent at a time.`;
  if (state === "sent") return "Sent. The service is reading the file.";
  if (state !== "sending") return "";
  const sent = `${formatMb(loaded)} of ${formatMb(total)} MB, ${total ? Math.floor((100 * loaded) / total) : 0} %`;
  const stalled = performance.now() - progressAt;
  if (stalled > STALLED_MS) return `${sent}. Nothing was sent for ${Math.floor(stalled / 1000)} s.`;
  const left = secondsLeft(upload);
  return left === null ? sent : `${sent}, ${formatDuration(left)} left`;
}

/** Estimated from the rate of the last ten seconds; null while there is none. */
function secondsLeft({ samples, loaded, total }) {
  const first = samples[0], last = samples.at(-1);
  if (!first || last.now - first.now < 1000 || last.loaded === first.loaded) return null;
  return ((total - loaded) * (last.now - first.now)) / (last.loaded - first.loaded) / 1000;
}

function formatDuration(seconds) {
  if (seconds < 60) return `${Math.max(1, Math.round(seconds))} s`;
  const minutes = Math.ceil(seconds / 60);
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

const formatMb = (bytes) => (bytes / MB).toLocaleString("en", { minimumFractionDigits: 1, maximumFractionDigits: 1 });

// ---- Events

byId("uploads").addEventListener("click", ({ target }) => {
  const upload = [...uploads].find(({ row }) => row.contains(target));
  if (target === upload?.retry) retry(upload);
  else if (target === upload?.stop) stop(upload);
});

input.addEventListener("change", () => {
  add([...input.files]);
  input.value = ""; // so that choosing the same file again fires a change event
});

const hasFiles = (event) => event.dataTransfer?.types.includes("Files");

document.addEventListener("dragover", (event) => {
  if (!hasFiles(event)) return;
  event.preventDefault(); // on the whole page: otherwise the browser would open the file
  byId("drop").classList.add("over");
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) byId("drop").classList.remove("over");
});
document.addEventListener("drop", (event) => {
  if (!hasFiles(event)) return;
  event.preventDefault();
  byId("drop").classList.remove("over");
  add(droppedFiles(event.dataTransfer));
});

function droppedFiles({ items }) {
  const files = [];
  for (const item of items) {
    const entry = item.webkitGetAsEntry?.();
    if (entry?.isDirectory) notice(`${entry.name} is a folder. Drop its files instead.`);
    else if (item.kind === "file") files.push(item.getAsFile());
  }
  return files;
}

window.addEventListener("beforeunload", (event) => {
  const wouldBeLost = ({ state, isRecording }) => state !== "failed" || isRecording;
  if ([...uploads].some(wouldBeLost)) event.preventDefault();
});
