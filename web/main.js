// The page: what it knows, and what follows when the picture, the network or the data change.

import { Answer, DIGITS } from "./answer.js";
import { SIDE } from "./centring.js";
import { onModeChange } from "./colours.js";
import { Core } from "./core.js";
import { Correction } from "./correction.js";
import { byId } from "./dom.js";
import { Pad } from "./drawing.js";
import { listenForDrops } from "./dropping.js";
import { Collection, download, isNetwork, read, unzipped } from "./files.js";
import { Inside } from "./inside.js";
import { Mistakes } from "./mistakes.js";
import { readNpz } from "./npz.js";
import { Progress } from "./progress.js";
import { Seen } from "./seen.js";
import { Settings } from "./settings.js";
import { Training, nextFrame, test } from "./training.js";

const SIZE = SIDE * SIDE;
const REDRAW = 80; // milliseconds: while training, the layers are drawn this often

class Page {
  constructor(core, sample) {
    Object.assign(this, { core, sample, data: sample, full: null, image: null, training: null, isTrained: false, tests: 0, pointed: null });
    this.collection = new Collection();
    this.correction = new Correction();
    this.inside = new Inside();
    this.settings = new Settings(() => this.restart());
    this.answer = new Answer({ onPoint: (output) => this.pointAt(output), onMeant: (digit) => this.meant(digit) });
    this.mistakes = new Mistakes((image, label) => this.pick(image, label));
    this.progress = new Progress();
    this.seen = new Seen();
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
    listenForDrops((files) => this.guard(() => this.take(files)));
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
      if (error.constructor !== Error && error.constructor !== RangeError) throw error; // a bug of the page
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

  // Someone points at an output, or at none. What spoke for it takes the place of what the network sees.
  pointAt(output) {
    this.pointed = output;
    if (output !== null) this.inside.choose({ kind: "output", output });
    this.showSeen();
  }

  showSeen() {
    if (this.pointed === null) this.seen.showPicture(this.image ?? new Uint8Array(SIZE));
    else this.seen.showEvidence(this.inside.evidence(this.pointed), this.names[this.pointed]);
  }

  // Computes and shows everything for the picture on the pad.
  refresh() {
    const forward = this.net.forward(this.image ?? new Uint8Array(SIZE));
    this.answer.show(this.image === null ? null : forward.probabilities, this.isTrained);
    this.inside.show(this.image ?? new Uint8Array(SIZE), forward);
    this.showSeen();
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
    this.use(this.core.network(preset === "article" ? { preset, filters, ties, seed } : { preset, seed }), ["MNIST CNN initialized!"]);
    this.preset = preset;
  }

  // Takes another network. `log` has the log's first lines.
  use(net, log) {
    this.net?.dispose();
    this.tests++;
    Object.assign(this, { net, preset: null, epochs: 0, isTrained: net.trainedOn > 0, lastTest: null });
    this.correction.forget();
    this.mistakes.hide();
    this.progress.clear(net.parameterCount, log);
    this.inside.build(net);
    this.refresh();
  }

  async load(file, bytes) {
    let net;
    try {
      net = await this.core.loadNetwork(bytes, { seed: this.settings.values().seed });
    } catch (error) {
      throw new Error(`${file.name}: ${error.message}`);
    }
    if (net.nodes !== DIGITS.length || net.imageShape.slice(0, 2).some((side) => side !== SIDE)) {
      const got = `${net.imageShape.join("×")} and ${net.nodes}`;
      net.dispose();
      throw new Error(`${file.name}: expected a network for pictures of ${SIDE}×${SIDE} pixels and ${DIGITS.length} classes, got one for ${got}.`);
    }
    this.use(net, []);
    byId("keep-report").textContent = `${file.name} is loaded.`;
    await this.testAll();
  }

  // Tests the network. Returns false if it is trained, changed or tested again before that is over.
  async testAll() {
    const number = ++this.tests;
    const { testImages, testLabels } = this.data;
    const tested = await test(this.net, testImages, testLabels, () => number !== this.tests);
    if (tested !== null) this.showTest(tested);
    return tested !== null;
  }

  showTest(tested) {
    this.lastTest = [tested, this.data.testImages, this.data.testLabels, this.names];
    this.mistakes.show(...this.lastTest);
    this.progress.tested(tested, false);
    this.progress.draw();
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
    const isTested = await this.testAll();
    if (isTested && before !== undefined) this.correction.tell(before, this.lastTest[0].accuracy);
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
    if (data !== this.data) this.useData(data);
    this.correction.forget();
    const options = { epochs, learnRate, firstEpoch: this.epochs, hasArticlesLog: this.preset === "article" };
    this.training = new Training(this.net, data, options, this.report());
    this.progress.begin(epochs * data.labels.length);
    byId("command").textContent = this.settings.command(data !== this.sample);
    this.tests++;
    this.isTrained = true;
    this.setBusy(true);
    let tested = null;
    try {
      tested = await this.training.run();
      this.epochs += epochs;
    } finally {
      this.drawAll();
      this.training = null;
      this.setBusy(false);
    }
    await this.showEnd(tested);
  }

  async showEnd(tested) {
    this.progress.say(
      tested === null
        ? "Stopped. You can train it on, or start over."
        : `Done. It reads ${(tested.accuracy * 100).toFixed(1)}% of the test pictures, which it has not learned from. Now draw one.`,
    );
    await nextFrame();
    if (tested === null) await this.testAll();
    else this.showTest(tested);
  }

  report() {
    let drawnAt = 0;
    return {
      log: (line) => this.progress.log(line),
      window: (window) => this.progress.window(window),
      epoch: (tested) => this.progress.tested(tested, true),
      slice: async () => {
        if (performance.now() - drawnAt < REDRAW) return;
        await nextFrame(); // so that no frame trains and draws
        this.drawAll();
        drawnAt = performance.now();
      },
    };
  }

  drawAll() {
    this.refresh();
    this.progress.draw();
  }

  setBusy(isBusy) {
    for (const id of ["train-sample", "train-all", "restart", "save"]) byId(id).disabled = isBusy;
    this.settings.setDisabled(isBusy);
    byId("stop").hidden = !isBusy;
    document.body.classList.toggle("training", isBusy);
  }

  // ------------------------------------------------------------------------------------------------ files

  // Takes other data, whose classes may have other names.
  useData(data) {
    this.data = data;
    this.answer.nameOutputs(this.names);
    this.inside.nameOutputs(this.names);
    this.pad.show(this.testImage(0));
  }

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
    this.useData(this.full);
    this.restart();
    await nextFrame(); // the new network is drawn before it learns
    await nextFrame();
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
