// Networks in files of Python's cnnx (python/cnnx/storage.py): an npz file with each parameter as "position.name", and
// a JSON text "network" that describes the layers.

import {readNpz, writeNpz} from "./npz.js";
import {Stack} from "./stack.js";

const NEWEST_VERSION = 2;

// Returns {layers, imageShape, values, trainedOn}: `values` are all parameters in float32, one after another.
export async function readNetwork(bytes) {
  const arrays = await readNpz(bytes), text = arrays.get("network")?.data;
  const described = typeof text === "string" ? parsed(text) : null;
  if (described?.format !== "cnnx" || !Array.isArray(described.layers))
    throw new Error("expected a network that cnnx saved, got another npz file");
  if (described.version > NEWEST_VERSION)
    throw new Error(`expected format version ${NEWEST_VERSION} or older, got ${described.version}: a newer cnnx wrote the file`);
  if (described.layers.at(-1)?.layer !== "Softmax")
    throw new Error(`expected a network that ends with Softmax, got ${described.layers.at(-1)?.layer ?? "no layers"}`);
  if (described.pixels != null && described.pixels.dtype !== "uint8")
    throw new Error(`expected a network trained on bytes from 0 to 255, as the page's images are, got ${described.pixels.dtype} pixels`);

  const imageShape = described.image_shape ?? [28, 28], layers = described.layers.map((layer) => asFloat32(layer));
  const stack = new Stack(layers, imageShape), values = new Float32Array(stack.size);
  for (const {layer, name, shape, start} of stack.parameters) {
    const array = arrays.get(`${layer}.${name}`), expected = `${layer}.${name}: expected float32 or float64 of shape (${shape})`;
    if (array === undefined) throw new Error(`${expected}, got none`);
    const isFloat = array.data instanceof Float32Array || array.data instanceof Float64Array;
    if (!isFloat || String(array.shape) !== String(shape)) throw new Error(`${expected}, got shape (${array.shape})`);
    if (!array.data.every((value) => Number.isFinite(Math.fround(value)))) throw new Error(`${expected} and finite, got others`);
    values.set(array.data, start);
  }
  return {layers, imageShape, values, trainedOn: described.pixels?.images ?? 0};
}

// Returns the bytes of a file.
export function writeNetwork(stack, values, trainedOn) {
  const arrays = stack.parameters.map(({layer, name, shape, start, count}) =>
    [`${layer}.${name}`, {shape, data: values.subarray(start, start + count)}]);
  const pixels = trainedOn > 0 ? {dtype: "uint8", least: 0, most: 255, images: trainedOn} : null;
  const described = {format: "cnnx", version: 1, layers: stack.layers, image_shape: stack.imageShape, pixels};
  return writeNpz([["network", {shape: [], data: JSON.stringify(described)}], ...arrays]);
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

const asFloat32 = (settings) => ("dtype" in settings ? {...settings, dtype: "float32"} : settings);
