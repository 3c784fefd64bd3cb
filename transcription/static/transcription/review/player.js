// The recording, played: own controls around an <audio> whose times are exact.

import { clock, notice } from "../shared.js";
import { byId, facts, kept } from "./page.js";

const audio = byId("audio");
const SPEEDS = [...byId("speed").options].map((option) => Number(option.value));
const SPEED_KEY = "transcriber.speed";
export const STEP = 5;

/** "time" whenever the position changes (each frame while it plays), "state" when it starts, stops or can be played. */
export const player = new EventTarget();

let duration = facts.duration ?? 0;
let wanted = 0; // where to begin once there is something to play
let stopAt = null;

export const time = () => (audio.src ? audio.currentTime : wanted);
export const length = () => (Number.isFinite(audio.duration) ? audio.duration : duration);
export const isPlaying = () => Boolean(audio.src) && !audio.paused;

/** The recording is decoded: it can be played from now on. */
export function makeReady() {
  if (audio.src) return;
  audio.src = `/app/jobs/${facts.id}/audio`;
  audio.playbackRate = audio.defaultPlaybackRate = Number(byId("speed").value);
  if (wanted) audio.currentTime = wanted;
  for (const id of ["back", "play", "forward"]) byId(id).disabled = false;
  byId("audio-state").hidden = true;
  tellState();
}

export function setDuration(seconds) {
  duration = Math.max(duration, seconds ?? 0);
  tellTime();
}

export function seek(seconds) {
  stopAt = null;
  wanted = Math.min(Math.max(0, seconds), length() || seconds);
  if (audio.src) audio.currentTime = wanted;
  tellTime();
}

export const skip = (seconds) => seek(time() + seconds);

export async function play() {
  if (!audio.src) return notice("The recording is still being read: it cannot be played yet.");
  if (audio.ended) audio.currentTime = 0;
  try {
    await audio.play();
  } catch (error) {
    // A pause, or another place, that came before it began is no failure.
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

/** Play a part, and stop at its end. */
export function playPart({ start, end }) {
  seek(start);
  stopAt = end;
  return play();
}

function setSpeed(speed, { keep = true } = {}) {
  audio.playbackRate = audio.defaultPlaybackRate = speed;
  byId("speed").value = String(speed);
  if (keep) kept.set(SPEED_KEY, String(speed));
}

/** l: play, and faster each time. */
export function faster() {
  if (!isPlaying()) return play();
  const next = SPEEDS.find((speed) => speed > audio.playbackRate && speed >= 1);
  if (next) setSpeed(next, { keep: false });
}

/** k: pause, and the usual speed again. */
export function pauseAtUsualSpeed() {
  pause();
  setSpeed(usualSpeed(), { keep: false });
}

function usualSpeed() {
  const speed = Number(kept.get(SPEED_KEY));
  return SPEEDS.includes(speed) ? speed : 1;
}

function tick() {
  if (stopAt !== null && audio.currentTime >= stopAt) pause();
  tellTime();
  if (isPlaying()) requestAnimationFrame(tick);
}

function tellTime() {
  byId("now").textContent = clock(time());
  byId("length").textContent = length() ? clock(length()) : "–:––";
  player.dispatchEvent(new Event("time"));
}

function tellState() {
  const button = byId("play");
  button.textContent = isPlaying() ? "❚❚" : "▶";
  button.setAttribute("aria-label", isPlaying() ? "Pause" : "Play");
  player.dispatchEvent(new Event("state"));
}

audio.addEventListener("play", () => {
  tellState();
  requestAnimationFrame(tick);
});
audio.addEventListener("pause", tellState);
audio.addEventListener("ended", tellState);
audio.addEventListener("seeked", tellTime);
audio.addEventListener("durationchange", tellTime);
audio.addEventListener("error", () => {
  byId("audio-state").textContent = "It cannot be played: its audio is gone, or the service cannot be reached.";
  byId("audio-state").hidden = false;
});
byId("play").addEventListener("click", toggle);
byId("back").addEventListener("click", () => skip(-STEP));
byId("forward").addEventListener("click", () => skip(STEP));
byId("speed").addEventListener("change", ({ target }) => setSpeed(Number(target.value)));
setSpeed(usualSpeed(), { keep: false });
tellTime();
