// Recording with the microphone, with a preview before the upload; discarding asks for confirmation.

import { confirmAction } from "./confirm.js";
import { clock } from "./shared.js";
import { add } from "./upload.js";

const FORMATS = [["audio/webm;codecs=opus", "webm"], ["audio/mp4", "m4a"], ["audio/ogg;codecs=opus", "ogg"]];
const TIMESLICE_MS = 1000;
const PROBLEMS = {
  NotAllowedError: "The browser may not use the microphone. Allow it for this page (beside the address, or in the browser's settings), then try again.",
  NotFoundError: "No microphone was found.",
  NotReadableError: "The microphone cannot be opened. Another program may be using it.",
};
const byId = (id) => document.getElementById(id);
const session = { recorder: null, pieces: [], elapsed: 0, since: null, timer: null, context: null, lock: null };
let recording = null; // the finished recording, a blob, until it is uploaded or discarded

async function record() {
  showProblem("");
  const problem = unsupportedReason();
  if (problem) return showProblem(problem);
  byId("record").disabled = true; // while the browser asks for permission
  try {
    start(await navigator.mediaDevices.getUserMedia({ audio: true }));
  } catch (error) {
    showProblem(PROBLEMS[error.name] ?? `Recording cannot start: ${error.message}`);
  }
  byId("record").disabled = false;
}

function unsupportedReason() {
  if (!window.isSecureContext) {
    return "Browsers allow microphone access only over https or on localhost. Record with another program and upload the file.";
  }
  if (!navigator.mediaDevices?.getUserMedia || !window.MediaRecorder) return "This browser cannot record audio. Use another browser, or upload a file.";
  return "";
}

function start(stream) {
  const format = FORMATS.find(([type]) => MediaRecorder.isTypeSupported(type));
  const recorder = new MediaRecorder(stream, format ? { mimeType: format[0] } : {});
  Object.assign(session, { recorder, pieces: [], elapsed: 0, since: performance.now() });
  recorder.addEventListener("dataavailable", ({ data }) => session.pieces.push(data));
  recorder.addEventListener("stop", () => finish(stream, format?.[1] ?? "webm")); // unplugging the microphone stops it too
  recorder.addEventListener("error", ({ error }) => showProblem(`The recording was interrupted: ${error?.message ?? "unknown reason"}.`));
  recorder.start(TIMESLICE_MS);
  session.timer = setInterval(tick, 200);
  showLevel(stream);
  requestWakeLock();
  showPart("recording");
  showState();
  byId("stop").focus();
}

function finish(stream, suffix) {
  stream.getTracks().forEach((track) => track.stop());
  clearInterval(session.timer);
  session.context?.close();
  session.lock?.release();
  const { pieces, recorder } = session;
  session.recorder = null;
  recording = new Blob(pieces, { type: recorder.mimeType.split(";")[0] });
  if (!recording.size) {
    recording = null;
    showPart("record");
    return showProblem("Nothing was recorded. Does the microphone work?");
  }
  byId("preview").src = URL.createObjectURL(recording);
  byId("recorded-name").value = `Recording ${timestamp()}`;
  byId("recorded").dataset.suffix = suffix;
  showPart("recorded");
  byId("keep").focus();
}

/** Local date and time without characters that file names must not contain. */
function timestamp() {
  const now = new Date();
  const local = new Date(now.getTime() - now.getTimezoneOffset() * 60_000).toISOString();
  return local.slice(0, 19).replace("T", " ").replaceAll(":", ".");
}

function pause() {
  const { recorder } = session;
  if (recorder.state === "recording") {
    recorder.pause();
    session.elapsed = elapsed();
    session.since = null;
  } else {
    recorder.resume();
    session.since = performance.now();
  }
  showState();
}

const elapsed = () => session.elapsed + (session.since === null ? 0 : performance.now() - session.since);

function upload() {
  const name = byId("recorded-name").value.trim() || `Recording ${timestamp()}`;
  const file = new File([recording], `${name}.${byId("recorded").dataset.suffix}`, { type: recording.type });
  if (add([file], { isRecording: true })) reset();
}

async function discard() {
  if (await confirmAction({ title: "Discard the recording?", text: "It was not uploaded and exists nowhere else.", yes: "Discard" })) reset();
}

function reset() {
  URL.revokeObjectURL(byId("preview").src);
  byId("preview").removeAttribute("src");
  recording = null;
  showPart("record");
  byId("record").focus();
}

// ---- Display

function tick() {
  byId("elapsed").textContent = clock(elapsed() / 1000);
}

function showState() {
  const isPaused = session.recorder.state === "paused";
  byId("record-state").textContent = isPaused ? "Paused" : "Recording";
  byId("recording").classList.toggle("paused", isPaused);
  byId("pause").textContent = isPaused ? "Resume" : "Pause";
  tick();
}

function showPart(name) {
  for (const id of ["record", "recording", "recorded"]) byId(id).hidden = id !== name;
}

function showProblem(problem) {
  byId("record-problem").textContent = problem;
  byId("record-problem").hidden = !problem;
}

/** Show the input level, so that a muted microphone is noticed at once. */
function showLevel(stream) {
  const context = new AudioContext();
  const analyser = new AnalyserNode(context, { fftSize: 1024 });
  context.createMediaStreamSource(stream).connect(analyser);
  const samples = new Float32Array(analyser.fftSize);
  session.context = context;
  const draw = () => {
    if (context.state === "closed") return;
    analyser.getFloatTimeDomainData(samples);
    const power = samples.reduce((sum, sample) => sum + sample * sample, 0) / samples.length;
    byId("level").value = Math.max(0, 1 + Math.log10(power + 1e-6) / 6); // from -60 dB to full scale
    requestAnimationFrame(draw);
  };
  draw();
}

async function requestWakeLock() {
  try {
    session.lock = await navigator.wakeLock?.request("screen"); // phones stop recording when the screen turns off
  } catch {
    session.lock = null; // denied, for example on a low battery
  }
}

byId("record").addEventListener("click", record);
byId("pause").addEventListener("click", pause);
byId("stop").addEventListener("click", () => session.recorder.stop());
byId("keep").addEventListener("click", upload);
byId("discard").addEventListener("click", discard);
window.addEventListener("beforeunload", (event) => {
  if (session.recorder || recording) event.preventDefault();
});
