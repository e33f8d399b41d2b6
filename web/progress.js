// What is seen of a training: a sentence, two curves, four facts and the log.

import { Chart } from "./charts.js";
import { byId, counted, make } from "./dom.js";

const share = (value, digits) => `${(value * 100).toFixed(digits)}%`;

export class Progress {
  constructor() {
    this.loss = new Chart(byId("loss-chart"), { title: "Loss", top: null, write: (value) => value.toFixed(2) });
    this.accuracy = new Chart(byId("accuracy-chart"), { title: "Read correctly", marks: "test digits", top: 1, write: (value) => share(value, 0) });
  }

  // Another network.
  clear(parameterCount, lines) {
    Object.assign(this, { parameterCount, lines, shown: 0, start: 0, seen: 0, perSecond: 0, test: null });
    this.loss.clear();
    this.accuracy.clear();
    this.say("");
    this.draw();
  }

  say(text) {
    byId("progress").textContent = text;
  }

  // A training of so many steps begins.
  begin(steps) {
    this.steps = steps;
    this.start = this.seen;
  }

  log(line) {
    this.lines.push(line);
  }

  // A window of 100 steps is over.
  window({ step, loss, accuracy, perSecond }) {
    this.seen = this.start + step;
    this.perSecond = perSecond;
    this.loss.add(this.seen, loss);
    this.accuracy.add(this.seen, accuracy);
    this.say(`${step.toLocaleString("en")} of ${counted(this.steps, "step")}`);
  }

  // The network read the test digits.
  tested(test, isMarked) {
    this.test = test;
    if (isMarked) this.accuracy.mark(this.seen, test.accuracy);
  }

  draw() {
    this.loss.draw();
    this.accuracy.draw();
    const facts = [
      ["Test accuracy", this.test === null ? "–" : share(this.test.accuracy, 1)],
      ["Digits learned from", this.seen === 0 ? "–" : this.seen.toLocaleString("en")],
      ["Digits a second", this.perSecond === 0 ? "–" : (Math.round(this.perSecond / 100) * 100).toLocaleString("en")],
      ["Numbers in the network", this.parameterCount.toLocaleString("en")],
    ];
    byId("facts").replaceChildren(...facts.map(([term, value]) => make("div", {}, make("dt", {}, term), make("dd", {}, value))));
    this.drawLog();
  }

  drawLog() {
    const log = byId("log");
    if (this.shown === 0) log.textContent = "";
    if (this.shown === this.lines.length) return;
    const isAtEnd = log.scrollTop + log.clientHeight >= log.scrollHeight - 30;
    log.append(this.lines.slice(this.shown).map((line) => `${line}\n`).join(""));
    this.shown = this.lines.length;
    if (isAtEnd) log.scrollTop = log.scrollHeight;
  }
}
