// Speakers' colours: eight, assigned in order of appearance, then repeated. Names are always shown as text too.

import { transcript } from "./transcript.js";

const COLOURS = 8;
const indexes = new Map();

/** The name of the CSS variable of a speaker's colour. */
export function colourOf(speaker) {
  if (speaker === null || speaker === undefined) return "--speaker-none";
  if (!indexes.has(speaker)) indexes.set(speaker, indexes.size);
  return `--speaker-${(indexes.get(speaker) % COLOURS) + 1}`;
}

/** Let a renamed speaker keep the colour. */
export function keepColour(from, to) {
  if (!indexes.has(to) && indexes.has(from)) indexes.set(to, indexes.get(from));
}

/** Show the list of speakers with their colours. */
export function showLegend(list) {
  const items = [...transcript.speakers()].map(([name, count]) => {
    const item = document.createElement("li");
    const swatch = document.createElement("span");
    swatch.className = "swatch";
    swatch.style.setProperty("--own", `var(${colourOf(name)})`);
    item.append(swatch, name);
    item.title = `${count} segments`;
    return item;
  });
  list.replaceChildren(...items);
  list.hidden = !items.length;
  list.tabIndex = list.scrollWidth > list.clientWidth ? 0 : -1; // can be scrolled by keyboard
}
