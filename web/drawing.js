// The pad: strokes of a mouse, a finger, a pen or the keyboard; or an image of a data set.

import { SIDE, toImage, trace } from "./centring.js";
import { inkColours } from "./colours.js";

const PAD = 280; // units of the pad's side, whatever its size on the screen
const PEN = 20;
const KEYS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const LONG_STEP = 14; // units that an arrow key moves the pen, and with Shift
const SHORT_STEP = 4;

export class Pad {
  // `onImage(image, isDone)` gets Uint8Array(784), or null for an empty pad; isDone is false in the middle of a stroke.
  constructor(canvas, onImage) {
    this.canvas = canvas;
    this.onImage = onImage;
    this.strokes = [];
    this.image = null; // of a data set, instead of strokes
    this.cursor = null; // where the keyboard's pen is
    this.isPenDown = false;
    canvas.width = canvas.height = PAD * 2;
    canvas.addEventListener("pointerdown", (event) => this.begin(event));
    canvas.addEventListener("pointermove", (event) => this.go(event));
    for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, (event) => this.end(event));
    canvas.addEventListener("keydown", (event) => this.press(event));
    canvas.addEventListener("blur", () => {
      this.cursor = null;
      this.isPenDown = false;
      this.draw();
    });
  }

  get isEmpty() {
    return this.strokes.length === 0 && this.image === null;
  }

  clear() {
    this.strokes = [];
    this.image = null;
    this.isPenDown = false;
    this.changed(true);
  }

  removeLastStroke() {
    if (this.strokes.length === 0) return this.clear();
    this.strokes.pop();
    this.changed(true);
  }

  // Shows an image of a data set.
  show(image) {
    this.strokes = [];
    this.image = image;
    this.changed(true);
  }

  point(event) {
    const frame = this.canvas.getBoundingClientRect();
    const within = (value) => Math.min(Math.max(value, 0), PAD);
    return [
      within(((event.clientX - frame.left) / frame.width) * PAD),
      within(((event.clientY - frame.top) / frame.height) * PAD),
    ];
  }

  begin(event) {
    if (event.button !== 0 || this.pointer !== undefined) return;
    event.preventDefault();
    this.canvas.focus({ preventScroll: true });
    this.canvas.setPointerCapture(event.pointerId);
    this.pointer = event.pointerId;
    this.cursor = null;
    this.start(this.point(event));
  }

  go(event) {
    if (event.pointerId !== this.pointer) return;
    const events = event.getCoalescedEvents?.() ?? [];
    for (const part of events.length > 0 ? events : [event]) this.strokes.at(-1).push(this.point(part));
    this.changed(false);
  }

  end(event) {
    if (event.pointerId !== this.pointer) return;
    this.pointer = undefined;
    this.changed(true);
  }

  start(point) {
    this.image = null;
    this.strokes.push([point]);
    this.changed(false);
  }

  press(event) {
    const direction = KEYS[event.key];
    if (direction !== undefined) {
      const step = event.shiftKey ? SHORT_STEP : LONG_STEP;
      const [x, y] = this.cursor ?? [PAD / 2, PAD / 4];
      this.cursor = [x + direction[0] * step, y + direction[1] * step].map((it) => Math.min(Math.max(it, 0), PAD));
      if (this.isPenDown) this.strokes.at(-1).push(this.cursor);
    } else if (event.key === " ") {
      this.cursor ??= [PAD / 2, PAD / 4];
      this.isPenDown = !this.isPenDown;
      if (this.isPenDown) this.start(this.cursor);
    } else if (event.key === "Backspace") {
      this.isPenDown = false;
      this.removeLastStroke();
    } else if (event.key === "Escape" || event.key === "Delete") {
      this.clear();
    } else {
      return;
    }
    event.preventDefault();
    this.changed(!this.isPenDown);
  }

  // In the middle of a stroke the picture follows once a frame, however many events come.
  changed(isDone) {
    cancelAnimationFrame(this.due);
    const show = () => {
      this.draw();
      this.onImage(this.image ?? toImage(this.strokes, PAD), isDone);
    };
    if (isDone) show();
    else this.due = requestAnimationFrame(show);
  }

  draw() {
    const context = this.canvas.getContext("2d");
    const colours = inkColours();
    context.setTransform(2, 0, 0, 2, 0, 0);
    context.fillStyle = colours.css(0);
    context.fillRect(0, 0, PAD, PAD);
    if (this.image !== null) this.drawImage(context, colours);
    context.strokeStyle = colours.css(255);
    context.lineWidth = PEN;
    context.lineCap = context.lineJoin = "round";
    context.beginPath();
    for (const stroke of this.strokes) trace(context, stroke);
    context.stroke();
    if (this.cursor !== null) this.drawCursor(context);
  }

  drawImage(context, colours) {
    const size = PAD / SIDE;
    this.image.forEach((level, pixel) => {
      if (level === 0) return;
      context.fillStyle = colours.css(level);
      context.fillRect((pixel % SIDE) * size, Math.floor(pixel / SIDE) * size, size, size);
    });
  }

  drawCursor(context) {
    context.strokeStyle = context.fillStyle = getComputedStyle(this.canvas).getPropertyValue("--accent");
    context.lineWidth = 2;
    context.beginPath();
    context.arc(...this.cursor, PEN / 2, 0, 2 * Math.PI);
    if (this.isPenDown) context.fill();
    context.stroke();
  }
}
