// Model, language and speakers of what is uploaded next; the browser remembers them.

import { languageName } from "./shared.js";

const KEY = "transcriber.choices";
const DETECT = "Detect automatically";
const byId = (id) => document.getElementById(id);
const form = byId("choices");
const [model, language, speakers, number] = ["model", "language", "speakers", "number"].map(byId);
const remembered = { language: "", ...recall() };

/** The fields of an upload, or null where the form says what is wrong with them. */
export function chosen() {
  if (!form.reportValidity()) return null;
  const wish = { model_name: model.value, language: language.value, diarize: String(speakers.value !== "off") };
  if (speakers.value === "exactly") wish.num_speakers = number.value;
  return wish;
}

export function inWords({ model_name: name, language: code, diarize, num_speakers: count }) {
  const who = diarize === "false" ? "without speakers" : count ? `${count} ${count === "1" ? "speaker" : "speakers"}` : "with speakers";
  return `${name}, ${code ? languageName(code) : "language detected"}, ${who}`;
}

function recall() {
  try {
    return JSON.parse(localStorage.getItem(KEY)) ?? {};
  } catch {
    return {}; // storage is blocked, or holds something else
  }
}

function remember() {
  try {
    localStorage.setItem(KEY, JSON.stringify(remembered));
  } catch {
    // Storage is blocked or full: the choices are those of this page.
  }
}

function choose(select, value) {
  if ([...select.options].some((option) => option.value === value)) select.value = value;
}

function offerLanguages() {
  const option = model.selectedOptions[0];
  const codes = option?.dataset.languages.split(" ") ?? [];
  const isFixed = codes.length === 1;
  const named = codes.map((code) => new Option(languageName(code), code));
  named.sort((one, other) => one.text.localeCompare(other.text));
  language.replaceChildren(...(isFixed ? [] : [new Option(DETECT, "")]), ...named);
  language.disabled = isFixed;
  if (!isFixed) choose(language, remembered.language);
  byId("model-hint").textContent = option ? hint(option, isFixed) : "No model is here, and the model hub cannot be reached.";
}

function hint(option, isFixed) {
  const parts = [`${option.dataset.description}.`];
  if (isFixed) parts.push(`${option.value} transcribes ${language.options[0].text} only.`);
  if (option.dataset.download) parts.push(`It is downloaded first, ${option.dataset.download}.`);
  return parts.join(" ");
}

function offerNumber() {
  if (!number) return;
  const isAsked = speakers.value === "exactly";
  byId("number-field").hidden = !isAsked;
  number.disabled = !isAsked;
}

model.addEventListener("change", () => {
  remembered.model = model.value;
  offerLanguages();
});
language.addEventListener("change", () => {
  remembered.language = language.value;
});
speakers.addEventListener("change", () => {
  remembered.speakers = speakers.value;
  offerNumber();
});
number?.addEventListener("change", () => {
  if (number.validity.valid) remembered.number = number.value;
});
form.addEventListener("change", remember);
form.addEventListener("submit", (event) => event.preventDefault());

function begin() {
  choose(model, remembered.model);
  choose(speakers, remembered.speakers);
  if (number && remembered.number) number.value = remembered.number;
  offerLanguages();
  offerNumber();
}

// Those that would be downloaded come later: the model hub was asked first.
model.addEventListener("htmx:afterSettle", () => {
  choose(model, remembered.model);
  offerLanguages();
});
begin();
