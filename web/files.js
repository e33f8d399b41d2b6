// Files that people drop on the page or choose: the IDX files of MNIST, packed or not, and saved networks.

import { SIDE } from "./centring.js";

const PARTS = ["trainImages", "trainLabels", "testImages", "testLabels"];
const MEANINGS = { trainImages: "training images", trainLabels: "training labels", testImages: "test images", testLabels: "test labels" };
const NODES = 10;
const CLOTHES = ["T-shirt", "Trousers", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"];
const MUCH_INK = 55; // MNIST's pixels are 33 on average, Fashion-MNIST's 73; the files do not tell which they are

const startsWith = (bytes, ...start) => start.every((byte, i) => bytes[i] === byte);

export async function unzipped(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

export const isNetwork = (bytes) => startsWith(bytes, 0x50, 0x4b);

// The bytes of a file, unpacked.
export async function read(file) {
  const bytes = new Uint8Array(await file.arrayBuffer());
  if (!startsWith(bytes, 0x1f, 0x8b)) return bytes;
  try {
    return await unzipped(bytes);
  } catch {
    throw new Error(`${file.name}: expected a whole .gz file, got a damaged one. Download it again.`);
  }
}

// Returns {shape, data} of an IDX file of unsigned bytes.
function readIdx(name, bytes) {
  if (!startsWith(bytes, 0, 0, 8) || bytes.length < 4) {
    throw new Error(`${name}: expected a file of MNIST (IDX), packed or not, or a network (.npz), got another file.`);
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const start = 4 + 4 * bytes[3];
  const shape = Array.from({ length: bytes.length < start ? 0 : bytes[3] }, (_, axis) => view.getUint32(4 + 4 * axis));
  const data = bytes.subarray(start);
  const size = shape.reduce((product, length) => product * length, 1);
  if (shape.length === 0 || data.length !== size) {
    throw new Error(`${name}: expected ${size.toLocaleString("en")} bytes after the header, got ${data.length.toLocaleString("en")}. Download it again.`);
  }
  return { shape, data };
}

function partOf(name, shape) {
  const role = /train/i.test(name) ? "train" : /t10k|test/i.test(name) ? "test" : null;
  if (role === null) throw new Error(`${name}: expected a name with “train” or “t10k” in it, which says what the file is for.`);
  if (shape.length === 1) return `${role}Labels`;
  if (shape.length === 3 && shape[1] === SIDE && shape[2] === SIDE) return `${role}Images`;
  throw new Error(`${name}: expected pictures of ${SIDE}×${SIDE} pixels or labels, got numbers of the shape ${shape.join("×")}.`);
}

// Collects the four files, which may come one after the other.
export class Collection {
  constructor() {
    this.parts = {};
  }

  add(name, bytes) {
    const { shape, data } = readIdx(name, bytes);
    this.parts[partOf(name, shape)] = { name, count: shape[0], data };
  }

  get missing() {
    return PARTS.filter((part) => !(part in this.parts)).map((part) => MEANINGS[part]);
  }

  // Returns {images, labels, testImages, testLabels, names}; names is null for digits. The next files are a new set.
  take() {
    const { trainImages, trainLabels, testImages, testLabels } = this.parts;
    this.parts = {};
    check(trainImages, trainLabels);
    check(testImages, testLabels);
    const ink = trainImages.data.subarray(0, 1000 * SIDE * SIDE);
    const isMuch = ink.reduce((sum, level) => sum + level, 0) / ink.length > MUCH_INK;
    return {
      images: trainImages.data,
      labels: trainLabels.data,
      testImages: testImages.data,
      testLabels: testLabels.data,
      names: isMuch ? CLOTHES : null,
    };
  }
}

function check(images, labels) {
  if (images.count !== labels.count || images.count === 0) {
    throw new Error(`${labels.name}: expected as many labels as ${images.name} has pictures, ${images.count}, got ${labels.count}.`);
  }
  const most = labels.data.reduce((best, label) => Math.max(best, label), 0);
  if (most >= NODES) throw new Error(`${labels.name}: expected labels from 0 to ${NODES - 1}, got ${most}.`);
}

export function download(bytes, name) {
  const url = URL.createObjectURL(new Blob([bytes], { type: "application/octet-stream" }));
  Object.assign(document.createElement("a"), { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60000); // the browser may still read it
}
