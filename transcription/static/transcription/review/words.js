// A segment's words as elements with times: made only where somebody looks.

import { element } from "./page.js";

const UNSURE = 0.5;

/** Show the words of a segment in place of its plain text; the text stays the same. */
export function showWords(place, segment) {
  if (!segment.words?.length) return;
  const text = segment.words.map((word) => word.text).join("").trim();
  if (text !== segment.text) return; // words of another text would be lit wrongly
  const parts = document.createDocumentFragment();
  segment.words.forEach((word, index) => {
    if (index && /^\s/.test(word.text)) parts.append(" ");
    parts.append(wordElement(word));
  });
  place.replaceChildren(parts);
}

function wordElement({ text, probability }) {
  if (probability === null || probability >= UNSURE) return element("span", { class: "word", text: text.trim() });
  const reason = `The model was unsure: ${Math.round(100 * probability)} %`;
  return element("mark", { class: "word unsure", text: text.trim(), title: reason, "aria-description": reason });
}

/** The index of the word that is spoken at a time; -1 before the first. */
export function wordAt(segment, time) {
  const words = segment.words ?? [];
  let index = -1;
  while (index + 1 < words.length && words[index + 1].start <= time) index += 1;
  return index;
}

/** The word of a segment whose element was clicked on. */
export function wordOf(segment, clicked) {
  const index = [...clicked.parentElement.children].indexOf(clicked);
  return segment.words?.[index];
}
