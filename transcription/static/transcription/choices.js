// The form with the options of the next uploads: model, language, speakers. The browser remembers them.

import { languageName } from "./shared.js";

const KEY = "transcriber.choices";
const DETECT = "Detect automatically";
const byId = (id) => document.getElementById(id);
const form = byId("choices");
const [model, language, speakers, number] = ["model", "language", "speakers", "number"].map(byId);
const saved = { language: "", ...load() };

/** The chosen options as fields of an upload; null if the form is invalid, which it then shows. */
export function chosenOptions() {
  if (!form.reportValidity()) return null;
  const options = { model_name: model.value, language: language.value, diarize: String(speakers.value !== "off") };
  if (speakers.value === "exactly") options.num_speakers = number.value;
  if (speakers.value === "channels") options.channels = "speakers";
  return options;
}

/** The options of an upload as text. */
export function describeOptions({ model_name: name, language: code, ...options }) {
  return `${name}, ${code ? languageName(code) : "language detected"}, ${describeSpeakers(options)}`;
}

function describeSpeakers({ diarize, num_speakers: count, channels }) {
  if (channels === "speakers") return "a speaker on each channel";
  if (diarize === "false") return "without speakers";
  if (!count) return "with speakers";
  return `${count} ${count === "1" ? "speaker" : "speakers"}`;
}

function load() {
  try {
    return JSON.parse(localStorage.getItem(KEY)) ?? {};
  } catch {
    return {}; // storage is blocked, or has invalid content
  }
}

function save() {
  try {
    localStorage.setItem(KEY, JSON.stringify(saved));
  } catch {
    // Storage is blocked or full: the choices last until the page is closed.
  }
}

function choose(select, value) {
  if ([...select.options].some((option) => option.value === value)) select.value = value;
}

function showLanguages() {
  const option = model.selectedOptions[0];
  const codes = option?.dataset.languages.split(" ") ?? [];
  const isFixed = codes.length === 1;
  const languages = codes.map((code) => new Option(languageName(code), code));
  languages.sort((one, other) => one.text.localeCompare(other.text));
  language.replaceChildren(...(isFixed ? [] : [new Option(DETECT, "")]), ...languages);
  language.disabled = isFixed;
  if (!isFixed) choose(language, saved.language);
  byId("model-hint").textContent = option ? hint(option, isFixed) : "No model is downloaded, and the model hub cannot be reached.";
}

function hint(option, isFixed) {
  const parts = [`${option.dataset.description}.`];
  if (isFixed) parts.push(`${option.value} transcribes ${language.options[0].text} only.`);
  if (option.dataset.download) parts.push(`It is downloaded first, ${option.dataset.download}.`);
  return parts.join(" ");
}

function showNumberField() {
  if (!number) return;
  const isShown = speakers.value === "exactly";
  byId("number-field").hidden = !isShown;
  number.disabled = !isShown;
}

model.addEventListener("change", () => {
  saved.model = model.value;
  showLanguages();
});
language.addEventListener("change", () => {
  saved.language = language.value;
});
speakers.addEventListener("change", () => {
  saved.speakers = speakers.value;
  showNumberField();
});
number?.addEventListener("change", () => {
  if (number.validity.valid) saved.number = number.value;
});
form.addEventListener("change", save);
form.addEventListener("submit", (event) => event.preventDefault());

function init() {
  choose(model, saved.model);
  choose(speakers, saved.speakers);
  if (number && saved.number) number.value = saved.number;
  showLanguages();
  showNumberField();
}

// Models that can be downloaded are added later: checking the model hub takes a while.
model.addEventListener("htmx:afterSettle", () => {
  choose(model, saved.model);
  showLanguages();
});
init();
