// Says how one number of the network was computed, from the layer's input: plain data, which inspector.js shows.

// A network's layer that this page explains, by its name.
export const kindOf = (layer) => layer.name.toLowerCase().replaceAll("_", "");

export const channelsOf = (shape) => (shape.length === 3 ? shape[2] : 1);

// The image as the network takes it.
export const scaled = (image) => Float32Array.from(image, (level) => level / 255 - 0.5);

// The shape of what layer `position` reads.
export const inputShape = (net, position) => (position === 0 ? net.imageShape : net.layers[position - 1].shape);

// Conv3x3: the nine products of the channel that adds most, and the sum of each channel.
export function convolution(net, position, input, { row, column, channel }) {
  const { parameters, settings } = net.layers[position];
  const [height, width] = inputShape(net, position);
  const channels = channelsOf(inputShape(net, position));
  const shift = settings.padding === "same" ? 1 : 0;
  const { data: filters } = parameters.filters;
  const parts = Array.from({ length: channels }, (_, from) => {
    const window = [];
    const filter = [];
    for (let x = 0; x < 3; x++) {
      for (let y = 0; y < 3; y++) {
        const [r, c] = [row + x - shift, column + y - shift];
        const isInside = r >= 0 && r < height && c >= 0 && c < width;
        window.push(isInside ? input[(r * width + c) * channels + from] : 0);
        filter.push(filters[(channel * 9 + x * 3 + y) * channels + from]);
      }
    }
    const products = window.map((value, i) => value * filter[i]);
    return { from, window, filter, products, sum: products.reduce((sum, it) => sum + it) };
  });
  const bias = parameters.biases?.data[channel] ?? null;
  const strongest = parts.reduce((best, part) => (Math.abs(part.sum) > Math.abs(best.sum) ? part : best));
  const total = parts.reduce((sum, part) => sum + part.sum, bias ?? 0);
  return { parts, strongest, bias, total, top: row - shift, left: column - shift };
}

// MaxPool2: the four values, and which of them is the largest.
export function pooling(net, position, input, { row, column, channel }) {
  const shape = inputShape(net, position);
  const channels = channelsOf(shape);
  const values = [0, 1, 2, 3].map((i) => {
    const place = (row * 2 + (i >> 1)) * shape[1] + column * 2 + (i & 1);
    return input[place * channels + channel];
  });
  return { values, largest: Math.max(...values), top: row * 2, left: column * 2 };
}

// Softmax: how much each input speaks for the output rather than for the others.
//
// total[k] = sum over i of input[i] * weights[i, k], plus biases[k]. A number that is added to all totals changes no
// probability, so evidence[i] = input[i] * (weights[i, k] - mean over the outputs of weights[i, :]).
export function evidenceFor(net, input, output) {
  const weights = net.layers.at(-1).parameters.weights.data;
  const { nodes } = net;
  return input.map((value, i) => {
    const ofInput = weights.subarray(i * nodes, (i + 1) * nodes);
    return value * (ofInput[output] - ofInput.reduce((sum, weight) => sum + weight) / nodes);
  });
}

// Sums the channels of (height, width, channels).
export function overChannels(values, shape) {
  const channels = channelsOf(shape);
  const sums = new Float32Array(values.length / channels);
  values.forEach((value, i) => (sums[Math.floor(i / channels)] += value));
  return sums;
}
