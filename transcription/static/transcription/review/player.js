// The player: controls around an <audio> element.

import { clock, notice } from "../shared.js";
import { byId, facts, storage } from "./page.js";

const audio = byId("audio");
const SPEEDS = [...byId("speed").options].map((option) => Number(option.value));
const SPEED_KEY = "transcriber.speed";
export const STEP = 5;

/** Dispatches "time" when the position changes (each frame during playback), "state" on start, stop, and once it is ready. */
export const player = new EventTarget();

let duration = facts.duration ?? 0;
let startAt = 0; // the position that was chosen before the recording could be played
let stopAt = null;

export const time = () => (audio.src ? audio.currentTime : startAt);
export const length = () => (Number.isFinite(audio.duration) ? audio.duration : duration);
export const isPlaying = () => Boolean(audio.src) && !audio.paused;

/** Enable playback, once the recording is decoded. */
export function enable() {
  if (audio.src) return;
  audio.src = `/app/jobs/${facts.id}/audio`;
  audio.playbackRate = audio.defaultPlaybackRate = Number(byId("speed").value);
  if (startAt) audio.currentTime = startAt;
  for (const id of ["back", "play", "forward"]) byId(id).disabled = false;
  byId("audio-state").hidden = true;
  showState();
}

export function setDuration(seconds) {
  duration = Math.max(duration, seconds ?? 0);
  showTime();
}

export function seek(seconds) {
  stopAt = null;
  startAt = Math.min(Math.max(0, seconds), length() || seconds);
  if (audio.src) audio.currentTime = startAt;
  showTime();
}

export const skip = (seconds) => seek(time() + seconds);

export async function play() {
  if (!audio.src) return notice("The recording is still being read. Try again in a moment.");
  if (audio.ended) audio.currentTime = 0;
  try {
    await audio.play();
  } catch (error) {
    // AbortError: paused or moved before playback started.
    if (error.name !== "AbortError") notice(`The recording cannot be played: ${error.message}`);
  }
}

export function pause() {
  stopAt = null;
  audio.pause();
}

export const toggle = () => (isPlaying() ? pause() : play());

export function playFrom(seconds) {
  seek(seconds);
  return play();
}

/** Play from `start` to `end`. */
export function playPart({ start, end }) {
  seek(start);
  stopAt = end;
  return play();
}

function setSpeed(speed, { save = true } = {}) {
  audio.playbackRate = audio.defaultPlaybackRate = speed;
  byId("speed").value = String(speed);
  if (save) storage.set(SPEED_KEY, String(speed));
}

/** Key l: play; if it plays already, faster. */
export function faster() {
  if (!isPlaying()) return play();
  const next = SPEEDS.find((speed) => speed > audio.playbackRate && speed >= 1);
  if (next) setSpeed(next, { save: false });
}

/** Key k: pause, and reset the speed. */
export function pauseAndResetSpeed() {
  pause();
  setSpeed(savedSpeed(), { save: false });
}

function savedSpeed() {
  const speed = Number(storage.get(SPEED_KEY));
  return SPEEDS.includes(speed) ? speed : 1;
}

function tick() {
  if (stopAt !== null && audio.currentTime >= stopAt) pause();
  showTime();
  if (isPlaying()) requestAnimationFrame(tick);
}

function showTime() {
  byId("now").textContent = clock(time());
  byId("length").textContent = length() ? clock(length()) : "–:––";
  player.dispatchEvent(new Event("time"));
}

function showState() {
  const button = byId("play");
  button.textContent = isPlaying() ? "❚❚" : "▶";
  button.setAttribute("aria-label", isPlaying() ? "Pause" : "Play");
  player.dispatchEvent(new Event("state"));
}

audio.addEventListener("play", () => {
  showState();
  requestAnimationFrame(tick);
});
audio.addEventListener("pause", showState);
audio.addEventListener("ended", showState);
audio.addEventListener("seeked", showTime);
audio.addEventListener("durationchange", showTime);
audio.addEventListener("error", () => {
  byId("audio-state").textContent = "The recording cannot be played: its file was deleted, or the service cannot be reached.";
  byId("audio-state").hidden = false;
});
byId("play").addEventListener("click", toggle);
byId("back").addEventListener("click", () => skip(-STEP));
byId("forward").addEventListener("click", () => skip(STEP));
byId("speed").addEventListener("change", ({ target }) => setSpeed(Number(target.value)));
setSpeed(savedSpeed(), { save: false });
showTime();
