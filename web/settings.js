// The form with the settings.

import { byId } from "./dom.js";

const START_OVER = ["preset", "filters", "ties", "seed"]; // a change makes another network

export class Settings {
  constructor(onNewNetwork) {
    this.form = byId("settings");
    this.form.addEventListener("submit", (event) => event.preventDefault());
    this.form.addEventListener("change", ({ target }) => {
      this.enable();
      if (this.form.reportValidity() && START_OVER.includes(target.name)) onNewNetwork();
    });
    this.enable();
  }

  // Raises an error that names the setting if one is not what it should be.
  values() {
    const numbers = {};
    for (const { name, value, validity, min, max, labels } of this.form.querySelectorAll("input")) {
      const label = labels[0].firstChild.textContent.trim();
      if (!validity.valid) throw new Error(`${label}: expected a number from ${min} to ${max}, got “${value}”.`);
      numbers[name] = Number(value);
    }
    return { ...numbers, preset: this.form.preset.value, ties: this.form.ties.value };
  }

  enable() {
    const isArticle = this.form.preset.value === "article";
    this.form.filters.disabled = this.form.ties.disabled = !isArticle || this.isDisabled;
  }

  setDisabled(isDisabled) {
    this.isDisabled = isDisabled;
    for (const field of this.form.elements) field.disabled = isDisabled;
    this.enable();
  }

  // The command that prints the same log.
  command(isAll) {
    const { preset, filters, ties, learnRate, epochs, seed } = this.values();
    if (preset === "article" && filters !== 8) return `cnnx.train (which has 8 filters, and not ${filters})`;
    const options = ["--dtype float32", `--seed ${seed}`, `--epochs ${epochs}`, `--learn-rate ${learnRate}`];
    if (isAll) options.push("--data FOLDER");
    options.push(...(preset === "article" ? [`--ties ${ties}`] : [`--model ${preset}`]));
    return `python -m cnnx.train ${options.join(" ")}`;
  }
}
