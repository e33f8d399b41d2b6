// A grid of pixels that shows numbers as colours. A pixel is chosen with a pointer or with the arrow keys.

import { inkColours, signedColours } from "./colours.js";
import { make } from "./dom.js";

const KEYS = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };

export class PixelMap {
  // `onChoose(row, column)` makes the map focusable; without it the map is only a picture.
  // An arrow key moves the choice by `step` pixels.
  constructor({ height, width, label, onChoose = null, step = 1 }) {
    Object.assign(this, { height, width, onChoose, step, chosen: null });
    this.canvas = make("canvas", { width, height, "aria-label": label, role: "img" });
    this.mark = make("div", { class: "mark", hidden: true });
    this.element = make("div", { class: "map", style: `aspect-ratio: ${width} / ${height}` }, this.canvas, this.mark);
    this.context = this.canvas.getContext("2d");
    this.data = this.context.createImageData(width, height);
    this.pixels = new Uint32Array(this.data.data.buffer);
    if (onChoose !== null) this.listen();
  }

  listen() {
    this.canvas.tabIndex = 0;
    this.canvas.setAttribute("role", "application");
    this.canvas.setAttribute("aria-roledescription", "pixels; arrow keys choose one");
    for (const name of ["pointermove", "pointerdown"]) {
      this.canvas.addEventListener(name, (event) => {
        const frame = this.canvas.getBoundingClientRect();
        const row = Math.floor(((event.clientY - frame.top) / frame.height) * this.height);
        const column = Math.floor(((event.clientX - frame.left) / frame.width) * this.width);
        if (row >= 0 && row < this.height && column >= 0 && column < this.width) this.onChoose(row, column);
      });
    }
    this.canvas.addEventListener("focus", () => {
      if (this.chosen === null && this.canvas.matches(":focus-visible")) {
        this.onChoose(this.height >> 1, this.width >> 1);
      }
    });
    this.canvas.addEventListener("keydown", (event) => {
      const direction = KEYS[event.key];
      if (direction === undefined) return;
      event.preventDefault();
      const [row, column] = this.chosen ?? [this.height >> 1, this.width >> 1];
      const within = (value, size) => Math.min(Math.max(value, 0), size - 1);
      this.onChoose(within(row + direction[0] * this.step, this.height), within(column + direction[1] * this.step, this.width));
    });
  }

  // Pixel i shows values[offset + i * stride], as signed numbers.
  drawSigned(values, scale, offset = 0, stride = 1) {
    const colours = signedColours();
    for (let pixel = 0; pixel < this.pixels.length; pixel++) {
      this.pixels[pixel] = colours.table[colours.index(values[offset + pixel * stride], scale)];
    }
    this.context.putImageData(this.data, 0, 0);
  }

  // Pixel i shows levels[i], from 0 for paper to 255 for ink.
  drawInk(levels) {
    const { table } = inkColours();
    for (let pixel = 0; pixel < this.pixels.length; pixel++) this.pixels[pixel] = table[levels[pixel]];
    this.context.putImageData(this.data, 0, 0);
  }

  // Draws a frame around `height` x `width` pixels. isChosen says that the arrow keys go on from here.
  frame(row, column, height = 1, width = 1, isChosen = false) {
    this.chosen = isChosen ? [row, column] : null;
    const share = (value, of) => `${(100 * value) / of}%`;
    this.mark.style.top = share(row, this.height);
    this.mark.style.left = share(column, this.width);
    this.mark.style.height = share(height, this.height);
    this.mark.style.width = share(width, this.width);
    this.mark.hidden = false;
  }

  unframe() {
    this.chosen = null;
    this.mark.hidden = true;
  }
}

export function largest(values) {
  let most = 0;
  for (const value of values) most = Math.max(most, Math.abs(value));
  return most;
}
