// The page: what it knows, and what follows when the picture, the network or the data change.

import { Answer, DIGITS } from "./answer.js";
import { SIDE } from "./centring.js";
import { Chart } from "./charts.js";
import { onModeChange } from "./colours.js";
import { Core } from "./core.js";
import { Correction } from "./correction.js";
import { byId, counted, make } from "./dom.js";
import { Pad } from "./drawing.js";
import { Collection, download, isNetwork, read, unzipped } from "./files.js";
import { Inside } from "./inside.js";
import { PixelMap } from "./maps.js";
import { Mistakes } from "./mistakes.js";
import { readNpz } from "./npz.js";
import { Settings } from "./settings.js";
import { Training, test } from "./training.js";

const SIZE = SIDE * SIDE;
const REDRAW = 60; // milliseconds: while training, the layers are drawn this often

class Page {
  constructor(core, sample) {
    Object.assign(this, { core, sample, data: sample, full: null, image: null, training: null, epochs: 0, isTrained: false });
    this.collection = new Collection();
    this.correction = new Correction();
    this.inside = new Inside();
    this.settings = new Settings(() => this.restart());
    this.answer = new Answer({ onPoint: (output) => this.inside.choose({ kind: "output", output }), onMeant: (digit) => this.meant(digit) });
    this.mistakes = new Mistakes((image, label) => this.pick(image, label));
    this.charts = {
      loss: new Chart(byId("loss-chart"), { title: "Loss", top: null, write: (value) => value.toFixed(2) }),
      accuracy: new Chart(byId("accuracy-chart"), { title: "Read correctly", top: 1, write: (value) => `${(value * 100).toFixed(0)}%` }),
    };
    this.seen = new PixelMap({ height: SIDE, width: SIDE, label: "The picture that the network sees" });
    byId("seen").append(this.seen.element);
    this.pad = new Pad(byId("pad"), (image, isDone) => this.drawn(image, isDone));
    this.listen();
    this.image = this.testImage(0);
    this.restart();
    this.pad.show(this.image);
  }

  listen() {
    const on = (id, name, listener) => byId(id).addEventListener(name, (event) => this.guard(() => listener(event)));
    on("clear", "click", () => this.pad.clear());
    on("remove-stroke", "click", () => this.pad.removeLastStroke());
    on("test-digit", "click", () => this.pad.show(this.testImage(Math.floor(Math.random() * this.data.testLabels.length))));
    on("train-sample", "click", () => this.train(this.sample));
    on("train-all", "click", () => (this.full === null ? byId("files").click() : this.train(this.full)));
    on("stop", "click", () => this.training?.stop());
    on("restart", "click", () => this.restart());
    on("undo-correction", "click", () => this.undoCorrection());
    on("save", "click", () => download(this.net.save(), "digits.npz"));
    for (const id of ["files", "network-file"]) {
      on(id, "change", async ({ target }) => {
        const files = [...target.files];
        target.value = ""; // so that the same file can be chosen again
        await this.take(files);
      });
    }
    addEventListener("dragover", (event) => {
      event.preventDefault();
      document.body.classList.add("dragging");
    });
    addEventListener("dragleave", (event) => event.relatedTarget === null && document.body.classList.remove("dragging"));
    addEventListener("drop", (event) => {
      event.preventDefault();
      document.body.classList.remove("dragging");
      this.guard(() => this.take([...event.dataTransfer.files]));
    });
    onModeChange(() => {
      this.pad.draw();
      this.refresh();
      if (this.lastTest) this.mistakes.show(...this.lastTest);
    });
  }

  // Shows an error on the page instead of losing it.
  async guard(action) {
    byId("problem").hidden = true;
    try {
      await action();
    } catch (error) {
      byId("problem").textContent = error.message;
      byId("problem").hidden = false;
      if (!(error instanceof Error) || error.constructor !== Error) throw error; // a bug of the page
    }
  }

  get names() {
    return this.data.names ?? DIGITS;
  }

  testImage(number) {
    return this.data.testImages.slice(number * SIZE, (number + 1) * SIZE);
  }

  // ------------------------------------------------------------------------------------------------ the picture

  drawn(image, isDone) {
    this.image = image;
    byId("pad-hint").textContent = this.pad.isEmpty
      ? "Draw one digit, large or small."
      : this.pad.image === null ? "" : "A picture that it did not learn from. Draw your own over it.";
    this.refresh();
    if (isDone) this.answer.speak();
  }

  // Computes and shows everything for the picture on the pad.
  refresh() {
    this.seen.drawInk(this.image ?? new Uint8Array(SIZE));
    const forward = this.net.forward(this.image ?? new Uint8Array(SIZE));
    this.answer.show(this.image === null ? null : forward.probabilities, this.isTrained);
    this.inside.show(this.image ?? new Uint8Array(SIZE), forward);
  }

  pick(image, label) {
    this.pad.show(image);
    byId("pad-hint").textContent = `This is ${this.names[label]}, says its label.`;
    byId("draw").scrollIntoView({ behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
    byId("pad").focus({ preventScroll: true });
  }

  // ------------------------------------------------------------------------------------------------ the network

  restart() {
    const { preset, filters, ties, seed } = this.settings.values();
    const options = preset === "article" ? { preset, filters, ties, seed } : { preset, seed };
    this.use(this.core.network({ ...options, imageShape: [SIDE, SIDE, 1], nodes: DIGITS.length }));
    this.isTrained = false;
    this.log = ["MNIST CNN initialized!"];
    this.refresh();
    this.showFacts({});
    byId("progress").textContent = "";
  }

  use(net) {
    this.training?.stop();
    this.net?.dispose();
    this.net = net;
    this.epochs = 0;
    this.lastTest = null;
    this.log = [];
    this.correction.forget();
    this.mistakes.hide();
    Object.values(this.charts).forEach((chart) => chart.clear());
    this.inside.build(net);
    this.showLog();
  }

  async load(file, bytes) {
    let net;
    try {
      net = await this.core.load_network(bytes, { seed: this.settings.values().seed });
    } catch (error) {
      throw new Error(`${file.name}: ${error.message}`);
    }
    this.use(net);
    this.isTrained = true;
    this.refresh();
    byId("keep-report").textContent = `${file.name} is loaded.`;
    await this.testAll();
  }

  async testAll() {
    const net = this.net;
    const { testImages, testLabels } = this.data;
    const tested = await test(net, testImages, testLabels, () => this.net !== net);
    if (tested !== null) this.showTest(tested);
  }

  showTest(tested) {
    this.lastTest = [tested, this.data.testImages, this.data.testLabels, this.names];
    this.mistakes.show(...this.lastTest);
    this.showFacts({ test: tested });
  }

  // ------------------------------------------------------------------------------------------------ corrections

  async meant(digit) {
    if (this.image === null || this.training !== null) return;
    const before = this.lastTest?.[0].accuracy;
    const predict = () => this.net.forward(this.image).probabilities;
    if (!this.correction.step(this.net, this.image, digit, this.names[digit], predict)) return;
    this.isTrained = true;
    this.refresh();
    this.answer.speak();
    await this.testAll();
    if (before !== undefined) this.correction.tell(before, this.lastTest[0].accuracy);
  }

  async undoCorrection() {
    this.correction.undo(this.net);
    this.refresh();
    this.answer.speak();
    await this.testAll();
  }

  // ------------------------------------------------------------------------------------------------ training

  async train(data) {
    if (this.training !== null) return;
    const { epochs, learnRate } = this.settings.values();
    this.data = data;
    this.answer.nameOutputs(this.names);
    this.correction.forget();
    const hasArticlesLog = this.net.settings?.preset === "article";
    const options = { epochs, learnRate, firstEpoch: this.epochs, hasArticlesLog };
    const net = this.net;
    this.training = new Training(net, data, options, this.report(epochs * data.labels.length));
    this.isTrained = true;
    this.setBusy(true);
    try {
      const tested = await this.training.run();
      if (this.net !== net) return;
      this.epochs += epochs;
      byId("progress").textContent = tested === null ? "Stopped. You can train it on, or start over." : `Done. It reads ${(tested.accuracy * 100).toFixed(1)}% of the test digits, which it has never seen before. Draw one yourself.`;
      await this.testAll();
    } finally {
      this.training = null;
      this.setBusy(false);
      this.drawAll();
    }
  }

  report(steps) {
    const start = this.charts.loss.points.at(-1)?.[0] ?? 0;
    let drawnAt = 0;
    return {
      log: (line) => this.log.push(line),
      window: ({ step, loss, accuracy, perSecond }) => {
        this.charts.loss.add(start + step, loss);
        this.charts.accuracy.add(start + step, accuracy);
        this.facts = { ...this.facts, seen: start + step, perSecond };
        byId("progress").textContent = `${step.toLocaleString("en")} of ${counted(steps, "step")}`;
      },
      epoch: ({ step, test: tested }) => {
        this.charts.accuracy.mark(start + step, tested.accuracy);
        this.facts = { ...this.facts, test: tested };
      },
      frame: () => {
        if (performance.now() - drawnAt < REDRAW) return;
        this.drawAll();
        drawnAt = performance.now();
      },
    };
  }

  drawAll() {
    this.refresh();
    Object.values(this.charts).forEach((chart) => chart.draw());
    this.showFacts(this.facts);
    this.showLog();
  }

  setBusy(isBusy) {
    for (const id of ["train-sample", "train-all", "restart", "save"]) byId(id).disabled = isBusy;
    this.settings.setDisabled(isBusy);
    byId("stop").hidden = !isBusy;
    document.body.classList.toggle("training", isBusy);
  }

  showLog() {
    const log = byId("log");
    const isAtEnd = log.scrollTop + log.clientHeight >= log.scrollHeight - 30;
    if (this.shownLines === this.log.length && this.shownLog === this.log) return;
    [this.shownLines, this.shownLog] = [this.log.length, this.log];
    log.textContent = this.log.join("\n");
    if (isAtEnd) log.scrollTop = log.scrollHeight;
    byId("command").textContent = this.settings.command(this.data !== this.sample);
  }

  showFacts(facts) {
    this.facts = { ...(Object.keys(facts).length === 0 ? {} : this.facts), ...facts };
    const { test: tested, seen, perSecond } = this.facts;
    const entries = [
      ["Test accuracy", tested ? `${(tested.accuracy * 100).toFixed(1)}%` : "–"],
      ["Digits learned from", seen ? seen.toLocaleString("en") : "–"],
      ["Digits a second", perSecond ? (Math.round(perSecond / 100) * 100).toLocaleString("en") : "–"],
      ["Numbers in the network", this.countParameters().toLocaleString("en")],
    ];
    byId("facts").replaceChildren(...entries.map(([term, value]) => make("div", {}, make("dt", {}, term), make("dd", {}, value))));
  }

  countParameters() {
    const arrays = this.net.layers.flatMap(({ parameters }) => Object.values(parameters ?? {}));
    return arrays.reduce((sum, { data }) => sum + data.length, 0);
  }

  // ------------------------------------------------------------------------------------------------ files

  async take(files) {
    if (this.training !== null) throw new Error("The network is being trained. Stop it before you load files.");
    for (const file of files) {
      const bytes = await read(file);
      if (isNetwork(bytes)) return this.load(file, bytes);
      this.collection.add(file.name, bytes);
    }
    const { missing } = this.collection;
    if (missing.length > 0) {
      byId("files-report").textContent = `Still missing: ${missing.join(", ")}.`;
      return;
    }
    this.full = this.collection.take();
    const [many, few] = [this.full.labels, this.full.testLabels].map(({ length }) => length.toLocaleString("en"));
    byId("files-report").textContent = `${many} training and ${few} test pictures are loaded.`;
    byId("train-all").textContent = `Train on ${many}`;
    this.restart();
    await this.train(this.full);
  }
}

const bytesIn = (id) => Uint8Array.from(atob(byId(id).textContent.trim()), (character) => character.charCodeAt(0));

async function start() {
  const [core, arrays] = await Promise.all([unzipped(bytesIn("core")).then((bytes) => Core.load(bytes)), readNpz(bytesIn("sample"))]);
  const [images, labels, testImages, testLabels] = ["train_images", "train_labels", "test_images", "test_labels"].map((name) => arrays.get(name).data);
  window.page = new Page(core, { images, labels, testImages, testLabels, names: null });
  document.body.classList.add("ready");
}

start().catch((error) => {
  byId("problem").textContent = `The page could not start: ${error.message}`;
  byId("problem").hidden = false;
  throw error;
});
