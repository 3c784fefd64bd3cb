// The models that can be chosen: those that transcribe, and those that write.

import { api } from "../shared.js";
import { element, facts } from "./page.js";

let speech = null;

/** The models whose weights are here and that know the job's language, the largest first. */
async function speechModels() {
  speech ??= (await api("GET", "/api/transcribe/models")).models;
  const knows = ({ name }) => facts.language === "en" || !facts.language || !/\.en$|^distil-/.test(name);
  return speech.filter((model) => model.is_downloaded && knows(model)).sort((a, b) => b.size_mb - a.size_mb);
}

/** Offer them in a <select>; the largest that is not the job's own is chosen, unless the person chose already. */
export async function offerSpeechModels(select) {
  if (select.options.length) return;
  const found = await speechModels();
  const best = found.find(({ name }) => name !== facts.model_name) ?? found[0];
  select.replaceChildren(
    ...found.map(({ name, description }) => {
      const own = name === facts.model_name ? ", as the transcript" : "";
      const text = `${name} (${description}${own})`;
      return element("option", { value: name, text, selected: name === best.name && "" });
    }),
  );
}

/** Offer the language models in each <select>. */
export async function offerLanguageModels(selects) {
  const { models } = await api("GET", "/api/chat/models");
  for (const select of selects) {
    select.replaceChildren(
      ...models.map(({ id, name, description }) => element("option", { value: id, text: name, title: description })),
    );
  }
}
