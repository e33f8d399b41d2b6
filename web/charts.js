// A chart of one curve, as SVG, so that it is sharp and follows the page's colours.

const [WIDTH, HEIGHT] = [400, 160];
const MOST_POINTS = 400; // of the curve; more windows are averaged

const svg = (tag, attributes = {}) => {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
};

export class Chart {
  // `top` is the largest value of the axis; null for the largest of the curve. `write` makes text of a value.
  // `marks` says what marked values are.
  constructor(figure, { title, top, write, marks = "" }) {
    Object.assign(this, { title, top, write });
    figure.innerHTML = `<figcaption><span>${title} <small hidden>● ${marks}</small></span> <output></output></figcaption>`;
    this.key = figure.querySelector("small");
    this.output = figure.querySelector("output");
    this.svg = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img" });
    for (const share of [0, 0.5, 1]) {
      const y = HEIGHT * share;
      this.svg.append(svg("line", { class: "grid", x1: 0, x2: WIDTH, y1: y, y2: y }));
    }
    this.area = svg("polygon", { class: "area" });
    this.line = svg("polyline", { class: "curve" });
    this.tests = svg("g");
    this.svg.append(this.area, this.line, this.tests);
    const frame = Object.assign(document.createElement("div"), { className: "plot" });
    this.scale = Object.assign(document.createElement("span"), { className: "scale" });
    this.unit = Object.assign(document.createElement("span"), { className: "unit" });
    frame.append(this.svg, this.scale, this.unit);
    figure.append(frame);
    this.clear();
  }

  clear() {
    this.points = []; // [step, value]
    this.marks = [];
    this.isNew = true;
    this.draw();
  }

  add(step, value) {
    this.points.push([step, value]);
    this.isNew = true;
  }

  // A value on the test digits, shown as a line from here on.
  mark(step, value) {
    this.marks.push([step, value]);
    this.isNew = true;
  }

  draw() {
    if (!this.isNew) return;
    this.isNew = false;
    const points = thinned(this.points);
    const last = this.points.at(-1);
    const top = this.top ?? Math.max(0.01, ...points.map(([, value]) => value));
    const end = last === undefined ? 1 : last[0];
    const place = ([step, value]) => `${((step / end) * WIDTH).toFixed(1)},${(HEIGHT * (1 - value / top)).toFixed(1)}`;
    const drawn = points.length === 0 ? [] : [[0, points[0][1]], ...points];
    this.line.setAttribute("points", drawn.map(place).join(" "));
    this.area.setAttribute("points", drawn.length === 0 ? "" : [...drawn, [end, 0], [0, 0]].map(place).join(" "));
    this.tests.replaceChildren(
      ...this.marks.map(([step, value]) => {
        const [x, y] = place([step, value]).split(",");
        return svg("line", { class: "test", x1: x, x2: x, y1: y, y2: y });
      }),
    );
    this.key.hidden = this.marks.length === 0;
    this.output.textContent = last === undefined ? "" : this.write(last[1]);
    this.scale.textContent = last === undefined ? "" : `from 0 to ${this.write(top)}`;
    this.unit.textContent = last === undefined ? "nothing yet" : `${end.toLocaleString("en")} digits`;
    this.svg.setAttribute("aria-label", last === undefined ? `${this.title}: nothing yet` : this.summary(end));
  }

  summary(end) {
    const [first, last] = [this.points[0][1], this.points.at(-1)[1]];
    return `${this.title}: from ${this.write(first)} to ${this.write(last)} in ${end} digits`;
  }
}

// At most MOST_POINTS points; each is the mean of its neighbours.
function thinned(points) {
  const group = Math.ceil(points.length / MOST_POINTS);
  if (group <= 1) return points;
  const means = [];
  for (let start = 0; start < points.length; start += group) {
    const part = points.slice(start, start + group);
    means.push([part.at(-1)[0], part.reduce((sum, [, value]) => sum + value, 0) / part.length]);
  }
  return means;
}
