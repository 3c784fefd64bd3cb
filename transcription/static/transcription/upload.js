// Uploads: two at a time, each with its progress. What failed keeps its place and its file.

import { ask } from "./confirm.js";
import { chosen, inWords } from "./choices.js";
import { refreshJobs } from "./jobs.js";
import { notice } from "./shared.js";

const AT_ONCE = 2;
const RATE_MS = 10_000, STALLED_MS = 10_000;
const MB = 1024 * 1024;
const byId = (id) => document.getElementById(id);
const input = byId("files");
const maxBytes = Number(input.dataset.maxBytes);
const uploads = new Set();

/** Send files with what is chosen now. A recording exists here alone: it is not let go before it is sent. */
export function add(files, { isRecording = false } = {}) {
  const wish = files.length ? chosen() : null;
  if (!wish) return false;
  for (const file of files) {
    const upload = { file, wish, isRecording, state: "waiting", ...placed(file) };
    uploads.add(upload);
    if (file.size > maxBytes) refuse(upload);
    else show(upload);
  }
  sendNext();
  return true;
}

function placed(file) {
  const row = byId("upload-template").content.firstElementChild.cloneNode(true);
  const part = (name) => row.querySelector(name);
  const parts = {
    row, progress: part("progress"), wishText: part(".wish"), standing: part(".standing"), problem: part(".problem"),
    again: part(".again"), save: part(".save"), stop: part(".stop"),
  };
  part(".name").textContent = file.name;
  parts.progress.setAttribute("aria-label", `Upload of ${file.name}`);
  byId("uploads").append(row);
  return parts;
}

function sendNext() {
  for (const upload of uploads) {
    if ([...uploads].filter(isSending).length >= AT_ONCE) return;
    if (upload.state === "waiting") send(upload);
  }
}

const isSending = ({ state }) => state === "sending" || state === "read";

// ---- One upload

function send(upload) {
  const body = new FormData();
  for (const [name, value] of Object.entries(upload.wish)) body.append(name, value);
  body.append("file", upload.file, upload.file.name);

  const request = new XMLHttpRequest();
  request.responseType = "json";
  request.upload.addEventListener("progress", ({ loaded, total }) => note(upload, loaded, total));
  request.upload.addEventListener("load", () => {
    upload.state = "read";
    show(upload);
  });
  request.addEventListener("load", () => {
    if (request.status === 200) finish(upload, request.response.job_id);
    else fail(upload, request.response?.detail ?? `The service answered ${request.status} ${request.statusText}.`);
  });
  request.addEventListener("error", async () => fail(upload, await whyBrokenOff(upload)));
  request.open("POST", "/api/transcribe/");
  const now = performance.now();
  Object.assign(upload, { request, state: "sending", samples: [], total: upload.file.size, loaded: 0, heardAt: now });
  upload.timer = setInterval(() => show(upload), 1000);
  show(upload);
  request.send(body);
}

function note(upload, loaded, total) {
  const now = performance.now();
  Object.assign(upload, { loaded, total, heardAt: now });
  upload.samples.push({ now, loaded });
  while (now - upload.samples[0].now > RATE_MS) upload.samples.shift();
}

async function whyBrokenOff({ file, state }) {
  if (!navigator.onLine) return "You are offline. Try again when there is a network.";
  try {
    await file.slice(0, 1).arrayBuffer();
  } catch {
    return "The file was changed, moved or locked, and cannot be read any more. Choose it again.";
  }
  if (state === "read") return "The connection broke off after all was sent. Look whether it is among the transcripts before you try again.";
  return "The connection broke off.";
}

function finish(upload, jobId) {
  remove(upload);
  const isListed = !location.search; // else a search or a later page may be shown
  const action = isListed ? null : { label: "Show", run: () => location.assign(`/app/jobs/${jobId}/`) };
  notice(`${upload.file.name} is uploaded.`, { action });
  refreshJobs();
  sendNext();
}

function fail(upload, reason) {
  clearInterval(upload.timer);
  upload.state = "failed";
  show(upload);
  upload.problem.textContent = reason.replace(/^file: /, ""); // it is said beside the file
  upload.problem.hidden = false;
  sendNext();
}

function refuse(upload) {
  upload.isRefused = true;
  fail(upload, `The file is too large: ${inMb(upload.file.size)} MB; ${inMb(maxBytes)} MB are allowed here.`);
}

function tryAgain(upload) {
  const wish = chosen();
  if (!wish) return;
  Object.assign(upload, { wish, state: "waiting" });
  upload.problem.hidden = true;
  show(upload);
  upload.stop.focus();
  sendNext();
}

async function stop(upload) {
  if (!(await mayStop(upload)) || !uploads.has(upload)) return;
  upload.request?.abort();
  remove(upload);
  sendNext();
}

async function mayStop({ file, state, isRecording }) {
  if (isRecording) {
    return ask({ title: "Discard the recording?", text: `${file.name} is not uploaded and exists nowhere else.`, yes: "Discard" });
  }
  if (state !== "sending") return true;
  return ask({ title: "Stop this upload?", text: `What was sent of ${file.name} is lost.`, yes: "Stop it", no: "Go on" });
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

// ---- What is to be seen of it

function show(upload) {
  const { state, isRecording, isRefused } = upload;
  upload.progress.hidden = !isSending(upload);
  upload.wishText.textContent = inWords(upload.wish);
  upload.standing.textContent = standing(upload);
  upload.again.hidden = state !== "failed" || Boolean(isRefused);
  upload.save.hidden = state !== "failed" || !isRecording;
  if (!upload.save.hidden && !upload.save.href) {
    Object.assign(upload.save, { href: URL.createObjectURL(upload.file), download: upload.file.name });
  }
  upload.stop.textContent = state === "failed" ? "Remove" : "Cancel";
  const percent = isSending(upload) && upload.total ? (100 * upload.loaded) / upload.total : 0;
  if (state === "read") upload.progress.removeAttribute("value"); // how long that takes nobody knows
  else upload.progress.value = percent;
  showHint();
}

function showHint() {
  byId("uploads-section").hidden = !uploads.size;
  byId("uploads-hint").hidden = ![...uploads].some(({ state }) => state !== "failed");
}

function standing(upload) {
  const { state, loaded, total, heardAt } = upload;
  if (state === "waiting") return `Waiting, ${inMb(upload.file.size)} MB. ${AT_ONCE} are sent at a time.`;
  if (state === "read") return "All is sent. The service reads the file.";
  if (state !== "sending") return "";
  const sent = `${inMb(loaded)} of ${inMb(total)} MB, ${total ? Math.floor((100 * loaded) / total) : 0} %`;
  const silence = performance.now() - heardAt;
  if (silence > STALLED_MS) return `${sent}. The network has taken nothing for ${Math.floor(silence / 1000)} s.`;
  const left = secondsLeft(upload);
  return left === null ? sent : `${sent}, ${inTime(left)} left`;
}

/** By the rate of the last ten seconds; null until there is one. */
function secondsLeft({ samples, loaded, total }) {
  const first = samples[0], last = samples.at(-1);
  if (!first || last.now - first.now < 1000 || last.loaded === first.loaded) return null;
  return ((total - loaded) * (last.now - first.now)) / (last.loaded - first.loaded) / 1000;
}

function inTime(seconds) {
  if (seconds < 60) return `${Math.max(1, Math.round(seconds))} s`;
  const minutes = Math.ceil(seconds / 60);
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

const inMb = (bytes) => (bytes / MB).toLocaleString("en", { minimumFractionDigits: 1, maximumFractionDigits: 1 });

// ---- What people do

byId("uploads").addEventListener("click", ({ target }) => {
  const upload = [...uploads].find(({ row }) => row.contains(target));
  if (target === upload?.again) tryAgain(upload);
  else if (target === upload?.stop) stop(upload);
});

input.addEventListener("change", () => {
  add([...input.files]);
  input.value = ""; // the same file may be chosen once more
});

const hasFiles = (event) => event.dataTransfer?.types.includes("Files");

document.addEventListener("dragover", (event) => {
  if (!hasFiles(event)) return;
  event.preventDefault(); // anywhere: a file that is dropped beside the target would replace the page
  byId("drop").classList.add("over");
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) byId("drop").classList.remove("over");
});
document.addEventListener("drop", (event) => {
  if (!hasFiles(event)) return;
  event.preventDefault();
  byId("drop").classList.remove("over");
  add(dropped(event.dataTransfer));
});

function dropped({ items }) {
  const files = [];
  for (const item of items) {
    const entry = item.webkitGetAsEntry?.();
    if (entry?.isDirectory) notice(`${entry.name} is a folder. Drop the files in it.`);
    else if (item.kind === "file") files.push(item.getAsFile());
  }
  return files;
}

window.addEventListener("beforeunload", (event) => {
  const wouldBeLost = ({ state, isRecording }) => state !== "failed" || isRecording;
  if ([...uploads].some(wouldBeLost)) event.preventDefault();
});
