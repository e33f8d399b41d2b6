// Turns strokes into an image like MNIST's, by the rules of its makers (Y. LeCun, C. Cortes, C. J. C. Burges, "The MNIST
// database of handwritten digits"): the digit is cropped, fits a box of 20x20 pixels, and its centre of mass lies in the
// centre of 28x28 pixels. Strokes are lines, so they are scaled before the pen follows them: small and large drawings
// get a pen of the same width, as in MNIST. `cnnx.pictures` does the same with pictures.

export const SIDE = 28;
const BOX = 20; // pixels that the digit with its pen fits
const CENTRE = 14; // the pixel that is nearest to the centre of mass, in rows and in columns
const PEN = 2.8; // pixels: drawings have as much ink as MNIST's digits, 33 of 255 in the mean over all pixels
const FINE = 8; // the pen follows the strokes on a canvas so many times finer, whose means are the pixels
const DOT = 0.04; // of the pad's side: a drawing that is smaller is a dot, and is not blown up

// strokes: lists of points [x, y] on a square pad with the side `padSide`. Returns Uint8Array(784), 0 for paper and 255
// for ink, or null if there is no stroke.
export function toImage(strokes, padSide) {
  const points = strokes.flat();
  if (points.length === 0) return null;
  const [left, right] = extent(points, 0);
  const [top, bottom] = extent(points, 1);
  const scale = (BOX - PEN) / Math.max(right - left, bottom - top, padSide * DOT);
  const ink = followed(strokes, (x, y) => [
    CENTRE + (x - (left + right) / 2) * scale,
    CENTRE + (y - (top + bottom) / 2) * scale,
  ]);
  return centred(ink);
}

function extent(points, axis) {
  let least = Infinity;
  let most = -Infinity;
  for (const point of points) {
    least = Math.min(least, point[axis]);
    most = Math.max(most, point[axis]);
  }
  return [least, most];
}

// Adds a path through the points; a single point becomes a dot.
export function trace(context, stroke, place = (x, y) => [x, y]) {
  stroke.forEach(([x, y], index) => {
    if (index === 0) context.moveTo(...place(x, y));
    context.lineTo(...place(x, y));
  });
}

let canvas = null;

// Returns Float32Array(784): how much of each pixel the pen covers.
function followed(strokes, place) {
  const fineSide = SIDE * FINE;
  if (canvas === null) {
    canvas = document.createElement("canvas");
    canvas.width = canvas.height = fineSide;
  }
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.clearRect(0, 0, fineSide, fineSide);
  context.setTransform(FINE, 0, 0, FINE, 0, 0);
  context.lineCap = context.lineJoin = "round";
  context.lineWidth = PEN;
  context.beginPath();
  for (const stroke of strokes) trace(context, stroke, place);
  context.stroke();
  const { data } = context.getImageData(0, 0, fineSide, fineSide);
  const ink = new Float32Array(SIDE * SIDE);
  for (let row = 0; row < fineSide; row++) {
    for (let column = 0; column < fineSide; column++) {
      const pixel = Math.floor(row / FINE) * SIDE + Math.floor(column / FINE);
      ink[pixel] += data[(row * fineSide + column) * 4 + 3] / (255 * FINE * FINE);
    }
  }
  return ink;
}

// Moves the centre of mass to the centre by whole pixels, and no ink over the edge.
function centred(ink) {
  const mass = [0, 0, 0]; // of rows, of columns, of all
  const used = { top: SIDE, bottom: 0, left: SIDE, right: 0 };
  ink.forEach((amount, pixel) => {
    if (amount === 0) return;
    const [row, column] = [Math.floor(pixel / SIDE), pixel % SIDE];
    mass[0] += row * amount;
    mass[1] += column * amount;
    mass[2] += amount;
    used.top = Math.min(used.top, row);
    used.bottom = Math.max(used.bottom, row);
    used.left = Math.min(used.left, column);
    used.right = Math.max(used.right, column);
  });
  const within = (shift, first, last) => Math.min(Math.max(shift, -first), SIDE - 1 - last);
  const down = within(CENTRE - Math.round(mass[0] / mass[2]), used.top, used.bottom);
  const across = within(CENTRE - Math.round(mass[1] / mass[2]), used.left, used.right);
  const image = new Uint8Array(SIDE * SIDE);
  ink.forEach((amount, pixel) => {
    if (amount > 0) image[pixel + down * SIDE + across] = Math.round(Math.min(amount, 1) * 255);
  });
  return image;
}
