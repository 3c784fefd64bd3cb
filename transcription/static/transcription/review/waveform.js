// The waveform of the whole recording in the speakers' colours; a slider for pointer and keyboard.

import { clock } from "../shared.js";
import { byId, facts } from "./page.js";
import { colourOf } from "./palette.js";
import { STEP, isPlaying, length, player, seek, setDuration, skip, time } from "./player.js";
import { transcript } from "./transcript.js";

const LONG_STEP = 30;
const FULL_HEIGHT_QUANTILE = 0.98; // of the peaks; louder ones are clipped, so that a clap does not flatten all speech

const slider = byId("waveform");
const canvas = slider.querySelector("canvas");
const position = slider.querySelector(".position");
let peaks = new Uint8Array(0);
let peaksPerSecond = 20;
let isDrawScheduled = false;

export async function loadPeaks() {
  let response;
  try {
    response = await fetch(`/app/jobs/${facts.id}/peaks`);
  } catch {
    return; // the player shows the error
  }
  if (!response.ok) return;
  peaksPerSecond = Number(response.headers.get("X-Peaks-Per-Second")) || peaksPerSecond;
  peaks = new Uint8Array(await response.arrayBuffer());
  setDuration(peaks.length / peaksPerSecond);
  scheduleDraw();
}

function scheduleDraw() {
  if (isDrawScheduled) return;
  isDrawScheduled = true;
  requestAnimationFrame(() => {
    isDrawScheduled = false;
    draw();
  });
}

function draw() {
  const { clientWidth: width, clientHeight: height } = slider;
  const scale = window.devicePixelRatio || 1;
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(height * scale);
  const context = canvas.getContext("2d");
  const styles = getComputedStyle(slider);
  const colours = new Map();
  const colour = (name) => {
    if (!colours.has(name)) colours.set(name, styles.getPropertyValue(name));
    return colours.get(name);
  };
  const seconds = length();
  if (!seconds) return;
  const fullHeight = fullHeightLevel();
  const middle = canvas.height / 2;
  const colourAt = colourLookup();
  for (let x = 0; x < canvas.width; x += 1) {
    const [start, end] = [(x / canvas.width) * seconds, ((x + 1) / canvas.width) * seconds];
    const half = Math.max(scale / 2, Math.min(1, maxPeak(start, end) / fullHeight) * (middle - 1));
    context.fillStyle = colour(colourAt((start + end) / 2));
    context.fillRect(x, middle - half, 1, 2 * half);
  }
}

function maxPeak(start, end) {
  const first = Math.floor(start * peaksPerSecond);
  const last = Math.max(first + 1, Math.floor(end * peaksPerSecond));
  let max = 0;
  for (let index = first; index < last && index < peaks.length; index += 1) max = Math.max(max, peaks[index]);
  return max;
}

function fullHeightLevel() {
  const counts = new Uint32Array(256);
  for (const peak of peaks) counts[peak] += 1;
  let [sum, level] = [0, 0];
  while (level < 255 && sum + counts[level] < FULL_HEIGHT_QUANTILE * peaks.length) {
    sum += counts[level];
    level += 1;
  }
  return Math.max(level, 16);
}

/** A function from times to colours. Times must ascend: it walks along the segments once. */
function colourLookup() {
  const { segments } = transcript;
  let index = 0;
  return (seconds) => {
    while (index < segments.length && segments[index].end <= seconds) index += 1;
    const segment = segments[index];
    if (!segment || segment.start > seconds) return "--line";
    return colourOf(segment.speaker);
  };
}

let announced = -1; // the second that screen readers were told last
function showPosition() {
  const [now, all] = [time(), length()];
  position.hidden = !all;
  if (!all) return;
  position.style.transform = `translateX(${(now / all) * slider.clientWidth}px)`;
  const whole = Math.floor(now);
  if (whole === announced && isPlaying()) return;
  announced = whole;
  const speaker = transcript.at(now)?.speaker;
  slider.setAttribute("aria-valuemax", Math.floor(all));
  slider.setAttribute("aria-valuenow", whole);
  slider.setAttribute("aria-valuetext", `${clock(now)} of ${clock(all)}${speaker ? `, ${speaker}` : ""}`);
}

function timeUnder(event) {
  const box = slider.getBoundingClientRect();
  return ((event.clientX - box.left) / box.width) * length();
}

slider.addEventListener("pointerdown", (event) => {
  if (event.button) return;
  slider.setPointerCapture(event.pointerId);
  seek(timeUnder(event));
});
slider.addEventListener("pointermove", (event) => {
  if (slider.hasPointerCapture(event.pointerId)) seek(timeUnder(event));
});

const KEYS = {
  ArrowLeft: () => skip(-STEP),
  ArrowDown: () => skip(-STEP),
  ArrowRight: () => skip(STEP),
  ArrowUp: () => skip(STEP),
  PageDown: () => skip(-LONG_STEP),
  PageUp: () => skip(LONG_STEP),
  Home: () => seek(0),
  End: () => seek(length()),
};
slider.addEventListener("keydown", (event) => {
  if (!KEYS[event.key] || event.shiftKey || event.ctrlKey || event.altKey || event.metaKey) return;
  event.preventDefault();
  KEYS[event.key]();
});

player.addEventListener("time", showPosition);
transcript.addEventListener("change", scheduleDraw);
new ResizeObserver(() => {
  scheduleDraw();
  showPosition();
}).observe(slider);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", scheduleDraw);
showPosition();
