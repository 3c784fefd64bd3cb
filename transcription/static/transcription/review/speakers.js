// The speaker dialog: set the speaker of one segment, or rename a speaker everywhere.

import { notice } from "../shared.js";
import * as edits from "./edits.js";
import { select } from "./follow.js";
import { byId, element, showProblem } from "./page.js";
import { colourOf } from "./palette.js";
import { transcript } from "./transcript.js";

const dialog = byId("speaker-dialog");
const choices = byId("speaker-choices");
const field = byId("speaker-name");
let segment = null;

export function chooseSpeaker(chosen) {
  segment = chosen;
  const { speaker } = segment;
  const known = [...transcript.speakers()];
  choices.replaceChildren(
    ...known.map(([name, count]) => choice(name, name, `${count}`)),
    ...(speaker === null ? [] : [choice(null, "No speaker", "")]),
  );
  field.value = "";
  byId("speaker-everywhere").hidden = speaker === null;
  byId("speaker-everywhere").textContent = `Rename ${speaker} everywhere`;
  showProblem(byId("speaker-problem"));
  dialog.showModal();
  (choices.querySelector("[aria-pressed=true]") ?? field).focus();
}

function choice(name, label, count) {
  const swatch = element("span", { class: "swatch" });
  swatch.style.setProperty("--own", `var(${colourOf(name)})`);
  const button = element("button", { type: "button", "aria-pressed": String(name === segment.speaker) }, swatch, label);
  if (count) button.append(element("span", { class: "muted", text: `${count}×` }));
  button.addEventListener("click", () => submit(() => edits.change(segment, { speaker: name })));
  return button;
}

async function submit(request) {
  try {
    await request();
  } catch (error) {
    if (error.status === 409 || error.status === 404) await edits.reload();
    if (dialog.open) showProblem(byId("speaker-problem"), error.message);
    else notice(error.message);
    segment = transcript.get(segment.id) ?? segment;
    return;
  }
  dialog.close();
}

function newName() {
  const name = field.value.trim();
  showProblem(byId("speaker-problem"), name ? "" : "Enter a name.");
  if (!name) field.focus();
  return name;
}

function setHere() {
  const name = newName();
  if (name) submit(() => edits.change(segment, { speaker: name }));
}

function renameEverywhere() {
  const name = newName();
  if (name) submit(() => edits.rename(segment.speaker, name));
}

byId("speaker-here").addEventListener("click", setHere);
byId("speaker-everywhere").addEventListener("click", renameEverywhere);
field.addEventListener("keydown", (event) => {
  if (event.key !== "Enter") return;
  event.preventDefault();
  setHere();
});
dialog.addEventListener("close", () => select(transcript.get(segment?.id), { focus: true }));
