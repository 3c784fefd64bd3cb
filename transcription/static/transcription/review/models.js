// The choices of speech models and of language models.

import { api } from "../shared.js";
import { byId, element, facts, showProblem } from "./page.js";

let speech = null;

/** The downloaded models that support the job's language, largest first. */
async function speechModels() {
  speech ??= (await api("GET", "/api/transcribe/models")).models;
  const supports = ({ name }) => facts.language === "en" || !facts.language || !/\.en$|^distil-/.test(name);
  return speech.filter((model) => model.is_downloaded && supports(model)).sort((a, b) => b.size_mb - a.size_mb);
}

/** Fill an empty <select> with the speech models; preselects the largest that is not the job's own. */
async function fillSpeechModels(select) {
  if (select.options.length) return;
  const models = await speechModels();
  const best = models.find(({ name }) => name !== facts.model_name) ?? models[0];
  select.replaceChildren(
    ...models.map(({ name, description }) => {
      const own = name === facts.model_name ? ", used for this transcript" : "";
      const text = `${name} (${description}${own})`;
      return element("option", { value: name, text, selected: name === best.name && "" });
    }),
  );
}

/** Open the dialog `<name>-dialog`, which has a <select> of speech models and a place for errors. */
export async function openModelDialog(name) {
  showProblem(byId(`${name}-problem`));
  byId(`${name}-dialog`).showModal();
  try {
    await fillSpeechModels(byId(`${name}-model`));
  } catch (error) {
    showProblem(byId(`${name}-problem`), error.message);
  }
}

/** Fill each <select> with the language models. */
export async function fillLanguageModels(selects) {
  const { models } = await api("GET", "/api/chat/models");
  for (const select of selects) {
    select.replaceChildren(
      ...models.map(({ id, name, description }) => element("option", { value: id, text: name, title: description })),
    );
  }
}
