// A segment's words as elements, created only near the viewport.

import { element } from "./page.js";

const LOW_PROBABILITY = 0.5;

/** Replace a segment's plain text by elements for its words; the text stays the same. */
export function showWords(container, segment) {
  if (!segment.words?.length) return;
  const text = segment.words.map((word) => word.text).join("").trim();
  if (text !== segment.text) return; // the words belong to another text
  const parts = document.createDocumentFragment();
  segment.words.forEach((word, index) => {
    if (index && /^\s/.test(word.text)) parts.append(" ");
    parts.append(wordElement(word));
  });
  container.replaceChildren(parts);
}

function wordElement({ text, probability }) {
  if (probability === null || probability >= LOW_PROBABILITY) return element("span", { class: "word", text: text.trim() });
  const reason = `Low confidence: ${Math.round(100 * probability)} %`;
  return element("mark", { class: "word unsure", text: text.trim(), title: reason, "aria-description": reason });
}

/** The index of the word at a time; -1 before the first. */
export function wordAt(segment, time) {
  const words = segment.words ?? [];
  let index = -1;
  while (index + 1 < words.length && words[index + 1].start <= time) index += 1;
  return index;
}

/** The word of a segment that belongs to a clicked element. */
export function wordOf(segment, clicked) {
  const index = [...clicked.parentElement.children].indexOf(clicked);
  return segment.words?.[index];
}
