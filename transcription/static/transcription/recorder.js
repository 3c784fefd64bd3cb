// Recording with the microphone: heard before it is uploaded, and never thrown away unasked.

import { ask } from "./confirm.js";
import { clock } from "./shared.js";
import { add } from "./upload.js";

const FORMATS = [["audio/webm;codecs=opus", "webm"], ["audio/mp4", "m4a"], ["audio/ogg;codecs=opus", "ogg"]];
const PIECE_MS = 1000;
const PROBLEMS = {
  NotAllowedError: "The browser may not use the microphone. Allow it for this page (beside the address, or in the browser's settings), then try again.",
  NotFoundError: "There is no microphone.",
  NotReadableError: "The microphone cannot be opened. Another program may be using it.",
};
const byId = (id) => document.getElementById(id);
const whileRecorded = { recorder: null, pieces: [], elapsed: 0, since: null, timer: null, context: null, lock: null };
let kept = null; // the blob that waits for a decision

async function record() {
  say("");
  const problem = whyImpossible();
  if (problem) return say(problem);
  byId("record").disabled = true; // while the browser asks for permission
  try {
    start(await navigator.mediaDevices.getUserMedia({ audio: true }));
  } catch (error) {
    say(PROBLEMS[error.name] ?? `Recording cannot begin: ${error.message}`);
  }
  byId("record").disabled = false;
}

function whyImpossible() {
  if (!window.isSecureContext) {
    return "Browsers let a page use the microphone over https alone, or on the machine itself (localhost). Record with another program and upload the file.";
  }
  if (!navigator.mediaDevices?.getUserMedia || !window.MediaRecorder) return "This browser cannot record. Use another, or upload a file.";
  return "";
}

function start(stream) {
  const format = FORMATS.find(([type]) => MediaRecorder.isTypeSupported(type));
  const recorder = new MediaRecorder(stream, format ? { mimeType: format[0] } : {});
  Object.assign(whileRecorded, { recorder, pieces: [], elapsed: 0, since: performance.now() });
  recorder.addEventListener("dataavailable", ({ data }) => whileRecorded.pieces.push(data));
  recorder.addEventListener("stop", () => finish(stream, format?.[1] ?? "webm")); // a microphone that is unplugged stops it too
  recorder.addEventListener("error", ({ error }) => say(`Recording broke off: ${error?.message ?? "the browser does not say why"}.`));
  recorder.start(PIECE_MS);
  whileRecorded.timer = setInterval(tick, 200);
  measure(stream);
  stayAwake();
  showPart("recording");
  showState();
  byId("stop").focus();
}

function finish(stream, suffix) {
  stream.getTracks().forEach((track) => track.stop());
  clearInterval(whileRecorded.timer);
  whileRecorded.context?.close();
  whileRecorded.lock?.release();
  const { pieces, recorder } = whileRecorded;
  whileRecorded.recorder = null;
  kept = new Blob(pieces, { type: recorder.mimeType.split(";")[0] });
  if (!kept.size) {
    kept = null;
    showPart("record");
    return say("Nothing was recorded. Does the microphone work?");
  }
  byId("preview").src = URL.createObjectURL(kept);
  byId("recorded-name").value = `Recording ${moment()}`;
  byId("recorded").dataset.suffix = suffix;
  showPart("recorded");
  byId("keep").focus();
}

/** Date and time of day here, without what file names may not hold. */
function moment() {
  const now = new Date();
  const local = new Date(now.getTime() - now.getTimezoneOffset() * 60_000).toISOString();
  return local.slice(0, 19).replace("T", " ").replaceAll(":", ".");
}

function pause() {
  const { recorder } = whileRecorded;
  if (recorder.state === "recording") {
    recorder.pause();
    whileRecorded.elapsed = elapsed();
    whileRecorded.since = null;
  } else {
    recorder.resume();
    whileRecorded.since = performance.now();
  }
  showState();
}

const elapsed = () => whileRecorded.elapsed + (whileRecorded.since === null ? 0 : performance.now() - whileRecorded.since);

function upload() {
  const name = byId("recorded-name").value.trim() || `Recording ${moment()}`;
  const file = new File([kept], `${name}.${byId("recorded").dataset.suffix}`, { type: kept.type });
  if (add([file], { isRecording: true })) letGo();
}

async function discard() {
  if (await ask({ title: "Discard the recording?", text: "It was not uploaded and exists nowhere else.", yes: "Discard" })) letGo();
}

function letGo() {
  URL.revokeObjectURL(byId("preview").src);
  byId("preview").removeAttribute("src");
  kept = null;
  showPart("record");
  byId("record").focus();
}

// ---- What is to be seen and heard

function tick() {
  byId("elapsed").textContent = clock(elapsed() / 1000);
}

function showState() {
  const isPaused = whileRecorded.recorder.state === "paused";
  byId("record-state").textContent = isPaused ? "Paused" : "Recording";
  byId("recording").classList.toggle("paused", isPaused);
  byId("pause").textContent = isPaused ? "Go on" : "Pause";
  tick();
}

function showPart(name) {
  for (const id of ["record", "recording", "recorded"]) byId(id).hidden = id !== name;
}

function say(problem) {
  byId("record-problem").textContent = problem;
  byId("record-problem").hidden = !problem;
}

/** Show how loud it is: silence is noticed before an hour of it is recorded. */
function measure(stream) {
  const context = new AudioContext();
  const analyser = new AnalyserNode(context, { fftSize: 1024 });
  context.createMediaStreamSource(stream).connect(analyser);
  const samples = new Float32Array(analyser.fftSize);
  whileRecorded.context = context;
  const look = () => {
    if (context.state === "closed") return;
    analyser.getFloatTimeDomainData(samples);
    const power = samples.reduce((sum, sample) => sum + sample * sample, 0) / samples.length;
    byId("level").value = Math.max(0, 1 + Math.log10(power + 1e-6) / 6); // from -60 dB to full scale
    requestAnimationFrame(look);
  };
  look();
}

async function stayAwake() {
  try {
    whileRecorded.lock = await navigator.wakeLock?.request("screen"); // phones stop recording when they sleep
  } catch {
    whileRecorded.lock = null; // a low battery forbids it
  }
}

byId("record").addEventListener("click", record);
byId("pause").addEventListener("click", pause);
byId("stop").addEventListener("click", () => whileRecorded.recorder.stop());
byId("keep").addEventListener("click", upload);
byId("discard").addEventListener("click", discard);
window.addEventListener("beforeunload", (event) => {
  if (whileRecorded.recorder || kept) event.preventDefault();
});
