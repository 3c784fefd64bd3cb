// Each speaker's colour, by order of appearance: of eight, after which they come again. Names are always there as text.

import { transcript } from "./transcript.js";

const COLOURS = 8;
const indexes = new Map();

/** The name of the CSS variable. */
export function colourOf(speaker) {
  if (speaker === null || speaker === undefined) return "--speaker-none";
  if (!indexes.has(speaker)) indexes.set(speaker, indexes.size);
  return `--speaker-${(indexes.get(speaker) % COLOURS) + 1}`;
}

/** Whoever is called something else keeps the colour. */
export function renamed(from, to) {
  if (!indexes.has(to) && indexes.has(from)) indexes.set(to, indexes.get(from));
}

/** Who speaks, as a list with colours. */
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
  list.tabIndex = list.scrollWidth > list.clientWidth ? 0 : -1; // who has no pointer scrolls it by keys
}
