// The layers of a network as cnnx's files describe them, and what follows from a description: shapes and parameters.

import * as checks from "./checks.js";

export const MOST_FILTERS = 64;
const MOST_NODES = 256, LEAST_SIDE = 4, MOST_SIDE = 128, MOST_PARAMETERS = 1 << 22;

const KINDS = {
  Conv3x3: {
    shape([height, width, channels], {num_filters, in_channels, padding}) {
      const ring = padding === "same" ? 0 : 2;
      return channels === (in_channels ?? 1) && height > ring && width > ring && [height - ring, width - ring, num_filters];
    },
    parameters({num_filters, in_channels, use_bias}) {
      const filters = [num_filters, 3, 3, ...(in_channels === null ? [] : [in_channels])];
      return {filters, ...(use_bias ? {biases: [num_filters]} : {})};
    },
    // The article's filters are standard normal / 9. Those with channels have He's deviation.
    initial: ({in_channels}) => (in_channels === null ? [9, 1] : [1, Math.sqrt(2 / (9 * in_channels))]),
    row: ({num_filters, in_channels, padding, use_bias}) =>
      [0, num_filters, in_channels ?? 1, padding === "same", in_channels !== null, use_bias, 0],
    check({num_filters, in_channels, padding, use_bias}) {
      checks.integer("num_filters", num_filters, 1, MOST_FILTERS);
      if (in_channels !== null) checks.integer("in_channels", in_channels, 1, MOST_FILTERS);
      checks.oneOf("padding", padding, ["valid", "same"]);
      checks.oneOf("use_bias", use_bias, [true, false]);
    },
  },
  MaxPool2: {
    shape: ([height, width, channels]) => height > 1 && width > 1 && [height >> 1, width >> 1, channels],
    parameters: () => ({}),
    row: ({ties}) => [1, 0, 0, 0, 0, 0, ties === "first"],
    check: ({ties}) => checks.oneOf("ties", ties, ["all", "first"]),
  },
  ReLU: {
    shape: (input) => input,
    parameters: () => ({}),
    row: () => [2, 0, 0, 0, 0, 0, 0],
    check() {},
  },
  Softmax: {
    shape: (input, {input_len, nodes}) => count(input) === input_len && [nodes],
    parameters: ({input_len, nodes}) => ({weights: [input_len, nodes], biases: [nodes]}),
    initial: ({input_len}) => [input_len, 1],
    row: ({input_len, nodes}) => [3, nodes, input_len, 0, 0, 0, 0],
    check({input_len, nodes}) {
      checks.integer("input_len", input_len, 1, MOST_SIDE * MOST_SIDE * MOST_FILTERS);
      checks.integer("nodes", nodes, 1, MOST_NODES);
    },
  },
};

export const count = (shape) => shape.reduce((product, size) => product * size, 1);

// The layers of cnnx.models.article_cnn and small_convnet.
export function preset({preset, filters, ties, imageShape, nodes}) {
  checks.oneOf("preset", preset, ["article", "small_convnet"]);
  const conv = (num_filters, in_channels, use_bias) =>
    ({layer: "Conv3x3", num_filters, in_channels, padding: "valid", use_bias, dtype: "float32"});
  const pool = (ties) => ({layer: "MaxPool2", ties}), relu = {layer: "ReLU"};
  const layers = preset === "article"
    ? [conv(checks.integer("filters", filters ?? 8, 1, MOST_FILTERS), null, false), pool(ties ?? "all")]
    : [conv(16, 1, true), pool("first"), relu, conv(32, 16, true), pool("first"), relu];
  if (preset !== "article" && ((filters ?? null) !== null || (ties ?? "first") !== "first"))
    throw new RangeError(`filters and ties: expected none, for ${preset} has its own; they are for "article"`);
  const stack = new Stack(layers, imageShape);
  const softmax = {layer: "Softmax", input_len: count(stack.shapes.at(-1)), nodes, dtype: "float32"};
  return new Stack([...layers, softmax], imageShape);
}

export class Stack {
  // `layers` has an entry as in a file of cnnx for each layer. `imageShape` is [height, width] or [height, width, 1].
  constructor(layers, imageShape) {
    this.imageShape = checkedImageShape(imageShape);
    this.layers = layers;
    this.shapes = [];  // each layer's output
    this.parameters = [];  // {layer, name, shape, start, count, initial}, in the core's order
    this.size = 0;  // of all parameters
    let shape = [...this.imageShape.slice(0, 2), 1];
    layers.forEach((settings, at) => {
      const kind = kindOf(settings, at);
      const output = kind.shape(shape, settings);
      if (!output || (settings.layer !== "Softmax" && shape.length === 1))
        throw new RangeError(`layers[${at}]: ${settings.layer} does not take an input of shape (${shape.join(", ")})`);
      shape = output;
      this.shapes.push(shape);
      for (const [name, shape] of Object.entries(kind.parameters(settings))) {
        const initial = name === "biases" ? null : kind.initial(settings);
        this.parameters.push({layer: at, name, shape, start: this.size, count: count(shape), initial});
        this.size += count(shape);
      }
    });
    if (this.size > MOST_PARAMETERS)
      throw new RangeError(`layers: expected at most ${MOST_PARAMETERS} parameters in a page, got ${this.size}`);
  }

  get pixels() { return count(this.imageShape); }
  get nodes() { return this.shapes.at(-1)[0]; }

  // What the core reads: seven integers for each layer.
  rows() {
    return Int32Array.from(this.layers.flatMap((settings) => KINDS[settings.layer].row(settings).map(Number)));
  }
}

function checkedImageShape(shape) {
  const isShape = Array.isArray(shape) && (shape.length === 2 || (shape.length === 3 && shape[2] === 1));
  if (!isShape) throw new RangeError(`imageShape: expected [height, width] of grey images, got ${JSON.stringify(shape)}`);
  for (const side of shape.slice(0, 2)) checks.integer("imageShape", side, LEAST_SIDE, MOST_SIDE);
  return shape;
}

function kindOf(settings, at) {
  const kind = Object.hasOwn(KINDS, settings.layer) ? KINDS[settings.layer] : null;
  if (kind === null) {
    const name = settings.layer ?? (settings.same_as !== undefined ? "a layer at two positions" : JSON.stringify(settings));
    throw new RangeError(`layers[${at}]: expected one of ${Object.keys(KINDS).join(", ")}, got ${name}; Python's cnnx runs it`);
  }
  if (settings.trainable === false)
    throw new RangeError(`layers[${at}]: expected a layer that trains, got a frozen one (set trainable = True in Python)`);
  try {
    kind.check(settings);
  } catch (error) {
    throw new RangeError(`layers[${at}]: ${settings.layer}'s ${error.message}`);
  }
  return kind;
}
