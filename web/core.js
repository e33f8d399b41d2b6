// cnnx's core. Only this module reads or writes the memory of core.wasm, and it checks what the core is given.
//
//   const core = await Core.load(bytes);
//   const network = core.network({preset: "article", seed: 0});
//   network.train(images, labels, {learnRate: 0.005, order: network.permutation(1000)});

import * as checks from "./checks.js";
import {readNetwork, writeNetwork} from "./saved.js";
import {count, preset, Stack} from "./stack.js";

const METHODS = ["sgd", "momentum", "adam"];
const CLASSES = "the network's classes";
const MOST_AT_ONCE = 1000;  // images that are copied to the core at once

export class Core {
  #wasm;
  #staged = {pointer: 0, bytes: 0};

  // `bytes` are those of core.wasm.
  static async load(bytes) {
    const {instance} = await WebAssembly.instantiate(bytes, {});
    instance.exports._initialize();
    return new Core(instance.exports);
  }

  constructor(wasm) { this.#wasm = wasm; }
  get wasm() { return this.#wasm; }

  // A network with the initial values that cnnx.models draws after np.random.seed(seed).
  //   preset: "article" or "small_convnet"
  //   filters, ties: of "article": how many filters; which of several equal pixels of a window receive a gradient,
  //     "all" or "first"
  //   imageShape: [height, width]; nodes: the number of classes
  network({preset: name = "article", filters, ties, seed = 0, imageShape = [28, 28], nodes = 10} = {}) {
    const stack = preset({preset: name, filters, ties, imageShape, nodes});
    const network = new Network(this, stack, seed);
    network.initialise();
    return network;
  }

  // A network from a file that Python's cnnx or `save` has written. Parameters become float32. `seed` is what its
  // permutations are drawn from.
  async loadNetwork(bytes, {seed = 0} = {}) {
    const {layers, imageShape, values, trainedOn} = await readNetwork(bytes);
    const network = new Network(this, new Stack(layers, imageShape), seed, trainedOn);
    network.restore(values);
    return network;
  }

  // Room in the core's memory for arrays, which holds until the next call. `sizes` are their numbers of bytes. Returns
  // pointers to them.
  stage(...sizes) {
    const padded = sizes.map((size) => (size + 15) & ~15), total = padded.reduce((sum, size) => sum + size, 0);
    if (total > this.#staged.bytes) {
      this.#wasm.release(this.#staged.pointer);
      this.#staged = {pointer: this.#wasm.allocate(total), bytes: total};
      if (this.#staged.pointer === 0) {
        this.#staged.bytes = 0;
        throw new Error(`The browser has no ${total} bytes more for this page (close other tabs)`);
      }
    }
    let at = this.#staged.pointer;
    return padded.map((size) => (at += size) - size);
  }
  // The core's memory as numbers of a kind. Any call of the core may move it, so a view is used at once.
  view(Kind, pointer, length) { return new Kind(this.#wasm.memory.buffer, pointer, length); }
  copy(Kind, pointer, length) { return this.view(Kind, pointer, length).slice(); }
}

class Network {
  #core;
  #wasm;
  #stack;
  #pointer;
  #random;
  #run = null;  // the optimizer and the batch size of the current run of training

  constructor(core, stack, seed, trainedOn = 0) {
    checks.integer("seed", seed, 0, 2 ** 32 - 1);
    this.#core = core;
    this.#wasm = core.wasm;
    this.#stack = stack;
    const rows = stack.rows(), [height, width, channels = 0] = stack.imageShape, [pointer] = core.stage(rows.byteLength);
    core.view(Int32Array, pointer, rows.length).set(rows);
    this.#pointer = this.#wasm.network_new(pointer, stack.layers.length, height, width, channels);
    this.#random = this.#wasm.random_new(seed);
    this.trainedOn = trainedOn;  // how many images it was trained on
  }

  // Draws initial values: those of the filters and weights. Biases are 0.
  initialise() {
    for (const {start, count, initial} of this.#stack.parameters) {
      const at = this.#parameters() + 4 * start;
      if (initial === null) this.#core.view(Float32Array, at, count).fill(0);
      else this.#wasm.random_normal(this.#random, at, count, ...initial);
    }
  }

  get imageShape() { return this.#stack.imageShape; }
  get nodes() { return this.#stack.nodes; }
  get parameterCount() { return this.#stack.size; }

  // For each layer its name, its settings as in Python, its output's shape, and copies of its parameters.
  get layers() {
    const layers = this.#stack.layers.map(({layer, ...settings}, at) =>
      ({name: layer, settings, shape: this.#stack.shapes[at], parameters: {}}));
    for (const {layer, name, shape, start, count} of this.#stack.parameters)
      layers[layer].parameters[name] = {shape, data: this.#core.copy(Float32Array, this.#parameters() + 4 * start, count)};
    return layers;
  }

  // The order in which the next epoch takes `count` images, as Python's cnnx draws it: a Uint32Array.
  permutation(count) {
    checks.integer("count", count, 1, 2 ** 24);
    this.#parameters();
    const [order] = this.#core.stage(4 * count);
    this.#wasm.random_permutation(this.#random, order, count);
    return this.#core.copy(Uint32Array, order, count);
  }

  // A window of a run of training: steps on the images of `order`, or on all images.
  //   images: Uint8Array, height * width bytes for each image; labels: Uint8Array
  //   optimizer: "sgd", "momentum" (Nesterov's, 0.9) or "adam"; batchSize: images a step. An epoch's last step may
  //     have fewer, so windows within an epoch are whole batches.
  //   restart: whether a new run begins, as one call of fit in Python. The first window always begins one.
  // Returns each image's loss before its step, whether it was recognised, and how many were.
  train(images, labels, {learnRate, optimizer = "sgd", batchSize = 1, order = null, restart = false}) {
    const available = checks.images("images", images, this.#stack.pixels);
    checks.labels(labels, available);
    checks.learnRate(learnRate);
    checks.oneOf("optimizer", optimizer, METHODS);
    checks.integer("batchSize", batchSize, 1, MOST_AT_ONCE);
    if (order !== null) checks.order(order, available);
    const samples = order === null ? available : order.length;
    checks.below("labels", labels, this.nodes, CLASSES, order, 0, samples);
    this.#begin(optimizer, batchSize, restart);

    const kept = this.snapshot();
    const losses = new Float64Array(samples), recognised = new Uint8Array(samples);
    const part = MOST_AT_ONCE - (MOST_AT_ONCE % batchSize);
    for (let first = 0; first < samples; first += part) {
      const taken = Math.min(part, samples - first);
      const at = this.#staged(images, labels, order, first, taken);
      this.#wasm.network_train(this.#pointer, at.images, at.labels, taken, learnRate, at.losses, at.correct);
      losses.set(this.#core.view(Float64Array, at.losses, taken), first);
      recognised.set(this.#core.view(Uint8Array, at.correct, taken), first);
    }
    this.#refuseDivergence(losses, learnRate, kept);
    this.trainedOn = Math.max(this.trainedOn, available);
    return {losses, recognised, correct: ones(recognised)};
  }

  // One step of plain gradient descent on one image. Returns the loss before it.
  step(image, label, learnRate) {
    this.#checkImage(image);
    checks.integer("label", label, 0, this.nodes - 1);
    checks.learnRate(learnRate);
    const kept = this.snapshot(), [pointer] = this.#core.stage(image.length);
    this.#core.view(Uint8Array, pointer, image.length).set(image);
    const loss = this.#wasm.network_step(this.#pointer, pointer, label, learnRate);
    this.#refuseDivergence(Float64Array.of(loss), learnRate, kept);
    return loss;
  }

  // What every layer makes of an image, computed layer by layer: {layers, totals, probabilities}. The last one's output
  // is the probabilities, which it makes of the totals.
  forward(image) {
    this.#checkImage(image);
    const {shapes} = this.#stack, [pointer] = this.#core.stage(image.length);
    this.#core.view(Uint8Array, pointer, image.length).set(image);
    this.#wasm.network_forward(this.#pointer, pointer);
    const values = (at) => this.#core.copy(Float32Array, this.#wasm.network_values(this.#pointer, at), count(shapes[at]));
    const layers = shapes.map((_, at) => values(at)), totals = layers.at(-1);
    const probabilities = this.#core.copy(Float32Array, this.#wasm.network_probabilities(this.#pointer), this.nodes);
    layers[layers.length - 1] = probabilities;
    return {layers, totals, probabilities};
  }

  // {loss, accuracy, predictions, losses} of images with labels. The loss is the mean as numpy adds it up.
  evaluate(images, labels) {
    const samples = checks.images("images", images, this.#stack.pixels);
    checks.labels(labels, samples);
    checks.below("labels", labels, this.nodes, CLASSES, null, 0, samples);
    this.#parameters();
    const losses = new Float64Array(samples), predictions = new Uint8Array(samples);
    const parts = Math.ceil(samples / MOST_AT_ONCE);
    let correct = 0;
    for (let i = 0; i < parts; ++i) {  // parts of about the same size, because the core packs weights for many images
      const first = Math.floor((samples * i) / parts), taken = Math.floor((samples * (i + 1)) / parts) - first;
      const at = this.#staged(images, labels, null, first, taken);
      this.#wasm.network_evaluate(this.#pointer, at.images, at.labels, taken, at.outputs, at.losses, at.correct);
      losses.set(this.#core.view(Float64Array, at.losses, taken), first);
      correct += ones(this.#core.view(Uint8Array, at.correct, taken));
      const outputs = this.#core.view(Float32Array, at.outputs, taken * this.nodes);
      for (let k = 0; k < taken; ++k)
        predictions[first + k] = largest(outputs.subarray(k * this.nodes, (k + 1) * this.nodes));
    }
    return {loss: pairwiseSum(losses) / samples, accuracy: correct / samples, predictions, losses};
  }

  // All parameters, for `restore`: a Float32Array in Python's order.
  snapshot() { return this.#core.copy(Float32Array, this.#parameters(), this.#stack.size); }
  restore(snapshot) {
    if (!(snapshot instanceof Float32Array) || snapshot.length !== this.#stack.size)
      throw new TypeError(`snapshot: expected what this network's snapshot() returned, ${this.#stack.size} numbers`);
    this.#core.view(Float32Array, this.#parameters(), this.#stack.size).set(snapshot);
  }

  // The bytes of a file for cnnx.load.
  save() { return writeNetwork(this.#stack, this.snapshot(), this.trainedOn); }

  // Gives the memory back. The network cannot be used afterwards.
  dispose() {
    this.#parameters();
    this.#wasm.network_delete(this.#pointer);
    this.#wasm.random_delete(this.#random);
    this.#pointer = this.#random = 0;
  }

  #parameters() {
    if (this.#pointer === 0) throw new Error("network: expected one in use, got one after its dispose()");
    return this.#wasm.network_parameters(this.#pointer);
  }

  #checkImage(image) {
    this.#parameters();
    if (checks.images("image", image, this.#stack.pixels) !== 1)
      throw new RangeError(`image: expected ${this.#stack.pixels} bytes, got ${image.length}`);
  }

  #begin(optimizer, batchSize, restart) {
    this.#parameters();
    const run = `${optimizer}, ${batchSize} images a step`;
    if (this.#run !== null && !restart) {
      if (this.#run !== run)
        throw new RangeError(`optimizer and batchSize: expected those of this run (${this.#run}), got ${run} (restart: true begins another)`);
      return;
    }
    this.#run = run;
    this.#wasm.network_begin(this.#pointer, METHODS.indexOf(optimizer), batchSize);
  }

  // Copies some images and labels into the core's memory, and makes room for what it computes.
  #staged(images, labels, order, first, taken) {
    const size = this.#stack.pixels;
    const [atImages, atLabels, losses, correct, outputs] =
      this.#core.stage(taken * size, taken, 8 * taken, taken, 4 * taken * this.nodes);
    const toImages = this.#core.view(Uint8Array, atImages, taken * size), toLabels = this.#core.view(Uint8Array, atLabels, taken);
    for (let i = 0; i < taken; ++i) {
      const from = order === null ? first + i : order[first + i];
      toImages.set(images.subarray(from * size, (from + 1) * size), i * size);
      toLabels[i] = labels[from];
    }
    return {images: atImages, labels: atLabels, losses, correct, outputs};
  }

  #refuseDivergence(losses, learnRate, kept) {
    if (Number.isFinite(pairwiseSum(losses)) && this.#wasm.network_is_finite(this.#pointer)) return;
    this.restore(kept);
    throw new RangeError(`loss and parameters: expected finite numbers, got others with learn rate ${learnRate}; ` +
      "the parameters are those before these steps (try a smaller learn rate)");
  }
}

function ones(flags) {
  let count = 0;
  for (let i = 0; i < flags.length; ++i) count += flags[i];
  return count;
}

function largest(values) {
  let best = 0;
  for (let i = 1; i < values.length; ++i) if (values[i] > values[best]) best = i;
  return best;
}

// The sum of numbers as numpy computes it: eight partial sums for up to 128 numbers, and halves of longer arrays.
export function pairwiseSum(values) {
  const n = values.length;
  if (n > 128) {
    const half = (n >> 1) - ((n >> 1) % 8);
    return pairwiseSum(values.subarray(0, half)) + pairwiseSum(values.subarray(half));
  }
  const whole = n - (n % 8), [a, b, c, d, e, f, g, h] = values;
  let sum = 0;
  if (n >= 8) {
    const parts = [a, b, c, d, e, f, g, h];
    for (let i = 8; i < whole; ++i) parts[i % 8] += values[i];
    sum = parts[0] + parts[1] + (parts[2] + parts[3]) + (parts[4] + parts[5] + (parts[6] + parts[7]));
  }
  for (let i = whole; i < n; ++i) sum += values[i];
  return sum;
}
